"""Every setting in one table: its name, what it may be, its default and what it does.

Options, the deployment file, `--help` and docs/settings.md all come from here. Standard library
only. Limits of AWS: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

DEPLOYMENT = "deployment"  # the section of what is not a setting of one function
SPLITTER = "video-splitting"
RECOGNIZER = "face-recognition"

# {function: {name: value}}
Settings = Mapping[str, Mapping[str, str]]


class UserError(Exception):
    """Something that the user can mend; the message says what failed, on what, and what to do."""


class SettingsError(UserError, ValueError):
    """A name or a setting is invalid; the message says which one and why."""


@dataclass(frozen=True)
class Kind(ABC):
    """What a value may be: `allowed` says it in words, after "use"."""

    allowed: str

    @abstractmethod
    def fits(self, value: str) -> bool:
        """Return whether the value is of this kind."""


@dataclass(frozen=True)
class Number(Kind):
    """A number from `low` to `high`, a whole one or not, or one of `words`."""

    low: float
    high: float
    is_whole: bool = True
    words: tuple[str, ...] = ()

    def fits(self, value: str) -> bool:
        """Return whether the value is a number in the range, in plain digits, or one of words."""
        if value in self.words:
            return True
        pattern = r"[0-9]{1,9}" if self.is_whole else r"[0-9]{1,9}(\.[0-9]{1,9})?"
        if not re.fullmatch(pattern, value):
            return False
        return math.isfinite(float(value)) and self.low <= float(value) <= self.high


@dataclass(frozen=True)
class Choice(Kind):
    """One of several words."""

    words: tuple[str, ...]

    def fits(self, value: str) -> bool:
        """Return whether the value is one of the words."""
        return value in self.words


@dataclass(frozen=True)
class Text(Kind):
    """A text of a form."""

    pattern: str

    def fits(self, value: str) -> bool:
        """Return whether the whole value has the form."""
        return re.fullmatch(self.pattern, value) is not None


def whole(low: int, high: int, *words: str) -> Number:
    """Return the kind of whole numbers from `low` to `high`, or one of `words`."""
    named = "".join(f"{word} or " for word in words)
    return Number(f"{named}a whole number from {low} to {high}", low, high, words=words)


def choice(*words: str) -> Choice:
    """Return the kind of values that are one of `words`."""
    return Choice(" or ".join(words), words)


def empty_or(kind: Kind, note: str) -> Kind:
    """Return a kind that also allows no value, which means `note`."""
    allowed = f"{kind.allowed}, or nothing for {note}"
    if isinstance(kind, Number):
        return replace(kind, allowed=allowed, words=(*kind.words, ""))
    if isinstance(kind, Text):
        return replace(kind, allowed=allowed, pattern=f"({kind.pattern})?")
    raise TypeError(f"{kind} cannot be empty")


LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
# Bucket names: 3-63 lowercase letters, digits and hyphens, with a letter or digit at both ends.
# The longest suffix is "-stage-1".
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
MAX_PREFIX = 63 - len("-stage-1")
MAX_NAMESPACE = 40

NAME = "lowercase letters, digits or hyphens, not starting or ending with a hyphen"
PREFIX = Text(f"1 to {MAX_PREFIX} {NAME}", rf"(?=.{{1,{MAX_PREFIX}}}\Z){LABEL}")
NAMESPACE = Text(
    f"1 to {MAX_NAMESPACE} {NAME}, or nothing", rf"((?=.{{1,{MAX_NAMESPACE}}}\Z){LABEL})?"
)
S3_OBJECT = Text("s3://BUCKET/KEY", r"s3://[a-z0-9.-]+/.+")
IMAGE_PATH = Text("a path in the image", r"[\w./-]+")
REGION = Text("a region such as us-east-1", r"[a-z]{2,}(-[a-z]+)+-\d+")
EMAIL = Text("a mail address", r"[^@\s#]+@[^@\s#]+\.[^@\s#]+")
WORD = Text("a text without spaces", r"\S+")


@dataclass(frozen=True)
class Setting:
    """One setting. `section` is a function or `deployment`, whose names are options without --."""

    section: str
    name: str
    default: str
    kind: Kind
    help: str


MEMORY_MB = whole(128, 10240)
TIMEOUT_S = whole(1, 900)
STORAGE_MB = whole(512, 10240)
MEMORY = "MB of memory, which also buys CPU: 1,769 MB are one vCPU"
STORAGE = "MB of `/tmp`"

# fmt: off
TABLE = (
    Setting(DEPLOYMENT, "prefix", "", PREFIX,
        "the start of every bucket name"),
    Setting(DEPLOYMENT, "namespace", "", NAMESPACE,
        "lets deployments share an account"),
    Setting(DEPLOYMENT, "region", "", REGION,
        "the AWS region; without it, that of the profile or CloudShell"),
    Setting(DEPLOYMENT, "profile", "", Text("the name of a profile of the AWS CLI", r"\S.*"),
        "the profile of the AWS CLI that has the credentials"),
    Setting(DEPLOYMENT, "endpoint-url", "", Text("http://HOST or https://HOST", r"https?://\S+"),
        "the endpoint of another AWS, such as the local one"),
    Setting(DEPLOYMENT, "zip", "", Text("the path of a zip", r"\S.*"),
        "the ffmpeg layer; without it, what `./install_ffmpeg.sh` made"),
    Setting(DEPLOYMENT, "image-uri", "", WORD,
        "the recognizer's image in ECR; without it, `deploy/deploy.py` builds one"),
    Setting(DEPLOYMENT, "tool", "", choice("docker", "finch", "podman", "buildah"),
        "what builds the image; without it, the first that works"),
    Setting(DEPLOYMENT, "base-image", "", WORD,
        "a base image to use instead of Lambda's own"),
    Setting(DEPLOYMENT, "platform", "x86_64", choice("x86_64", "arm64"),
        "the processor of both functions, the layer and the image"),
    Setting(DEPLOYMENT, "snapstart", "no", choice("yes", "no"),
        "start the recognizer from a snapshot of its INIT"),
    Setting(DEPLOYMENT, "stage-1-days", "7", whole(1, 3650),
        "days until frames are deleted"),
    Setting(DEPLOYMENT, "alarms", "yes", choice("yes", "no"),
        "make alarms and a dashboard"),
    Setting(DEPLOYMENT, "email", "", EMAIL,
        "the address that alarms are mailed to"),

    Setting(SPLITTER, "memory_mb", "1024", MEMORY_MB, MEMORY),
    Setting(SPLITTER, "timeout_s", "280", TIMEOUT_S,
        "seconds per event; must exceed `FFMPEG_TIMEOUT_S` plus the recognizer's"),
    Setting(SPLITTER, "ephemeral_storage_mb", "512", STORAGE_MB, STORAGE),
    Setting(SPLITTER, "FRAMES", "auto", whole(1, 100, "auto"),
        "frames per video; `auto`: the first, and up to four more if it gives no name"),
    Setting(SPLITTER, "ANSWERS", "txt", choice("txt", "txt+json"),
        "`txt+json` adds an object with all faces of the frames looked at and the people in them; "
        "every face is then embedded, even beside a known one"),
    Setting(SPLITTER, "FRAMES_PER_INVOKE", "8", whole(1, 1000),
        "frames sent to the recognizer in one call"),
    Setting(SPLITTER, "INVOKE_CONCURRENCY", "4", whole(1, 100),
        "the most calls to the recognizer at a time, per video; there is one, unless calls in turn "
        "might not end in time"),
    Setting(SPLITTER, "FFMPEG_TIMEOUT_S", "100", TIMEOUT_S,
        "seconds before ffmpeg is stopped"),

    Setting(RECOGNIZER, "memory_mb", "1769", MEMORY_MB, MEMORY),
    Setting(RECOGNIZER, "timeout_s", "60", TIMEOUT_S,
        "seconds per call"),
    Setting(RECOGNIZER, "ephemeral_storage_mb", "512", STORAGE_MB, STORAGE),
    Setting(RECOGNIZER, "MODEL", "facenet-vggface2", choice("facenet-vggface2", "sface"),
        "the gallery must be made with the same model"),
    Setting(RECOGNIZER, "ENGINE", "ncnn", choice("ncnn", "torch"),
        "what runs the networks; it is part of the image"),
    Setting(RECOGNIZER, "FACES", "known", choice("known", "largest", "all"),
        "whom a frame names: the largest face that is known; the largest, whoever it is; or every "
        "face, one name per line"),
    Setting(RECOGNIZER, "KEEP_EMBEDDINGS", "0", choice("0", "1"),
        "`1` keeps the embedding of every unknown face beside its frame, for as long as the frame: "
        "biometric data of people who did not agree to it (docs/privacy.md)"),
    Setting(RECOGNIZER, "THRESHOLD", "",
        empty_or(Number("a distance from 0 to 2", 0, 2, is_whole=False), "the gallery's own"),
        "the largest distance that still counts as a match"),
    Setting(RECOGNIZER, "GALLERY_URI", "", empty_or(S3_OBJECT, "the gallery in the image"),
        "a gallery in S3"),
    Setting(RECOGNIZER, "GALLERY_REFRESH_S", "60", whole(0, 86400),
        "seconds between checks of the gallery in S3 for changes"),
    Setting(RECOGNIZER, "GALLERY", "data.pt", IMAGE_PATH,
        "where the image has its gallery"),
    Setting(RECOGNIZER, "MODELS_DIR", "models", IMAGE_PATH,
        "where the image has its model"),
)
# fmt: on

# What Lambda itself is told; the rest are environment variables of the function.
LIMITS = ("memory_mb", "timeout_s", "ephemeral_storage_mb")


def rows(section: str) -> dict[str, Setting]:
    """Return the settings of a section by name; empty if there is no such section."""
    return {setting.name: setting for setting in TABLE if setting.section == section}


def defaults(function: str) -> dict[str, str]:
    """Return the settings of a function where nothing else is said."""
    return {name: setting.default for name, setting in rows(function).items()}


def check_setting(section: str, name: str, value: str) -> None:
    """Raise SettingsError unless there is such a setting and the value is of its kind."""
    known = rows(section)
    if not known:
        sections = ", ".join(dict.fromkeys(setting.section for setting in TABLE))
        raise SettingsError(f"[{section}] is not a section: use {sections}.")
    if name not in known:
        raise SettingsError(f"[{section}] has no setting {name!r}: use {', '.join(known)}.")
    kind = known[name].kind
    if not kind.fits(value):
        raise SettingsError(f"[{section}] {name} is {value!r}: use {kind.allowed}.")


def check_together(settings: Settings) -> None:
    """Raise SettingsError if the splitter could end before what it waits for."""
    splitter, recognizer = (
        {**defaults(function), **settings.get(function, {})} for function in (SPLITTER, RECOGNIZER)
    )
    busy = int(splitter["FFMPEG_TIMEOUT_S"]) + int(recognizer["timeout_s"])
    if int(splitter["timeout_s"]) <= busy:
        raise SettingsError(
            f"{SPLITTER}.timeout_s is {splitter['timeout_s']}, but ffmpeg and the recognizer may "
            f"take {busy} s: raise it, or lower {SPLITTER}.FFMPEG_TIMEOUT_S or "
            f"{RECOGNIZER}.timeout_s."
        )


def merged(*layers: Settings) -> dict[str, dict[str, str]]:
    """Return settings in which each layer overrides the ones before it."""
    found: dict[str, dict[str, str]] = {}
    for layer in layers:
        for section, values in layer.items():
            found.setdefault(section, {}).update(values)
    return found


def read_words(texts: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Parse the FUNCTION.NAME=VALUE words of --set; raises SettingsError naming the word."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        function, _, setting = text.partition(".")
        name, equals, value = setting.partition("=")
        if not equals or function not in (SPLITTER, RECOGNIZER):
            raise SettingsError(
                f"--set {text}: use FUNCTION.NAME=VALUE, where FUNCTION is {SPLITTER} or "
                f"{RECOGNIZER}, e.g. {SPLITTER}.FRAMES=5"
            )
        try:
            check_setting(function, name, value)
        except SettingsError as error:
            raise SettingsError(f"--set {text}: {error}") from error
        found.setdefault(function, {})[name] = value
    return found


def help_table() -> str:
    """Return the functions' settings, one per line, for --help."""
    return "\n".join(
        f"{setting.section}.{setting.name}={setting.default}: {setting.kind.allowed}"
        for setting in TABLE
        if setting.section != DEPLOYMENT
    )
