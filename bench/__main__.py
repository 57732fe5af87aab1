"""Run every benchmark, print the tables and write them to RESULTS.md: `python -m bench`."""

import platform
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count
from pathlib import Path
from typing import Final

from bench.floor import ROOT
from gate.shell.clock import SystemClock

RESULTS: Final = ROOT / "RESULTS.md"
LIBRARIES: Final = (
    "msgspec",
    "psycopg",
    "sqlalchemy",
    "numpy",
    "opencv-python-headless",
    "zxing-cpp",
    "pyzbar",
    "cryptography",
    "cbor2",
    "paho-mqtt",
    "gpiozero",
)
INTRODUCTION: Final = (
    "Times depend on the machine, so each is compared with something plain that was measured beside it, in "
    "turns, in the same run. A limit that was not kept says so."
)


def names() -> list[str]:
    """Return the names of all benchmarks in this folder, sorted."""
    return sorted(path.stem for path in ROOT.glob("bench_*.py"))


def sections() -> Iterator[list[str]]:
    """Run each benchmark in turn and yield its Markdown lines."""
    for name in names():
        print(f"{name} ...", file=sys.stderr, flush=True)
        yield import_module(f"bench.{name}").run()


def heading() -> list[str]:
    """Return what the results begin with: how, when and on what they were measured."""
    now = datetime.fromtimestamp(SystemClock(lambda: True).now().wall_s, UTC)
    return [
        "# Results of the benchmarks",
        "",
        INTRODUCTION,
        "",
        "- command: `python -m bench` (or `make bench`)",
        f"- date: {now:%Y-%m-%d %H:%M} UTC",
        f"- machine: {machine()}",
        f"- software: {software()}",
    ]


def machine() -> str:
    """Say which processor, how many cores, how much memory."""
    memory = int(_proc_value("/proc/meminfo", "MemTotal").split()[0]) * 1024 / 1e9
    model = _proc_value("/proc/cpuinfo", "model name") or _proc_value("/proc/cpuinfo", "Model")
    return f"{cpu_count()} cores, {model or 'unknown processor'} ({platform.machine()}), {memory:.0f} GB"


def software() -> str:
    """Say which versions were measured."""
    found = [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def _proc_value(path: str, name: str) -> str:
    for line in Path(path).read_text("utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def main() -> None:
    """Measure everything; the file is written only when every benchmark has come to its end."""
    if len(sys.argv) > 1:
        sys.exit("usage: python -m bench    (it takes no arguments, and some 10 minutes)")
    lines = heading()
    for section in sections():
        lines += ["", *section]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
