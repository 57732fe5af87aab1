"""What the scenarios of the tier "nspawn" share: packages, the system they are installed in, the table."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.systemd.machine import Machine
from tests.systemd.packages import installed_system, newest_packages
from tests.systemd.rootfs import require_root

NEW_MACHINE = Callable[..., Machine]


@pytest.fixture(scope="session")
def packages() -> dict[str, Path]:
    """The .deb files of this tree by package name, as `make deb` has left them in build/deb."""
    require_root()
    return newest_packages()


@pytest.fixture(scope="session")
def system(packages: dict[str, Path]) -> list[Path]:
    """Debian 13 with the gate's package installed and nothing configured: trees, topmost first."""
    return installed_system(packages)


@pytest.fixture
def new_machine(system: list[Path], tmp_path: Path) -> Iterator[NEW_MACHINE]:
    """Make machines with disks of their own, off; those that run are cut off at the end of the test."""
    with ExitStack() as stack:

        def make(name: str = "hg", below: list[Path] | None = None, serial: str = "") -> Machine:
            # Disks are large, and what they hold was shown where something failed.
            stack.callback(shutil.rmtree, tmp_path / name, ignore_errors=True)
            return stack.enter_context(Machine(tmp_path / name, below or system, name, serial))

        yield make


@pytest.fixture
def shown(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say in the table what a scenario has shown or measured."""
    return lambda text: record_property("shown", text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """End with one line per scenario: what came of it, how long it took, what it measured."""
    reports = [
        report
        for outcome in ("passed", "failed", "skipped", "error")
        for report in terminalreporter.stats.get(outcome, [])
        if "nspawn" in getattr(report, "keywords", {})
        and (report.when == "call" or outcome in {"skipped", "error"})
    ]
    if not reports:
        return
    terminalreporter.section("scenarios in a booted Debian 13")
    for report in sorted(reports, key=lambda report: report.nodeid):
        name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        word = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[report.outcome]
        told = "; ".join(str(text) for key, text in report.user_properties if key == "shown")
        terminalreporter.line(f"{word:8}{report.duration:7.1f} s  {name}" + (f": {told}" if told else ""))
