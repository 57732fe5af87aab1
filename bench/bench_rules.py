"""What a decision costs: plans on mixed evidence, `gate judge`, replay, and a record that carries a use."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from typing import Any, Final

from bench.bench_ledger import a_ledger
from bench.floor import ROOT, Disk, Floor, Measured, interleave, number, scratch, table, timed, verdict
from bench.visit import RUN, decided_visit
from gate.app.judging import read_evidence
from gate.app.replay import Replay
from gate.config import load_policy, policy_names
from gate.core.evidence import Direction, Evidence
from gate.core.policy import Policy, Verdict, policy_hash
from gate.core.rules import decide
from gate.core.uses import Use
from gate.shell.clock import SystemClock
from gate.store.ledger import entries

SEED: Final = 1
DECISIONS_PER_S_MIN: Final = 10_000
PLAN: Final = "county-hall"
OTHER_PLAN: Final = "appointment-hall"

FLOOR: Final = "append + fdatasync"
BARE: Final = "`Ledger.append`"
WITH_USE: Final = "`Ledger.append` with a use"

NOTE: Final = (
    "CPU time of one process, so for each core. The evidence is everything in order with up to three things "
    "changed by chance; it is the same for every plan. `gate judge --lines` is the command in a process of "
    "its own, reading JSON and writing JSON, without its start. Replay reads a ledger file, parses each "
    f"record and judges it again: by its own plan, and by {OTHER_PLAN}, which treats each visit differently. "
    "*Disk* and *flushes* are explained under the ledger; each use is of another pass, so that the table of "
    "uses grows all the time."
)


# Mixed evidence


IN_ORDER: Final[dict[str, Any]] = {
    "at": "2022-04-11T10:00:00+08:00", "person": "visitor", "direction": "in", "temperatures_c": [36.5],
    "temperature_error_c": 0.3, "health_code": "green", "travel_code": "clear", "mask": "worn",
    "registration": ["name", "id_number", "phone"], "id_checked": True, "origin": "elsewhere",
    "occupancy": 42,
    "appointment": {
        "from": "2022-04-11T09:00:00+08:00", "until": "2022-04-11T11:00:00+08:00",
        "booked_at": "2022-04-10T12:00:00+08:00",
    },
    "nucleic_acid_test": {"taken_at": "2022-04-10T10:00:00+08:00", "result": "negative"},
}  # fmt: skip
OTHERWISE: Final[dict[str, Sequence[Any]]] = {
    "at": (None, "2022-04-11T08:00:00+08:00", "2022-04-11T17:30:00+08:00"),
    "person": ("staff", "resident", "supply"),
    "direction": ("out",),
    "temperatures_c": ([], [None], [37.4], [37.4, 36.4], [37.4, 37.4], [38.5, 39.0], [37.4, None]),
    "health_code": ("yellow", "red", "unknown", "none", "service_unreachable"),
    "travel_code": ("risk_area", "declared", "unknown", "none"),
    "mask": ("missing", "unknown"),
    "symptoms": (["cough"], ["cold"], ["fever", "breathing_difficulty"]),
    "registration": ([], ["name", "phone"]),
    "id_checked": (None, False),
    "appointment": (None, {**IN_ORDER["appointment"], "used": True}),
    "nucleic_acid_test": (None, {"result": "positive"}, {"result": "negative"}),
    "origin": ("key_area", "unknown"),
    "household_pass": (
        {"from": "2022-04-11T08:00:00+08:00", "until": "2022-04-11T12:00:00+08:00", "uses_left": 1},
    ),
    "occupancy": (None, 100, 1000),
    "suspended": (True,),
    "attendant": ({"confirmed": True}, {"refuses": True}),
    "last_measured_at": ("2022-04-11T09:00:00+08:00", "2022-04-11T07:00:00+08:00"),
}


def mixed(n: int) -> list[dict[str, Any]]:
    """Return evidence in its JSON form, the same each time."""
    rng = random.Random(SEED)
    found = []
    for _ in range(n):
        changed = rng.sample(sorted(OTHERWISE), rng.randint(0, 3))
        found.append({**IN_ORDER, **{name: rng.choice(OTHERWISE[name]) for name in changed}})
    return found


# Decisions


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a second something was done, for each round; and how the plan decided."""

    per_s: list[float]
    verdicts: Counter[Verdict]


