"""One run: a gate, the people before it, the faults, the oracles, and the report on it all."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from gate.core.effects import Effect, Record
from gate.core.evidence import Direction
from gate.core.inputs import Input
from gate.core.moment import NS_PER_S, Moment
from gate.core.policy import Policy
from gate.perform import Observer
from gate.sim.centre import Centre, CommandPost
from gate.sim.delivery import Broker
from gate.sim.entrance import Arm, Entrance
from gate.sim.faults import Fault, schedule
from gate.sim.machine import LEDGER_NAME, Machine, Parts, SimThermometer, Surroundings
from gate.sim.office import Folder, Office
from gate.sim.oracle import Oracle, Violation
from gate.sim.people import TELLING, Kind, Person, Population
from gate.sim.service import SimService
from gate.sim.timeline import StandstillError, Timeline
from gate.store.ledger import Outbox

_AUDIT_S: Final = 30
_QUIET_S: Final = 3600  # at the end of a run nothing goes wrong any more
_CONVERGED_WITHIN_S: Final = 600
_TOLD_BEFORE_S: Final = 120
_DRAIN_S: Final = 400  # nobody comes any more; the longest visit ends and the last record arrives


# From seconds that only grow, a way to wait, and a seed.
MakeThermometer = Callable[[Callable[[], float], Callable[[float], None], int], SimThermometer]


@dataclass(frozen=True, slots=True)
class Setup:
    """One run to make: `folder` is empty and holds the ledger; `faults` names kinds of faults."""

    policy: Policy
    seed: int
    hours: float
    faults: frozenset[str]
    make_thermometer: MakeThermometer
    folder: Path
    parts: Parts = field(default_factory=Parts)
    observe: Observer | None = None
    direction: Direction = Direction.IN


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has shown. `digest` covers every input, effect and record with its time, and no real time.

    `faults` counts by kind and word; `stages` and `results` count the records of visits by their two stages.
    `came` counts people of the kinds about whom passes and papers say most, `documents` what became of those
    of the day, `asked` the questions to verify services by how they dealt with them, `commands` what became
    of the centre's and of what was meant to look like them; `epochs` is how often a ledger has begun.
    """

    seed: int
    hours: float
    policy: str
    fault_kinds: tuple[str, ...]
    people: int
    visits: int
    events: int
    stages: dict[str, int]
    results: dict[str, int]
    faults: dict[str, int]
    came: dict[str, int]
    documents: dict[str, int]
    asked: dict[str, int]
    commands: dict[str, int]
    epochs: int
    violations: tuple[Violation, ...]
    digest: str
    direction: str = "in"
    real_s: float = 0.0

    @property
    def replay(self) -> str:
        """The command that makes the same run again."""
        kinds = ",".join(self.fault_kinds) or "none"
        policy = shlex.quote(self.policy)
        way = "" if self.direction == Direction.IN else f" --direction {self.direction}"
        hours = repr(float(self.hours)).removesuffix(".0")
        return f"gate simulate --seed {self.seed} --hours {hours} --faults {kinds} --policy {policy}{way}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "replay": self.replay}

    def as_text(self) -> str:
        """Return it for people: what ran, what came of it, what went wrong on purpose, what must not be."""
        speed = f", {self.hours * 3600 / self.real_s:,.0f} times real time" if self.real_s else ""
        lines = [
            f"seed {self.seed}, {self.hours:g} h, policy {self.policy}, way {self.direction}{speed}",
            f"people {self.people}, visits {self.visits}, records {self.events}, epochs {self.epochs}",
            *(f"{name}: {_counts(counts)}" for name, counts in self._tables()),
            f"digest {self.digest}",
            f"violations: {len(self.violations) or 'none'}",
        ]
        lines += [
            f"  oracle {v.oracle} at {v.at_s:.3f} s, visit {v.visit}: {v.seen}" for v in self.violations
        ]
        return "\n".join(lines)

    def _tables(self) -> tuple[tuple[str, dict[str, int]], ...]:
        return (
            ("decided", self.stages),
            ("ended", self.results),
            ("came", self.came),
            ("documents", self.documents),
            ("services asked", self.asked),
            ("commands", self.commands),
            ("faults", self.faults),
        )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{word} {count}" for word, count in counts.items()) or "none"


