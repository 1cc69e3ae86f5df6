"""Images that the tests build byte by byte and push to ECR's registry."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def digest_of(data: bytes) -> str:
    """The digest of the data, in the form that registries use."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def entry(name: str, text: str | None = None, **settings: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a layer: a file with this text, or a folder. `settings` are TarInfo's."""
    member, data = tarfile.TarInfo(name), (text or "").encode()
    member.size = len(data)
    member.type = tarfile.REGTYPE if text is not None else tarfile.DIRTYPE
    member.mode = 0o644 if text is not None else 0o755
    for key, value in settings.items():
        setattr(member, key, value)
    return member, data


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link, or a hard link with kind=tarfile.LNKTYPE."""
    return entry(name, "", type=kind, linkname=target)


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A layer in the form in which it is pushed: a gzipped tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in entries:
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def manifest(config: bytes, layers: Iterable[bytes]) -> bytes:
    """The manifest of an image with these parts."""

    def part(kind: str, data: bytes) -> dict[str, Any]:
        media_type = f"application/vnd.docker.{kind}"
        return {"mediaType": media_type, "size": len(data), "digest": digest_of(data)}

    content = {
        "schemaVersion": 2,
        "mediaType": DOCKER,
        "config": part("container.image.v1+json", config),
        "layers": [part("image.rootfs.diff.tar.gzip", data) for data in layers],
    }
    return json.dumps(content).encode()


@dataclass
class RegistryUser:
    """A client of the registry at `endpoint`. `credentials` is user:password; None is anonymous."""

    endpoint: str
    credentials: str | None

    @classmethod
    def of(cls, ecr: Any) -> RegistryUser:
        """Whoever the client `ecr` is, with the password that ECR issues."""
        (data,) = ecr.get_authorization_token()["authorizationData"]
        credentials = base64.b64decode(data["authorizationToken"]).decode()
        return cls(data["proxyEndpoint"], credentials)

    def send(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers and body. A generator is sent in chunks."""
        if self.credentials is not None:
            coded = base64.b64encode(self.credentials.encode()).decode()
            headers["Authorization"] = f"Basic {coded}"
        connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def push_blob(self, repository: str, data: bytes) -> None:
        """Push a blob in two pieces of unknown length, as docker does."""
        _, headers, _ = self.send("POST", f"/v2/{repository}/blobs/uploads/")
        middle = len(data) // 2
        for piece in (data[:middle], data[middle:]):
            status, headers, _ = self.send("PATCH", headers["Location"], iter([piece]))
            assert status == 202
        path = f"{headers['Location']}?digest={digest_of(data)}"
        assert self.send("PUT", path)[0] == 201

    def put_manifest(self, repository: str, tag: str, data: bytes) -> tuple[int, bytes]:
        """Push a manifest; return status and body of the response."""
        headers = {"Content-Type": DOCKER}
        status, _, body = self.send("PUT", f"/v2/{repository}/manifests/{tag}", data, **headers)
        return status, body

    def push(self, repository: str, tag: str, config: bytes, layers: list[bytes]) -> str:
        """Push an image and return its digest."""
        for data in (config, *layers):
            self.push_blob(repository, data)
        whole = manifest(config, layers)
        status, body = self.put_manifest(repository, tag, whole)
        assert status == 201, body
        return digest_of(whole)
