"""The names of a deployment's resources and the functions' settings. Standard library only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

PROJECT = {"project": "video-face-recognition"}  # on every resource that can be tagged

# Uploads with these suffixes, in any case, are taken for videos. video-splitting/keys.py has its
# own copy of both lists, as Lambdas import nothing from here.
# fmt: off
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".vob", ".ts",
    ".mts", ".m2ts", ".3gp", ".3g2", ".wmv", ".asf", ".flv",
    ".f4v", ".ogv", ".ogg", ".mxf", ".h264", ".264", ".h265", ".265", ".hevc",
)
# Objects with these suffixes, in any case, are plainly no videos: they are skipped with a log line.
NOT_VIDEOS = (
    # images
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic",
    ".heif", ".avif", ".svg", ".ico", ".psd", ".raw",
    # text and data
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".htm", ".md", ".log", ".yaml",
    ".yml", ".ini", ".srt", ".vtt", ".ass", ".py", ".sh",
    ".parquet", ".sql", ".db", ".ds_store",
    # archives
    ".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".tar", ".zst",
    # documents
    ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".ods", ".odp", ".rtf",
    ".pages", ".key", ".numbers",
    # sound
    ".mp3", ".m4a", ".aac", ".wav", ".flac", ".oga", ".opus", ".wma", ".aif", ".aiff", ".mid",
)
# fmt: on

# Bucket names: 3-63 lowercase letters, digits and hyphens, with a letter or digit at both ends.
# The longest suffix is "-stage-1".
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
MAX_PREFIX = 63 - len("-stage-1")


class UserError(Exception):
    """Something that the user can mend; the message says what failed, on what, and what to do."""


class SettingsError(UserError, ValueError):
    """A name or a setting is invalid; the message says which one and why."""


def s3_location(uri: str) -> tuple[str, str]:
    """Split `s3://BUCKET/KEY` into bucket and key; raises SettingsError for anything else."""
    match = re.fullmatch(r"s3://([a-z0-9.-]+)/(.+)", uri)
    if match is None:
        raise SettingsError(f"{uri!r} is not an S3 object: use s3://BUCKET/KEY.")
    return match[1], match[2]


@dataclass(frozen=True)
class Function:
    """One Lambda function: its folder in the checkout and the settings in its config.json."""

    key: str
    name: str
    role: str
    memory_mb: int
    timeout_s: int
    ephemeral_storage_mb: int
    environment: dict[str, str]

    @property
    def folder(self) -> Path:
        """The function's task root in the checkout."""
        return ROOT / self.key

    @property
    def log_group(self) -> str:
        """The CloudWatch log group that Lambda writes to."""
        return f"/aws/lambda/{self.name}"


@dataclass(frozen=True)
class Deployment:
    """The names of one deployment's resources, made from a prefix and an optional namespace."""

    prefix: str
    namespace: str = ""

    def __post_init__(self) -> None:
        """Raise SettingsError unless prefix and namespace make valid resource names."""
        label = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
        if not re.fullmatch(label, self.prefix) or not 1 <= len(self.prefix) <= MAX_PREFIX:
            raise SettingsError(
                f"Prefix {self.prefix!r} cannot start a bucket name: use 1 to {MAX_PREFIX} "
                "lowercase letters, digits or hyphens, not starting or ending with a hyphen."
            )
        if self.namespace and (not re.fullmatch(label, self.namespace) or len(self.namespace) > 40):
            raise SettingsError(
                f"Namespace {self.namespace!r} cannot start a function name: use 1 to 40 "
                "lowercase letters, digits or hyphens."
            )

    def named(self, name: str) -> str:
        """Return `name`, preceded by the namespace if there is one."""
        return f"{self.namespace}-{name}" if self.namespace else name

    @property
    def options(self) -> tuple[str, ...]:
        """The options that select this deployment in any script."""
        return (
            "--prefix",
            self.prefix,
            *(("--namespace", self.namespace) if self.namespace else ()),
        )

    @property
    def input_bucket(self) -> str:
        """The bucket that videos are uploaded to."""
        return f"{self.prefix}-input"

    @property
    def stage_1_bucket(self) -> str:
        """The bucket that the splitter writes frames to."""
        return f"{self.prefix}-stage-1"

    @property
    def output_bucket(self) -> str:
        """The bucket that names are written to."""
        return f"{self.prefix}-output"

    @property
    def buckets(self) -> tuple[str, str, str]:
        """All three buckets, in the order in which a video passes through them."""
        return (self.input_bucket, self.stage_1_bucket, self.output_bucket)

    @property
    def layer(self) -> str:
        """The layer that contains ffmpeg."""
        return self.named("ffmpeg")

    @property
    def alias(self) -> str:
        """The recognizer's alias that the splitter invokes when SnapStart is on."""
        return "live"

    @property
    def repository(self) -> str:
        """The private ECR repository for the recognizer's image."""
        return self.named("face-recognition")

    @property
    def failure_queue(self) -> str:
        """The SQS queue for events that the splitter could not handle."""
        return f"{self.prefix}-failures"

    @property
    def splitter(self) -> Function:
        """The `video-splitting` function."""
        return self._function("video-splitting")

    @property
    def recognizer(self) -> Function:
        """The `face-recognition` function."""
        return self._function("face-recognition")

    @property
    def functions(self) -> tuple[Function, Function]:
        """Both functions in deployment order: the recognizer, then the splitter that calls it."""
        return (self.recognizer, self.splitter)

    def _function(self, key: str) -> Function:
        config = read_config(ROOT / key / "config.json")
        name = self.named(key)
        return Function(key=key, name=name, role=f"{name}-role", **config)


def read_config(path: Path) -> dict[str, Any]:
    """Read a function's config.json: memory_mb, timeout_s, ephemeral_storage_mb, environment.

    Limits: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    Raises SettingsError naming the file and the setting that is missing, unknown or out of range.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"Cannot read the function's settings in {path}: {error}") from error
    limits = {
        "memory_mb": (128, 10240),
        "timeout_s": (1, 900),
        "ephemeral_storage_mb": (512, 10240),
    }
    expected = {*limits, "environment"}
    if not isinstance(config, dict) or set(config) != expected:
        raise SettingsError(f"{path} must have exactly the settings {sorted(expected)}.")
    for name, (low, high) in limits.items():
        value = config[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise SettingsError(f"{name} in {path} is {value!r}: use {low} to {high}.")
    environment = config["environment"]
    if not isinstance(environment, dict) or not all(
        isinstance(value, str) for value in environment.values()
    ):
        raise SettingsError(f"environment in {path} must map names to text values.")
    return config
