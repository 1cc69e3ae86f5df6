"""Reads the functions' log lines: their fields, their order, and which belong to a video.

Pure functions. Fields that the lines of both functions have in common are named as by AWS Lambda
Powertools' logger.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from typing import Any

from pipeline.keys import frame_key, stem

# Fields of every line, which say where it comes from; the others say what it is about.
COMMON = (
    *("level", "location", "message", "timestamp", "service", "function_name"),
    *("function_request_id", "cold_start", "correlation_id", "xray_trace_id"),
)
KEPT = 10_000  # streams and IDs that are remembered
LEVEL = re.compile(r"\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\]\s*")


@dataclass(frozen=True)
class Line:
    """One log line of a function, as people want to read it. `when` is in epoch seconds.

    `request_id` is that of the function's own invocation, `correlation_id` what the lines of both
    functions about one event share; "" if unknown.
    """

    when: float
    function: str
    level: str
    message: str
    request_id: str = ""
    correlation_id: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> str:
        """The step of a video that the line is about; "" for lines of Lambda."""
        return str(self.fields.get("step", ""))


class Remembered(OrderedDict):  # type: ignore[type-arg]
    """A dict of at most KEPT entries, without the oldest ones."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Add an entry and forget the oldest one if there are too many."""
        super().__setitem__(key, value)
        if len(self) > KEPT:
            self.popitem(last=False)


def lines_of(function: str, events: Iterable[Mapping[str, Any]]) -> Iterator[Line]:
    """Yield the lines in the events of one log group, in the same order.

    Lambda's START and END lines are left out. A line without a request ID belongs to the last START
    in its stream, because an environment runs one invocation at a time.
    """
    running: Remembered = Remembered()  # by stream
    for event in events:
        text, stream = str(event["message"]).strip(), str(event.get("logStreamName", ""))
        started = re.match(r"START RequestId: (\S+)", text)
        if started:
            running[stream] = {"request_id": started[1], "correlation_id": ""}
        elif text and not re.match(r"(END RequestId:|INIT_START )", text):
            ids = running.get(stream, {"request_id": "", "correlation_id": ""})
            line = _line(function, event["timestamp"] / 1000, text, ids)
            if line.correlation_id and line.request_id == ids["request_id"]:
                ids["correlation_id"] = line.correlation_id
            yield line


def _line(function: str, when: float, text: str, ids: Mapping[str, str]) -> Line:
    try:
        found = json.loads(text) if text.startswith("{") else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return _plain(function, when, text, ids)
    return Line(
        when,
        function,
        str(found.get("level", "INFO")),
        str(found.get("message") or found.get("step") or ""),
        str(found.get("function_request_id") or ids["request_id"]),
        str(found.get("correlation_id") or ids["correlation_id"]),
        {name: value for name, value in found.items() if name not in COMMON},
    )


def _plain(function: str, when: float, text: str, ids: Mapping[str, str]) -> Line:
    """A line of Lambda itself or of Python."""
    fields: dict[str, Any] = {}
    level, message = "INFO", text
    if named := LEVEL.match(text):
        level, message = named[1], text[named.end() :]
    elif text.startswith("REPORT RequestId:"):
        cells = [cell.partition(":") for cell in text.split("\t")]
        fields = {n.strip().lower().replace(" ", "_"): v.strip() for n, _, v in cells[1:] if n}
        level = "ERROR" if fields.get("status") else level
        message = "Invocation ended"
    elif "Task timed out after" in text or text.startswith("INIT_REPORT"):
        level = "ERROR"
    return Line(when, function, level, message, ids["request_id"], ids["correlation_id"], fields)


def in_order(*logs: Iterable[Line]) -> Iterator[Line]:
    """Yield the lines of several logs in order of time; each log is in order already."""
    return merge(*logs, key=lambda line: line.when)


class OfVideo:
    """Tells which lines are about one video. Learns the IDs of its events from the lines."""

    def __init__(self, video: str, frames: str) -> None:
        """`video` is s3://BUCKET/KEY, `frames` the bucket with the frames."""
        key = video.split("/", 3)[3]
        self._video = video
        self._frame = f"{frames}/{frame_key(key)}"
        self._frames = f"{frames}/{stem(key)}/output-"
        self.ids: Remembered = Remembered()

    def __call__(self, line: Line) -> bool:
        """Return whether the line is about the video; lines must come in order of time."""
        named = line.fields.get("video")
        if named == self._video:
            self.ids[line.correlation_id or line.request_id] = True
            return True
        frame = str(line.fields.get("frame", ""))
        is_other_frame = frame and frame != self._frame and not frame.startswith(self._frames)
        if named or is_other_frame:
            return False
        return bool({line.correlation_id, line.request_id} & self.ids.keys() - {""})
