"""What real videos have and photos do not: title cards, and damage."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

LENGTH = 4  # bytes before each NAL unit in MP4, as ffmpeg writes them
KEY_FRAME = 5  # the type of a NAL unit that holds a slice of a key frame: ITU-T H.264, table 7-1


def title_card(path: Path, text: str, size: tuple[int, int]) -> None:
    """Write a picture of `size` with `text` in its middle."""
    card = Image.new("RGB", size, "#1d2a44")
    font = ImageFont.load_default(size=size[1] // 10)
    middle = (size[0] / 2, size[1] / 2)
    ImageDraw.Draw(card).text(middle, text, fill="#f2efe6", font=font, anchor="mm")
    card.save(path)


def damaged(video: bytes) -> bytes:
    """An MP4 of H.264 whose first key frame decodes to a smear, like one from a bad disk or radio.

    The slice keeps its first tenth, so that decoders start on it. Raises ValueError if there is no
    key frame at the start.
    """
    at, end = _media(video)
    while at + LENGTH < end:
        length = int.from_bytes(video[at : at + LENGTH], "big")
        begin = at + LENGTH
        if video[begin] & 0x1F == KEY_FRAME:
            kept = begin + length // 10
            noise = random.Random(0).randbytes(begin + length - kept)  # noqa: S311
            return video[:kept] + noise + video[begin + length :]
        at = begin + length
    raise ValueError("the video does not start with a key frame")


def _media(video: bytes) -> tuple[int, int]:
    """Where the content of the `mdat` box starts and ends."""
    at = 0
    while at + 8 <= len(video):
        size, kind = int.from_bytes(video[at : at + 4], "big"), video[at + 4 : at + 8]
        if kind == b"mdat":
            return at + 8, at + size
        at += max(size, 8)
    raise ValueError("the video has no mdat box")
