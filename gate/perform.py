"""The step from a decision to the world: one input in, its effects performed in order, records first.

Used as it is by the service, the demo, the tests and the simulation, so that what is simulated is what runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from gate.core.actor import GateActor
from gate.core.effects import (
    AdoptPolicy,
    AskService,
    Effect,
    HoldOpen,
    KeepDocument,
    Lock,
    MakeCheckpoint,
    Record,
    RenewLedger,
    RequestUpdate,
    SendAgain,
    Show,
    TakeReading,
    Unlock,
)
from gate.core.inputs import Input, LedgerRenewed, RecordFailed
from gate.core.moment import Moment
from gate.ports import Display, Entry, Ledger, Lights, RecordFailure, Thermometer, Turnstile


def _nothing(*_: object) -> None:
    """Stand for a part that this gate does not have."""


def _not_renewed(_reason: str) -> None:
    """Stand for a ledger that is only ever one epoch."""


Observer = Callable[[Input, Effect | None, Moment], None]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where effects go; `on_record` hears of every durable record (the sink is told to look).

    `ask_service(visit, token, region)`, `keep_document(name, text)`, `send_again(after)`,
    `make_checkpoint()`, `adopt_policy(text, command_id)` and `request_update(version, command_id)` return at
    once and never raise; by default nothing is done, for a gate that has no such part. `adopt_policy` is
    answered by a `PolicyReceived` or `PolicyRejected`, later, `request_update` by `UpdateReported`.
    `renew_ledger(reason)` begins a new epoch before it returns, in the brain's thread, and returns what the
    actor has to know of it; None when that was not possible, and the ledger is the one it was.
    """

    turnstile: Turnstile
    lights: Lights
    display: Display
    thermometer: Thermometer
    ledger: Ledger
    on_record: Callable[[Entry], None]
    ask_service: Callable[[str, bytes, str], object] = _nothing
    keep_document: Callable[[str, bytes], object] = _nothing
    renew_ledger: Callable[[str], LedgerRenewed | None] = _not_renewed
    send_again: Callable[[int], object] = _nothing
    make_checkpoint: Callable[[], object] = _nothing
    adopt_policy: Callable[[str, str], object] = _nothing
    request_update: Callable[[str, str], object] = _nothing


class Brain:
    """Feeds an actor and performs what it asks for; used by one thread.

    `observe` is told of every input (with no effect) and then of each effect once it has been performed.
    """

    def __init__(self, actor: GateActor, outputs: Outputs, observe: Observer | None = None) -> None:
        self.actor = actor
        self._outputs = outputs
        self._observe = observe or (lambda _happened, _effect, _now: None)

    def step(self, happened: Input, now: Moment) -> None:
        """Handle one input; when a record fails, nothing after it is performed and the actor is told."""
        self._observe(happened, None, now)
        for effect in self.actor.handle(happened, now):
            try:
                self._perform(effect, now)
            except RecordFailure as failure:
                assert isinstance(effect, Record)
                self.step(RecordFailed(effect.event, str(failure)), now)
                return
            self._observe(happened, effect, now)

    def _perform(self, effect: Effect, now: Moment) -> None:
        match effect:
            case Record():
                self._outputs.on_record(self._append(effect, now))
            case Unlock(duration_ms):
                self._outputs.turnstile.unlock(duration_ms)
            case Lock():
                self._outputs.turnstile.lock()
            case HoldOpen():
                self._outputs.turnstile.hold_open()
            case Show(key, signal, facts):
                self._outputs.display.show(key, facts)
                self._outputs.lights.show(signal)
            case TakeReading(visit):
                self._outputs.thermometer.request(visit)
            case AskService(visit, token, region):
                self._outputs.ask_service(visit, token, region)
            case KeepDocument(name, text):
                self._outputs.keep_document(name, text)
            case _:
                self._answer_centre(effect, now)

    def _answer_centre(
        self, effect: RenewLedger | SendAgain | MakeCheckpoint | AdoptPolicy | RequestUpdate, now: Moment
    ) -> None:
        match effect:
            case RenewLedger(reason):
                self._renew(reason, now)
            case SendAgain(after):
                self._outputs.send_again(after)
            case MakeCheckpoint():
                self._outputs.make_checkpoint()
            case AdoptPolicy(text, command_id):
                self._outputs.adopt_policy(text, command_id)
            case RequestUpdate(version, command_id):
                self._outputs.request_update(version, command_id)
            case _:
                assert_never(effect)

    def _append(self, record: Record, now: Moment) -> Entry:
        append = self._outputs.ledger.append
        return append(record.event, now, record.use, word=record.word, sealed=record.sealed)

    def _renew(self, reason: str, now: Moment) -> None:
        """Begin a new epoch; nothing may come between its beginning and its first record."""
        renewed = self._outputs.renew_ledger(reason)
        if renewed is not None:
            self.step(renewed, now)
