"""moto's ECR: its repositories and images, and repairs that point clients to the registry here."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageAlreadyExistsException, InvalidParameterException
from moto.ecr.models import ECRBackend, Image, Repository, ecr_backends
from moto.ecr.responses import ECRResponse

from local_aws.moto_patch import Method, wrap_method

USER = "AWS"  # the user name for ECR's passwords
PASSWORD_HOURS = 12


class TagTaken(Exception):
    """The tag belongs to another image, and the repository's tags are immutable."""


class Images:
    """The repositories and images of one region."""

    def __init__(self, account_id: str, region: str) -> None:
        """Look images up in the account's `region`."""
        self._account_id, self._region = account_id, region

    def has_repository(self, name: str) -> bool:
        """Whether a repository has this name."""
        return name in self._repositories

    def digest(self, name: str, reference: str) -> str | None:
        """The digest of the image with this tag or digest; None if there is none."""
        if not self.has_repository(name):
            return None
        for image in self._repositories[name].images:
            if reference == image.get_image_digest() or reference in image.image_tags:
                return str(image.get_image_digest())
        return None

    def put(self, name: str, tag: str | None, manifest: str, media_type: str, digest: str) -> None:
        """Add an image to the repository; raise TagTaken if another image has the tag."""
        if self.digest(name, digest if tag is None else tag) == digest:
            return  # already pushed
        backend = ecr_backends[self._account_id][self._region]
        try:
            backend.put_image(name, manifest, tag, media_type, digest)
        except ImageAlreadyExistsException as error:
            raise TagTaken(
                f"The image tag '{tag}' already exists in the '{name}' repository and cannot be "
                "overwritten because the tag is immutable."
            ) from error

    @property
    def _repositories(self) -> dict[str, Any]:
        repositories: dict[str, Any] = ecr_backends[self._account_id][self._region].repositories
        return repositories


def name_this_registry(endpoint: str, region: str) -> None:
    """moto names repositories by addresses on AWS, where a push cannot work."""

    @wrap_method(Repository, "__init__")
    def init(init: Method, repository: Any, *args: Any, **settings: Any) -> None:
        init(repository, *args, **settings)
        if repository.region_name == region:
            repository.uri = f"{urlsplit(endpoint).netloc}/{repository.name}"


def issue_registry_password(endpoint: str, region: str, password: str) -> None:
    """moto issues a fixed password that expired in 2015, for a registry on AWS."""

    @wrap_method(ECRResponse, "get_authorization_token")
    def get_authorization_token(authorize: Method, response: Any) -> Any:
        if response.region != region:
            return authorize(response)
        data = {
            "authorizationToken": b64encode(f"{USER}:{password}".encode()).decode(),
            "expiresAt": datetime.now(timezone.utc) + timedelta(hours=PASSWORD_HOURS),
            "proxyEndpoint": endpoint,
        }
        return ActionResult({"authorizationData": [data]})


def refuse_broken_manifests() -> None:
    """moto fails at a manifest that is not JSON."""

    @wrap_method(ECRBackend, "put_image")
    def put_image(
        put: Method, backend: Any, repository: str, manifest: str, *args: Any, **more: Any
    ) -> Any:
        try:
            is_manifest = isinstance(json.loads(manifest), dict)
        except ValueError:
            is_manifest = False
        if not is_manifest:
            raise InvalidParameterException(
                "Invalid parameter at 'imageManifest' failed to satisfy constraint: 'Invalid JSON "
                "syntax'"
            )
        return put(backend, repository, manifest, *args, **more)


def measure_layers() -> None:
    """moto reports the size of the image's configuration. ECR reports its compressed layers."""

    @wrap_method(Image, "get_image_size_in_bytes")
    def size(_: Method, image: Any) -> int | None:
        layers = json.loads(image.image_manifest).get("layers")
        return None if layers is None else sum(layer.get("size", 0) for layer in layers)
