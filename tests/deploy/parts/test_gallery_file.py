"""Reading a gallery file without torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

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


@pytest.mark.parametrize(
    ("names", "metadata", "model"),
    [
        (["Ann"], {"model": "sface", "image_size": 240, "threshold": 0.605}, "sface"),
        (["model", "Ann"], {"model": "sface"}, "sface"),
        (["Ann", "model", "sface"], {"image_size": 240, "model": "sface"}, "sface"),
        (["model", "Ann"], None, "facenet-vggface2"),
        (["Ann"], None, "facenet-vggface2"),
        (["model"], {}, "facenet-vggface2"),
    ],
)
def test_a_person_may_be_called_like_a_metadata_key(
    tmp_path: Path, names: list[str], metadata: dict[str, object] | None, model: str
) -> None:
    rows = [torch.ones(1, 128) for _ in names]
    torch.save([rows, names, *([] if metadata is None else [metadata])], tmp_path / "data.pt")

    assert gallery_model(tmp_path / "data.pt") == model


@pytest.mark.parametrize("threshold", [1e9, True, 10**400, float("nan"), "0.9"])
def test_a_gallery_with_a_threshold_that_is_no_distance_is_not_deployed(
    tmp_path: Path, threshold: object
) -> None:
    metadata = {"model": "sface", "threshold": threshold}
    torch.save([[torch.ones(1, 128)], ["Ann"], metadata], tmp_path / "data.pt")

    with pytest.raises(AwsError, match="use a number from 0 to 2"):
        check_gallery(tmp_path / "data.pt", "sface")
