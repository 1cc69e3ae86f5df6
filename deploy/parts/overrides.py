"""The --set option: settings of a function's config.json, overridden for one deployment."""

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
    """FUNCTION.NAME=VALUE words as {function: {name: value}}; raises SettingsError on others.

    NAME must be one that the function's config.json has: a misspelt one would do nothing.
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
    """What the function's setting will be: the override, or what its config.json says."""
    return {**function.environment, **overrides.get(function.key, {})}[name]
