"""`make local`: the pipeline deployed on a local AWS, left running for any client."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

import click

from pipeline.settings import Deployment, SettingsError
from samples.packages import SampleError, fetch_photos
from samples.stack import BUILD, running, say
from samples.videos import make_people


@click.command()
@click.option("--prefix", default="demo", show_default=True, help="Starts the buckets' names.")
@click.option(
    "--model", help="Use this model: facenet-vggface2 or sface; default: what can be had."
)
@click.option(
    "--people",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Photos to enrol, a folder a person; default: the samples.",
)
def main(prefix: str, model: str | None, people: Path | None) -> None:
    """Deploy the pipeline on this machine and leave it running: python -m samples.local

    Prints the `export` lines that point any client (boto3, AWS CLI, these scripts) to it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs deaf to SIGINT
        signal.signal(number, _stop)
    try:
        photos = fetch_photos(BUILD / "samples" / "photos")
        people = people or make_people(photos, BUILD / "samples" / "people")
        with running(Deployment(prefix), people, model, port=None) as stack:
            for name, value in {**stack.aws.environ, "PREFIX": prefix}.items():
                click.echo(f"export {name}={value}")
            sys.stdout.flush()
            say(
                "\nReady. Paste the export lines into another terminal, then:\n"
                f"  aws s3 cp VIDEO.mp4 s3://{stack.deployment.input_bucket}/\n"
                f"  aws s3 ls s3://{stack.deployment.output_bucket}/\n"
                f"Log: {stack.aws.log_path}. Ctrl-C stops everything."
            )
            stack.aws.wait()
    except KeyboardInterrupt:
        say("\nStopped.")
    except (SampleError, SettingsError) as error:
        raise click.ClickException(str(error)) from error


def _stop(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
