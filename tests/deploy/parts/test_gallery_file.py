"""Reading a gallery file without torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.parts.gallery_file import check_gallery, gallery_model
from pipeline.aws import AwsError


def test_a_gallerys_model_is_read_without_unpickling(
    tmp_path: Path, shared_gallery: tuple[Path, str]
) -> None:
    path, model = shared_gallery
    assert gallery_model(path) == model
    check_gallery(path, model)

    with pytest.raises(AwsError, match=f"was made with {model}, but the function will use other"):
        check_gallery(path, "other")
    (tmp_path / "data.pt").write_text("nothing")
    with pytest.raises(AwsError, match=r"is not a gallery written by torch\.save"):
        check_gallery(tmp_path / "data.pt", model)
