"""The local AWS as a subprocess: for the demo, `make local` and the end-to-end tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from local_aws.client_environ import isolated
from local_aws.server_settings import HEALTH

START_LIMIT_S = 60
STOP_LIMIT_S = 30


class StartError(RuntimeError):
    """The local AWS did not start, or it ended. The message quotes the last line of its log."""


class LocalAWS:
    """A local AWS in a process. It runs from entering the context to leaving it.

    It also stops when the process that started it ends for any reason.
    """

    def __init__(
        self, images: dict[str, Path] | None = None, port: int | None = 0, **settings: Any
    ) -> None:
        """`images` maps repository names to folders; `settings` are the command's other options.

        `port` None means 4566 if it is free; 0 means any port.
        """
        words = {**({} if port is None else {"port": port}), **settings}
        self._argv = [sys.executable, "-m", "local_aws"]
        for name, value in words.items():
            option = f"--{name.replace('_', '-')}"
            if value is not False:
                self._argv += [option] if value is True else [option, str(value)]
        for repository, folder in (images or {}).items():
            self._argv += ["--image", f"{repository}={folder}"]
        self.environ: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self._alive: int | None = None  # end of a pipe, which closes with this process

    def __enter__(self) -> LocalAWS:
        """Start it and wait until it serves; raise StartError if it does not."""
        handle = tempfile.NamedTemporaryFile(prefix="local-aws-", suffix=".log", delete=False)
        self.log_path = Path(handle.name)
        watched, self._alive = os.pipe()
        with handle:
            self._process = subprocess.Popen(
                [*self._argv, "--end-with", str(watched)],
                cwd=Path(__file__).resolve().parent.parent,
                env=isolated(os.environ),
                pass_fds=(watched,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=handle,
                text=True,
                # A separate group: Ctrl-C reaches only this process, which then stops the server.
                start_new_session=True,
            )
        os.close(watched)
        try:
            self._read_environ()
            self._wait_until_it_serves()
        except BaseException:  # including Ctrl-C: leave no server behind
            self.stop()
            raise
        return self

    def _read_environ(self) -> None:
        """Read the variables it prints, one `export NAME=VALUE` per line."""
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        while "AWS_EC2_METADATA_DISABLED" not in self.environ:
            line = self._process.stdout.readline()
            if not line:
                raise StartError(f"The local AWS did not start: {self._last_words()}")
            name, _, value = line.removeprefix("export ").strip().partition("=")
            self.environ[name] = value

    def _last_words(self) -> str:
        """The last line of its log. If the log has a traceback, keep it and name the file."""
        text = self.log_path.read_text(errors="replace").strip()
        lines = text.splitlines() or ["it logged no reason"]
        if not any(line.startswith("Traceback") for line in lines):
            return lines[-1]
        kept = self.log_path.with_suffix(".failed.log")
        self.log_path.replace(kept)
        return f"{lines[-1]} (see {kept})"

    def _wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        # Ignore the shell's proxy, which would look for the server on its own machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                opener.open(f"{self.endpoint}{HEALTH}", timeout=5).close()
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise StartError(
                        f"The local AWS started, but {self.endpoint} does not answer: {error}"
                    ) from error
                time.sleep(0.1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    def endpoint(self) -> str:
        """The server's URL, as in AWS_ENDPOINT_URL."""
        return self.environ["AWS_ENDPOINT_URL"]

    @property
    def region(self) -> str:
        """The region that its clients use."""
        return self.environ["AWS_DEFAULT_REGION"]

    @property
    def pid(self) -> int:
        """The server's process ID."""
        assert self._process is not None  # noqa: S101
        return self._process.pid

    def wait(self) -> None:
        """Wait until it ends by itself, then raise StartError."""
        assert self._process is not None  # noqa: S101
        code = self._process.wait()
        raise StartError(f"The local AWS ended with status {code}: {self._last_words()}")

    def stop(self) -> None:
        """Stop it and everything it started, and remove its log."""
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
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None
        self._process = None
        self.log_path.unlink(missing_ok=True)