def decisions(rounds: int, each: int) -> dict[str, Rate]:
    """Judge the same evidence by each plan, in turns."""
    evidence = [read_evidence(form) for form in mixed(each)]
    plans = {name: load_policy(name) for name in policy_names()}
    hashes = {name: policy_hash(plan) for name, plan in plans.items()}
    found: dict[str, Rate] = {name: Rate([], Counter()) for name in plans}
    for _ in range(rounds):
        for name, plan in plans.items():
            cpu_s, verdicts = _judged(plan, hashes[name], evidence)
            found[name].per_s.append(each / cpu_s)
            found[name].verdicts.update(verdicts)
    return found


def _judged(plan: Policy, sha256: str, evidence: list[Evidence]) -> tuple[float, list[Verdict]]:
    began_s = time.process_time()
    verdicts = [decide(plan, sha256, each).verdict for each in evidence]
    return time.process_time() - began_s, verdicts


def judge_lines(folder: Path, rounds: int, each: int) -> list[float]:
    """Return lines per second through `gate judge --lines`; what a single line takes is its start."""
    one, many = folder / "one.jsonl", folder / "many.jsonl"
    lines = [json.dumps(form) + "\n" for form in mixed(each)]
    one.write_text(lines[0], "utf-8")
    many.write_text("".join(lines), "utf-8")
    return [(each - 1) / (_command_cpu_s(many, each) - _command_cpu_s(one, 1)) for _ in range(rounds)]


def _command_cpu_s(evidence: Path, lines: int) -> float:
    judge = ["judge", "--policy", PLAN, "--lines", "--evidence", str(evidence)]
    command = [sys.executable, "-c", "from gate.cli import main; main()", *judge]
    before = getrusage(RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=ROOT.parent, stdout=subprocess.PIPE, check=True)
    after = getrusage(RUSAGE_CHILDREN)
    assert done.stdout.count(b'{"verdict"') == lines, done.stdout[:200]
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def replays(folder: Path, rounds: int, each: int) -> dict[str, list[float]]:
    """Return visits per second, judged again by their own plan and by another one."""
    path, clock = folder / "replayed.db", SystemClock(lambda: True)
    event, ledger = decided_visit(clock), a_ledger(path)
    for n in range(each):
        ledger.append(replace(event, data={**event.data, "visit": f"{RUN}-{n:06}"}), clock.now())
    ledger.close()
    wanted = {PLAN: 0, OTHER_PLAN: each}
    return {name: [_replayed(path, name, each, wanted[name]) for _ in range(rounds)] for name in wanted}


def _replayed(path: Path, plan: str, visits: int, different: int) -> float:
    replay = Replay(load_policy(plan))
    began_s = time.process_time()
    differences = sum(1 for _ in replay.differences(entries(path)))
    cpu_s = time.process_time() - began_s
    assert (replay.visits, differences, replay.unreadable) == (visits, different, []), plan
    return visits / cpu_s


