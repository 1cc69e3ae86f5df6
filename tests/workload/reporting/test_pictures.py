"""Pictures of frames, and how many bytes they may take."""

from __future__ import annotations

import base64
import io
import random

import pytest
from PIL import Image

from workload.reporting.pictures import LEAST_BYTES, PAGE_BYTES, TEXT_PER_BYTE, Share, fit


def noise(width: int, height: int) -> bytes:
    """A frame that is hard to compress."""
    data = random.Random(1).randbytes(width * height * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), data).save(out, "JPEG", quality=90)
    return out.getvalue()


def test_a_frame_that_fits_is_kept_as_it_is() -> None:
    frame = noise(64, 48)

    picture = fit(frame, len(frame))

    assert picture is not None
    assert base64.b64decode(picture.uri.partition(",")[2]) == frame
    assert picture.is_whole


@pytest.mark.parametrize("limit", [2_000, 20_000, 60_000])
def test_a_larger_frame_is_reduced_to_its_share(limit: int) -> None:
    picture = fit(noise(640, 480), limit)

    assert picture is not None
    jpeg = base64.b64decode(picture.uri.partition(",")[2])
    assert limit / 4 < len(jpeg) <= limit
    assert Image.open(io.BytesIO(jpeg)).size == (picture.shown_width, picture.shown_height)
    assert (picture.width, picture.height, picture.is_whole) == (640, 480, False)


def test_what_is_not_an_image_has_no_picture() -> None:
    assert fit(b"not an image", 1000) is None
    assert fit(noise(64, 48)[:200], 1000) is None


@pytest.mark.parametrize(("videos", "others"), [(1, 0), (100, 400), (1000, 0), (1000, 4000)])
def test_all_pictures_together_leave_room_for_the_rest(videos: int, others: int) -> None:
    share = Share.of(videos, others)

    assert (videos * share.main + others * share.other) * TEXT_PER_BYTE < PAGE_BYTES - videos * 6000
    assert share.main >= LEAST_BYTES
    assert share.other == 0 or share.other >= LEAST_BYTES
    assert (share.other > 0) is (videos < 1000)
