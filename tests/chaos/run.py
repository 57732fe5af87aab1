"""One chaos run: visitors come, things break, all grows quiet, and the books are compared.

It ends by itself: the storm when enough visitors have come, at the latest after STORM_S; the quiet when the
centre has everything, at the latest after QUIET_S.
"""

import heapq
import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.accounts import Account, Passes, Row, compare, counted, passes, undetected, visits
from tests.chaos.faults import BROKER, CENTRE, Fault, Kind, deal
from tests.chaos.plant import Centre, Gate, Part, PlantError, Wire, a_broker, free_ports, named

STORM_S: Final = 420.0
QUIET_S: Final = 100.0
_TICK_S: Final = 0.2
_QUIET_PER_MINUTE: Final = 1
# Behind so many seconds without a new row the centre of a control run has all that it will ever get.
_STILL_S: Final = 8.0
_TOLD_MAX: Final = 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run. `trusting`: the control, whose gates take the broker's acknowledgement for the truth."""

    seed: int
    visits: int = 20_000
    gates: int = 4
    visitors_per_minute: int = 1800
    trusting: bool = False
    storm_s: float = STORM_S
    quiet_s: float = QUIET_S


@dataclass(slots=True)
class Happened:
    """What was done to whom, for the table."""

    counts: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    seconds: defaultdict[tuple[Kind, str], float] = field(default_factory=lambda: defaultdict(float))

    def note(self, fault: Fault) -> None:
        """Take note of one fault."""
        self.counts[fault.kind, fault.target] += 1
        self.seconds[fault.kind, fault.target] += fault.lasts_s

    def table(self) -> Iterator[str]:
        """Yield the lines of a table."""
        yield f"{'fault':28}{'part':10}{'times':>6}{'seconds':>9}"
        for (kind, target), times in sorted(self.counts.items()):
            yield f"{kind:28}{target:10}{times:6}{self.seconds[kind, target]:9.1f}"


class Storm:
    """Breaks parts and puts them right again, in time."""

    def __init__(self, settings: Settings, parts: dict[str, Part], wire: Wire) -> None:
        gates = [name for name in parts if name not in {BROKER, CENTRE}]
        self._faults = deal(settings.seed, gates)
        self._parts = parts
        self._wire = wire
        self._busy: set[str] = set()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._next = next(self._faults)
        self._next_s = time.monotonic() + self._next.wait_s
        self.happened = Happened()

    def tick(self) -> None:
        """Do what is due by now."""
        now_s = time.monotonic()
        while self._due and self._due[0][0] <= now_s:
            heapq.heappop(self._due)[2]()
        while self._next_s <= now_s:
            if self._next.target not in self._busy:  # it is down already: once is enough
                self._strike(self._next)
            self._next = next(self._faults)
            self._next_s += self._next.wait_s

    def end(self) -> None:
        """Put everything right."""
        while self._due:
            heapq.heappop(self._due)[2]()

    def _strike(self, fault: Fault) -> None:
        self._busy.add(fault.target)
        self.happened.note(fault)
        if fault.kind is Kind.FREEZE:
            self._wire.freeze(fault.target)
        else:
            self._parts[fault.target].kill()
        end_s = time.monotonic() + fault.lasts_s
        heapq.heappush(self._due, (end_s, next(self._order), lambda: self._mend(fault)))

    def _mend(self, fault: Fault) -> None:
        self._busy.discard(fault.target)
        if fault.kind is Kind.FREEZE:
            self._wire.thaw(fault.target)
        else:
            self._parts[fault.target].start()


