#!/usr/bin/env python3
"""The tuner: measures what the functions take and cost at several memory settings."""

from __future__ import annotations

import json
import secrets
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from pipeline.aws import Aws, AwsError
from pipeline.bucket_admin import empty_bucket
from pipeline.cli import script_command
from pipeline.setting_table import MEMORY_MB, RECOGNIZER, SPLITTER
from pipeline.settings import Deployment
from workload.reporting.prices import load_prices
from workload.running.buckets import require_buckets
from workload.running.options import deadline_option, prices_option, workload_options
from workload.running.videos import find_videos
from workload.tuning.figures import as_json, as_text
from workload.tuning.function_memory import PREFIX, TAG, FunctionMemory
from workload.tuning.stop_requests import StopRequests
from workload.tuning.trials import Tuning

# Where the local AWS says what it does; nothing else answers there.
LOCAL_AWS = "/_local_aws/health"
HAS_CPU_SHARE = "cpu share"


def note(text: str) -> None:
    """Report progress on stderr."""
    click.echo(text, err=True)


def sizes_of(_context: click.Context, option: click.Parameter, value: str) -> tuple[int, ...]:
    """The sizes in a list such as 512,1024, in ascending order."""
    words = [word.strip().removesuffix("MB").strip() for word in value.split(",")]
    if wrong := [word for word in words if not MEMORY_MB.fits(word)]:
        raise click.BadParameter(
            f"{wrong[0]!r}: use {MEMORY_MB.allowed}, as in 512,1024.", param=option
        )
    return tuple(sorted(set(map(int, words))))


@click.command()
@workload_options
@click.option(
    "--testcase-folder",
    "--testcase_folder",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder of the videos to measure with; a few typical ones are best.",
)
@click.option(
    "--function",
    "chosen",
    type=click.Choice([SPLITTER, RECOGNIZER]),
    help="The function to tune; default: both in turn.",
)
@click.option(
    "--memory",
    "sizes",
    default="512,1024,1769,3008",
    show_default=True,
    callback=sizes_of,
    help="Memory settings to try, in MB.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Rounds. Each uploads every video once at each setting, after one that starts it cold.",
)
@deadline_option("Seconds to wait for an answer. A setting at which none comes is not tried again.")
@prices_option
@click.option("--json", "is_json", is_flag=True, help="Print the result as JSON.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, but change nothing.")
@click.option("--restore", is_flag=True, help="Only undo what a killed tuner has left behind.")
def main(
    aws: Aws,
    deployment: Deployment,
    folder: Path | None,
    chosen: str | None,
    sizes: tuple[int, ...],
    repeat: int,
    deadline: float,
    prices_file: Path | None,
    is_json: bool,
    dry_run: bool,
    restore: bool,
) -> None:
    """Try memory settings on a deployed pipeline: workload/tune.py --prefix P --testcase-folder DIR

    Prints time and price at each. Changes the memory of the deployed functions meanwhile, for all
    their videos, then puts it back and deletes the objects it made, even after Ctrl-C or an error.
    Exits with status 1 if a setting left a video without an answer.
    """
    functions = [f for f in reversed(deployment.functions) if chosen in (None, f.key)]
    memories = [FunctionMemory(aws, deployment, function) for function in functions]
    if restore:
        with StopRequests() as requests:
            _restore(aws, deployment, memories, dry_run, requests)
        return
    if folder is None:
        raise click.UsageError("Missing option '--testcase-folder'.")
    videos, prices = find_videos(folder), load_prices(prices_file)
    require_buckets(aws, deployment)
    before = _before(aws, deployment, memories)
    _warn_if_memory_buys_no_cpu(aws)
    if dry_run:
        for memory in memories:
            tried = ", ".join(map(str, sizes))
            note(
                f"Would give function '{memory.function.name}' {tried} MB in turn, upload "
                f"{repeat * (len(videos) + 1)} videos at each, put back its "
                f"{before[memory.function.key]} MB and delete what the videos left"
            )
        return
    prefix = f"{PREFIX}{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}/"
    done = []
    try:
        with StopRequests() as requests:
            for memory in memories:
                requests.check()
                had = before[memory.function.key]
                tuning = Tuning(aws, deployment, memory, prefix, deadline, prices, note)
                done.append((memory.function, had, tuning))
                _tune(tuning, had, sizes, repeat, videos, requests)
    finally:  # also after an error, so that nothing learned is lost
        tables = [(f.name, had, tuning.rows(sizes)) for f, had, tuning in done]
        if is_json:
            content = {"prices": prices.date, "functions": [as_json(*table) for table in tables]}
            click.echo(json.dumps(content, indent=1))
        else:
            click.echo("\n\n".join(as_text(*table) for table in tables))
            note(
                "\nMedians. own $, both $: Lambda's price of 1,000 warm videos, for this function "
                f"and for both ({prices.date}). s per video: the splitter's time, waiting included."
            )
    if any(tuning.failed for _, _, tuning in done):
        raise SystemExit(1)


