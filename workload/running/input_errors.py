"""Errors in what the user passed.

InputError
    RunError
    PricesError
"""

from __future__ import annotations

from pipeline.setting_table import UserError


class InputError(UserError, ValueError):
    """A file or option cannot be used; the message says which one and why."""


class RunError(InputError):
    """A run file cannot be read, or belongs to another deployment."""


class PricesError(InputError):
    """A price file cannot be used."""
