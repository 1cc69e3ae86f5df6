"""A video's answer in the output bucket: its text and, with ANSWERS=txt+json, the details."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import keys
import store
from agreement import UNKNOWN, Agreement, Look, Person

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TEXT, DETAILS = "txt", "txt+json"
ANSWERS = (TEXT, DETAILS)
MAX_METADATA_BYTES = 2048  # S3's limit for all user metadata of an object


@dataclass(frozen=True)
class Answer:
    """What is said about a video: the frames looked at, what they agree on, and the settings.

    `settings` are the recognizer's, `frame_etag` is the ETag of the frame of the answer in stage-1,
    `answers` is one of ANSWERS.
    """

    source: store.Source
    looks: Sequence[Look]
    agreement: Agreement
    settings: dict[str, str]
    frame_etag: str
    answers: str

    @property
    def text(self) -> str:
        """The agreed name; of one frame with FACES=all, the name of each face, one per line."""
        faces = self.looks[0].faces
        if self.settings["selection"] == "all" and len(self.looks) == 1 and faces:
            return "\n".join(face["name"] for face in faces)
        return self.agreement.name


def put_text(s3: S3Client, bucket: str, answer: Answer, text: dict[str, str] | None = None) -> bool:
    """Write the name; return False if the text already says the same of the same video.

    `text` has the metadata that it had before the answer was made, if they were read: a text that
    said something else then is not read again.
    """
    key, metadata = keys.text_key(answer.source.key), text_metadata(answer)
    if text in (None, metadata) and store.described(s3, bucket, key)[1] == metadata:
        return False
    s3.put_object(
        Bucket=bucket,
        Key=key,
        Body=answer.text.encode(),
        ContentType="text/plain; charset=utf-8",
        Metadata=metadata,
    )
    return True


def text_metadata(answer: Answer) -> dict[str, str]:
    """The text's metadata, in ASCII because S3 sends it in headers.

    What S3 has no room for is left out: the people, from the last one on, and, if the rest alone is
    too long, `faces` and then `name`, which the text repeats.
    """
    agreement, face = answer.agreement, answer.agreement.face
    metadata = {
        **answer.source.metadata,
        "frame-etag": answer.frame_etag,
        **answer.settings,
        "name": quote(answer.text),
        "votes": str(agreement.votes),
        "frames": str(len(answer.looks)),
        "answers": answer.answers,
    }
    if face:
        metadata |= {name: str(face[name]) for name in ("distance", "probability") if name in face}
        if "box" in face:
            metadata["box"] = _compact(face["box"])
        if agreement.name == UNKNOWN and "nearest" in face:
            metadata["nearest"] = quote(face["nearest"])
    metadata["faces"] = _compact(answer.looks[agreement.frame].faces)
    for name in ("faces", "name"):
        if _size(metadata) > MAX_METADATA_BYTES:
            del metadata[name]
    short = [_short(person) for person in agreement.people]
    while short and _size({**metadata, "people": _compact(short)}) > MAX_METADATA_BYTES:
        short.pop()
    return {**metadata, "people": _compact(short)} if short else metadata


def put_details(s3: S3Client, bucket: str, answer: Answer) -> None:
    """Write what was found in every frame beside the text, unless it is there already."""
    key, body = keys.json_key(answer.source.key), json.dumps(details(answer), indent=1).encode()
    origin = details_origin(answer.source, answer.settings, answer.frame_etag)
    metadata = {**origin, "sha256": sha256(body).hexdigest()}
    if store.described(s3, bucket, key)[1] != metadata:
        content_type = "application/json"
        s3.put_object(
            Bucket=bucket, Key=key, Body=body, ContentType=content_type, Metadata=metadata
        )


def details(answer: Answer) -> dict[str, Any]:
    """Every frame's time and faces, and the people of the video; times are in seconds."""
    return {
        "video": str(answer.source),
        "etag": answer.source.etag,
        "name": answer.text,
        **answer.settings,
        "frames": [{"time": look.time, "faces": list(look.faces)} for look in answer.looks],
        "people": [asdict(person) for person in answer.agreement.people],
    }


def details_origin(
    source: store.Source, settings: Mapping[str, str], frame_etag: str
) -> dict[str, str]:
    """The metadata of details that belong to an answer made from this frame."""
    return {**source.metadata, "frame-etag": frame_etag, **settings}


def remove_details(s3: S3Client, bucket: str, source: store.Source, are_current_kept: bool) -> int:
    """Delete the details of an earlier version of the video; return how many.

    Those of the current one are deleted as well unless `are_current_kept`: a deployment with
    ANSWERS=txt+json left them, and the text no longer announces them.
    """
    key = keys.json_key(source.key)
    found = store.described(s3, bucket, key)[1]
    is_current = source.metadata.items() <= found.items()
    if not store.is_made_from(source, found) or (is_current and are_current_kept):
        return 0
    text = keys.text_key(source.key)
    metadata = store.described(s3, bucket, text)[1] if is_current else {}
    # The text of an earlier version stays as it is: a new date would make it look like an answer.
    if source.metadata.items() <= metadata.items() and metadata.get("answers", TEXT) != TEXT:
        s3.put_object(
            Bucket=bucket,
            Key=text,
            Body=s3.get_object(Bucket=bucket, Key=text)["Body"].read(),
            ContentType="text/plain; charset=utf-8",
            Metadata={**metadata, "answers": TEXT},
        )
    s3.delete_object(Bucket=bucket, Key=key)
    return 1


def _short(person: Person) -> list[Any]:
    return [quote(person.name), person.frames, person.first, person.last, person.distance]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _size(metadata: dict[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in metadata.items())