def _tune(
    tuning: Tuning,
    had: int,
    sizes: tuple[int, ...],
    rounds: int,
    videos: list[Path],
    requests: StopRequests,
) -> None:
    """Run one function's trials, then put back what was, however they end."""
    tuning.memory.mark(had, tuning.prefix)
    try:
        with requests.interruptible():
            tuning.run(sizes, rounds, videos)
    finally:
        _put_back(tuning.aws, tuning.deployment, tuning.memory, had, tuning.prefix)


def _put_back(
    aws: Aws, deployment: Deployment, memory: FunctionMemory, had: int, prefix: str
) -> None:
    memory.put_back(had)
    note(f"Function '{memory.function.name}' has its {had} MB again.")
    for bucket in deployment.buckets:
        empty_bucket(aws.client("s3"), bucket, prefix)
    memory.unmark()


def _restore(
    aws: Aws,
    deployment: Deployment,
    memories: list[FunctionMemory],
    dry_run: bool,
    requests: StopRequests,
) -> None:
    """Put back what the tags of the functions say."""
    for memory in memories:
        with requests.interruptible():
            name, (now, left) = memory.function.name, memory.look()
        if left is None:
            note(f"Function '{name}' has {now} MB, and no tuner changed it.")
        elif dry_run:
            note(f"Would give function '{name}' back its {left[0]} MB and delete {left[1]}*")
        else:
            _put_back(aws, deployment, memory, *left)


def _before(aws: Aws, deployment: Deployment, memories: list[FunctionMemory]) -> dict[str, int]:
    """The memory of each function, in MB. Raises AwsError if it cannot or must not be tuned now."""
    splitter = deployment.splitter
    both = [FunctionMemory(aws, deployment, function) for function in deployment.functions]
    looks = {memory.function.name: memory.look() for memory in both}
    for name, (_, left) in looks.items():
        if left is not None:
            restore = script_command(aws, deployment, "workload/tune.py", "--restore")
            raise AwsError(
                f"Function '{name}' is being tuned, or a tuner was killed (its tag {TAG} "
                f"says {left[0]} MB). Wait for the other one. If there is none, undo what it "
                f"changed: {restore}"
            )
    if any(memory.function == deployment.recognizer for memory in memories):
        config = aws.client("lambda").get_function_configuration(FunctionName=splitter.name)
        variables = config.get("Environment", {}).get("Variables", {})
        called = variables.get("RECOGNITION_FUNCTION", "")
        if ":" in called:
            raise AwsError(
                f"Function '{splitter.name}' calls '{called}', a published version (SnapStart), "
                "whose memory cannot be changed. Pass --function video-splitting, or tune without "
                f"it: {script_command(aws, deployment, 'deploy/deploy.py', '--no-snapstart')}"
            )
    return {memory.function.key: looks[memory.function.name][0] for memory in memories}


def _warn_if_memory_buys_no_cpu(aws: Aws) -> None:
    """Say so if this is the local AWS and its functions have whole cores."""
    endpoint = aws.client("s3").meta.endpoint_url
    if (urlsplit(endpoint).hostname or "") not in ("127.0.0.1", "localhost"):
        return
    # Ignore the shell's proxy, which would look for the server on its own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{endpoint}{LOCAL_AWS}", timeout=5) as answer:
            text = answer.read().decode(errors="replace")
    except OSError:  # another AWS than ours
        return
    if HAS_CPU_SHARE not in text:
        note(
            "Warning: this local AWS runs without --cpu-share, so times do not depend on memory. "
            "Start it with: make local CPU_SHARE=yes"
        )


if __name__ == "__main__":
    main()
