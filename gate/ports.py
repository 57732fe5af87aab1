"""The roles that the world plays for the gate; what fills them is chosen in `gate.app` or by a test."""

from dataclasses import dataclass
from typing import Protocol

from gate.core.effects import LightSignal
from gate.core.events import Event
from gate.core.moment import Moment
from gate.core.texts import Key
from gate.core.uses import Use


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the ledger as it is sent: `body` holds the exact bytes that the chain covers."""

    seq: int
    body: bytes


class RecordFailure(Exception):  # noqa: N818 - it is not an error of the program but a fact to decide on
    """The ledger could not make a record durable (disk full, damaged file); nothing was written."""


class Ledger(Protocol):
    """Where decisions become durable; belongs to the brain thread."""

    def append(self, event: Event, now: Moment, use: Use | None = None) -> Entry:
        """Commit one event with the next sequence number, and the use of a pass with it; durable on return.

        Raises RecordFailure when the record is not durable.
        """
        ...

    def open_visits(self) -> tuple[str, ...]:
        """Return ids of visits that were authorised or referred and never closed, oldest first."""
        ...

    def uses(self, now_ms: int | None = None) -> tuple[Use, ...]:
        """Return the uses of passes on record; those long over are forgotten where the time is known."""
        ...


class Outbox(Protocol):
    """What has still to be sent; used by one sink thread beside the writer."""

    def pending(self, after: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries with sequence numbers above `after`, in order."""
        ...

    def acknowledged(self) -> int:
        """Return the sequence number up to which all is acknowledged without a gap; 0 for none."""
        ...

    def acknowledge(self, upto: int) -> None:
        """Move the acknowledged mark forward, durably; never moves back."""
        ...

    def head(self) -> int:
        """Return the newest sequence number; 0 when the ledger is empty."""
        ...

    def close(self) -> None:
        """Let go of the ledger; called in the sink's thread when it ends."""
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
