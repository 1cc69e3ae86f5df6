"""The path of one video through the pipeline: from its objects, the logs and the failure queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from deploy.parts.log_search import video_lines
from deploy.parts.retries import RETRIES
from deploy.parts.upload_queue import RECEIVES, is_read
from pipeline.aws import AwsError
from pipeline.bucket_admin import head
from pipeline.cli import Run, counted
from pipeline.keys import is_skipped, output_key
from pipeline.log_lines import Line
from pipeline.queue_reader import FailedEvent
from pipeline.since import utc

CLOCK_S = 2.0  # how much S3's clock, in whole seconds, and Lambda's may differ
SLOW_S = 60  # how much this machine's clock may be behind
UNKNOWN_UPLOAD_S = 86400  # how far back the logs are searched for a video that is gone
ATTEMPTS = 1 + RETRIES

# Where a video is, or how it ended.
ANSWERED, FAILED, SKIPPED, MISSING = "answered", "failed", "skipped", "missing"
UPLOADED, WORKING, WAITING = "uploaded", "working", "waiting for a retry"


@dataclass(frozen=True)
class Moment:
    """Something that happened to the video: when (epoch seconds), what, and details."""

    when: float
    what: str
    detail: str = ""

    @property
    def time(self) -> str:
        """The time in UTC, ISO 8601."""
        return utc(self.when)


@dataclass
class Attempt:
    """One attempt of the splitter at a video. `error`: None while it runs, "" if it went well."""

    request_id: str
    step: str = "started"
    error: str | None = None
    is_final: bool = False  # no retry can mend the error
    ended: float = 0.0


@dataclass
class VideoPath:
    """Where a video is or how it ended, why, and what happened on the way, in order of time."""

    video: str
    state: str
    reason: str = ""
    moments: list[Moment] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the path for --json."""
        moments = [{"time": m.time, "what": m.what, "detail": m.detail} for m in self.moments]
        return {
            "video": self.video,
            "state": self.state,
            "reason": self.reason,
            "moments": moments,
        }

    def lines(self) -> list[str]:
        """Return the path for people."""
        wide = max((len(moment.what) for moment in self.moments), default=0)
        path = [f"  {m.time}  {m.what:<{wide}}  {m.detail}".rstrip() for m in self.moments]
        end = f"{self.state}: {self.reason}" if self.reason else self.state
        return [self.video, *path, end]


def read_path(
    run: Run, key: str, failure_since: Callable[[float], FailedEvent | None], now: float
) -> VideoPath:
    """Return the path of the video that was uploaded last under `key`.

    `failure_since` looks for the video in the failure queue, among events of uploads since a time
    in epoch seconds; it is asked only if there is no answer.
    """
    deployment = run.deployment
    video = f"s3://{deployment.input_bucket}/{key}"
    upload = head(run.aws.client("s3"), deployment.input_bucket, key)
    uploaded = upload["LastModified"].timestamp() if upload else None
    start = uploaded - CLOCK_S if uploaded else now - UNKNOWN_UPLOAD_S
    moments: list[Moment] = []
    attempts: list[Attempt] = []
    try:
        for line in video_lines(run.aws, deployment, key, start, now + SLOW_S):
            if moment := _moment(line, attempts):
                moments.append(moment)
    except AwsError as error:
        run.note(f"The log is left out. {error}")
    etag = None
    if upload and uploaded:
        etag = upload["ETag"].strip('"')
        moments.insert(0, Moment(uploaded, "uploaded", f"{upload['ContentLength']:,} bytes"))
    state, reason = _state(run, key, etag, attempts, now)
    if state not in (ANSWERED, SKIPPED):
        failed = failure_since(start)
        if failed is not None:
            state = FAILED
            reason = f"{failed.reason} (message {failed.message_id} in the failure queue)"
    return VideoPath(video, state, reason, moments)