def report_decisions(
    found: dict[str, Rate], lines_per_s: list[float], replayed: dict[str, list[float]]
) -> list[str]:
    rates = list(found.values())
    slowest = min(found, key=lambda name: median(found[name].per_s))
    rate = median(found[slowest].per_s)
    ways: dict[str, list[float]] = {
        f"`gate judge --lines`, {PLAN}": lines_per_s,
        **{f"replay by {name}": per_s for name, per_s in replayed.items()},
    }
    return [
        "## Rules: decisions, replay, uses",
        "",
        f"{rates[0].verdicts.total() // len(rates[0].per_s)} visits, {len(rates[0].per_s)} rounds in turns.",
        "",
        *table(
            ["plan", "decisions/s (rounds)", *Verdict],
            [[name, _spread(rate.per_s), *_shares(rate.verdicts)] for name, rate in found.items()],
        ),
        "",
        *table(["for each core", "visits/s (rounds)"], [[way, _spread(ways[way])] for way in ways]),
        "",
        *table(
            ["limit", "at least", "measured", ""],
            [[f"decisions/s, slowest plan ({slowest})", f"{DECISIONS_PER_S_MIN:,}", number(rate),
              verdict(DECISIONS_PER_S_MIN, rate)]],
        ),
    ]  # fmt: skip


def _spread(per_s: list[float]) -> str:
    return f"{median(per_s):,.0f} ({min(per_s):,.0f} to {max(per_s):,.0f})"


def _shares(verdicts: Counter[Verdict]) -> list[str]:
    return [f"{100 * verdicts[word] / verdicts.total():.0f} %" for word in Verdict]


# A record that carries a use


def uses(folder: Path, rounds: int, each: int, warm_up: int) -> dict[str, Measured]:
    """Append the same record without and with a use, and its bytes to a file, in turns."""
    clock = SystemClock(lambda: True)
    event, now = decided_visit(clock), clock.now()
    without, carrying = (a_ledger(folder / name) for name in ("without.db", "with.db"))
    body, append = without.append(event, now).body, carrying.append
    use = _uses(now.wall_ms)
    with Floor(folder / "floor") as floor:
        actions = {
            FLOOR: lambda: floor.append(body),
            BARE: timed(lambda: without.append(event, now)),
            WITH_USE: timed(lambda: append(event, now, use())),
        }
        found = interleave(actions, Disk(folder), rounds=rounds, each=each, warm_up=warm_up)
    without.close()
    carrying.close()
    return found


def _uses(now_ms: int) -> Callable[[], Use]:
    """Give the first use of another pass each time."""
    rng, numbers = random.Random(SEED), count(now_ms)

    def use() -> Use:
        at_ms = next(numbers)
        return Use(f"demo-counter/{rng.randbytes(8).hex()}", Direction.IN, at_ms, at_ms // 1000 + 86_400)

    return use


def report_uses(found: dict[str, Measured]) -> list[str]:
    low, bare = found[FLOOR], found[BARE]
    one = bare.rounds
    return [
        f"A record that carries a use: {len(one)} rounds of {len(one[0].times_us)} records, in turns.",
        "",
        *table(
            [
                "",
                "p50 µs",
                "p99 µs",
                "× floor",
                "× without a use (rounds)",
                "kB, process",
                "kB, disk",
                "flushes",
            ],
            [_use_row(name, each, low, bare) for name, each in found.items()],
        ),
    ]


def _use_row(name: str, one: Measured, low: Measured, bare: Measured) -> list[str]:
    return [
        name,
        number(one.p50_us),
        number(one.p99_us),
        number(one.ratio(low), 2),
        one.spread(bare),
        number(one.per_action(lambda written: written.by_process_bytes), 1, unit=1000),
        number(one.per_action(lambda written: written.on_disk_bytes), 1, unit=1000),
        number(one.per_action(lambda written: written.flushes), 2),
    ]


def run(rounds: int = 11, each: int = 2000, appends: int = 400, warm_up: int = 600) -> list[str]:
    """Measure and return Markdown lines."""
    with scratch() as folder:
        decided = decisions(rounds, each)
        lines = report_decisions(decided, judge_lines(folder, 3, 5 * each), replays(folder, rounds, each))
        carried = uses(folder, rounds, appends, warm_up)
    return [*lines, "", *report_uses(carried), "", NOTE]


def main() -> None:
    print("\n".join(run()))


if __name__ == "__main__":
    main()
