"""What a service calls its operations, and which protocol it speaks, by botocore's models."""

from __future__ import annotations

import re
from functools import cache

import botocore.session
from botocore.exceptions import UnknownServiceError
from botocore.model import OperationModel, ServiceModel

# Where requests are signed for another name than botocore has for the service.
MODELS = {"monitoring": "cloudwatch"}
LABEL = re.compile(r"\{\w+(\+?)\}")
Route = tuple[re.Pattern[str], frozenset[str], str]


@cache
def model(service: str) -> ServiceModel | None:
    """The model of the service that requests are signed for; None if botocore has none."""
    try:
        return botocore.session.get_session().get_service_model(MODELS.get(service, service))
    except UnknownServiceError:
        return None


@cache
def _routes(service: str) -> dict[str, list[Route]]:
    """The operations of a REST API by HTTP method, those that need most of the query first.

    PutObject and CopyObject differ in a header: the one that needs none comes first.
    """
    found = model(service)
    routes: dict[str, list[Route]] = {}
    if found is None:
        return routes
    operations = [found.operation_model(name) for name in found.operation_names]
    for operation in sorted(operations, key=lambda one: len(_required(one, "header"))):
        http = operation.http
        path, _, query = http["requestUri"].partition("?")
        pattern = LABEL.sub(lambda label: ".+" if label[1] else "[^/]+", path.rstrip("/"))
        needed = frozenset(filter(None, (*query.split("&"), *_required(operation, "querystring"))))
        routes.setdefault(http["method"], []).append(
            (re.compile(f"{pattern}/?", re.DOTALL), needed, operation.name)
        )
    for listed in routes.values():
        listed.sort(key=lambda route: -len(route[1]))
    return routes


def _required(operation: OperationModel, location: str) -> list[str]:
    """The names that the query, or the headers, of each such request have."""
    shape = operation.input_shape
    places = [shape.members[name].serialization for name in shape.required_members] if shape else []
    return [place["name"] for place in places if place.get("location") == location]


def rest_operation(service: str, method: str, path: str, query: str) -> str | None:
    """The operation that a request to a REST API means; None if there is no such operation.

    `path` is decoded, `query` as sent.
    """
    given = {name for part in query.split("&") for name in (part, part.partition("=")[0])}
    for pattern, needed, name in _routes(service).get(method, ()):
        if needed <= given and pattern.fullmatch(path):
            return name
    return None
