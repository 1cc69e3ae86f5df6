"""`make local`: deploy the pipeline on a local AWS and keep it running for any client."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from local_aws.client_environ import shell_lines
from local_aws.process import StartError
from pipeline.cli import about_options, clear_errors
from pipeline.settings import ROOT, Deployment
from samples.clips import ffmpeg_from, make_people, make_videos
from samples.packages import SampleError, fetch_photos
from samples.stack import BUILD, GALLERY, Stack, running, say
from samples.undisturbed import undisturbed


def lines_for(stack: Stack, inherited: dict[str, str]) -> str:
    """The lines that make a shell, however plain, run every command of README.md on `stack`."""
    exports = {
        **stack.aws.environ,
        "PREFIX": stack.deployment.prefix,
        "PIPELINE_CONFIG": str(stack.config),
        "MODEL": stack.model,
    }
    programs = shlex.quote(str(Path(sys.executable).parent))
    path = f'export PATH={programs}:"$PATH"'
    return "\n".join([*shell_lines(exports, inherited), path, f"cd {shlex.quote(str(ROOT))}"])


@click.command()
@about_options
@click.option("--prefix", default="demo", show_default=True, help="Prefix of the bucket names.")
@click.option("--model", help="facenet-vggface2 or sface; default: the first available.")
@click.option(
    "--people",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Photos to enroll, one folder per person; default: the gallery data.pt, if there is one, "
    "else the samples.",
)
@click.option(
    "--cpu-share", is_flag=True, help="Give functions the CPU that their memory buys on AWS."
)
def main(prefix: str, model: str | None, people: Path | None, cpu_share: bool) -> None:
    """Deploy the pipeline on this machine and keep it running: python3 -m samples.local

    Prints the shell lines that point any client (boto3, the AWS CLI, these scripts) at it:
    `export` for what the client needs, `unset` for what would send it elsewhere.
    """
    try:
        video = "VIDEO.mp4"
        if people is None and GALLERY.is_file():
            people = GALLERY
        if people is None:
            photos = fetch_photos(BUILD / "samples" / "photos")
            people = make_people(photos, BUILD / "samples" / "people")
            videos = make_videos(photos, BUILD / "samples" / "videos", ffmpeg_from(BUILD))
            video = str((videos / "test_00.mp4").relative_to(ROOT))
        deployment = Deployment(prefix)
        with (
            clear_errors(),
            undisturbed() as inherited,
            running(
                deployment,
                people,
                model,
                port=None,
                aws_settings={"cpu_share": cpu_share},
                has_alarms=True,
            ) as stack,
        ):
            click.echo(lines_for(stack, inherited))
            sys.stdout.flush()
            say(
                "\nReady. Paste these lines into another terminal, then:\n"
                f"  python3 workload/recognize.py {video}\n"
                "  python3 workload/results.py\n"
                "  python3 deploy/status.py\n"
                f"Log: {stack.aws.log_path}. Press Ctrl-C to stop everything."
            )
            stack.aws.wait()
    except KeyboardInterrupt:
        say("\nStopped.")
    except (SampleError, StartError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
