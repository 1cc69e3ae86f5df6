"""docs/faults.md is the table that tests/e2e/test_faults.py holds the pipeline to."""

from __future__ import annotations

from tests.docs.pages import page
from tests.faults.table import FAULTS, QUICK, ROWS, STEPS
from tests.faults.table import page as faults_page


def test_the_page_is_the_table() -> None:
    command = ".venv/bin/python -m tests.faults.table > docs/faults.md"

    assert page("docs/faults.md").text == faults_page(), f"run {command}"
    assert command in faults_page()


def test_the_quick_part_has_every_fault_and_every_step() -> None:
    assert {step for _, _, step in QUICK} == set(STEPS)
    assert {fault for fault, _, _ in QUICK} == set(FAULTS)
    assert {fault for fault, _ in ROWS} == set(FAULTS)
