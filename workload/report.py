#!/usr/bin/env python3
"""The report on a run: one HTML file with faces, a timeline, latencies and a receipt."""

from __future__ import annotations

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
from workload.running.options import both_keys, key_options, prices_option
from workload.running.run import WorkloadRun, load

try:
    from workload.reporting.evidence import gather
    from workload.reporting.page import Findings, render
    from workload.reporting.prices import load_prices
    from workload.reporting.receipt import write_receipt
    from workload.reporting.sightings import look_at
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
) -> None:
    """Write the report on `run` to `path`, atomically. `prices` is a JSON file of overrides.

    Waits for the logs of a run that has just ended, up to 30 s. Raises PricesError for `prices`,
    and AwsError if logs or objects cannot be read or `path` cannot be written.
    """
    rates = load_prices(prices)
    evidence = gather(aws, deployment, run)
    names = (deployment.splitter.name, deployment.recognizer.name)
    findings = Findings(
        run=run,
        sightings=look_at(aws, deployment, run),
        rows=timeline(run, evidence, deployment),
        evidence=evidence,
        receipt=write_receipt(
            names, evidence.splitter, evidence.recognizer, len(run.videos), rates
        ),
        prices=rates,
        is_local=not _is_aws(aws),
    )
    page = render(findings)
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise AwsError(f"Cannot write the report to {path}: {error}") from error


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
@click.option(
    "--run",
    "run_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="File written by generate.py --run.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where to write the HTML file.",
)
@prices_option
def main(
    access_key: str | None,
    secret_key: str | None,
    run_file: Path,
    output: Path,
    prices_file: Path | None,
    **place: Any,
) -> None:
    """Report on a run: workload/report.py --prefix P --run run.json --output report.html

    Reads the frames, answers and logs of the run, and changes nothing on AWS.
    """
    with clear_errors():
        run = load(run_file)
        deployment = _deployment(run, run_file, place)
        keys = both_keys(access_key, secret_key, place["profile"])
        region = place["region"] if is_given("region") else run.region or place["region"]
        profile = None if keys else place["profile"]
        aws = Aws(region, profile, place["endpoint_url"], keys)
        write_report(aws, deployment, run, output, prices_file)
        click.echo(output)


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
    if not run.waited:
        raise RunError(
            f"The run in {run_file} did not wait for answers, which the report is about: upload "
            "with workload/generate.py --run FILE, without --no-wait."
        )
    return deployment


if __name__ == "__main__":
    main()