def _spelled(what: object) -> str:
    """Return the one spelling of an input or effect: a set has none of its own."""
    if is_dataclass(what):
        return (
            f"{type(what).__name__}({','.join(_spelled(getattr(what, part.name)) for part in fields(what))})"
        )
    if isinstance(what, frozenset):
        return f"{{{','.join(sorted(map(_spelled, what)))}}}"
    return repr(what)


class Simulation:
    """One run from one seed. `run` may be called once. Raises ValueError for unknown kinds of faults."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._timeline = timeline = Timeline()
        self._end_ns = round(setup.hours * 3600 * NS_PER_S)
        self._quiet_ns = max(self._end_ns - _QUIET_S * NS_PER_S, self._end_ns // 2)
        self._plan = schedule(setup.seed, setup.faults, self._quiet_ns)
        self._faults: Counter[str] = Counter()
        self._digest = sha256()
        self._people: Counter[Kind] = Counter()
        self._thermometer = setup.make_thermometer(timeline.monotonic, self._sleep, setup.seed)
        self._population = population = Population(setup.seed, setup.policy)
        population.counter.open(timeline.wall_ms // 1000)
        self._service = SimService(setup.seed)
        self._broker = Broker(timeline, setup.seed)
        self._centre = Centre(timeline, self._broker)
        self._commands = CommandPost(timeline, self._broker, self._centre, setup.seed)
        error_cc = self._thermometer.error_cc
        self._oracle = Oracle(
            setup.policy,
            error_cc,
            lambda: timeline.now_ns,
            self._at_gate,
            self._reported,
            self._centre,
            self._broker,
            self._commands,
            setup.direction,
            self._clock,
        )
        self._office = Office(
            setup.seed, timeline, population.counter, setup.policy.occupancy.people_max, self._deliver
        )
        self._entrance = Entrance(timeline, setup.seed, self._post, self._view, self._oracle)
        around = Surroundings(
            timeline=timeline,
            policy=setup.policy,
            trust=population.counter.issuer.trust,
            thermometer=self._thermometer,
            oracle=self._oracle,
            broker=self._broker,
            entrance=self._entrance,
            arm=Arm(timeline, self._oracle),
            outbox=Outbox(setup.folder / LEDGER_NAME),
            parts=setup.parts,
            ledger_path=setup.folder / LEDGER_NAME,
            direction=setup.direction,
            service=self._service,
            folder=Folder(),
            delivered=self._delivered,
        )
        self._entrance.fit(around.arm)
        self._machine = Machine(around, setup.seed, self._observe)

    def run(self) -> Report:
        """Let the whole time pass and say what has been seen."""
        self._lay_down()
        try:
            self._machine.power_on()
            self._timeline.run_until(self._end_ns + _DRAIN_S * NS_PER_S)
            self._oracle.finish(self._setup.folder / LEDGER_NAME)
            self._digest.update(self._oracle.chain)
        except StandstillError as error:
            self._oracle.stands_still(str(error))
        finally:
            self._machine.close()
        return self._report()

    def _report(self) -> Report:
        setup, oracle = self._setup, self._oracle
        return Report(
            seed=setup.seed,
            hours=setup.hours,
            policy=setup.policy.name,
            fault_kinds=tuple(sorted(setup.faults)),
            people=self._people.total(),
            visits=oracle.visits,
            events=oracle.records,
            stages=dict(sorted(oracle.stages.items())),
            results=dict(sorted(oracle.results.items())),
            faults=dict(sorted((self._faults + self._machine.cuts).items())),
            came={str(kind): self._people[kind] for kind in Kind if kind in TELLING and self._people[kind]},
            documents=dict(sorted(oracle.documents.items())),
            asked=dict(sorted(self._service.asked.items())),
            commands=dict(sorted(oracle.obedience.outcomes.items())),
            epochs=oracle.epochs,
            violations=tuple(oracle.violations),
            digest=self._digest.hexdigest(),
            direction=str(setup.direction),
        )

    # --- everything that is to happen

    def _lay_down(self) -> None:
        at = self._timeline.at
        for fault in self._plan:
            at(fault.begins_ns, partial(self._begin, fault))
        at(self._quiet_ns, self._machine.spare_power)
        at(self._end_ns, self._entrance.close_doors)
        self._office.open(self._end_ns)
        self._next_arrival(self._population.arrivals(self._end_ns))
        at(0, self._audit)
        if self._end_ns - self._quiet_ns >= _CONVERGED_WITHIN_S * NS_PER_S:
            self._lay_down_convergence()

    def _lay_down_convergence(self) -> None:
        """Oracle 8: somebody without any fault comes, so that every part shows that it works again."""
        at, quiet_ns = self._timeline.at, self._quiet_ns
        for after_s in (300, 360):
            at(quiet_ns + after_s * NS_PER_S, partial(self._arrive, Kind.GREEN))
        at(quiet_ns + (_CONVERGED_WITHIN_S - _TOLD_BEFORE_S) * NS_PER_S, self._foresee_convergence)

    def _foresee_convergence(self) -> None:
        process = self._machine.process
        head = process.ledger.head[0] if process else 0
        self._timeline.after(_TOLD_BEFORE_S, partial(self._oracle.check_convergence, head))

    def _next_arrival(self, arrivals: Iterator[int]) -> None:
        instant_ns = next(arrivals, None)
        if instant_ns is not None:
            self._timeline.at(instant_ns, partial(self._arrive, None))
            self._timeline.at(instant_ns, partial(self._next_arrival, arrivals))

    def _arrive(self, kind: Kind | None) -> None:
        for person in self._population.next(self._timeline.wall_ms // 1000, kind):
            self._people[person.kind] += 1
            for card in person.cards:
                if card.said is not None:
                    self._service.know(card)
            self._entrance.arrive(person)

    def _audit(self) -> None:
        self._oracle.audit()
        self._timeline.after(_AUDIT_S, self._audit)

    # --- faults

    def _begin(self, fault: Fault) -> None:
        lasts_s = (fault.ends_ns - fault.begins_ns) / NS_PER_S
        match fault.kind:
            case "sensor":
                self._thermometer.break_down(fault.word)
            case "camera":
                self._entrance.break_camera(fault.word)
            case "broker":
                self._broker.fail(fault.word)
            case "centre":
                self._centre.fail(fault.word)
            case "commands":
                self._commands.begin(fault.word)
            case "power":
                self._machine.cut_power(fault.word, lasts_s)
                return  # counted when it comes, and it ends by itself
            case "clock":
                self._machine.spoil_clock(fault.word, fault.size_s)
            case "ledger":
                self._machine.set_disk_full(full=True)
            case _:
                self._entrance.fire(active=True)
        self._faults[fault.name] += 1
        self._timeline.at(fault.ends_ns, partial(self._end, fault))

    def _end(self, fault: Fault) -> None:
        match fault.kind:
            case "sensor":
                self._thermometer.repair()
            case "camera":
                self._entrance.repair_camera()
            case "broker":
                self._broker.come_back()
            case "centre":
                self._centre.recover()
            case "commands":
                self._commands.end(fault.word)
            case "clock":
                self._machine.set_clock()
            case "ledger":
                self._machine.set_disk_full(full=False)
            case _:
                self._entrance.fire(active=False)

    # --- what connects the parts

    def _clock(self) -> Moment:
        return self._machine.now()

    def _deliver(self, text: bytes) -> None:
        self._machine.deliver(text)

    def _delivered(self, text: bytes) -> None:
        document = self._office.stated(text)
        if document is not None:
            self._oracle.rights.given(document)

    def _post(self, happened: Input) -> None:
        self._machine.post(happened)

    def _at_gate(self) -> Person | None:
        return self._entrance.person or self._entrance.last

    def _reported(self) -> bool:
        return self._entrance.barrier

    def _sleep(self, seconds: float) -> None:
        """Let a device wait, and show it the world as it is then."""
        self._timeline.sleep(seconds)
        self._view(self._entrance.person)

    def _view(self, person: Person | None) -> None:
        if person is None:
            self._thermometer.look_at(0, None)
        else:
            self._thermometer.look_at(person.number, person.forehead_cc(self._timeline.now_ns))

    def _observe(self, happened: Input, effect: Effect | None, now: Moment) -> None:
        # Records are covered by the chain, whose last hash ends the digest.
        what = happened if effect is None else "Record" if isinstance(effect, Record) else effect
        self._digest.update(f"{self._timeline.now_ns} {now.wall_ms} {_spelled(what)}\n".encode())
        if self._setup.observe is not None:
            self._setup.observe(happened, effect, now)
