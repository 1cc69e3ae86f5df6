"""The command line of enroll.py."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from command_line import Parser
from models import DEFAULT_DIR, MODELS
from person_name import name_fault

# The function's own setting, which the image has as well: both must use one model.
DEFAULT_MODEL = os.environ.get("MODEL") or "facenet-vggface2"
DEFAULT_IMAGE_SIZE = 240


def parser() -> Parser:
    """The command line."""
    command = Parser(
        description="Make a gallery from photos: "
        "python3 face-recognition/enroll.py people --output data.pt",
        epilog="With --list, --add, --add-stranger, --remove or --merge, it shows or changes the "
        "gallery in --output. Nobody in it is embedded again, so their photos are not needed.",
    )
    command.add_argument(
        "people",
        type=Path,
        nargs="?",
        help="A folder with one folder or one photo per person; makes a new gallery.",
    )
    command.add_argument(
        "--output",
        "--gallery",
        type=Path,
        default=Path("data.pt"),
        metavar="FILE",
        help="The gallery to write, or to change; default: data.pt.",
    )
    change = command.add_argument_group("A gallery that exists")
    change.add_argument("--list", action="store_true", help="Print its people and threshold.")
    change.add_argument("--json", action="store_true", help="With --list, print JSON.")
    change.add_argument(
        "--remove",
        action="append",
        default=[],
        metavar="NAME",
        help="Remove somebody (repeatable).",
    )
    change.add_argument(
        "--merge",
        action="append",
        default=[],
        type=Path,
        metavar="OTHER.pt",
        help="Add the people of another gallery (repeatable).",
    )
    change.add_argument(
        "--add",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="Enroll more people, or more photos of the same (repeatable).",
    )
    change.add_argument(
        "--add-stranger",
        nargs=2,
        metavar=("REPORT.html", "NUMBER"),
        help="Enroll a stranger of a run, whose faces KEEP_EMBEDDINGS=1 kept, under --name.",
    )
    change.add_argument("--name", help="The name of that stranger.")
    photos = command.add_argument_group("Photos")
    photos.add_argument(
        "--strict", action="store_true", help="Refuse photos that show more than one face."
    )
    default = f"The model; default: MODEL, here {DEFAULT_MODEL}."
    photos.add_argument("--model", choices=list(MODELS), help=default)
    photos.add_argument(
        "--models-dir",
        type=Path,
        metavar="DIR",
        help=f"The folder with the networks that export.py made; default: {_shown(DEFAULT_DIR)}, "
        "then those that make demo made.",
    )
    photos.add_argument(
        "--image-size",
        type=int,
        metavar="PX",
        help=f"For facenet-vggface2; default: {DEFAULT_IMAGE_SIZE}.",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="Print what would be done, but write nothing."
    )
    return command


def _shown(folder: Path) -> str:
    """A folder relative to the current one, if it is below it."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def check_use(options: argparse.Namespace, command: Parser) -> None:
    """Exit with a usage error for options that do not go together, or folders that do not exist."""
    changes = options.remove or options.merge or options.add or options.add_stranger
    options.is_list_only = options.list and not changes
    if options.json and not options.is_list_only:
        command.error("--json can only be used with --list")
    if options.people is None and not (changes or options.list):
        command.error(
            "pass the folder with the people's photos, or one of --list, --add, --remove, --merge, "
            "--add-stranger"
        )
    if options.people is not None and (changes or options.list):
        command.error(f"pass {options.people} to --add, or leave the other options out")
    if (options.name is None) != (options.add_stranger is None):
        command.error("--add-stranger and --name go together: whose number, and what to call them")
    if options.name is not None and (fault := name_fault(options.name)):
        command.error(f"--name: {fault}")
    for folder in [options.people] if options.people is not None else options.add:
        if not folder.is_dir():
            command.error(f"{folder} is not a folder")
    if options.image_size is not None and not 32 <= options.image_size <= 1024:
        command.error(f"--image-size is {options.image_size}: use 32 to 1024 pixels")
