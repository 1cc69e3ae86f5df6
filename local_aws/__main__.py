"""The command line: python3 -m local_aws"""

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

from local_aws import client_environ, malloc, open_files
from local_aws.server_settings import LAMBDAS_INIT_S, LOOSE_INIT_S, PortBusy, Settings, listen
from pipeline.settings import NAME, VERSION


def _image(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    images = {}
    for value in values:
        repository, _, folder = value.partition("=")
        if not folder or not Path(folder).is_dir():
            raise click.BadParameter(f"{value}: use REPOSITORY=FOLDER with an existing folder")
        images[repository] = Path(folder).resolve()
    return images


def _delays(context: click.Context, option: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value}: use seconds, e.g. 60,120") from error


def _first_and_longest(
    context: click.Context, option: click.Parameter, value: str
) -> tuple[float, float]:
    delays = _delays(context, option, value)
    if len(delays) != 2 or not 0 < delays[0] <= delays[1]:
        raise click.BadParameter(f"{value}: use the first and the longest delay, e.g. 1,300")
    return delays[0], delays[1]


@click.command()
@click.help_option("-h", "--help")
@click.version_option(VERSION, prog_name=NAME, message="%(prog)s %(version)s")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to serve on. Default: 4566 if it is free, else any; 0 means any.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the server's files. Default: a temporary folder, removed at the end.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    callback=_image,
    metavar="REPOSITORY=FOLDER",
    help="Run images of this repository from FOLDER. Can be repeated.",
)
@click.option(
    "--region", default="us-east-1", show_default=True, help="Region that the clients use."
)
@click.option(
    "--max-concurrency",
    type=click.IntRange(min=1),
    default=Settings.cap,
    show_default=True,
    help="Invocations of each function that really run at once here; further ones wait.",
)
@click.option(
    "--account-concurrency",
    type=click.IntRange(min=1),
    default=Settings.account_concurrency,
    show_default=True,
    help="Concurrent invocations of the account, per region; further ones are throttled (429). "
    "If it is low, raise --max-concurrency to it: nothing is throttled while it only waits.",
)
@click.option(
    "--async-retry-delays",
    default="60,120",
    show_default=True,
    callback=_delays,
    help="Seconds before each retry of an asynchronous invocation.",
)
@click.option(
    "--throttle-delays",
    default="1,300",
    show_default=True,
    callback=_first_and_longest,
    help="Seconds before a throttled event's first retry, doubling up to the second number.",
)
@click.option(
    "--cpu-share/--no-cpu-share",
    default=False,
    show_default=True,
    help="Give each environment the CPU that its function's memory buys: 1769 MB have one core.",
)
@click.option(
    "--init-limit",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds for INIT, which is then repeated inside the invocation. Default: "
    f"{LAMBDAS_INIT_S:g} with --cpu-share, as on Lambda, else {LOOSE_INIT_S:g}.",
)
@click.option("--end-with", "end_with_fd", type=int, hidden=True, help="Stop when this pipe ends.")
def main(
    port: int | None,
    data: Path | None,
    images: dict[str, Path],
    region: str,
    max_concurrency: int,
    account_concurrency: int,
    async_retry_delays: tuple[float, ...],
    throttle_delays: tuple[float, float],
    cpu_share: bool,
    init_limit: float | None,
    end_with_fd: int | None,
) -> None:
    """Serve AWS on this machine until Ctrl-C: python3 -m local_aws | tee aws.env

    To use it from another terminal: . ./aws.env
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    logging.getLogger("local_aws").setLevel(logging.INFO)
    malloc.return_large_blocks()
    open_files.raise_limit()
    inherited = dict(os.environ)
    client_environ.isolate()  # nothing here may reach the real AWS
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it: leave that
        signal.signal(signal.SIGHUP, lambda *_: stop.set())
    if end_with_fd is not None:
        threading.Thread(target=_stop_with, args=(end_with_fd, stop), daemon=True).start()
    with contextlib.ExitStack() as stack:
        if data is None:
            data = Path(tempfile.mkdtemp(prefix="local-aws-"))
            stack.callback(shutil.rmtree, data, ignore_errors=True)
        try:
            listening = listen(port)
        except PortBusy as error:
            raise click.ClickException(str(error)) from error
        # Imported late: moto takes a second, and a busy port is reported before that.
        from local_aws.server import Server

        settings = Settings(
            data,
            images,
            region,
            max_concurrency,
            async_retry_delays,
            account_concurrency,
            throttle_delays,
            cpu_share,
            init_limit or (LAMBDAS_INIT_S if cpu_share else LOOSE_INIT_S),
        )
        server = stack.enter_context(Server(settings, listening))
        click.echo("\n".join(client_environ.shell_lines(server.environ, inherited)))
        sys.stdout.flush()
        stop.wait()


def _stop_with(fd: int, stop: threading.Event) -> None:
    """Set `stop` at the end of the pipe, which the starter keeps open as long as it lives."""
    os.read(fd, 1)
    stop.set()


if __name__ == "__main__":
    main()
