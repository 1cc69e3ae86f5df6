"""`make local`: deploy the pipeline on a local AWS and keep it running for any client."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from local_aws.client_environ import shell_lines
from local_aws.process import StartError
from pipeline.settings import Deployment, SettingsError
from samples.clips import make_people
from samples.packages import SampleError, fetch_photos
from samples.stack import BUILD, running, say
from samples.undisturbed import undisturbed


@click.command()
@click.option("--prefix", default="demo", show_default=True, help="Prefix of the bucket names.")
@click.option("--model", help="facenet-vggface2 or sface; default: the first available.")
@click.option(
    "--people",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Photos to enroll, one folder per person; default: the samples.",
)
def main(prefix: str, model: str | None, people: Path | None) -> None:
    """Deploy the pipeline on this machine and keep it running: python3 -m samples.local

    Prints the shell lines that point any client (boto3, the AWS CLI, these scripts) at it:
    `export` for what the client needs, `unset` for what would send it elsewhere.
    """
    try:
        if people is None:
            photos = fetch_photos(BUILD / "samples" / "photos")
            people = make_people(photos, BUILD / "samples" / "people")
        deployment = Deployment(prefix)
        with undisturbed() as inherited, running(deployment, people, model, port=None) as stack:
            exports = {**stack.aws.environ, "PREFIX": prefix}
            click.echo("\n".join(shell_lines(exports, inherited)))
            sys.stdout.flush()
            say(
                "\nReady. Paste these lines into another terminal, then:\n"
                f"  aws s3 cp VIDEO.mp4 s3://{stack.deployment.input_bucket}/\n"
                f"  aws s3 ls s3://{stack.deployment.output_bucket}/\n"
                f"Log: {stack.aws.log_path}. Press Ctrl-C to stop everything."
            )
            stack.aws.wait()
    except KeyboardInterrupt:
        say("\nStopped.")
    except (SampleError, SettingsError, StartError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
