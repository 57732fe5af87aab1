"""One run: the machine is started, watched, reset, cut off from power, asked for the books."""

import json
import random
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.vm import project
from tests.vm.accounts import overlooked, problems
from tests.vm.image import Image
from tests.vm.machine import Machine

GUEST: Final = Path(__file__).parent / "guest"
DAY_S: Final = 3000  # the first part: install, every scenario, panic and reset
BOOT_S: Final = 900  # until visitors pass again
VISITS_BEFORE_CUT: Final = 3
VISIT_S: Final = 8.0  # about as long as one visit takes: the cut may come at any moment of it
LAST_OF_DAY: Final = "hardware watchdog"

Say = Callable[[str], None]


class RunError(Exception):
    """The machine did something else than was asked of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `seconds` are the machine's own, except for the power cuts."""

    name: str
    detail: str
    seconds: int
    ok: bool

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'FAILED':6} {self.seconds:4d} s  {self.name:24} {self.detail}"


class Run:
    """A run in a folder of its own; `say` gets each line of the table as soon as it is known."""

    def __init__(self, machine: Machine, say: Say, seed: int) -> None:
        self._machine = machine
        self._say = say
        self._random = random.Random(seed)
        self._share = machine.share
        self.rows: list[Row] = []
        shutil.copytree(GUEST, self._share / "bench", ignore=shutil.ignore_patterns("__pycache__"))
        say(f"the machine gets {project.bring(self._share)}")

    def day(self) -> None:
        """Play every scenario up to the reset after a kernel panic; visitors pass when it ends."""
        self._machine.start("day")
        self._until(lambda: any(row.name == LAST_OF_DAY for row in self.rows), DAY_S, "the day to end")

    def power_cuts(self, cuts: int) -> None:
        """Cut the power in the middle of visits so many times, then let the machine account for itself."""
        began = time.monotonic()
        for cut in range(cuts):
            if cut:
                self._machine.start("crowd")
            enough = self._passed() + VISITS_BEFORE_CUT
            self._until(partial(self._have_passed, enough), BOOT_S, "visitors to pass")
            threading.Event().wait(self._random.uniform(0, VISIT_S))
            self._machine.cut_power()
        self._machine.start("end")
        self._until(lambda: not self._machine.running, BOOT_S, "the machine to switch itself off")
        self._add(self._books(cuts, round(time.monotonic() - began)))

    def _books(self, cuts: int, seconds: int) -> Row:
        ledgers = sorted(self._share.glob("ledger-*.jsonl"), key=lambda file: int(file.stem.split("-")[1]))
        seen, pulses = _lines(self._share / "events.jsonl"), _lines(self._share / "pulses.jsonl")
        rises, ledger = [json.loads(pulse) for pulse in pulses], _lines(ledgers[-1]) if ledgers else []
        wrong = problems(seen, rises, ledger)
        # Agreement is worth something only from a comparison that these very books, damaged, do not pass.
        wrong = wrong or [f"the comparison overlooks: {what}" for what in overlooked(seen, rises, ledger)]
        good = (
            f"{len(seen)} events and {len(pulses)} pulses seen outside, all on record, ledger verified; "
            f"with any of {len(ledger)} records damaged or doubled they would not agree"
        )
        return Row(f"power cut {cuts} times", "; ".join(wrong[:3]) or good, seconds, not wrong)

    def _passed(self) -> int:
        return sum(b'"result":"passed"' in line for line in _lines(self._share / "events.jsonl"))

    def _have_passed(self, enough: int) -> bool:
        return self._passed() >= enough

    def _until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        pause = threading.Event()
        while not condition():
            if time.monotonic() > deadline:
                raise RunError(f"waited {within_s:.0f} s in vain for {what}\n{self._last_words()}")
            if not self._machine.running:
                raise RunError(f"the machine ended, instead of {what}\n{self._last_words()}")
            pause.wait(0.2)
            self._read_results()
        self._read_results()

    def _read_results(self) -> None:
        for line in _lines(self._share / "results.jsonl")[len(self._from_guest()) :]:
            self._add(Row(**json.loads(line)))

    def _from_guest(self) -> list[Row]:
        return [row for row in self.rows if not row.name.startswith("power cut")]

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self._say(str(row))

    def _last_words(self) -> str:
        guest = self._share / "guest.log"
        said = guest.read_text(errors="replace").splitlines()[-15:] if guest.exists() else []
        return "\n".join([self._machine.console(), *said])


def _lines(file: Path) -> list[bytes]:
    """Return the whole lines of a file: one that a power cut has torn was never seen whole."""
    if not file.exists():
        return []
    return file.read_bytes().split(b"\n")[:-1]


def play(image: Image, folder: Path, say: Say, *, cuts: int, seed: int) -> bool:
    """Run everything; return whether every scenario ended as it must. Raises RunError."""
    with Machine(image, folder) as machine:
        run = Run(machine, say, seed)
        run.day()
        run.power_cuts(cuts)
    return all(row.ok for row in run.rows)
