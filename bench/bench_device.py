"""What a device pays for the gate: room on its card, and time until it serves, in a booted Debian 13."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import pytest

from tests.packaging.conftest import GATE, build
from tests.packaging.sizes import installed_mb
from tests.systemd.machine import Machine
from tests.systemd.packages import installed_system
from tests.systemd.rootfs import Overlay, require_root, trixie_root
from tests.systemd.settings import SCENE, gate_toml

MB_MAX: Final = 60
STARTS: Final = 7
UNIT: Final = "gate.service"
NOTE: Final = (
    "*A card's system*: Debian with cloud-init, gpiozero and smbus2, as Raspberry Pi OS Lite has them; by "
    "Installed-Size. READY is what the gate says itself: its ledger is opened, all parts are started."
)
_BOUNDS: Final = ("InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")


def run() -> list[str]:
    """Return Markdown tables, or why nothing could be measured here."""
    lines = ["## A device: room and time", ""]
    try:
        require_root()
        with tempfile.TemporaryDirectory() as folder:
            return lines + _measured(Path(folder))
    except pytest.skip.Exception as why:
        return [*lines, f"Not measured: {why}."]


def _measured(folder: Path) -> list[str]:
    packages = build(folder / "deb")
    card, python, nothing = installed_mb(Overlay(folder / "size", [trixie_root()]), packages[GATE])
    lines = [
        "| the gate's package and what it depends on, without Recommends | MB | limit |  |",
        "| --- | ---: | ---: | ---: |",
    ]
    sizes = (("a card's system", card), ("a system with python3", python), ("one without", nothing))
    for name, mb in sizes:
        limit = (f"{MB_MAX}", "kept" if mb <= MB_MAX else "**missed**") if mb != nothing else ("", "")
        lines.append(f"| installed on {name} | {mb:.1f} | {' | '.join(limit)} |")
    with Machine(folder / "machine", installed_system(packages)) as machine:
        python_s, ready_s = _starts(machine)
    return [
        *lines,
        "",
        f"Median of {STARTS} starts in a booted Debian 13 (container, this machine's processor).",
        "",
        "|  | s | × python3 |",
        "| --- | ---: | ---: |",
        f"| `python3 -c pass` | {python_s:.2f} | 1.0 |",
        f"| `gate.service`, from its start until READY | {ready_s:.2f} | {ready_s / python_s:.1f} |",
        "",
        NOTE,
    ]


def _starts(machine: Machine) -> tuple[float, float]:
    """Return the medians of Python's own start and of the gate's until READY, in turns (s)."""
    machine.put("/etc/gate/gate.toml", gate_toml(), 0o640, "root:gate")
    machine.put("/srv/scene.json", SCENE)
    machine.boot()
    machine.wait_active(UNIT)
    python_s, ready_s = [], []
    for _ in range(STARTS):
        began = time.perf_counter()
        machine.run("python3 -c pass")
        python_s.append(time.perf_counter() - began)
        machine.run(f"systemctl reset-failed {UNIT}; systemctl restart {UNIT}")
        said = machine.properties(UNIT, *_BOUNDS)
        started, ready = (int(said[name]) / 1e6 for name in _BOUNDS)
        ready_s.append(ready - started)
    return statistics.median(python_s), statistics.median(ready_s)


def main() -> None:
    """Print the tables."""
    print("\n".join(run()))


if __name__ == "__main__":
    main()
