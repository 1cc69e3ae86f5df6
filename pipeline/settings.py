"""The names of a deployment's resources and the functions' settings. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.setting_table import (
    LIMITS,
    NAMESPACE,
    PREFIX,
    Settings,
    check_setting,
    check_together,
    defaults,
)
from pipeline.setting_table import SettingsError as SettingsError

ROOT = Path(__file__).resolve().parent.parent
NAME = "video-face-recognition"


def _version() -> str:
    """Return the version that pyproject.toml states; every command prints it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    return found[1] if found else "unknown"


VERSION = _version()

PROJECT = {"project": NAME}  # on every resource that can be tagged

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


def s3_location(uri: str) -> tuple[str, str]:
    """Split `s3://BUCKET/KEY` into bucket and key; raises SettingsError for anything else."""
    match = re.fullmatch(r"s3://([a-z0-9.-]+)/(.+)", uri)
    if match is None:
        raise SettingsError(f"{uri!r} is not an S3 object: use s3://BUCKET/KEY.")
    return match[1], match[2]


@dataclass(frozen=True)
class Function:
    """One Lambda function of a deployment: its folder in the checkout, its names and settings."""

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
    """One deployment: the names of its resources, and the settings that are not the default.

    `selected_by` are the words that select it in any script if a file holds the rest; else None.
    """

    prefix: str
    namespace: str = ""
    settings: Settings = field(default_factory=dict, hash=False)
    selected_by: tuple[str, ...] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Raise SettingsError unless the names make valid resource names and settings fit."""
        if not PREFIX.fits(self.prefix):
            raise SettingsError(
                f"Prefix {self.prefix!r} cannot start a bucket name: use {PREFIX.allowed}."
            )
        if not NAMESPACE.fits(self.namespace):
            raise SettingsError(
                f"Namespace {self.namespace!r} cannot start a function name: use "
                f"{NAMESPACE.allowed}."
            )
        for function, values in self.settings.items():
            for name, value in values.items():
                check_setting(function, name, value)
        check_together(self.settings)

    def named(self, name: str) -> str:
        """Return `name`, preceded by the namespace if there is one."""
        return f"{self.namespace}-{name}" if self.namespace else name

    @property
    def names(self) -> dict[str, str]:
        """The options, without --, that select this deployment in any script."""
        found = {"prefix": self.prefix, "namespace": self.namespace}
        return {name: value for name, value in found.items() if value}

    @property
    def options(self) -> tuple[str, ...]:
        """The words of a command line that select this deployment in any script."""
        return tuple(word for name, value in self.names.items() for word in (f"--{name}", value))

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
    def upload_queue(self) -> str:
        """The SQS queue in which uploads wait if the splitter's concurrency cannot be reserved."""
        return f"{self.prefix}-uploads"

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
        name = self.named(key)
        values = {**defaults(key), **self.settings.get(key, {})}
        limits = {limit: int(values.pop(limit)) for limit in LIMITS}
        return Function(key=key, name=name, role=f"{name}-role", environment=values, **limits)
