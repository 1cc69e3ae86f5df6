"""The command: python -m local_aws"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

import click

from local_aws import client_environ, malloc
from local_aws.server import PortBusy, Server, Settings


def _image(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    images = {}
    for value in values:
        repository, _, folder = value.partition("=")
        if not folder or not Path(folder).is_dir():
            raise click.BadParameter(f"{value}: use REPOSITORY=FOLDER with a folder that exists")
        images[repository] = Path(folder).resolve()
    return images


def _delays(context: click.Context, option: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value}: use seconds, e.g. 60,120") from error


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 4566 if free; 0: any.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Keep files here.")
@click.option(
    "--image",
    "images",
    multiple=True,
    callback=_image,
    metavar="REPOSITORY=FOLDER",
    help="Run images of this repository from FOLDER.",
)
@click.option("--region", default="us-east-1", show_default=True, help="Region of the clients.")
@click.option(
    "--max-concurrency",
    type=click.IntRange(min=1),
    default=Settings.cap,
    show_default=True,
    help="Invocations of one function that run at once; more wait.",
)
@click.option(
    "--async-retry-delays",
    default="60,120",
    show_default=True,
    callback=_delays,
    help="Seconds before each retry of an asynchronous invocation.",
)
@click.option("--end-with", "end_with_fd", type=int, hidden=True, help="A pipe: end when it does.")
def main(
    port: int | None,
    data: Path | None,
    images: dict[str, Path],
    region: str,
    max_concurrency: int,
    async_retry_delays: tuple[float, ...],
    end_with_fd: int | None,
) -> None:
    """Serve an AWS on this machine until Ctrl-C: python -m local_aws | tee aws.env

    Any other terminal's clients find it after: . ./aws.env
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    logging.getLogger("local_aws").setLevel(logging.INFO)
    malloc.return_large_blocks()
    inherited = dict(os.environ)
    client_environ.isolate()  # the server has clients of its own: for logs and failed events
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else it runs under nohup
        signal.signal(signal.SIGHUP, lambda *_: stop.set())
    if end_with_fd is not None:
        threading.Thread(target=_stop_with, args=(end_with_fd, stop), daemon=True).start()
    with contextlib.ExitStack() as stack:
        if data is None:
            data = Path(tempfile.mkdtemp(prefix="local-aws-"))
            stack.callback(shutil.rmtree, data, ignore_errors=True)
        settings = Settings(data, port, images, region, max_concurrency, async_retry_delays)
        try:
            server = stack.enter_context(Server(settings))
        except PortBusy as error:
            raise click.ClickException(str(error)) from error
        click.echo("\n".join(client_environ.shell_lines(server.environ, inherited)))
        sys.stdout.flush()
        stop.wait()


def _stop_with(fd: int, stop: threading.Event) -> None:
    """Stop when the pipe ends, whose other end the starter holds for as long as it lives."""
    os.read(fd, 1)
    stop.set()


if __name__ == "__main__":
    main()