def _state(
    run: Run, key: str, etag: str | None, attempts: list[Attempt], now: float
) -> tuple[str, str]:
    """Return where the video is, and why, without a look into the failure queue."""
    deployment = run.deployment
    s3, bucket, name = run.aws.client("s3"), deployment.output_bucket, output_key(key)
    text = head(s3, bucket, name)
    source = unquote(text["Metadata"].get("source-etag", "")) if text else ""
    last = attempts[-1] if attempts else None
    if text and etag in (None, source):
        body = s3.get_object(Bucket=bucket, Key=name)["Body"].read()
        answer = ", ".join(body.decode("utf-8", "replace").splitlines())
        return ANSWERED, f"{answer} (s3://{bucket}/{name})"
    if etag is None and last is None:
        return MISSING, f"there is no such object, and no log line about it; check the key '{key}'"
    if is_skipped(key):
        return SKIPPED, "its name says that it is not a video"
    if last is None:
        doctor = run.command("deploy/doctor.py", "--after")
        if is_read(run):
            return UPLOADED, f"it waits in the queue '{deployment.upload_queue}'"
        return UPLOADED, f"the splitter has not begun; if that lasts, run {doctor}"
    if is_read(run):
        return _state_of(last, len(attempts), RECEIVES, now)
    # An event keeps its request ID; one that was sent again has another, and all its attempts.
    number = sum(attempt.request_id == last.request_id for attempt in attempts)
    return _state_of(last, number, ATTEMPTS, now)


def _state_of(last: Attempt, number: int, most: int, now: float) -> tuple[str, str]:
    """Return where a video is after `number` attempts of at most `most`."""
    if last.error is None:
        return WORKING, f"attempt {number} of {most}, {last.step}"
    if not last.error:
        return FAILED, "it was answered, but the answer has been deleted or is another upload's"
    if last.is_final or number >= most:
        return FAILED, f"{last.error} (its event is no longer in the failure queue)"
    # Lambda waits for one minute and for two; the splitter does the same with messages.
    wait_s = 60 * 2 ** (number - 1)
    left = max(0, last.ended + wait_s - now)
    return WAITING, f"{last.error} (attempt {number} of {most}; the next in about {left:.0f} s)"


def _moment(line: Line, attempts: list[Attempt]) -> Moment | None:
    """Return what a log line says about the path, if anything; keep `attempts` up to date."""
    fields, last = line.fields, attempts[-1] if attempts else None
    seconds = f"{_number(fields, 'ms') / 1000:.2f} s"
    if line.step == "queued":
        return Moment(line.when, "taken", f"from the queue, after {seconds}")
    if line.step == "start":
        attempts.append(Attempt(line.request_id))
        return Moment(line.when, "started", f"attempt {len(attempts)}, request {line.request_id}")
    if line.step == "skipped":
        attempts.append(Attempt(line.request_id, error=""))
        return Moment(line.when, "skipped", str(fields.get("reason", "")))
    if last is None:
        return None
    error = str(fields.get("error", ""))
    if line.step == "video":
        last.error, last.ended = error, line.when
        last.is_final = fields.get("retry") is False
        return Moment(line.when, "failed", error) if error else _done(line, seconds)
    if line.step == "frames" and not error:
        last.step = "frames taken, not yet recognized"
        return Moment(line.when, "split", f"{_frames(fields)}, {seconds}")
    if line.step == "embed":
        found = error or _faces(fields.get("faces"))
        frame = str(fields.get("frame", ""))
        return Moment(line.when, "not recognized" if error else "recognized", f"{frame}: {found}")
    if line.step == "invoke" and not error:
        last.step = "recognized, not yet answered"
    # Lambda ended the splitter: it timed out or ran out of memory.
    is_over = line.function == "video-splitting" and last.error is None and not line.step
    if is_over and (line.level == "ERROR" or line.message == "Invocation ended"):
        why = line.message if line.level == "ERROR" else "it ended without an answer"
        last.error, last.ended = str(fields.get("status") or why), line.when
        return Moment(line.when, "failed", last.error)
    return None


def _done(line: Line, seconds: str) -> Moment:
    looks = "after a second look, " if line.fields.get("looks") == 2 else ""
    return Moment(line.when, "answered", f"{looks}{_frames(line.fields)}, {seconds}")


def _frames(fields: dict[str, Any]) -> str:
    count = int(_number(fields, "frames"))
    kept = " from before" if fields.get("reused") else ""
    return f"{counted(count, 'frame')}{kept}"


def _faces(faces: Any) -> str:
    found: Iterable[Any] = faces if isinstance(faces, list) else []
    names = [f"{f.get('name')} {f.get('distance')}" for f in found if isinstance(f, dict)]
    return ", ".join(names) or "no face"


def _number(fields: dict[str, Any], name: str) -> float:
    value = fields.get(name, 0)
    return value if isinstance(value, (int, float)) else 0.0
