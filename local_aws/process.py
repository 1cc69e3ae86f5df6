"""The local AWS as a subprocess: for the demo, `make local` and the end-to-end tests."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from local_aws.server import HEALTH

START_LIMIT_S = 60
STOP_LIMIT_S = 30


class StartError(RuntimeError):
    """The local AWS did not start; the message has the end of its log."""


class LocalAWS:
    """A running local AWS, from entering the context to leaving it."""

    def __init__(
        self, images: dict[str, Path] | None = None, port: int | None = 0, **settings: Any
    ) -> None:
        """`images` maps repository names to folders; `settings` are the command's options.

        `port` None: 4566 if free; 0: any.
        """
        words = {**({} if port is None else {"port": port}), **settings}
        self._argv = [sys.executable, "-m", "local_aws"]
        for name, value in words.items():
            self._argv += [f"--{name.replace('_', '-')}", str(value)]
        for repository, folder in (images or {}).items():
            self._argv += ["--image", f"{repository}={folder}"]
        self.environ: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> LocalAWS:
        """Start it and wait until it serves; raises StartError when it does not."""
        handle = tempfile.NamedTemporaryFile(prefix="local-aws-", suffix=".log", delete=False)
        self.log_path = Path(handle.name)
        with handle:
            self._process = subprocess.Popen(
                self._argv,
                cwd=Path(__file__).resolve().parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=handle,
                text=True,
                # A group of its own: Ctrl-C reaches its starter alone, which stops it in order.
                start_new_session=True,
            )
        try:
            self._read_environ()
            self._wait_until_it_serves()
        except BaseException:  # Ctrl-C, too, must leave no server behind
            self.stop()
            raise
        return self

    def _read_environ(self) -> None:
        """The variables it prints, one `export NAME=VALUE` a line."""
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        while "AWS_EC2_METADATA_DISABLED" not in self.environ:
            line = self._process.stdout.readline()
            if not line:
                tail = self.log_path.read_text(errors="replace")[-2000:]
                raise StartError(f"The local AWS did not start: {tail.strip()}")
            name, _, value = line.removeprefix("export ").strip().partition("=")
            self.environ[name] = value

    def _wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                urllib.request.urlopen(f"{self.endpoint}{HEALTH}", timeout=5).close()  # noqa: S310
                return
            except (urllib.error.URLError, OSError) as error:
                if time.monotonic() > deadline:
                    raise StartError(f"{self.endpoint} does not answer: {error}") from error
                time.sleep(0.1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it, whatever happened."""
        self.stop()

    @property
    def endpoint(self) -> str:
        """Its URL, as in AWS_ENDPOINT_URL."""
        return self.environ["AWS_ENDPOINT_URL"]

    @property
    def region(self) -> str:
        """The region its clients use."""
        return self.environ["AWS_DEFAULT_REGION"]

    @property
    def pid(self) -> int:
        """The server's process ID."""
        assert self._process is not None  # noqa: S101
        return self._process.pid

    def wait(self) -> None:
        """Wait until it ends by itself; raises StartError when it does."""
        assert self._process is not None  # noqa: S101
        code = self._process.wait()
        raise StartError(f"The local AWS ended with status {code}: see {self.log_path}")

    def stop(self) -> None:
        """Stop it and everything it started; the log is removed."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        self.log_path.unlink(missing_ok=True)
