"""ECR as moto knows it: repositories and images, and where the registry is that takes pushes."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageAlreadyExistsException
from moto.ecr.models import Image, Repository, ecr_backends
from moto.ecr.responses import ECRResponse

USER = "AWS"  # the user name that goes with ECR's passwords
PASSWORD_HOURS = 12


class TagTaken(Exception):
    """The repository's tags are immutable, and another image has this one."""


class Images:
    """The images in one region's repositories."""

    def __init__(self, account_id: str, region: str) -> None:
        """Those of the account in `region`."""
        self._account_id, self._region = account_id, region

    def has_repository(self, name: str) -> bool:
        """Whether there is a repository of this name."""
        return name in self._repositories

    def digest(self, name: str, reference: str) -> str | None:
        """The digest of the image with this tag or digest; None if the repository has none."""
        if not self.has_repository(name):
            return None
        for image in self._repositories[name].images:
            if reference == image.get_image_digest() or reference in image.image_tags:
                return str(image.get_image_digest())
        return None

    def put(self, name: str, tag: str | None, manifest: str, media_type: str, digest: str) -> None:
        """Add an image to the repository; raises TagTaken."""
        if self.digest(name, digest if tag is None else tag) == digest:
            return  # pushed before
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


def install(endpoint: str, region: str, password: str) -> None:
    """Have ECR in `region` name the registry at `endpoint`, and `password` as the way in.

    moto names addresses on AWS, where nothing could be pushed, and a password that ended in 2015.
    """
    init, authorize = Repository.__init__, ECRResponse.get_authorization_token

    def init_here(repository: Any, *args: Any, **settings: Any) -> None:
        init(repository, *args, **settings)
        if repository.region_name == region:
            repository.uri = f"{urlsplit(endpoint).netloc}/{repository.name}"

    def get_authorization_token(response: Any) -> Any:
        if response.region != region:
            return authorize(response)
        data = {
            "authorizationToken": b64encode(f"{USER}:{password}".encode()).decode(),
            "expiresAt": datetime.now(timezone.utc) + timedelta(hours=PASSWORD_HOURS),
            "proxyEndpoint": endpoint,
        }
        return ActionResult({"authorizationData": [data]})

    Repository.__init__ = init_here
    ECRResponse.get_authorization_token = get_authorization_token
    Image.get_image_size_in_bytes = _size


def _size(image: Any) -> int | None:
    """What ECR charges for: the compressed layers. moto gives the size of the configuration."""
    layers = json.loads(image.image_manifest).get("layers")
    return None if layers is None else sum(layer.get("size", 0) for layer in layers)
