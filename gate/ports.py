"""The roles that the world plays for the gate; what fills them is chosen in `gate.app` or by a test."""

from dataclasses import dataclass
from typing import Protocol

from gate.core.commands import CentreWord
from gate.core.effects import LightSignal
from gate.core.events import Event
from gate.core.moment import Moment
from gate.core.texts import Key
from gate.core.uses import Use


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the ledger as it is sent: `body` holds the exact bytes that the chain covers.

    `sealed` is what goes with it for the centre alone to read; the record holds its SHA-256 (`data.sealed`).
    """

    seq: int
    body: bytes
    sealed: bytes | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """How far a ledger reaches: its newest record and that record's hash; 0 and genesis for none."""

    epoch: str
    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """What the newest checked receipt says: the centre holds every record of `epoch` up to `upto`.

    `hash` is that record's, genesis for 0; `at_ms` the centre's time of saying so, unix milliseconds.
    """

    epoch: str
    upto: int
    hash: bytes
    at_ms: int


class RecordFailure(Exception):  # noqa: N818 - it is not an error of the program but a fact to decide on
    """The ledger could not make a record durable (disk full, damaged file); nothing was written."""


class Ledger(Protocol):
    """Where decisions become durable; belongs to the brain thread."""

    def append(
        self,
        event: Event,
        now: Moment,
        use: Use | None = None,
        word: CentreWord | None = None,
        sealed: bytes | None = None,
    ) -> Entry:
        """Commit one event with the next sequence number; durable on return, with all that goes with it.

        That is the use of a pass, the centre's word from now on, and bytes sealed for the centre, whose
        SHA-256 the event names (`data.sealed`; ValueError where it does not).
        Raises RecordFailure when the record is not durable; then nothing has changed.
        """
        ...

    def word(self) -> CentreWord:
        """Return what the centre has said last, as it was recorded."""
        ...

    def open_visits(self) -> tuple[str, ...]:
        """Return ids of visits that were authorised or referred and never closed, oldest first."""
        ...

    def uses(self, now_ms: int | None = None) -> tuple[Use, ...]:
        """Return the uses of passes on record; those long over are forgotten where the time is known."""
        ...


class Outbox(Protocol):
    """What has still to be sent, and what is known of how it arrived; used by one sink thread.

    The mark is how far delivery is done: up to where the centre's receipt reaches, or without a centre the
    broker's acknowledgements.
    """

    def pending(self, after: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries with sequence numbers above `after`, in order."""
        ...

    def abnormal(self, after: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries above `after` whose event is abnormal, in order."""
        ...

    def head(self) -> Head:
        """Return how far the ledger reaches."""
        ...

    def hash_at(self, seq: int) -> bytes | None:
        """Return the hash of this record, genesis for 0; None for one that is not there (any more)."""
        ...

    def acknowledged(self) -> int:
        """Return the mark: the sequence number up to which all is done without a gap; 0 for none."""
        ...

    def acknowledge(self, upto: int) -> None:
        """Move the mark forward, durably; never moves back, nor past the head."""
        ...

    def receipt(self) -> Held | None:
        """Return the newest receipt; None as long as none has come."""
        ...

    def receive(self, receipt: Held) -> None:
        """Keep a receipt that the caller has checked, and set the mark to it, forward or back; durably.

        Raises ValueError for one of another epoch, beyond the head, or with a hash that is not ours there.
        """
        ...

    def prune(self, before_ms: int, limit: int = 1000) -> int:
        """Delete records that are receipted and were written before this time; return how many.

        Oldest first, at most `limit`; `before_ms` in unix milliseconds. The newest 1000 records stay, and the
        one of the mark with all that follow it. Times that the gate was not sure of count for nothing: such a
        record goes with a later one.
        """
        ...

    def close(self) -> None:
        """Let go of the ledger; the next question opens it again."""
        ...


class Turnstile(Protocol):
    """Lets one person through at a time; locked whenever nothing else was asked for."""

    def unlock(self, duration_ms: int) -> bool:
        """Start one pulse; False when one is already running, which is then not prolonged."""
        ...

    def lock(self) -> None:
        """End any pulse or held opening at once."""
        ...

    def hold_open(self) -> None:
        """Stay open until `lock`; for evacuation only."""
        ...


class Lights(Protocol):
    """Lamps and buzzer at the entrance."""

    def show(self, signal: LightSignal) -> None:
        """Show one signal until the next."""
        ...


class Display(Protocol):
    """What the visitor reads and hears."""

    def show(self, key: Key, facts: tuple[tuple[str, str], ...]) -> None:
        """Show one text until the next."""
        ...


class Thermometer(Protocol):
    """Takes readings on request; answers with a `ReadingTaken` input for the same visit."""

    def request(self, visit: str) -> None:
        """Ask for one reading; returns at once."""
        ...


class Clock(Protocol):
    """Real or simulated time."""

    def now(self) -> Moment:
        """Return this instant."""
        ...
