"""Maps a request to the actions and resources that must be allowed.

https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote
from wsgiref.types import WSGIEnvironment

from local_aws.iam_policy import Request
from local_aws.operations import rest_operation
from local_aws.sigv4 import Signature, query_pairs, raw_target, read_body

TLS = {"aws:securetransport": "true"}  # loopback counts as TLS


@dataclass(frozen=True)
class Place:
    """The region and account of a request, for ARNs."""

    region: str
    account_id: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a regional resource."""
        return f"arn:aws:{service}:{self.region}:{self.account_id}:{resource}"


LAMBDA_PATH = re.compile(
    r"^/\d{4}-\d\d-\d\d/(functions|layers|event-source-mappings|account-settings)(/|$)"
)


def meant_for_lambda(environ: WSGIEnvironment, signature: Signature) -> bool:
    """Whether the path belongs to Lambda's API. For S3 it would be the path of an object."""
    path = environ.get("PATH_INFO", "")
    return signature.service != "s3" and LAMBDA_PATH.match(path) is not None


def needed(environ: WSGIEnvironment, signature: Signature, account_id: str) -> list[Request]:
    """Everything the caller must be allowed to do; empty if everyone may make this request."""
    place = Place(signature.region, account_id)
    if signature.service == "s3":
        return s3_requests(environ)
    if signature.service == "lambda":
        return lambda_requests(environ, place)
    return action_requests(environ, signature.service, place)


# Subresources of a bucket or an object: query parameter -> name in s3:Get... and s3:Put...
BUCKET_PARTS = {
    "acl": "BucketAcl",
    "cors": "BucketCORS",
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "location": "BucketLocation",
    "logging": "BucketLogging",
    "notification": "BucketNotification",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
}
OBJECT_PARTS = {"acl": "ObjectAcl", "tagging": "ObjectTagging"}
OBJECT_ACTIONS = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject"}


def s3_requests(environ: WSGIEnvironment) -> list[Request]:
    """What a request to the S3 REST API (path style) needs."""
    path, query = raw_target(environ)
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    method, parameters = environ["REQUEST_METHOD"], dict(query_pairs(query))
    if not bucket:
        return [Request("s3:ListAllMyBuckets", "*", TLS)]
    arn = f"arn:aws:s3:::{bucket}"
    if not key:
        resource = f"{arn}/*" if "delete" in parameters else arn
        return [Request(f"s3:{_bucket_action(method, parameters)}", resource, TLS)]
    requests = [Request(f"s3:{_object_action(method, parameters)}", f"{arn}/{key}", TLS)]
    source = environ.get("HTTP_X_AMZ_COPY_SOURCE")
    if source:
        from_key = unquote(source.split("?")[0]).lstrip("/")
        requests.append(Request("s3:GetObject", f"arn:aws:s3:::{from_key}", TLS))
    return requests


