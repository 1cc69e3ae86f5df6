"""The function's settings, from its environment variables."""

from __future__ import annotations

import os

from store import Plan
from video_answer import ANSWERS

# With FRAMES=auto, a video has at most this many frames looked at.
AUTO_FRAMES = 5


class SplitterError(Exception):
    """The event, the settings or a service kept videos from being split."""


class SettingsError(SplitterError):
    """An environment variable is missing, or has an invalid value."""


def setting(name: str) -> str:
    """An environment variable that the deploy scripts set."""
    value = os.environ.get(name)
    if not value:
        raise SettingsError(f"{name} is not set. Deploy the function with deploy/functions.py.")
    return value


def number(name: str, low: int, high: int) -> int:
    """A whole number from the environment."""
    value = setting(name)
    if not value.isdecimal() or not low <= int(value) <= high:
        raise SettingsError(f"{name} is {value!r}: use a whole number from {low} to {high}.")
    return int(value)


def plan() -> Plan:
    """Which frames are taken, from FRAMES."""
    value = setting("FRAMES")
    if value == "auto":
        return Plan(AUTO_FRAMES, is_auto=True)
    if not value.isdecimal() or not 1 <= int(value) <= 100:
        raise SettingsError(f"FRAMES is {value!r}: use auto or a whole number from 1 to 100.")
    return Plan(int(value))


def answers() -> str:
    """Which objects hold an answer, from ANSWERS."""
    value = os.environ.get("ANSWERS") or ANSWERS[0]
    if value not in ANSWERS:
        raise SettingsError(f"ANSWERS is {value!r}: use one of {', '.join(ANSWERS)}.")
    return value
