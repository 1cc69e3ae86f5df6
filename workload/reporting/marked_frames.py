"""Frames with the boxes of their faces drawn, as files. Needs Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont

from pipeline.answers import UNKNOWN
from pipeline.keys import details_key, frame_key, stem
from pipeline.settings import Deployment
from workload.reporting.faces import Face, number
from workload.reporting.moments import faces_in_details
from workload.reporting.recognized import Recognized
from workload.running.buckets import objects
from workload.running.outputs import read_object

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KNOWN, STRANGER, INK = "#2f9e44", "#e8590c", "#ffffff"
QUALITY = 92


@dataclass(frozen=True)
class Frame:
    """A frame in stage-1, with its faces; None if nobody knows where they are."""

    body: bytes
    faces: Sequence[Face] | None


def frames_of(s3: S3Client, deployment: Deployment, found: Recognized) -> Iterator[Frame]:
    """Yield the frames that are kept of a video: one, or with FRAMES=N each.

    The text knows the faces of the answer's frame; ANSWERS=txt+json those of the others as well.
    Raises AwsError if S3 refuses to be read.
    """
    details = _details(s3, deployment, found)
    kept = [item["Key"] for item in objects(s3, deployment.stage_1_bucket, _start(found))]
    for key in [frame_key(found.video), *kept]:
        frame = read_object(s3, deployment.stage_1_bucket, key)
        if frame is None:
            continue
        if frame.etag == found.output.metadata.get("frame-etag", frame.etag):
            yield Frame(frame.body, found.faces)
        elif key in kept:
            yield Frame(frame.body, details.get(number(frame.metadata, "frame-time")))


def _start(found: Recognized) -> str:
    return f"{stem(found.video)}/output-"


def _details(
    s3: S3Client, deployment: Deployment, found: Recognized
) -> dict[float | None, Sequence[Face]]:
    """The faces of each frame by its time, in seconds; none without ANSWERS=txt+json."""
    if found.frames == 1:
        return {}
    details = read_object(s3, deployment.output_bucket, details_key(found.video))
    return dict(faces_in_details(details.body, found.threshold)) if details else {}


def marked(body: bytes, faces: Sequence[Face]) -> bytes:
    """The frame as JPEG, with each face's box and name. Raises OSError if it is not an image."""
    with Image.open(io.BytesIO(body)) as image:
        picture = image.convert("RGB")
    draw = ImageDraw.Draw(picture)
    thick = max(2, round(min(picture.size) / 180))
    font = _font(max(12, round(min(picture.size) / 28)))
    for face in faces:
        if face.box is None:
            continue
        left, top, right, bottom = face.box
        color = STRANGER if face.name == UNKNOWN else KNOWN
        edges = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
        draw.rectangle(edges, outline=color, width=thick)
        label = face.name if face.distance is None else f"{face.name} {face.distance:.2f}"
        _, _, width, height = draw.textbbox((0, 0), label, font=font)
        x = max(0, min(edges[0], picture.width - width - 2 * thick))
        y = edges[1] - height - 2 * thick
        y = edges[1] if y < 0 else y
        draw.rectangle((x, y, x + width + 2 * thick, y + height + 2 * thick), fill=color)
        draw.text((x + thick, y + thick), label, fill=INK, font=font)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 has one size
        return ImageFont.load_default()


def save_frames(frames: Iterator[Frame], folder: Path, name: str) -> tuple[list[Path], int]:
    """Write frames as NAME.jpg, NAME-01.jpg ...; return the files, and how many lack boxes.

    Raises OSError if a file cannot be written.
    """
    paths, bare = [], 0
    for index, frame in enumerate(frames):
        path = folder / (f"{name}-{index:02d}.jpg" if index else f"{name}.jpg")
        bare += frame.faces is None
        path.write_bytes(marked(frame.body, frame.faces or ()))
        paths.append(path)
    return paths, bare