def _bucket_action(method: str, parameters: dict[str, str]) -> str:
    verb = "Get" if method in ("GET", "HEAD") else "Put"
    for parameter, name in BUCKET_PARTS.items():
        if parameter in parameters:
            return "DeleteBucketPolicy" if (method, name) == _DELETE_POLICY else verb + name
    if "delete" in parameters:
        return "DeleteObject"
    if "uploads" in parameters:
        return "ListBucketMultipartUploads"
    if "versions" in parameters:
        return "ListBucketVersions"
    return {"PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(method, "ListBucket")


_DELETE_POLICY = ("DELETE", "BucketPolicy")


def _object_action(method: str, parameters: dict[str, str]) -> str:
    verb = "Get" if method in ("GET", "HEAD") else "Put"
    for parameter, name in OBJECT_PARTS.items():
        if parameter in parameters:
            return verb + name
    if method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in parameters else "DeleteObject"
    if "uploadId" in parameters and method == "GET":
        return "ListMultipartUploadParts"
    action = OBJECT_ACTIONS.get(method, method)
    return f"{action}Version" if action == "GetObject" and "versionId" in parameters else action


# Lambda's operations whose action has another name
LAMBDA_ACTIONS = {
    "GetLayerVersionByArn": "GetLayerVersion",
    "Invoke": "InvokeFunction",
    "InvokeWithResponseStream": "InvokeFunction",
}
PASSES_ROLE = ("CreateFunction", "UpdateFunctionConfiguration")


def lambda_requests(environ: WSGIEnvironment, place: Place) -> list[Request]:
    """What a request to the Lambda REST API (/DATE/functions/..., /DATE/layers/...) needs."""
    path, query = raw_target(environ)
    path, method = unquote(path), environ["REQUEST_METHOD"]
    operation = rest_operation("lambda", method, path, query) or f"{method} {path}"
    action = LAMBDA_ACTIONS.get(operation, operation)
    kind, name = (*path.strip("/").split("/")[1:3], "", "")[:2]
    if kind == "event-source-mappings":
        return [_mapping_request(environ, action, name, place)]
    if kind == "layers" and name:
        return [Request(f"lambda:{action}", place.arn("lambda", f"layer:{name}"), TLS)]
    if kind != "functions":
        return [Request(f"lambda:{action}", "*", TLS)]
    body = _json(environ) if action in PASSES_ROLE else {}
    name = name or str(body.get("FunctionName", "*"))
    qualifier = dict(query_pairs(query)).get("Qualifier")
    actions = {action}
    if operation != "Invoke":  # moto would obey the action in the query; Invoke never gets there
        actions |= _named_actions(environ)
    arn = _function_arn(name, qualifier, place)
    requests = [Request(f"lambda:{each}", arn, TLS) for each in sorted(actions)]
    if body.get("Role"):
        context = {**TLS, "iam:passedtoservice": "lambda.amazonaws.com"}
        requests.append(Request("iam:PassRole", str(body["Role"]), context))
    return requests


def _mapping_request(environ: WSGIEnvironment, action: str, uuid: str, place: Place) -> Request:
    """What a request about event source mappings needs."""
    resource = place.arn("lambda", f"event-source-mapping:{uuid}") if uuid else "*"
    context = dict(TLS)
    writes = environ["REQUEST_METHOD"] in ("POST", "PUT")
    if writes and (function := _json(environ).get("FunctionName")):
        context["lambda:functionarn"] = _function_arn(str(function), None, place)
    return Request(f"lambda:{action}", resource, context)


def _function_arn(name: str, qualifier: str | None, place: Place) -> str:
    if name.startswith("arn:"):
        arn = name
    else:
        arn = place.arn("lambda", f"function:{re.sub(r'^.*function:', '', name)}")
    has_qualifier = arn.count(":") > 6
    return f"{arn}:{qualifier}" if qualifier and not has_qualifier else arn


def action_requests(environ: WSGIEnvironment, service: str, place: Place) -> list[Request]:
    """What a request of the query or JSON protocol, which names its action, needs.

    A request can name several actions and resources: in its headers, path, query and body. All of
    them must be allowed, because it is up to moto which one it uses.
    """
    actions = _named_actions(environ) or {""}
    if (service, actions) == ("sts", {"GetCallerIdentity"}):
        return []  # always allowed, as on AWS
    parameters = [_json(environ), *_forms(environ)]
    named = {resource for p in parameters if (resource := _resource(service, p, place))}
    everything = place.arn("sqs", "*") if service == "sqs" else "*"
    prefix = {"monitoring": "cloudwatch"}.get(service, service)
    if service == "sqs":  # SendMessage allows SendMessageBatch, and so on
        actions = {action.removesuffix("Batch") for action in actions}
    return [
        Request(f"{prefix}:{action}", resource, TLS)
        for action in sorted(actions)
        for resource in sorted(named or {everything})
    ]


def _named_actions(environ: WSGIEnvironment) -> set[str]:
    """Every action that the request names anywhere."""
    path = raw_target(environ)[0]
    named = {form["Action"] for form in _forms(environ) if "Action" in form}
    named.add(environ.get("HTTP_X_AMZ_TARGET", "").rsplit(".", 1)[-1])
    named.add(environ.get("HTTP_ACTION", ""))  # moto's last resort
    if "/operation/" in path:  # Smithy RPC v2 (CBOR)
        named.add(path.rsplit("/", 1)[-1])
    return named - {""}


def _forms(environ: WSGIEnvironment) -> list[dict[str, str]]:
    """The parameters of the body and the query; of repeated ones, the first and the last."""
    texts = (_plain_body(environ).decode(errors="replace"), raw_target(environ)[1])
    pairs = [parse_qsl(text, keep_blank_values=True) for text in texts]
    return [form for found in pairs if found for form in (dict(found), dict(reversed(found)))]


def _resource(service: str, parameters: dict[str, Any], place: Place) -> str | None:
    """The ARN of the resource that the parameters name; None if they name none."""
    if service == "iam" and "RoleName" in parameters:
        return f"arn:aws:iam::{place.account_id}:role/{parameters['RoleName']}"
    if service == "sts" and "RoleArn" in parameters:
        return str(parameters["RoleArn"])
    if service == "sqs" and ("QueueName" in parameters or "QueueUrl" in parameters):
        name = parameters.get("QueueName") or str(parameters.get("QueueUrl", "*")).split("/")[-1]
        return place.arn("sqs", str(name))
    if service == "sns":
        name = parameters.get("Name") and place.arn("sns", str(parameters["Name"]))
        arn = parameters.get("TopicArn") or parameters.get("ResourceArn") or name
        return str(arn) if arn else None
    if service == "logs" and ("logGroupName" in parameters or "logGroupIdentifier" in parameters):
        group = parameters.get("logGroupName") or str(parameters.get("logGroupIdentifier", "*"))
        group = group.partition(":log-group:")[2].removesuffix(":*") or group
        # Policies name a group with ":*" at its end, as DescribeLogGroups does.
        stream = parameters.get("logStreamName") or ""
        return place.arn("logs", f"log-group:{group}:log-stream:{stream}")
    if service == "ecr" and "repositoryName" in parameters:
        return place.arn("ecr", f"repository/{parameters['repositoryName']}")
    return None


def _plain_body(environ: WSGIEnvironment) -> bytes:
    """The body as moto reads it: decompressed if it is gzipped."""
    body = read_body(environ)
    if environ.get("HTTP_CONTENT_ENCODING") == "gzip":
        with contextlib.suppress(OSError, EOFError, zlib.error):
            return gzip.decompress(body)
    return body


def _json(environ: WSGIEnvironment) -> dict[str, Any]:
    try:
        body = json.loads(_plain_body(environ) or b"{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
