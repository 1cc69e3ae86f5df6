"""ECR's registry, for docker, podman and buildah, on the server's own port.

It implements the part of the protocol that pushing and pulling one image needs:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qs
from uuid import uuid4
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import wrap_file

from local_aws.image_layers import StoredImage
from local_aws.moto_ecr import USER, Images, TagTaken

PATH = "/v2"
NAME = r"(?P<name>[a-z0-9]+(?:[._/-][a-z0-9]+)*)"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ROUTES = (
    (re.compile(rf"/{NAME}/blobs/uploads/?"), "begin"),
    (re.compile(rf"/{NAME}/blobs/uploads/(?P<upload>[0-9a-f]{{32}})"), "upload"),
    (re.compile(rf"/{NAME}/blobs/(?P<digest>sha256:[0-9a-f]{{64}})"), "blob"),
    (re.compile(rf"/{NAME}/manifests/(?P<reference>[\w.:-]{{1,128}})"), "manifest"),
)
MAX_MANIFEST_BYTES = 4 << 20
BLOCK = 1 << 20


class Refused(Exception):
    """The request is answered with one of the protocol's errors."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """`code` is an error code of the specification."""
        super().__init__(message)
        self.status, self.code = status, code


class Registry:
    """Stores blobs and manifests as files; `images` is moto's list of the images."""

    def __init__(self, folder: Path, images: Images, password: str) -> None:
        """Store files below `folder`; `password` is the one that ECR issues."""
        self._images = images
        self._password = password
        self._blobs, self._uploads = folder / "blobs", folder / "uploads"
        for place in (self._blobs, self._uploads):
            place.mkdir(parents=True, exist_ok=True)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Serve one request, mounted at PATH."""
        request = Request(environ)
        try:
            self._authorize(request)
            response = self._route(request)
        except Refused as error:
            body = json.dumps({"errors": [{"code": error.code, "message": str(error)}]})
            response = Response(body, error.status, content_type="application/json")
            if error.status == 401:
                response.headers["WWW-Authenticate"] = 'Basic realm="ECR"'
        response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        return response(environ, start)

    def find(self, name: str, reference: str) -> StoredImage | None:
        """The pushed image with this tag or digest; None if there is none."""
        digest = self._images.digest(name, reference)
        if digest is None or not self._blob(digest).is_file():
            return None
        return StoredImage(digest, self._blob)

    def _blob(self, digest: str) -> Path:
        return self._blobs / digest.partition(":")[2]

    def _authorize(self, request: Request) -> None:
        given = request.authorization
        if given is None or given.type != "basic" or given.username != USER:
            raise Refused(401, "UNAUTHORIZED", "Sign in with the password that ECR issues.")
        if not hmac.compare_digest(str(given.password), self._password):
            raise Refused(401, "UNAUTHORIZED", "Wrong password: get a new one from ECR.")

    def _route(self, request: Request) -> Response:
        if request.path == "/":
            return Response()
        for pattern, kind in ROUTES:
            match = pattern.fullmatch(request.path)
            if match:
                names = match.groupdict()
                if not self._images.has_repository(names["name"]):
                    text = f"The repository with name '{names['name']}' does not exist."
                    raise Refused(404, "NAME_UNKNOWN", text)
                serve = getattr(self, f"_{request.method.lower()}_{kind}", None)
                if serve is None:
                    raise Refused(405, "UNSUPPORTED", f"{request.method} is not supported here.")
                response: Response = serve(request, **names)
                return response
        raise Refused(404, "UNSUPPORTED", f"The path {PATH}{request.path} does not exist.")

    def _post_begin(self, request: Request, name: str) -> Response:
        upload = uuid4().hex
        (self._uploads / upload).touch()
        return self._accepted(name, upload)

    def _accepted(self, name: str, upload: str) -> Response:
        end = max(0, (self._uploads / upload).stat().st_size - 1)
        place = f"{PATH}/{name}/blobs/uploads/{upload}"
        return _answer(202, {"Location": place, "Range": f"0-{end}", "Docker-Upload-UUID": upload})

    def _patch_upload(self, request: Request, name: str, upload: str) -> Response:
        self._append(request, upload)
        return self._accepted(name, upload)

    def _put_upload(self, request: Request, name: str, upload: str) -> Response:
        path = self._append(request, upload)
        wanted = parse_qs(request.query_string.decode()).get("digest", [""])[0]
        with path.open("rb") as file:
            found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted:
            path.unlink()
            raise Refused(400, "DIGEST_INVALID", f"The digest is {found}, not {wanted}.")
        path.replace(self._blob(found))
        place = f"{PATH}/{name}/blobs/{found}"
        return _answer(201, {"Location": place, "Docker-Content-Digest": found})

    def _append(self, request: Request, upload: str) -> Path:
        path = self._uploads / upload
        if not path.is_file():
            raise Refused(404, "BLOB_UPLOAD_UNKNOWN", "The upload does not exist or has ended.")
        with path.open("ab") as file:
            shutil.copyfileobj(request.stream, file, BLOCK)
        return path

    def _get_blob(self, request: Request, name: str, digest: str) -> Response:
        path = self._blob(digest)
        if not path.is_file():
            raise Refused(404, "BLOB_UNKNOWN", f"The blob {digest} does not exist.")
        headers = {"Docker-Content-Digest": digest, "Content-Length": str(path.stat().st_size)}
        if request.method == "HEAD":
            return _answer(200, headers)
        response = _answer(200, headers)
        response.response = wrap_file(request.environ, path.open("rb"), BLOCK)
        response.direct_passthrough = True
        return response

    _head_blob = _get_blob

    def _put_manifest(self, request: Request, name: str, reference: str) -> Response:
        if (request.content_length or 0) > MAX_MANIFEST_BYTES:
            raise Refused(413, "MANIFEST_INVALID", "The manifest is larger than 4 MiB.")
        data = request.get_data()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if DIGEST.fullmatch(reference) and reference != digest:
            raise Refused(400, "DIGEST_INVALID", f"The manifest has the digest {digest}.")
        for needed in _parts(data):
            if not self._blob(needed).is_file():
                raise Refused(400, "MANIFEST_BLOB_UNKNOWN", f"The blob {needed} is missing.")
        tag = None if DIGEST.fullmatch(reference) else reference
        self._blob(digest).write_bytes(data)
        media_type = request.headers.get("Content-Type", "")
        try:
            self._images.put(name, tag, data.decode(), media_type, digest)
        except TagTaken as error:
            raise Refused(400, "TAG_INVALID", str(error)) from error
        place = f"{PATH}/{name}/manifests/{digest}"
        return _answer(201, {"Location": place, "Docker-Content-Digest": digest})

    def _get_manifest(self, request: Request, name: str, reference: str) -> Response:
        image = self.find(name, reference)
        if image is None:
            raise Refused(404, "MANIFEST_UNKNOWN", f"The image {name}:{reference} does not exist.")
        response = Response(image.manifest_bytes)
        response.headers["Content-Type"] = str(image.manifest["mediaType"])
        response.headers["Docker-Content-Digest"] = image.digest
        return response

    _head_manifest = _get_manifest


def _answer(status: int, headers: dict[str, str]) -> Response:
    response = Response(status=status)
    del response.headers["Content-Type"]
    response.headers.update(headers)
    return response


def _parts(manifest: bytes) -> list[str]:
    """The digests that a manifest names: blobs, or the manifests of an index; raise Refused."""
    try:
        content = json.loads(manifest)
        named = [content["config"], *content["layers"]] if "layers" in content else None
        digests = [str(part["digest"]) for part in named or content["manifests"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(400, "MANIFEST_INVALID", f"Not an image manifest: {error!r}") from error
    if not all(map(DIGEST.fullmatch, digests)):
        raise Refused(400, "MANIFEST_INVALID", "Every digest must be sha256: and 64 digits.")
    return digests
