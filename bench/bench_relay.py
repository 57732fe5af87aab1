"""From the last evidence to the relay: inbox, brain thread, decision, durable record, driven pin."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final
from unittest.mock import patch

from bench.bench_ledger import a_ledger
from bench.floor import Action, Disk, Floor, Measured, interleave, number, scratch, table, verdict
from bench.visit import MASK_ON, NORMAL, Visitors
from drivers.pins import open_pin_factory
from drivers.sim.pins import is_high
from drivers.turnstile import Turnstile
from gate.core.commands import CentreWord
from gate.core.effects import Effect, Unlock
from gate.core.events import Event, Kind, encode
from gate.core.inputs import ArmTurned, Input, PersonArrived, PersonLeft, ReadingTaken, Started, Stopped
from gate.core.moment import Moment
from gate.core.uses import Use
from gate.perform import Brain, Outputs
from gate.ports import Entry
from gate.shell.clock import SystemClock, sleep
from gate.shell.inbox import Inbox
from gate.shell.loop import BrainLoop
from gate.store.ledger import Ledger

RELAY_PIN: Final = 17
UNLOCK_MS_MAX: Final = 2000
PATIENCE_S: Final = 10.0
REST_S: Final = 0.002  # between visitors a gate waits, and its thread sleeps

FLOOR: Final = "append + fdatasync"
MASK_LAST: Final = "mask last"
CODE_LAST: Final = "code last, signature checked"
STAGES: Final = ("hop", "decide", "encode", "commit", "relay")
TIMES_FLOOR_MAX: Final = 4.0

NOTE: Final = (
    "From `Inbox.post` of the last evidence until the simulated relay pin is high, through the brain thread "
    "of the service. *hop*: until the brain thread begins with the input. *decide*: actor and rules, with "
    "the check of the signature where the code comes last. *encode*: the event as JSON. *commit*: chain, "
    "transaction, flush. *relay*: the driver sets the end of the pulse, then drives "
    "the pin. Gate and floor rest 2 ms before each, like a gate that waits for visitors; a processor that "
    "has slept runs Python two to three times slower than one kept busy. A disk that flushes in milliseconds "
    "(an SD card) hides all but the commit."
)


@dataclass(slots=True)
class Stamps:
    """Instants of one visit in nanoseconds, each written by the brain thread as it gets there."""

    posted: int = 0
    begun: int = 0
    encoding: int = 0
    encoded: int = 0
    durable: int = 0
    driven: int = 0

    def stages_us(self) -> list[float]:
        """Return how long hop, decide, encode, commit and relay took."""
        instants = [self.posted, self.begun, self.encoding, self.encoded, self.durable, self.driven]
        return [(after - before) / 1000 for before, after in pairwise(instants)]


@dataclass(slots=True)
class StampedLedger:
    """The ledger, with a note of when it was done."""

    ledger: Ledger
    stamps: Stamps
    body: bytes = b""

    def append(
        self,
        event: Event,
        now: Moment,
        use: Use | None = None,
        word: CentreWord | None = None,
        sealed: bytes | None = None,
    ) -> Entry:
        entry = self.ledger.append(event, now, use, word, sealed)
        self.stamps.durable = time.perf_counter_ns()
        if event.kind is Kind.VISIT_DECIDED:
            self.body = entry.body
        return entry

    def open_visits(self) -> tuple[str, ...]:
        return self.ledger.open_visits()

    def word(self) -> CentreWord:
        return self.ledger.word()

    def uses(self, now_ms: int | None = None) -> tuple[Use, ...]:
        return self.ledger.uses(now_ms)


class Quiet:
    """Lamps and display that nobody looks at."""

    def show(self, *_: object) -> None:
        pass


@dataclass(slots=True)
class AskedForReadings:
    """A thermometer that remembers who was to be measured."""

    visit: str = ""
    asked: threading.Event = field(default_factory=threading.Event)

    def request(self, visit: str) -> None:
        self.visit = visit
        self.asked.set()


class Rig:
    """A gate from its inbox to its relay pin, run by the service's own brain loop on a thread."""

    def __init__(self, folder: Path) -> None:
        self._clock = SystemClock(lambda: True)
        self._visitors = Visitors(self._clock)
        self._actor = self._visitors.actor()
        self._factory = open_pin_factory("mock")
        self._inbox = Inbox()
        self._stamps = Stamps()
        self._ledger = a_ledger(folder / "ledger.db")
        self.ledger = StampedLedger(self._ledger, self._stamps)
        self._thermometer = AskedForReadings()
        self._driven, self._high = threading.Event(), False
        self.stages_us: list[list[float]] = []
        self._turnstile = Turnstile(
            RELAY_PIN,
            None,
            pin_factory=self._factory,
            unlock_ms_max=UNLOCK_MS_MAX,
            on_turned=lambda: None,
            on_failed=lambda _: None,
        )
        outputs = Outputs(
            turnstile=self._turnstile,
            lights=Quiet(),
            display=Quiet(),
            thermometer=self._thermometer,
            ledger=self.ledger,
            on_record=lambda _: None,
        )
        self._loop = BrainLoop(Brain(self._actor, outputs, self._observe), self._inbox, self._clock)

    def visit(self, *, code_last: bool) -> int:
        """Let one visitor through; return the nanoseconds from the last evidence to the relay."""
        self._thermometer.asked.clear()
        self._inbox.post(PersonArrived())
        assert self._thermometer.asked.wait(PATIENCE_S)
        code, reading = self._visitors.code(), ReadingTaken(self._thermometer.visit, NORMAL)
        for happened in (reading, MASK_ON if code_last else code):
            self._inbox.post(happened)
        sleep(REST_S)
        self._driven.clear()
        self._stamps.posted = time.perf_counter_ns()
        self._inbox.post(code if code_last else MASK_ON)
        assert self._driven.wait(PATIENCE_S)
        assert self._high, "the relay is not on"
        self.stages_us.append(self._stamps.stages_us())
        self._leave()
        return self._stamps.driven - self._stamps.posted

    def _leave(self) -> None:
        self._inbox.post(ArmTurned())
        self._inbox.post(PersonLeft())
        deadline = time.monotonic() + PATIENCE_S
        while self._actor.visit is not None or is_high(self._factory, RELAY_PIN):
            assert time.monotonic() < deadline, "the visit does not end"
            sleep(REST_S / 4)

    def _observe(self, _happened: Input, effect: Effect | None, _now: Moment) -> None:
        if effect is None:
            self._stamps.begun = time.perf_counter_ns()
        elif isinstance(effect, Unlock):
            self._stamps.driven = time.perf_counter_ns()
            self._high = is_high(self._factory, RELAY_PIN)
            self._driven.set()

    def _encode(self, *given: Any) -> bytes:
        self._stamps.encoding = time.perf_counter_ns()
        body = encode(*given)
        self._stamps.encoded = time.perf_counter_ns()
        return body

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve on a thread for as long as the `with` block lasts."""
        thread = threading.Thread(target=self._loop.run, args=(Started("bench"),), name="brain")
        with patch("gate.store.ledger.encode", self._encode):
            thread.start()
            try:
                yield
            finally:
                self._inbox.post(Stopped())
                thread.join(PATIENCE_S)
                self._turnstile.close()
                self._ledger.close()


def run(rounds: int = 12, each: int = 25, warm_up: int = 100) -> list[str]:
    """Measure and return Markdown lines."""
    with scratch() as folder:
        found, stages = measure(folder, rounds, each, warm_up)
    return report(found, stages)


def measure(
    folder: Path, rounds: int, each: int, warm_up: int
) -> tuple[dict[str, Measured], dict[str, list[float]]]:
    """Return what was measured, and for each order of evidence the median of each stage in microseconds."""
    rig = Rig(folder)
    kept: dict[str, list[list[float]]] = {MASK_LAST: [], CODE_LAST: []}

    def visit(name: str) -> int:
        took = rig.visit(code_last=name == CODE_LAST)
        kept[name].append(rig.stages_us[-1])
        return took

    with Floor(folder / "floor") as floor, rig.running():
        rig.visit(code_last=True)
        body = rig.ledger.body

        def append() -> int:
            sleep(REST_S)
            return floor.append(body)

        actions: dict[str, Action] = {FLOOR: append, **{name: partial(visit, name) for name in kept}}
        found = interleave(actions, Disk(folder), rounds=rounds, each=each, warm_up=warm_up)
    stages = {
        name: [median(column) for column in zip(*rows[warm_up:], strict=True)] for name, rows in kept.items()
    }
    return found, stages


def report(found: dict[str, Measured], stages: dict[str, list[float]]) -> list[str]:
    """Return a section of the results."""
    floor = found[FLOOR]
    names = [name for name in found if name != FLOOR]
    return [
        "## Last evidence to relay",
        "",
        f"{len(floor.rounds)} rounds of {len(floor.rounds[0].times_us)} visits each way, in turns.",
        "",
        *table(
            ["", "p50 µs", "p99 µs", "× floor (rounds)", *STAGES],
            [
                [name, number(one.p50_us), number(one.p99_us), one.spread(floor)]
                + [number(each) for each in stages.get(name, [None] * len(STAGES))]
                for name, one in found.items()
            ],
        ),
        "",
        *table(
            ["limit", "at most", "measured", ""],
            [
                [
                    f"{name}, × floor",
                    f"{TIMES_FLOOR_MAX}",
                    f"{found[name].ratio(floor):.2f}",
                    verdict(found[name].ratio(floor), TIMES_FLOOR_MAX),
                ]
                for name in names
            ],
        ),
        "",
        NOTE,
    ]


def main() -> None:
    print("\n".join(run()))


if __name__ == "__main__":
    main()