class Run:
    """One run in an empty folder. PlantError when a process cannot be had or does not do what it must."""

    def __init__(self, settings: Settings, folder: Path, say: Say) -> None:
        self._settings = settings
        self._say = say
        self._pause = threading.Event()
        names = [f"g{number}" for number in range(1, settings.gates + 1)]
        (broker_port,) = free_ports(1)
        self._wire = Wire(folder, broker_port, [*names, CENTRE])
        self._broker = a_broker(folder, broker_port)
        self._centre = Centre(folder, self._wire.ports[CENTRE])
        keys_file = None if settings.trusting else self._centre.keys_file
        self._gates = [
            Gate(name, folder, self._wire.ports[name], settings.seed * 1000 + number, keys_file)
            for number, name in enumerate(names)
        ]
        self._parts: dict[str, Part] = {
            BROKER: self._broker, CENTRE: self._centre, **{gate.name: gate for gate in self._gates}
        }  # fmt: skip

    def account(self) -> Account:
        """Run, and say what was found; every process has ended by then."""
        settings = self._settings
        began_s = time.monotonic()
        with self._running():
            happened = self._storm()
            storm_s = time.monotonic() - began_s
            quiet = self._calm()
        account = self._settle(quiet)
        for line in happened.table():
            self._say(line)
        self._say("")
        books = f"{account.visits} visits, {account.pulses} pulses, {account.records} records"
        all_s = time.monotonic() - began_s
        self._say(f"{books} at {settings.gates} gates; storm {storm_s:.0f} s, all {all_s:.0f} s")
        return account

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Set everything up and start it; whatever is left is gone behind the block."""
        for gate in self._gates:
            gate.configure(self._settings.visitors_per_minute)
            if not self._settings.trusting:
                self._centre.enrol(gate.identity())
        try:
            for part in (self._broker, self._wire, self._centre, *self._gates):
                part.start()
            yield
        finally:
            for part in (*self._gates, self._centre, self._wire, self._broker):
                part.kill()

    def _storm(self) -> Happened:
        storm = Storm(self._settings, self._parts, self._wire)
        until_s = time.monotonic() + self._settings.storm_s
        # A twentieth of the visitors does not pass; those are on top.
        while (passed := sum(gate.count_pulses() for gate in self._gates)) < self._settings.visits:
            if time.monotonic() > until_s:
                self._say(f"only {passed} have passed in time")
                break
            self._pause.wait(_TICK_S)
            storm.tick()
            self._still_alive()
        storm.end()
        return storm.happened

    def _still_alive(self) -> None:
        for part in (*self._parts.values(), self._wire):
            if part.died is not None:
                raise PlantError(f"{part.name} has ended by itself with status {part.died}; see {part.log}")

    def _calm(self) -> bool:
        """Let no more visitors come, and wait for the rest to arrive; False when it does not in time."""
        for gate in self._gates:
            gate.stop()
            gate.configure(_QUIET_PER_MINUTE)
            gate.start()
        until_s = time.monotonic() + self._settings.quiet_s
        arrived = self._wait(self._settled, until_s)
        for gate in self._gates:
            gate.stop()
        arrived = self._wait(self._settled, until_s) and arrived
        self._centre.stop()
        return arrived

    def _wait(self, condition: Callable[[], bool], until_s: float) -> bool:
        while not (holds := condition()) and time.monotonic() < until_s:
            self._pause.wait(1.0)
        return holds

    def _settled(self) -> bool:
        """Say whether nothing is left to come."""
        if self._settings.trusting:
            return self._stands_still()
        stands = {row["gate"]: (row["epoch"], row["proved"]) for row in self._centre.status()}
        return stands == {gate.name: gate.head() for gate in self._gates}

    def _stands_still(self) -> bool:
        before = self._centre.status()
        self._pause.wait(_STILL_S)
        return [row["linked"] for row in before] == [row["linked"] for row in self._centre.status()]

    def _settle(self, quiet: bool) -> Account:
        """Compare the books."""
        books = {gate.name: list(gate.ledgers()) for gate in self._gates}
        ledgers = [row for rows in books.values() for row in rows]
        account = compare(ledgers, self._centre.export(), parked_counts=self._settings.trusting)
        alarms, problems = self._centre.alarms(), self._centre.problems()
        account.undetected = undetected((*account.lost, *account.doubled), named(alarms, problems))
        for gate in self._gates:
            self._count_passes(account, gate, books[gate.name])
        raised = [f"{alarm['kind']}/{alarm['code']}" for alarm in alarms]
        self._say(f"alarms raised: {counted(raised)}")
        if not self._settings.trusting:
            account.others += [f"an honest gate was accused: {word}" for word in raised if _accuses(word)]
            account.others += [f"central verify: {found}" for found in problems]
            if not quiet:
                account.others.append(f"not everything had arrived after {self._settings.quiet_s:.0f} s")
        if account.visits < self._settings.visits:
            account.others.append(f"only {account.visits} visits of {self._settings.visits}")
        if excesses := self._wire.excesses():
            account.others.append(f"Receive Maximum was not kept {excesses} times")
        return account

    def _count_passes(self, account: Account, gate: Gate, book: list[Row]) -> None:
        events = [row.event for row in book]
        pulses = gate.pulses()
        found: Passes = passes(events, [pulse.at_ms for pulse in pulses])
        account.visits += visits(events)
        account.pulses += len(pulses)
        account.unrecorded += found.unrecorded
        account.others += [f"{gate.name}: record {seq} was not followed by a pulse" for seq in found.unopened]
        if len({row.place[1] for row in book}) > 1:
            account.others.append(f"{gate.name} has begun a new ledger")


def _accuses(alarm: str) -> bool:
    """Say whether an alarm says of somebody that records were falsified or concealed."""
    return alarm.startswith(("false/", "concealed/"))


def run(settings: Settings, folder: Path, say: Say) -> bool:
    """Run, tell about it, and return whether it went as it has to; the last line is the verdict."""
    say(f"seed {settings.seed}: {settings.visits} visits at {settings.gates} gates, in {folder}")
    account = Run(settings, folder, say).account()
    for sentence in account.others[:_TOLD_MAX]:
        say(sentence)
    if not settings.trusting:
        say(account.line)
        return account.good
    lost = len(account.lost)
    say(f"control: trusting the broker lost {lost} of {account.records} records")
    return lost > 0
