"""docs/settings.md and --help say what the table of settings says."""

from __future__ import annotations

import pytest

from pipeline.setting_table import DEPLOYMENT, RECOGNIZER, SPLITTER, TABLE, rows
from tests.docs.commands import click_command, options, scripts
from tests.docs.pages import page

HEAD = "| setting | value | default | meaning |\n|---|---|---|---|\n"


def markdown(section: str) -> str:
    """The table of a section's settings."""
    lines = [
        f"| `{setting.name}` | {setting.kind.allowed} | "
        f"{f'`{setting.default}`' if setting.default else ''} | {setting.help} |\n".replace(
            "|  |", "| |"
        )
        for setting in rows(section).values()
    ]
    return HEAD + "".join(lines)


@pytest.mark.parametrize("section", [DEPLOYMENT, SPLITTER, RECOGNIZER])
def test_the_page_has_the_table_of_settings(section: str) -> None:
    said = page("docs/settings.md").section(f"[{section}]")

    assert markdown(section) in said, f"docs/settings.md needs:\n{markdown(section)}"


def test_the_help_of_set_names_every_setting_of_a_function() -> None:
    (option,) = (o for o in click_command("deploy/deploy.py").params if "--set" in o.opts)
    said = getattr(option, "help", "")

    for setting in TABLE:
        if setting.section != DEPLOYMENT:
            text = f"{setting.section}.{setting.name}={setting.default}: {setting.kind.allowed}"
            assert text in said


def test_what_the_file_holds_is_an_option_and_every_script_reads_the_file() -> None:
    ours = [s for s in scripts() if s.startswith(("deploy/", "workload/", "createS3.py"))]
    there = {option for script in ours for option in options(script)}

    assert {f"--{name}" for name in rows(DEPLOYMENT)} <= there
    assert [script for script in ours if "--config" not in options(script)] == []
