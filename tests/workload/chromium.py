"""Drives a headless Chromium over the DevTools protocol, to open local pages."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

BINARY = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]


class Page:
    """One tab: sends commands and collects the browser's events."""

    def __init__(self, socket: ClientConnection) -> None:
        """Start listening to the console and the network."""
        self._socket = socket
        self._last = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("id") == self._last:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self.events.append(message)

    def open(self, path: Path, width: int, scheme: str, height: int = 900) -> None:
        """Load the file in a window `width` pixels wide, with a light or dark color scheme."""
        is_phone = width < 600
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if is_phone else 1,
            mobile=is_phone,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media="", features=features)  # not print
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + 30
        while not self.named("Page.loadEventFired"):
            assert time.monotonic() < deadline, "the page does not load"
            self.run("0")
            time.sleep(0.02)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; waits for promises."""
        result = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def named(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all events of one kind since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def on_paper(self, width: int) -> None:
        """Lay out the open page for printing, `width` pixels between the margins."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        self.send("Emulation.setEmulatedMedia", media="print")

    def printed(self) -> bytes:
        """The page as a PDF."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])


@contextmanager
def browsing(profile: Path) -> Iterator[Page]:
    """A browser with the empty folder `profile` as its profile, closed with the context."""
    assert BINARY is not None
    log = profile / "stderr"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [BINARY, *OPTIONS, f"--user-data-dir={profile / 'data'}", "about:blank"], stderr=stderr
        )
    try:
        with connect(_address(process, log), max_size=None) as browser:
            browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            while "result" not in (answer := json.loads(browser.recv(timeout=30))):
                pass
            targets = answer["result"]["targetInfos"]
            tab = next(target["targetId"] for target in targets if target["type"] == "page")
            url = re.sub(r"/devtools/.*", f"/devtools/page/{tab}", _address(process, log))
        with connect(url, max_size=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"ws://\S+", log.read_text(errors="replace"))
        if found:
            return found.group()
        time.sleep(0.05)
    raise AssertionError(f"{BINARY} does not start: {log.read_text(errors='replace')[-2000:]}")
