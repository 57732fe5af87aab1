"""What the gate has to do, in the imperative; performed in order, and nothing after a failed record."""

from dataclasses import dataclass
from enum import StrEnum

from gate.core.commands import CentreWord
from gate.core.events import Event
from gate.core.texts import Key
from gate.core.uses import Use


class LightSignal(StrEnum):
    """What lamps and buzzer say."""

    OFF = "off"
    WAIT = "wait"
    GO = "go"
    ATTENTION = "attention"
    STOP = "stop"
    EVACUATE = "evacuate"


@dataclass(frozen=True, slots=True)
class Record:
    """Make the event durable before anything that follows, and in the same transaction what goes with it.

    `use` of a pass; `word` of the centre, in force from now on; `sealed`: bytes that only the centre can
    read, kept beside the record, which holds their SHA-256.
    """

    event: Event
    use: Use | None = None
    word: CentreWord | None = None
    sealed: bytes | None = None


@dataclass(frozen=True, slots=True)
class Unlock:
    """Let one person through: one relay pulse of `duration_ms`."""

    duration_ms: int


@dataclass(frozen=True, slots=True)
class Lock:
    """End any opening."""


@dataclass(frozen=True, slots=True)
class HoldOpen:
    """Stay open until `Lock`; evacuation only."""


@dataclass(frozen=True, slots=True)
class Show:
    """Tell the visitor: a text, the facts it needs, and the lights that go with it."""

    key: Key
    signal: LightSignal
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TakeReading:
    """Ask the thermometer for one reading of this visit's visitor."""

    visit: str


@dataclass(frozen=True, slots=True)
class AskService:
    """Ask the verify service of `region` about a token; never waited for."""

    visit: str
    token: bytes
    region: str


@dataclass(frozen=True, slots=True)
class KeepDocument:
    """Keep a signed document of the day for the next start, under a name fit for a file."""

    name: str
    text: bytes


@dataclass(frozen=True, slots=True)
class RenewLedger:
    """Put the ledger aside and begin a new epoch, whose first record follows `LedgerRenewed`.

    Always the last effect of an answer.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class SendAgain:
    """Send every record behind this sequence number to the centre once more."""

    after: int


@dataclass(frozen=True, slots=True)
class MakeCheckpoint:
    """State to the centre at once how far the ledger reaches."""


@dataclass(frozen=True, slots=True)
class AdoptPolicy:
    """Read a policy file that the centre has sent; answered by `PolicyReceived` or `PolicyRejected`."""

    text: str
    command_id: str


@dataclass(frozen=True, slots=True)
class RequestUpdate:
    """Ask for another version of the package; answered by `UpdateReported`, perhaps days later."""

    version: str
    command_id: str


Effect = (
    Record
    | Unlock
    | Lock
    | HoldOpen
    | Show
    | TakeReading
    | AskService
    | KeepDocument
    | RenewLedger
    | SendAgain
    | MakeCheckpoint
    | AdoptPolicy
    | RequestUpdate
)
