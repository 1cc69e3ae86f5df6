"""What a benchmark measured against what is wanted: lines with PASS or FAIL, and JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "bench"


@dataclass(frozen=True)
class Target:
    """One figure: `wanted` is the most that is allowed, or the least if `at_least`."""

    what: str
    measured: float
    wanted: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure is as wanted."""
        if self.at_least:
            return self.measured >= self.wanted
        return self.measured <= self.wanted

    def line(self) -> str:
        """The figure, what is wanted and PASS or FAIL."""
        sign = ">=" if self.at_least else "<="
        verdict = "PASS" if self.is_met else "FAIL"
        return f"{verdict}  {self.what}: {self.measured:.6g} (wanted {sign} {self.wanted:g})"


def machine() -> str:
    """The processor, its number of cores here, and the system."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def report(name: str, targets: list[Target], figures: dict[str, Any]) -> None:
    """Print the targets, and write them with `figures` to build/bench/NAME.json."""
    print(f"\n{machine()}")
    for target in targets:
        print(target.line())
    rows = [{**vars(target), "pass": target.is_met} for target in targets]
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(
        json.dumps({"machine": machine(), "targets": rows, "figures": figures}, indent=2) + "\n"
    )
    print(f"written to {path.relative_to(ROOT)}")
