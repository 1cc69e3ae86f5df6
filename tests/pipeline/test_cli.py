"""What the scripts print of text that came from outside."""

from __future__ import annotations

import click
import pytest

from pipeline.aws import Aws
from pipeline.cli import Run, clear_errors
from pipeline.setting_table import UserError
from pipeline.settings import Deployment

FORGED = "a\nkept    bucket\x1b[8m"


def test_a_line_of_progress_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(Deployment("p"), Aws("us-east-1"), dry_run=True)

    run.kept(FORGED)
    run.change("delete", FORGED, lambda: None)

    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 2
    assert "\x1b" not in printed


def test_an_error_keeps_its_lines_and_shows_no_control_character() -> None:
    with pytest.raises(click.ClickException) as raised, clear_errors():
        raise UserError("No photo shows a face:\n\x1b[8m.jpg")

    assert raised.value.message == "No photo shows a face:\n\\x1b[8m.jpg"
