#!/usr/bin/env python3
"""The grader: checks that a run produced the right objects and names, and was fast enough."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from pipeline.aws import Aws
from pipeline.names import printable_lines
from pipeline.settings import Deployment
from workload.grading.judge import Wanted, initial_checks, run_checks, show
from workload.grading.limits import Limits
from workload.grading.objects import kept_frames
from workload.grading.scorecard import as_json, as_text, has_passed
from workload.running.expected import FILE_NAME, read_expected
from workload.running.input_errors import InputError, RunError
from workload.running.options import seconds_option, workload_options
from workload.running.run import WorkloadRun, load


def note(text: str) -> None:
    """Report progress on stderr."""
    click.echo(printable_lines(text), err=True)


def frames_kept(_context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """How many frames of a video stay in stage-1 with this value of FRAMES."""
    if value is None:
        return None
    try:
        return kept_frames(value)
    except InputError as error:
        raise click.BadParameter(f"{error}.", param=option) from error


MENU = """
  1  check the initial state
  2  run the checks
  3  show the contents of the buckets and the failure queue
  q  quit"""


def menu(aws: Aws, deployment: Deployment, wanted: Wanted) -> None:
    """Show the menu until the user quits."""
    while True:
        click.echo(MENU, err=True)
        try:
            choice = click.prompt("Choice", type=click.Choice(["1", "2", "3", "q"]), err=True)
        except click.Abort:  # end of input
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
        except InputError as error:  # for example, videos in the CSV that are not uploaded yet
            note(f"Error: {error}")


@click.command()
@workload_options
@click.option(
    "--expected",
    "expected_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV of the correct names, with the columns video,name.",
)
@click.option(
    "--testcase-folder",
    "--testcase_folder",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that was uploaded; its expected.csv is used unless --expected is given.",
)
@click.option(
    "--run",
    "run_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File written by generate.py --run; latencies are taken from it, and the expected names "
    "unless they are given.",
)
@click.option("--initial", is_flag=True, help="Check the state before a run.")
@click.option("--menu", "is_menu", is_flag=True, help="Choose what to do from a menu.")
@click.option("--json", "is_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--frames",
    callback=frames_kept,
    help="Frames per video, a number or auto; default: the deployed splitter's FRAMES.",
)
@seconds_option(
    "--max-split",
    2.0,
    "Average seconds per frame that the splitter may take, not counting the recognizer.",
)
@seconds_option(
    "--max-recognition", 5.0, "Average seconds that an invocation of the recognizer may take."
)
@click.option(
    "--min-concurrency",
    type=click.IntRange(min=1),
    help="How many environments of each function must have run at once; default: 3, or fewer if "
    "the uploads did not need 3.",
)
@seconds_option("--max-latency", 300.0, "Seconds that a video may wait for its answer.")
@seconds_option(
    "--metrics-wait",
    180.0,
    "Seconds to wait for CloudWatch, whose metrics appear some minutes after a run.",
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
    """Check a run and award points: workload/grade.py --prefix P --expected expected.csv

    Changes nothing. Exits with status 1 if a check fails; each failure names the objects at fault.
    """
    if is_menu and (is_json or initial):
        raise click.UsageError("--menu cannot be combined with --json or --initial.")
    limits = Limits(max_split, max_recognition, min_concurrency, max_latency)
    run = _run(run_file, deployment)
    expected = _expected(expected_file, folder, run)
    wanted = Wanted(expected, run, frames, limits, metrics_wait)
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
    if not has_passed(checks):
        raise SystemExit(1)


def _expected(
    file: Path | None, folder: Path | None, run: WorkloadRun | None
) -> dict[str, str] | None:
    """The expected names: of the given CSV, else of the folder's, else of the run; None without."""
    if file is None and folder is not None:
        file = folder / FILE_NAME
    if file is None:
        videos = run.videos if run else ()
        return {v.key: v.expected for v in videos if v.expected is not None} or None
    names = read_expected(file)
    if not names:
        raise InputError(
            f"{file} has a header but no videos: add one line per video, or leave the file out."
        )
    return names


def _run(file: Path | None, deployment: Deployment) -> WorkloadRun | None:
    """The generator's run. Raises RunError if it belongs to another deployment."""
    if file is None:
        return None
    run = load(file)
    if (run.prefix, run.namespace) != (deployment.prefix, deployment.namespace):
        raise RunError(
            f"{file} is a run of --prefix {run.prefix} --namespace '{run.namespace}': pass these "
            "options, or a file of this deployment."
        )
    return run


if __name__ == "__main__":
    main()
