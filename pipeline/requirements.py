"""Says in one line which package is missing, before it is imported. Standard library only."""

from __future__ import annotations

import importlib

PACKAGES = ("boto3", "click")
INSTALL = f"python3 -m pip install --user {' '.join(PACKAGES)}"


def missing_packages() -> str:
    """Return which of PACKAGES cannot be imported, and why; empty if all can."""
    reasons = []
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            reasons.append(f"{name} cannot be imported ({error})")
    return ", ".join(reasons)


def require_packages() -> None:
    """End the script with one line if a package is missing."""
    missing = missing_packages()
    if missing:
        raise SystemExit(f"Error: {missing}: {INSTALL}")
