"""What a frame's faces amount to: the answer, and the metadata that keeps it beside the text.

Uses no model, so that it can be tested and read by itself.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from gallery import NO_FACE, UNKNOWN, is_utf8

# A face as it appears in the answer: name, distance, probability, box and nearest.
FaceJson = dict[str, Any]

MAX_NUMBER = 1e9  # of pixels or of anything else in a face
MAX_METADATA_BYTES = 2048  # S3's limit for all user metadata of an object
# What is left out if it does not all fit. The text repeats `name`.
LEFT_OUT_FIRST = ("faces", "name", "nearest")


def answer(faces: list[FaceJson], selection: str) -> tuple[str, FaceJson | None]:
    """The text for the faces of a frame (largest first), and the face that the text is about.

    That face is the largest known one. If none is known, it is the one nearest to a known person,
    and the larger of two that are equally near. With the selection "all" the text has one name per
    line, else one name.
    """
    if not faces:
        return NO_FACE, None
    known = [face for face in faces if face["name"] != UNKNOWN]
    face = known[0] if known else min(faces, key=lambda face: float(face["distance"]))
    text = "\n".join(each["name"] for each in faces) if selection == "all" else face["name"]
    return text, face


def output_metadata(identity: dict[str, str], faces: list[FaceJson]) -> dict[str, str]:
    """The user metadata of an output, in ASCII because S3 sends it in headers.

    `identity` has the source and the settings. LEFT_OUT_FIRST says what is omitted if it is too
    long for S3.
    """
    text, face = answer(faces, identity["selection"])
    metadata = {**identity, "name": quote(text)}
    if face is not None:
        metadata["distance"] = str(face["distance"])
        metadata["probability"] = str(face["probability"])
        metadata["box"] = json.dumps(face["box"], separators=(",", ":"))
        if face["name"] == UNKNOWN:
            metadata["nearest"] = quote(face["nearest"])
    metadata["faces"] = json.dumps([_short(face) for face in faces], separators=(",", ":"))
    for name in LEFT_OUT_FIRST:
        if sum(len(key) + len(value) for key, value in metadata.items()) > MAX_METADATA_BYTES:
            metadata.pop(name, None)
    return metadata


def known_faces(metadata: dict[str, str], identity: dict[str, str]) -> list[FaceJson] | None:
    """The faces that an earlier run wrote for the same frame and settings.

    None if there are none, or if they are not what `output_metadata` writes: an earlier version
    did not keep the nearest person, and anybody may have edited an object.
    """
    if any(metadata.get(name) != value for name, value in identity.items()):
        return None
    try:
        entries = json.loads(metadata.get("faces", ""))
    except (ValueError, RecursionError):
        return None
    if not isinstance(entries, list):
        return None
    faces = [_restored(entry) for entry in entries]
    return [face for face in faces if face is not None] if None not in faces else None


def says(metadata: dict[str, str], faces: list[FaceJson], selection: str) -> bool:
    """Whether an output with this metadata gives the answer of these faces.

    The text of a video with several frames may not, even if it is about the same frame.
    """
    name = quote(answer(faces, selection)[0])
    return metadata.get("name", name) == name


def _short(face: FaceJson) -> FaceJson:
    """A face without `nearest` where that repeats the name: space is scarce."""
    if face["nearest"] != face["name"]:
        return face
    return {key: value for key, value in face.items() if key != "nearest"}


def _restored(entry: Any) -> FaceJson | None:
    """The face that `_short` shortened, or None if it has the wrong form."""
    if not isinstance(entry, dict):
        return None
    name, box = entry.get("name"), entry.get("box")
    nearest = entry.get("nearest", name if name != UNKNOWN else None)
    if not _is_name(name) or not _is_name(nearest) or not isinstance(box, list) or len(box) != 4:
        return None
    if not all(
        _is_number(number) for number in [entry.get("distance"), entry.get("probability"), *box]
    ):
        return None
    return {
        "name": name,
        "distance": entry["distance"],
        "probability": entry["probability"],
        "box": box,
        "nearest": nearest,
    }


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and is_utf8(value)


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number; JSON may hold NaN, and whole numbers of any length."""
    return type(value) in (int, float) and abs(value) < MAX_NUMBER
