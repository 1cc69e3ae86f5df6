#!/usr/bin/env python3
"""The report on a run, or on two: one HTML file with faces, a timeline, latencies and a receipt."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from pipeline.aws import Aws, AwsError
from pipeline.cli import about_options, clear_errors, config_option, file_for, is_given
from pipeline.settings import Deployment
from workload.running.input_errors import RunError
from workload.running.options import both_keys, check_output_files, key_options, prices_option
from workload.running.run import WorkloadRun, load

try:
    from workload.reporting.comparison import Side, compare
    from workload.reporting.evidence import Evidence, gather
    from workload.reporting.page import Findings, render
    from workload.reporting.prices import Prices, load_prices
    from workload.reporting.receipt import write_receipt
    from workload.reporting.sightings import look_at
    from workload.reporting.stranger_cards import as_references, strangers_of
    from workload.reporting.timeline import timeline
except ImportError as error:
    if __name__ != "__main__":
        raise
    raise SystemExit(
        f"{error}. report.py needs: python3 -m pip install jinja2 matplotlib pillow"
    ) from error


def write_report(
    aws: Aws,
    deployment: Deployment,
    run: WorkloadRun,
    path: Path,
    prices: Path | None = None,
    earlier: tuple[Aws, WorkloadRun] | None = None,
) -> None:
    """Write the report on `run` to `path`, atomically. `prices` is a JSON file of overrides.

    `earlier`: a run to compare it with, of this or another deployment, and the client for its logs.

    Waits for the logs of a run that has just ended, up to 30 s. Raises PricesError for `prices`,
    and AwsError if logs or objects cannot be read or `path` cannot be written.
    """
    rates = load_prices(prices)
    evidence = gather(aws, deployment, run)
    sightings = look_at(aws, deployment, run, evidence.of_video)
    strangers = strangers_of(aws, deployment, sightings)
    side = _side(run, deployment, evidence, rates)
    findings = Findings(
        run=run,
        sightings=sightings,
        rows=side.rows,
        evidence=evidence,
        receipt=side.receipt,
        prices=rates,
        is_local=not _is_aws(aws),
        strangers=strangers,
        references=as_references(deployment, aws.region, strangers) if strangers else "",
        command=f"python3 face-recognition/enroll.py --add-stranger {shlex.quote(str(path))}",
        comparison=compare(_earlier_side(*earlier, rates), side) if earlier else None,
    )
    page = render(findings)
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise AwsError(f"Cannot write the report to {path}: {error}") from error


def _side(run: WorkloadRun, deployment: Deployment, evidence: Evidence, prices: Prices) -> Side:
    """The run with its timeline and receipt."""
    names = (deployment.splitter.name, deployment.recognizer.name)
    return Side(
        run,
        timeline(run, evidence, deployment),
        write_receipt(names, evidence.splitter, evidence.recognizer, len(run.videos), prices),
    )


def _earlier_side(aws: Aws, run: WorkloadRun, prices: Prices) -> Side:
    """The run that another one is compared with."""
    deployment = Deployment(run.prefix, run.namespace)
    return _side(run, deployment, gather(aws, deployment, run), prices)


def _is_aws(aws: Aws) -> bool:
    """Whether requests go to the real AWS, which charges for them."""
    host = urlsplit(aws.client("s3").meta.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


@click.command()
@about_options
@click.option(
    "--prefix", "--asu_id", "prefix", help="What every bucket name starts with; default: the run's."
)
@click.option("--namespace", help="The deployment's namespace; default: the run's.")
@click.option("--region", help="AWS region; default: the run's.")
@click.option("--profile", help="AWS CLI profile whose credentials to use.")
@click.option("--endpoint-url", help="URL of another AWS, such as the local one.")
@config_option
@key_options
@click.argument(
    "run_files",
    nargs=-1,
    metavar="[EARLIER.json] [RUN.json]",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option(
    "--run",
    "run_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The same as RUN.json: a file written by generate.py --run.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The HTML file to write; default: RUN.html beside RUN.json.",
)
@prices_option
def main(
    access_key: str | None,
    secret_key: str | None,
    run_files: tuple[Path, ...],
    run_file: Path | None,
    output: Path | None,
    prices_file: Path | None,
    **place: Any,
) -> None:
    """Report on a run: workload/report.py run.json --output report.html

    With two runs, compare the second with the first: workload/report.py before.json after.json

    Reads the frames, answers and logs, and changes nothing on AWS.
    """
    files = [*run_files, *([run_file] if run_file else [])]
    if not 1 <= len(files) <= 2:
        raise click.UsageError("Pass the file of one run, or of two to compare the second.")
    with clear_errors():
        page = output or files[-1].with_suffix(".html")
        check_output_files(page)
        run = load(files[-1])
        deployment = _deployment(run, files[-1], place)
        keys = both_keys(access_key, secret_key, place["profile"])
        profile = None if keys else place["profile"]

        def client(run: WorkloadRun) -> Aws:
            region = place["region"] if is_given("region") else run.region or place["region"]
            return Aws(region, profile, place["endpoint_url"], keys)

        aws, earlier = client(run), None
        if len(files) == 2:
            before = load(files[0])
            _check_waited(before, files[0])
            earlier = client(before), before
        write_report(aws, deployment, run, page, prices_file, earlier)
        click.echo(page)


def _deployment(run: WorkloadRun, run_file: Path, place: dict[str, Any]) -> Deployment:
    """The run's deployment. Raises RunError if the options name another, or it has no answers.

    What the deployment's file says about `place` is used only if it is the run's file.
    """
    settings = file_for(run.prefix, place).settings
    deployment = Deployment(
        place["prefix"] if is_given("prefix") else run.prefix,
        place["namespace"] if is_given("namespace") else run.namespace,
        settings,
    )
    if (deployment.prefix, deployment.namespace) != (run.prefix, run.namespace):
        raise RunError(
            f"The run in {run_file} has --prefix {run.prefix} --namespace '{run.namespace}': pass "
            "these options, or the file of another run."
        )
    _check_waited(run, run_file)
    return deployment


def _check_waited(run: WorkloadRun, file: Path) -> None:
    """Raise RunError for a run without answers."""
    if not run.waited:
        raise RunError(
            f"The run in {file} did not wait for answers, which the report is about: upload "
            "with workload/generate.py --run FILE, without --no-wait."
        )


if __name__ == "__main__":
    main()
