"""An image in ECR, read over HTTP: its manifest, configuration and layer sizes."""

from __future__ import annotations

import base64
import json
import urllib.request
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from mypy_boto3_ecr import ECRClient

MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json"
MANIFESTS += ", application/vnd.oci.image.manifest.v1+json"
BLOCK = 1 << 20


@dataclass(frozen=True)
class LayerSize:
    """One layer: its size as pulled, its size unpacked, and the build step that made it."""

    compressed: int
    unpacked: int
    made_by: str


class PushedImage:
    """One image, read with the password that ECR issues."""

    def __init__(self, ecr: ECRClient, uri: str) -> None:
        """`ecr` is the client that issues the password; `uri` names the image by digest."""
        data = ecr.get_authorization_token()["authorizationData"][0]
        self.credentials = base64.b64decode(data["authorizationToken"]).decode()
        self._header = f"Basic {data['authorizationToken']}"
        place, _, self.digest = uri.partition("@")
        repository = place.partition("/")[2]
        self._url = f"{data['proxyEndpoint']}/v2/{repository}"
        self.manifest = json.loads(self._get(f"manifests/{self.digest}").read())
        # Entry point, environment and history.
        self.config = json.loads(self._get(f"blobs/{self.manifest['config']['digest']}").read())

    def _get(self, path: str) -> HTTPResponse:
        headers = {"Authorization": self._header, "Accept": MANIFESTS}
        request = urllib.request.Request(f"{self._url}/{path}", headers=headers)  # noqa: S310 - ECR's
        response: HTTPResponse = urllib.request.urlopen(request, timeout=60)  # noqa: S310
        return response

    def layer_sizes(self) -> list[LayerSize]:
        """Each layer's compressed size, from the manifest, and its size after decompression."""
        history = self.config["history"]
        steps = [step.get("created_by", "") for step in history if not step.get("empty_layer")]
        sizes = []
        for index, layer in enumerate(self.manifest["layers"]):
            inflate, unpacked = zlib.decompressobj(wbits=31), 0
            with self._get(f"blobs/{layer['digest']}") as answer:
                while block := answer.read(BLOCK):
                    unpacked += len(inflate.decompress(block))
            step = steps[index] if index < len(steps) else ""
            sizes.append(LayerSize(layer["size"], unpacked, step))
        return sizes
