"""Rights are given first, and taken when nothing needs them any more."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.parts.rights import current_rights
from deploy.roles import ensure_roles, remove_unused_rights
from pipeline.cli import Run
from pipeline.settings import Deployment


def galleries(run: Run) -> list[str]:
    """The objects that the recognizer may read as its gallery."""
    rights: Any = current_rights(run, run.deployment.recognizer)
    resources = [statement["Resource"] for statement in rights["Statement"]]
    named = [one for some in resources for one in ([some] if isinstance(some, str) else some)]
    return sorted(one.rpartition(":")[2] for one in named if one.endswith(".pt"))


def test_a_gallery_in_another_place_may_be_read_before_the_old_one_may_not(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.roles.SETTLING_S", 0)
    names = (run.deployment.prefix, run.deployment.namespace)

    def choose(uri: str) -> None:
        run.deployment = Deployment(*names, {"face-recognition": {"GALLERY_URI": uri}})
        ensure_roles(run)

    choose("s3://old/a.pt")
    assert galleries(run) == ["old/a.pt"]
    choose("s3://new/b.pt")
    assert galleries(run) == ["new/b.pt", "old/a.pt"]
    ensure_roles(run)  # again, as after a run that was killed
    assert galleries(run) == ["new/b.pt", "old/a.pt"]
    remove_unused_rights(run)
    assert galleries(run) == ["new/b.pt"]
