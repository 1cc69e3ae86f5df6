#!/usr/bin/env python3
"""Prints both functions' log lines in order of time."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from deploy.parts.log_search import all_lines, of_video, video_key, video_lines
from pipeline.cli import Run, deployment_options
from pipeline.log_lines import COMMON, Line
from pipeline.names import printable
from pipeline.since import moment, utc

SINCE_H, SINCE_OF_VIDEO_H = 1, 24
POLL_S = 2.0
HOLD_S = 2.0  # lines of both functions arrive within this time, so that they can be put in order
LAG_S = 30.0  # a line that arrives later than this is not seen by --follow
CLOCK_S = 60  # how much this machine's clock may be behind
COLORS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
# What the message says already, or --json alone has.
LEFT_OUT = (*COMMON, "step", "exception_name")


def as_json(line: Line) -> str:
    """Return a line as one JSON object, named as by Powertools' logger."""
    ids = {"function_request_id": line.request_id, "correlation_id": line.correlation_id}
    return json.dumps(
        {
            "timestamp": utc(line.when),
            "service": line.function,
            "level": line.level,
            "message": line.message,
            **{name: value for name, value in ids.items() if value},
            **line.fields,
        }
    )


def as_text(line: Line) -> str:
    """Return a line for people: time, function, level, message, fields and the start of the ID."""
    fields = {name: value for name, value in line.fields.items() if name not in LEFT_OUT}
    if isinstance(fields.get("faces"), list):
        fields["faces"] = ", ".join(map(_face, fields["faces"])) or "none"
    words = [f"{name}={value}" for name, value in fields.items()]
    words += [f"id={line.correlation_id[:8]}"] if line.correlation_id else []
    color = COLORS.get(line.level)
    parts = [
        click.style(utc(line.when), dim=True),
        f"{line.function:<16}",
        click.style(f"{printable(line.level):<7}", fg=color),
        click.style(printable(line.message), fg=color),
    ]
    return "  ".join([*parts, *(click.style(printable(word), dim=True) for word in words)])


def _face(face: Any) -> str:
    return f"{face.get('name')} {face.get('distance')}" if isinstance(face, dict) else str(face)


def followed(
    read: Callable[[float, float], Iterator[Line]],
    start: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Iterator[Line]:
    """Yield lines from `start` on as they arrive, without end; each once.

    `read` returns the lines between two times. They are read again for LAG_S, because lines may
    arrive late, and held back for HOLD_S, because those of the other function may.
    """
    seen: dict[int, float] = {}  # hashes of the lines that will be read again, and their times
    since = start
    while True:
        until = clock() - HOLD_S
        again = max(start, until - LAG_S)
        for line in read(since, until):
            mark = hash(as_json(line))
            if mark not in seen:
                if line.when >= again:
                    seen[mark] = line.when
                yield line
        since = again
        seen = {mark: when for mark, when in seen.items() if when >= since}
        sleep(POLL_S)


@click.command()
@click.argument("video", required=False)
@partial(deployment_options, only_reads=True)
@click.option("--follow", is_flag=True, help="Keep printing lines as they arrive; Ctrl-C ends it.")
@click.option(
    "--since",
    callback=moment,
    help=f"Where to begin: 90s, 10m, 2h, 1d or an ISO 8601 time; default: {SINCE_H}h, or "
    f"{SINCE_OF_VIDEO_H}h with a VIDEO.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object per line.")
def main(run: Run, video: str | None, follow: bool, since: float | None, is_json: bool) -> None:
    """Print both functions' log lines in order: python3 deploy/logs.py --prefix 1225111111

    With a VIDEO, only the lines about it: a key of the input bucket, its s3:// address, or the
    name of a file that recognize.py sent in the last 30 days. Times are UTC; `id` is the start of
    the correlation ID, which is the same in both functions. Needs the right logs:FilterLogEvents
    on both log groups.
    """
    deployment, now = run.deployment, time.time()
    start = now - 3600 * (SINCE_OF_VIDEO_H if video else SINCE_H) if since is None else since
    key = video_key(run, video) if video else None
    if follow:
        is_ours = of_video(deployment, key) if key else None
        follow_all = followed(lambda a, b: all_lines(run.aws, deployment, a, b), start)
        lines: Iterable[Line] = filter(is_ours, follow_all)
    elif key:
        lines = video_lines(run.aws, deployment, key, start, now + CLOCK_S)
    else:
        lines = all_lines(run.aws, deployment, start, now + CLOCK_S)
    color = False if os.environ.get("NO_COLOR") else None
    count = 0
    try:
        for line in lines:
            click.echo(as_json(line) if is_json else as_text(line), color=color)
            count += 1
    except KeyboardInterrupt:  # the usual end of --follow
        if not follow:
            raise
    if not count:
        about = f" about s3://{deployment.input_bucket}/{printable(key)}" if key else ""
        click.echo(
            f"No lines{about} since {utc(start)}: --since 7d looks further back. "
            f"Next: {run.command('deploy/status.py', *(('--video', key) if key else ()))}",
            err=True,
        )


if __name__ == "__main__":
    main()
