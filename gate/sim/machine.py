"""The computer at the entrance: what runs in production, switched on and off, with a clock that may be wrong.

`GateActor`, `Brain`, `Ledger` and `Outbox` are the real ones, the ledger on a real SQLite file. The power can
fail between any two effects: the process is gone then, the file stays, and some time later a new actor starts
with what the file says. Not imitated: a disk that loses what it has confirmed.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from gate.core.actor import GateActor
from gate.core.codes import Trust
from gate.core.delivery import PreviousEpoch
from gate.core.effects import Effect, LightSignal, Record, Unlock
from gate.core.evidence import Direction, Measurement, Reading
from gate.core.inputs import (
    DocumentReceived,
    Input,
    LedgerRenewed,
    PolicyReceived,
    ReadingTaken,
    ServiceAnswered,
    Started,
    TimePassed,
)
from gate.core.moment import NS_PER_S, Moment
from gate.core.policy import Policy
from gate.core.texts import Key
from gate.perform import Brain, Observer, Outputs
from gate.ports import Entry
from gate.sim.cards import SERVICES, SITE
from gate.sim.centre import CENTRE_KEYS, DEVICE_KEY, GATE
from gate.sim.delivery import Broker, Identity, SimSink
from gate.sim.entrance import Arm, Entrance
from gate.sim.office import Folder
from gate.sim.oracle import Oracle
from gate.sim.service import SimService
from gate.sim.timeline import Timeline
from gate.store.ledger import Ledger, LedgerError, Outbox

LEDGER_NAME: Final = "ledger.db"
# From power to the first line of the service; the monotonic clock counts from power.
KERNEL_NS: Final = 5 * NS_PER_S


class SimThermometer(Protocol):
    """The thermometer at the wire, in virtual time: `measure` sleeps, and meanwhile the world goes on.

    `error_cc` is the accuracy that the part's maker states.
    """

    error_cc: int

    def measure(self) -> tuple[Measurement, tuple[int, ...]]:
        """Take one reading; return it and whose forehead each of its samples has seen (0: nobody's)."""
        ...

    def look_at(self, person: int, core_cc: int | None) -> None:
        """Bring a forehead of this core temperature into view, or with None the wall."""
        ...

    def break_down(self, word: str) -> None:
        """Let the part do what the word of a sensor fault says."""
        ...

    def repair(self) -> None:
        """Let it work again."""
        ...

    def restart(self) -> None:
        """Forget what the gate's process knew of the part."""
        ...


class SimLedger(Ledger):
    """The ledger on a disk that can be full."""

    _full = False

    def renew(self, new_epoch: str, reason: str) -> PreviousEpoch:
        """Begin a new epoch, as `Ledger.renew` does; none while there is no room for another file."""
        if self._full:
            raise LedgerError("no room for another file")
        return super().renew(new_epoch, reason)

    def set_disk_full(self, *, full: bool) -> None:
        """Let the file grow no more, or let it grow again."""
        self._full = full
        self._db.execute(f"PRAGMA max_page_count = {1 if full else 2**30}")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a gate is made of; tests put in a broken part and see an oracle speak."""

    actor: Callable[
        [Policy, Trust, str, str, Direction, frozenset[str], str, tuple[bytes, ...]], GateActor
    ] = GateActor
    brain: type[Brain] = Brain
    ledger: type[SimLedger] = SimLedger
    sink: type[SimSink] = SimSink


class PowerCutError(Exception):
    """The process is gone; what should have followed was not done."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stays when the power goes: the world, the wiring, and the disk.

    `delivered` hears of every document that the gate has taken in hand.
    """

    timeline: Timeline
    policy: Policy
    trust: Trust
    thermometer: SimThermometer
    oracle: Oracle
    broker: Broker
    entrance: Entrance
    arm: Arm
    outbox: Outbox
    parts: Parts
    ledger_path: Path
    direction: Direction
    service: SimService
    folder: Folder
    delivered: Callable[[bytes], None]


class Screen:
    """Fills `gate.ports.Display` and, with `lamps`, `gate.ports.Lights`: people react once both are set."""

    def __init__(self, entrance: Entrance) -> None:
        self._key = Key.WELCOME
        self.lamps = _Lamps(lambda signal: entrance.show(self._key, signal))

    def show(self, key: Key, _facts: tuple[tuple[str, str], ...]) -> None:
        """Set the text; the lamps follow."""
        self._key = key


@dataclass(frozen=True, slots=True)
class _Lamps:
    show: Callable[[LightSignal], None]


class Process:
    """The gate's service from one start to the loss of power. `run` makes its visit names unique."""

    def __init__(
        self, around: Surroundings, run: str, now: Callable[[], Moment], observe: Observer, *, disk_full: bool
    ) -> None:
        self._around = around
        self._timeline = around.timeline
        self._now = now
        self._powered_ns = around.timeline.now_ns
        self._run = run
        self._epochs = 0
        self._wanted: str | None = None
        self._measuring = False
        self._wake_ns: int | None = None
        self.alive = True
        parts = around.parts
        self.ledger = parts.ledger(
            around.ledger_path, site=SITE, gate=GATE, new_epoch=f"epoch-{run}", boot_id=f"boot-{run}"
        )
        self.ledger.set_disk_full(full=disk_full)
        self.actor = parts.actor(
            around.policy, around.trust, SITE, run, around.direction, SERVICES, GATE, CENTRE_KEYS
        )
        identity = Identity(SITE, GATE, f"boot-{run}", DEVICE_KEY, CENTRE_KEYS)
        self.sink = parts.sink(
            around.outbox, around.broker, around.timeline, identity, around.entrance.post, now
        )
        screen = Screen(around.entrance)
        outputs = Outputs(
            around.arm,
            screen.lamps,
            screen,
            self,
            self.ledger,
            self._recorded,
            ask_service=self._ask,
            keep_document=around.folder.keep,
            renew_ledger=self._renew,
            send_again=self.sink.send_again,
            make_checkpoint=self.sink.make_checkpoint,
            adopt_policy=self._adopt,
        )
        self._brain = parts.brain(self.actor, outputs, observe)

    def start(self) -> None:
        """Begin with what the ledger says; raises PowerCutError like every step."""
        self._around.oracle.powered(self.actor, self._around.outbox, self.ledger.epoch)
        self._around.thermometer.restart()
        self.sink.notify()
        ledger = self.ledger
        new_epoch = ledger.previous or PreviousEpoch("", 0, "", "first start")
        self.step(
            Started(
                "simulated",
                ledger.open_visits(),
                ledger.uses(),
                ledger.epoch,
                ledger.word(),
                None if ledger.head[0] else new_epoch,
            )
        )

    def step(self, happened: Input) -> None:
        """Handle one input, and see to it that the actor is woken when it asks to be."""
        self._brain.step(happened, self._now())
        self._around.oracle.stepped()
        wake_ns = self.actor.next_wakeup()
        if wake_ns is not None and wake_ns != self._wake_ns:
            self._timeline.at(wake_ns - KERNEL_NS + self._powered_ns, partial(self._woken, wake_ns))
        self._wake_ns = wake_ns

    def end(self) -> None:
        """Vanish."""
        self.alive = False
        self.sink.stop()
        self.ledger.close()

    def request(self, visit: str) -> None:
        """Fill `gate.ports.Thermometer`: take a reading for the newest request, one at a time."""
        self._wanted = visit
        if not self._measuring:
            self._measuring = True
            self._timeline.after(0.001, self._measure)

    def _measure(self) -> None:
        while self.alive and self._wanted is not None:
            visit, self._wanted = self._wanted, None
            measurement, owners = self._around.thermometer.measure()
            if self.alive:
                if isinstance(measurement, Reading):
                    self._around.oracle.measured(visit, owners)
                self._around.entrance.post(ReadingTaken(visit, measurement))
        self._measuring = False

    def _ask(self, visit: str, token: bytes, _region: str) -> None:
        self._around.oracle.rights.asked(visit)
        coming = self._around.service.ask(token)
        if coming is not None:
            after_s, answer = coming
            self._timeline.after(after_s, partial(self._answered, ServiceAnswered(visit, token, answer)))

    def _answered(self, answered: ServiceAnswered) -> None:
        if self.alive:
            self._around.entrance.post(answered)

    def _renew(self, reason: str) -> LedgerRenewed | None:
        """Begin a new epoch if the disk has room for it."""
        self._epochs += 1
        epoch = f"epoch-{self._run}-{self._epochs}"
        self._around.oracle.read_ledger()
        self._around.outbox.close()
        try:
            previous = self.ledger.renew(epoch, reason)
        except LedgerError:
            return None
        self._around.oracle.renewed(epoch)
        self.sink.renewed()
        return LedgerRenewed(epoch, previous)

    def _adopt(self, _text: str, command_id: str) -> None:
        """Read the policy that a command has brought: it is the one that is followed already."""
        self._timeline.after(0.2, partial(self._adopted, PolicyReceived(self._around.policy, command_id)))

    def _adopted(self, received: PolicyReceived) -> None:
        if self.alive:
            self._around.entrance.post(received)

    def _woken(self, wake_ns: int) -> None:
        if self.alive and wake_ns == self._wake_ns:
            self._wake_ns = None
            self._around.entrance.post(TimePassed())

    def _recorded(self, _entry: Entry) -> None:
        self.sink.notify()


class Machine:
    """One gate's computer: power, disk and clocks. `trace` is told of all that goes in and comes out."""

    def __init__(self, around: Surroundings, seed: int, trace: Observer) -> None:
        self._around = around
        self._timeline = around.timeline
        self._rng = random.Random(f"{seed}/machine")  # noqa: S311 - chance to be repeated, not a secret
        self._trace = trace
        self._process: Process | None = None
        self._powered_ns = 0
        self._cut: str | None = None
        self._cut_s = 0.0
        self._disk_full = False
        self.cuts: Counter[str] = Counter()
        self._off_ms = 0
        self._trusted = True
        self._missed: list[bytes] = []

    @property
    def process(self) -> Process | None:
        """What runs, None while there is no power."""
        return self._process

    def now(self) -> Moment:
        """Return this instant as the machine's clocks tell it."""
        now_ns = self._timeline.now_ns
        wall_ms = self._timeline.wall_ms + self._off_ms
        return Moment(now_ns - self._powered_ns + KERNEL_NS, wall_ms, self._trusted)

    def post(self, happened: Input) -> None:
        """Hand an input to the service; lost when it does not run."""
        if self._process is not None:
            self._guarded(partial(self._process.step, happened))

    def deliver(self, text: bytes) -> None:
        """Hand in a document; one that comes without power, or goes with it, comes again at the start."""
        process = self._process
        self.post(DocumentReceived(text))
        if process is not None and self._process is process:
            self._around.delivered(text)
        else:
            self._missed.append(text)

    def set_disk_full(self, *, full: bool) -> None:
        """Let the disk be full, or have room again."""
        self._disk_full = full
        if self._process is not None:
            self._process.ledger.set_disk_full(full=full)

    def spoil_clock(self, word: str, size_s: float) -> None:
        """Step the wall clock, which goes on to count as trusted, or let it lose its trust."""
        if word == "untrusted":
            self._trusted = False
        else:
            self._off_ms += round(size_s * 1000) * (1 if word == "step_forward" else -1)

    def set_clock(self) -> None:
        """Let the wall clock be right again, and trusted."""
        self._off_ms, self._trusted = 0, True

    def cut_power(self, word: str, seconds: float) -> None:
        """Let the power fail for some seconds, at once or at the next effect that the word names."""
        if self._process is None:
            return
        self._cut, self._cut_s = word, seconds
        if word == "at_once":
            self._power_lost()

    def spare_power(self) -> None:
        """Give up a cut that has not come yet."""
        self._cut = None

    def power_on(self) -> None:
        """Start the service on what the disk holds."""
        self._powered_ns = self._timeline.now_ns
        run = f"{self._rng.getrandbits(32):08x}"
        self._process = Process(self._around, run, self.now, self._observe, disk_full=self._disk_full)
        self._guarded(self._process.start)
        missed, self._missed = self._missed, []
        for text in (*self._around.folder.texts(), *missed):
            self.deliver(text)
        if self._process is not None:
            self._guarded(self._around.entrance.powered_on)

    def close(self) -> None:
        """Close every file."""
        if self._process is not None:
            self._process.end()
        self._around.outbox.close()

    def _observe(self, happened: Input, effect: Effect | None, now: Moment) -> None:
        self._trace(happened, effect, now)
        if effect is None:
            self._around.oracle.happened(happened)
            return
        self._around.oracle.performed(effect)
        if self._cut is not None and _fits(self._cut, effect):
            raise PowerCutError

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except PowerCutError:
            self._power_lost()

    def _power_lost(self) -> None:
        assert self._process is not None
        assert self._cut is not None
        self._around.oracle.power_lost()
        self._process.end()
        self._process = None
        self._around.entrance.powered_off()
        self.cuts[f"power.{self._cut}"] += 1
        self._cut = None
        # Without a clock of its own the machine goes on from the time that it last knew.
        self._off_ms -= round(self._cut_s * 1000)
        self._trusted = False
        self._timeline.after(self._cut_s, self.power_on)
        self._timeline.after(self._cut_s + self._rng.uniform(5, 90), self.set_clock)


def _fits(word: str, effect: Effect) -> bool:
    if word == "after_authorised":
        return isinstance(effect, Record) and effect.event.data.get("stage") == "authorised"
    return word == "after_any_effect" or isinstance(effect, Unlock)
