#!/usr/bin/env python3
"""The grader: checks that a run of the pipeline left what it should, and was fast enough."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from pipeline.aws import Aws
from pipeline.settings import Deployment
from workload.grading.judge import Wanted, initial_checks, run_checks, show
from workload.grading.limits import Limits
from workload.grading.scorecard import as_json, as_text, is_right
from workload.running.expected import FILE_NAME, read_expected
from workload.running.options import InputError, finite, workload_options
from workload.running.run import RunError, WorkloadRun, load


def note(text: str) -> None:
    """Progress, on stderr."""
    click.echo(text, err=True)


MENU = """
  1  check the initial state
  2  run the checks
  3  show what the buckets and the failure queue hold
  q  quit"""


def menu(aws: Aws, deployment: Deployment, wanted: Wanted) -> None:
    """Ask what to do until the user quits."""
    while True:
        click.echo(MENU, err=True)
        try:
            choice = click.prompt("Choice", type=click.Choice(["1", "2", "3", "q"]), err=True)
        except click.Abort:  # the end of the input
            return
        if choice == "q":
            return
        try:
            if choice == "1":
                click.echo(as_text(initial_checks(aws, deployment)))
            elif choice == "2":
                click.echo(as_text(run_checks(aws, deployment, wanted, note)))
            else:
                click.echo(show(aws, deployment, note))
        except InputError as error:  # such as a CSV whose videos are not uploaded yet
            note(f"Error: {error}")


@click.command()
@workload_options
@click.option(
    "--expected",
    "expected_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV with the columns video,name: the right names.",
)
@click.option(
    "--testcase-folder",
    "--testcase_folder",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The uploaded folder: its expected.csv is used unless --expected is given.",
)
@click.option(
    "--run",
    "run_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What generate.py --run wrote: its latencies are used.",
)
@click.option("--initial", is_flag=True, help="Check the state before a run: empty buckets.")
@click.option("--menu", "is_menu", is_flag=True, help="Ask what to do.")
@click.option("--json", "is_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    help="Frames a video; default: the deployed splitter's FRAMES.",
)
@click.option(
    "--max-split",
    type=click.FloatRange(min=0),
    callback=finite,
    default=2.0,
    show_default=True,
    help="Seconds the splitter may take a frame on average, less the recognizer's.",
)
@click.option(
    "--max-recognition",
    type=click.FloatRange(min=0),
    callback=finite,
    default=10.0,
    show_default=True,
    help="Seconds an invocation of the recognizer may take on average.",
)
@click.option(
    "--min-concurrency",
    type=click.IntRange(min=1),
    help="How many of each function must have run at once; default: 3, or as many as the uploads "
    "called for.",
)
@click.option(
    "--max-latency",
    type=click.FloatRange(min=0),
    callback=finite,
    default=300.0,
    show_default=True,
    help="Seconds from a video to its answer.",
)
@click.option(
    "--metrics-wait",
    type=click.FloatRange(min=0),
    callback=finite,
    default=180.0,
    show_default=True,
    help="Seconds to wait for CloudWatch, which shows a run some minutes later.",
)
def main(
    aws: Aws,
    deployment: Deployment,
    expected_file: Path | None,
    folder: Path | None,
    run_file: Path | None,
    initial: bool,
    is_menu: bool,
    is_json: bool,
    frames: int | None,
    max_split: float,
    max_recognition: float,
    min_concurrency: int | None,
    max_latency: float,
    metrics_wait: float,
) -> None:
    """Check a run, with points: workload/grade.py --prefix P --expected expected.csv

    Ends with status 1 if a check fails, each failure naming the objects at fault. Changes nothing.
    """
    if is_menu and (is_json or initial):
        raise click.UsageError("--menu goes with neither --json nor --initial.")
    limits = Limits(max_split, max_recognition, min_concurrency, max_latency)
    expected = _expected(expected_file, folder)
    wanted = Wanted(expected, _run(run_file, deployment), frames, limits, metrics_wait)
    if is_menu:
        menu(aws, deployment, wanted)
        return
    checks = (
        initial_checks(aws, deployment) if initial else run_checks(aws, deployment, wanted, note)
    )
    if is_json:
        result = as_json(deployment.prefix, deployment.namespace, checks)
        click.echo(json.dumps(result, indent=1))
    else:
        click.echo(as_text(checks))
    if not is_right(checks):
        raise SystemExit(1)


def _expected(file: Path | None, folder: Path | None) -> dict[str, str] | None:
    """The expected names, from the CSV given or from the folder's."""
    if file is None and folder is not None:
        file = folder / FILE_NAME
    if file is None:
        return None
    names = read_expected(file)
    if not names:
        raise InputError(
            f"{file} has its first line alone and names no video: add a line a video, or leave "
            "the file out."
        )
    return names


def _run(file: Path | None, deployment: Deployment) -> WorkloadRun | None:
    """The generator's run; raises RunError if it is of another deployment."""
    if file is None:
        return None
    run = load(file)
    if (run.prefix, run.namespace) != (deployment.prefix, deployment.namespace):
        raise RunError(
            f"{file} is of --prefix {run.prefix} --namespace '{run.namespace}': pass these, or the "
            "file of this deployment's run."
        )
    return run


if __name__ == "__main__":
    main()
