"""Opens local pages in Debian's Chromium, which Playwright drives without its own browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Dialog, Page, sync_playwright

BINARY = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Screen:
    """One page at a time, with what the browser said about it.

    `problems` are its errors and warnings, `urls` what it asked for, `dialogs` its alerts.
    """

    def __init__(self, browser: Browser) -> None:
        """Show nothing yet."""
        self._browser = browser
        self._page: Page | None = None
        self.problems: list[str] = []
        self.urls: list[str] = []
        self.dialogs: list[str] = []

    @property
    def page(self) -> Page:
        """Playwright's page."""
        assert self._page is not None
        return self._page

    def open(
        self,
        path: Path,
        width: int,
        scheme: str = "light",
        scripts: bool = True,
        anchor: str = "",
    ) -> None:
        """Load the file in a window `width` pixels wide; wait until it is loaded."""
        self.close()
        is_phone = width < 600
        self._page = self._browser.new_page(
            viewport={"width": width, "height": 900},
            device_scale_factor=2 if is_phone else 1,
            is_mobile=is_phone,
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=scripts,
        )
        self._page.set_default_timeout(30_000)
        self._page.on("pageerror", lambda error: self.problems.append(str(error)))
        self._page.on(
            "console",
            lambda said: self.problems.append(said.text) if said.type != "log" else None,
        )
        self._page.on("request", lambda request: self.urls.append(request.url))
        self._page.on("dialog", self._note_dialog)
        self._page.goto(path.as_uri() + anchor)

    def _note_dialog(self, shown: Dialog) -> None:
        self.dialogs.append(shown.message)
        shown.accept()

    def close(self) -> None:
        """Close the page and forget what was said about it."""
        if self._page is not None:
            self._page.close()
        self._page, self.problems, self.urls, self.dialogs = None, [], [], []

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; waits for promises."""
        return self.page.evaluate(script)

    def on_paper(self, width: int) -> None:
        """Lay out the open page for printing, `width` pixels between the margins."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(media="print")

    def printed(self) -> bytes:
        """The page as a PDF on US letter paper."""
        pdf: bytes = self.page.pdf(print_background=True)
        return pdf


@contextmanager
def browsing() -> Iterator[Screen]:
    """A browser, closed with the context."""
    assert BINARY is not None
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BINARY, args=["--no-sandbox"])
        screen = Screen(browser)
        try:
            yield screen
        finally:
            screen.close()
            browser.close()
