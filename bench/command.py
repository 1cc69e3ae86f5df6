"""The command line that every benchmark has."""

from __future__ import annotations

import argparse

from pipeline.settings import NAME, VERSION


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with -h and --version; `doc` is the benchmark's docstring."""
    command = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    command.add_argument("--version", action="version", version=f"{NAME} {VERSION}")
    return command
