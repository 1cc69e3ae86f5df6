"""deployment.ini: the options and settings of one deployment, which every script reads.

It never holds a key or another secret: `profile` names where the AWS CLI keeps them.
"""

from __future__ import annotations

import configparser
import io
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.setting_table import (
    DEPLOYMENT,
    Settings,
    SettingsError,
    check_setting,
    check_together,
)
from pipeline.settings import ROOT
from pipeline.text_file import read_text

DEFAULT_PATH = ROOT / "deployment.ini"
PATHS = ("zip",)  # a relative path starts at the file's folder

HEADER = """\
# One deployment: the options and settings that every script reads; options override them.
# docs/settings.md lists them all. No keys or passwords belong here.
"""


@dataclass(frozen=True)
class DeploymentFile:
    """A file of settings. `options` are the scripts' options without --, `settings` the rest.

    `is_there` is false for a file that may be written later. `of_other` is the prefix of another
    deployment, whose file this is; its content is not used then.
    """

    path: Path
    options: dict[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    is_there: bool = False
    of_other: str = ""

    @property
    def shown(self) -> str:
        """The path as people read it: relative to the current folder if it is below."""
        try:
            return str(self.path.resolve().relative_to(Path.cwd()))
        except ValueError:
            return str(self.path)


def read_file(path: Path) -> DeploymentFile:
    """Read a deployment's file, or return an empty one if there is none at `path`.

    Raises SettingsError naming the file, the section and the setting that is wrong.
    """
    if not path.exists():
        return DeploymentFile(path)
    parser = configparser.RawConfigParser(
        default_section="", inline_comment_prefixes=("#",), empty_lines_in_values=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names have capital letters
    try:
        parser.read_string(read_text(path, "utf-8-sig"), str(path))
    except (OSError, ValueError, configparser.Error) as error:
        text = " ".join(str(error).split())
        raise SettingsError(
            f"Cannot read the settings in {path}: {text}. docs/settings.md shows its form."
        ) from error
    found = {name: dict(parser.items(name)) for name in parser.sections()}
    try:
        for section, values in found.items():
            for name, value in values.items():
                check_setting(section, name, value)
        options = found.pop(DEPLOYMENT, {})
        check_together(found)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    for name in PATHS:
        if name in options:
            options[name] = str(path.parent / Path(options[name]).expanduser())
    return DeploymentFile(path, options, found, is_there=True)


def write_file(path: Path, options: dict[str, str], settings: Settings) -> None:
    """Write the file anew, all or nothing; what is empty is left out.

    Raises SettingsError if a value is wrong, or if the file cannot be written.
    """
    parser = configparser.RawConfigParser(default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    for section, values in {DEPLOYMENT: options, **settings}.items():
        for name, value in values.items():
            if section == DEPLOYMENT and not value:
                continue
            check_setting(section, name, value)
            if "\n" in value or "#" in value:
                raise SettingsError(f"{name} is {value!r}, which cannot be written to {path}.")
            if not parser.has_section(section):
                parser.add_section(section)
            parser.set(section, name, value)
    text = io.StringIO()
    text.write(f"{HEADER}\n")
    parser.write(text)
    partial = path.with_name(f".{path.name}.part")
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a regular file")
        partial.write_text(text.getvalue().rstrip() + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise SettingsError(f"Cannot write the settings to {path}: {error}") from error
