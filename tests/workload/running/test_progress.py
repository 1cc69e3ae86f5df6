"""Progress bars and the terminal."""

from __future__ import annotations

import io
import sys

import pytest

from workload.running.progress import progress_bar

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    """What a terminal gets. `stops_at`: the text at whose writing the user presses Ctrl-C."""

    stops_at = ""

    def isatty(self) -> bool:
        """It is one."""
        return True

    def write(self, text: str) -> int:
        """Write, and interrupt the program once."""
        done = super().write(text)
        if self.stops_at and self.stops_at in text:
            self.stops_at = ""
            raise KeyboardInterrupt
        return done


@pytest.mark.parametrize("stops_at", [HIDE, "1/2"])
def test_the_cursor_is_visible_again_after_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, stops_at: str
) -> None:
    terminal = Terminal()
    terminal.stops_at = stops_at
    monkeypatch.setattr(sys, "stderr", terminal)

    with pytest.raises(KeyboardInterrupt), progress_bar("Reading", 2) as bar:
        bar.update(1)

    shown = terminal.getvalue()
    assert HIDE in shown
    assert shown.rindex(SHOW) > shown.rindex(HIDE)


def test_nothing_is_shown_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Reading", 2) as bar:
        bar.update(2)

    assert capfd.readouterr() == ("", "")
