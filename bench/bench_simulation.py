"""How fast the simulated gate runs on one core: all oracles at work, with and without faults."""

import time
from typing import Final

from gate.app.simulation import FAULT_KINDS, simulate

SEED = 1
RUNS: Final[tuple[tuple[str, float, frozenset[str]], ...]] = (
    ("no faults, 6 h with the morning rush", 6, frozenset()),
    ("all faults, 6 h with the morning rush", 6, FAULT_KINDS),
    ("all faults, 24 h", 24, FAULT_KINDS),
)
TARGET = 3600


def run() -> list[str]:
    """Return a Markdown table; times are CPU seconds of one process."""
    lines = [
        "## Simulation",
        "",
        f"Seed {SEED}, CPU time of one process; target: at least {TARGET:,} times real time per core.",
        "",
        "| run | CPU | simulated hours per CPU second | times real time | visits/s | records/s |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    return lines + [_row(name, hours, faults) for name, hours, faults in RUNS]


def _row(name: str, hours: float, faults: frozenset[str]) -> str:
    began_s = time.process_time()
    report = simulate(SEED, hours, faults, "county-hall")
    cpu_s = time.process_time() - began_s
    assert not report.violations, report.as_text()
    return (
        f"| {name} | {cpu_s:.2f} s | {hours / cpu_s:.1f} | {hours * 3600 / cpu_s:,.0f} "
        f"| {report.visits / cpu_s:,.0f} | {report.events / cpu_s:,.0f} |"
    )


def main() -> None:
    """Print the table."""
    print("\n".join(run()))


if __name__ == "__main__":
    main()
