"""Where the CPU time of a run goes: CPU seconds of 100 videos by kind of process.

The run goes through the real pipeline on a local AWS, whose own share is the server's.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.command import parser
from bench.results import report
from bench.uploads import Generated, generate, sample_run
from local_aws.process import StartError
from local_aws.process_tree import members
from samples.packages import SampleError
from samples.stack import Stack, client_side
from workload.running.run import load

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.05
FUNCTION, STREAM = "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"
KINDS = {  # kind: whether it is the pipeline's own work on videos
    "ffmpeg": True,
    "recognizer, inference": True,
    "recognizer, INIT": False,
    "splitter, INIT": False,
    "splitter, Python": False,
    "server": False,
    "generator": False,
}


@dataclass(frozen=True)
class Used:
    """CPU seconds of an environment at `when` (seconds since the epoch)."""

    when: float
    own: float = 0.0
    ffmpeg: float = 0.0


@dataclass
class Environment:
    """An execution environment, found by its process, with what it used over time."""

    function: str
    stream: str
    samples: list[Used] = field(default_factory=list)

    def at(self, when: float) -> Used:
        """The last sample before `when`."""
        return max(
            (u for u in self.samples if u.when <= when), key=lambda u: u.when, default=Used(0)
        )


def cpu_s(pid: int) -> tuple[str, float, float]:
    """A process's name, its own CPU seconds, and those of its children that have ended."""
    text = Path(f"/proc/{pid}/stat").read_text()
    name, numbers = (
        text[text.index("(") + 1 : text.rindex(")")],
        text[text.rindex(")") + 2 :].split(),
    )
    user, system, ended_user, ended_system = (int(number) / TICKS for number in numbers[11:15])
    return name, user + system, ended_user + ended_system


def variables_of(pid: int) -> dict[str, str]:
    """The variables that a process started with."""
    words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


class Sampler:
    """Follows the environments of a local AWS."""

    def __init__(self, server: int) -> None:
        """Follow the children of the process `server`."""
        self._server = server
        self.environments: dict[int, Environment] = {}

    @contextmanager
    def following(self) -> Iterator[None]:
        """Sample until the context ends, and once more then."""
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(SAMPLE_S):
                self._sample()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._sample()

    def _sample(self) -> None:
        for thread in Path(f"/proc/{self._server}/task").iterdir():
            try:
                roots = map(int, (thread / "children").read_text().split())
            except OSError:  # the thread has ended
                continue
            for root in roots:
                try:
                    self._add(root)
                except (OSError, KeyError):  # the process has ended, or only just started
                    continue

    def _add(self, root: int) -> None:
        if root not in self.environments:
            function = variables_of(members(root)[-1])  # the others set up its namespaces
            self.environments[root] = Environment(function[FUNCTION], function[STREAM])
        own = ffmpeg = 0.0
        for pid in members(root):
            name, used, ended = cpu_s(pid)
            # Only the splitter has children that end: its ffmpeg.
            ffmpeg += ended + (used if name == "ffmpeg" else 0)
            own += 0 if name == "ffmpeg" else used
        self.environments[root].samples.append(Used(time.time(), own, ffmpeg))


def first_start(stack: Stack, environment: Environment) -> float:
    """When an environment's first invocation began, in seconds since the epoch."""
    logs = client_side(stack.aws).client("logs")
    events = logs.get_log_events(
        logGroupName=f"/aws/lambda/{environment.function}",
        logStreamName=environment.stream,
        startFromHead=True,
    )["events"]
    return next(e["timestamp"] for e in events if e["message"].startswith("START ")) / 1000


def by_kind(stack: Stack, sampler: Sampler, server_s: float, cost: Generated) -> dict[str, float]:
    """CPU seconds by kind of process."""
    seconds: dict[str, float] = defaultdict(float, {"server": server_s, "generator": cost.cpu_s})
    for environment in sampler.environments.values():
        init = environment.at(first_start(stack, environment)).own
        used = environment.at(time.time())
        if environment.function == stack.deployment.recognizer.name:
            seconds["recognizer, INIT"] += init
            seconds["recognizer, inference"] += used.own + used.ffmpeg - init
        else:
            seconds["splitter, INIT"] += init
            seconds["splitter, Python"] += used.own - init
            seconds["ffmpeg"] += used.ffmpeg
    return {kind: seconds[kind] for kind in KINDS}


def main() -> None:
    """Run the generator once and print a table."""
    command = parser(__doc__)
    command.add_argument("count", type=int, nargs="?", default=100, help="videos, default 100")
    options = command.parse_args()
    with sample_run() as (stack, videos, folder):
        run_file = folder / "run.json"
        sampler = Sampler(stack.aws.pid)
        before = cpu_s(stack.aws.pid)[1]
        with sampler.following():
            cost = generate(stack, videos, options.count, run_file)
        seconds = by_kind(stack, sampler, cpu_s(stack.aws.pid)[1] - before, cost)
        answered = sum(video.answered is not None for video in load(run_file).videos)
    total = sum(seconds.values())
    outside = sum(used for kind, used in seconds.items() if not KINDS[kind])
    print(f"{answered} of {options.count} videos answered in {cost.seconds:.0f} s")
    print("CPU seconds             all  per video  share")
    for kind, used in seconds.items():
        print(f"{kind:21}  {used:5.1f}  {used / options.count:9.3f}  {used / total:5.0%}")
    print(f"outside ffmpeg and inference: {outside:.1f} s of {total:.1f} s, {outside / total:.0%}")
    figures = {"videos": options.count, "answered": answered, "seconds": cost.seconds}
    report("run_cpu", [], {**figures, "cpu_s": seconds, "outside_share": outside / total})


if __name__ == "__main__":
    try:
        main()
    except (SampleError, StartError) as error:
        raise SystemExit(f"Error: {error}") from error
