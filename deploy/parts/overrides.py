"""The --set option: overrides settings in a function's config.json for one deployment."""

from __future__ import annotations

import click

from pipeline.settings import ROOT, Function, SettingsError, read_config

Overrides = dict[str, dict[str, str]]

set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FUNCTION.NAME=VALUE",
    help="Override a setting of a function's config.json, e.g. video-splitting.FRAMES=5.",
)


def read_overrides(texts: tuple[str, ...]) -> Overrides:
    """Parse FUNCTION.NAME=VALUE words into {function: {name: value}}.

    Raises SettingsError for any other word, and for a NAME that the function's config.json does not
    have: a misspelled one would have no effect.
    """
    overrides: Overrides = {}
    for text in texts:
        key, _, setting = text.partition(".")
        name, equals, value = setting.partition("=")
        config = ROOT / key / "config.json"
        known = read_config(config)["environment"] if key and config.is_file() else {}
        if not equals or name not in known:
            raise SettingsError(
                f"--set {text}: use FUNCTION.NAME=VALUE with a NAME from the environment in that "
                "function's config.json, e.g. video-splitting.FRAMES=5"
            )
        overrides.setdefault(key, {})[name] = value
    return overrides


def setting(function: Function, overrides: Overrides, name: str) -> str:
    """Return the value of a function's setting: the override, else the one in config.json."""
    return {**function.environment, **overrides.get(function.key, {})}[name]
