#!/usr/bin/env python3
"""Shows which parts of a deployment exist, in which version, and what differs from here."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from createS3 import create_buckets, stage_1_days_option
from deploy.alarms import ensure_alarms
from deploy.failures import ensure_queue
from deploy.functions import ensure_functions
from deploy.image import image_option
from deploy.parts.deployed import environment, get_function, uses_snapstart
from deploy.parts.failed_events import find_failure
from deploy.parts.ffmpeg_layer import deployed_layer
from deploy.parts.inventory import inventory
from deploy.parts.log_search import video_key
from deploy.parts.monitoring import alarms_option, email_option, may_see_alarms
from deploy.parts.skipped import skipped_objects
from deploy.parts.snapstart import snapstart_option
from deploy.parts.video_path import ANSWERED, read_path
from deploy.roles import ensure_roles, remove_unused_rights
from deploy.trigger import ensure_trigger
from pipeline.cli import Run, deployment_options, set_option
from pipeline.names import printable


class Comparison(Run):
    """A dry run of the deploy steps that collects the changes instead of printing them."""

    def __init__(self, run: Run) -> None:
        """Compare the deployment of `run`."""
        super().__init__(run.deployment, run.aws, dry_run=True)
        self.differences: list[str] = []

    def note(self, text: str) -> None:
        """Collect what would be done; ignore the rest."""
        if text.startswith("Would "):
            self.differences.append(text)


def drift(
    run: Run,
    stage_1_days: int,
    image_uri: str | None,
    snapstart: bool | None,
    has_alarms: bool = True,
    email: str | None = None,
) -> list[str]:
    """Return what deploying this checkout would change, one line per change.

    Without `image_uri` or `snapstart`, the image or SnapStart is not compared; nor is the newest
    layer. What they should be depends on the options of the next deployment.
    """
    comparison = Comparison(run)
    create_buckets(comparison, stage_1_days)
    queue, roles = ensure_queue(comparison), ensure_roles(comparison)
    layer, functions = deployed_layer(run), run.deployment.functions
    found: dict[str, Any] = {f.name: get_function(run, f) for f in functions}
    if layer is None:
        comparison.note(f"Would publish layer '{run.deployment.layer}'")
    for name, function in found.items():
        if function is None:
            comparison.note(f"Would create function '{name}'")
    if layer is not None and None not in found.values():
        if snapstart is None:
            snapstart = uses_snapstart(found[run.deployment.recognizer.name]["Configuration"])
        ensure_functions(comparison, roles, layer, queue, image_uri, snapstart)
    ensure_trigger(comparison)
    remove_unused_rights(comparison)
    if has_alarms and may_see_alarms(run):
        ensure_alarms(comparison, email)
    return comparison.differences


def versions(run: Run) -> dict[str, Any]:
    """Return the code and settings of each deployed function, by function name."""
    found = {}
    for function in run.deployment.functions:
        answer = get_function(run, function)
        if answer is None:
            continue
        config = answer["Configuration"]
        found[function.name] = {
            "code": answer["Code"].get("ImageUri") or f"zip SHA-256 {config['CodeSha256']}",
            "layers": [layer["Arn"] for layer in config.get("Layers") or []],
            "memory_mb": config["MemorySize"],
            "timeout_s": config["Timeout"],
            "snapstart": uses_snapstart(config),
            "environment": environment(config),
        }
    return found


def show_video(run: Run, key: str, as_json: bool) -> None:
    """Print the path of a video; exit with status 1 unless it is answered."""
    path = read_path(run, key, lambda since: find_failure(run, key, since), time.time())
    if as_json:
        click.echo(json.dumps(path.as_json(), indent=2))
    else:
        for line in path.lines():
            click.echo(printable(line))
    if path.state != ANSWERED:
        raise SystemExit(1)


@click.command()
@partial(deployment_options, only_reads=True)
@set_option
@image_option
@snapstart_option
@stage_1_days_option
@alarms_option
@email_option
@click.option(
    "--video",
    metavar="KEY",
    help="Instead, show the path of one video and where it is or how it ended. KEY may also be the "
    "name of a file that recognize.py sent in the last 30 days. The exit status is 0 only if the "
    "video is answered.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    run: Run,
    image_uri: str | None,
    snapstart: bool | None,
    stage_1_days: int,
    has_alarms: bool,
    email: str | None,
    video: str | None,
    as_json: bool,
) -> None:
    """Show what is deployed and what drifted: python3 deploy/status.py --prefix 1225111111

    Also counts the uploads of the last day that were skipped because they are plainly not videos.
    The exit status is 1 if anything is missing or differs from this checkout, the deployment's
    file and these options.
    """
    if video is not None:
        show_video(run, video_key(run, video, "--video"), as_json)
        return
    things = inventory(run)
    if things:
        differences = drift(run, stage_1_days, image_uri, snapstart, has_alarms, email)
    else:
        differences = [f"Nothing of '{run.deployment.prefix}' is deployed in {run.aws.region}."]
    running = versions(run)
    skipped = skipped_objects(run)
    if as_json:
        report = {
            "exists": [str(thing) for thing in things],
            "functions": running,
            "skipped": skipped.as_json(),
            "drift": differences,
        }
        click.echo(json.dumps(report, indent=2))
    else:
        for thing in things:
            click.echo(printable(str(thing)))
        for name, about in running.items():
            click.echo(f"{name}: {about['code']}, {about['memory_mb']} MB, {about['timeout_s']} s")
        if skipped.count:
            click.echo(skipped.line())
        for difference in differences:
            click.echo(printable(f"DRIFT  {difference}" if things else difference))
        if not things:
            click.echo(f"Next: {run.command('deploy/doctor.py')}", err=True)
        if not differences:
            click.echo("Everything matches this checkout.")
    if differences:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
