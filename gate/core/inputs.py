"""What has happened at the gate, in the past tense; the only things the actor ever learns."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gate.core.codes.model import Appearance, LabTest, Travel
from gate.core.codes.service import ServiceAnswer
from gate.core.commands import NOTHING_SAID, CentreWord
from gate.core.delivery import PreviousEpoch
from gate.core.events import Event
from gate.core.evidence import MaskStatus, Measurement, Origin, Person, Symptom
from gate.core.policy import Policy
from gate.core.updates import UpdateResult
from gate.core.uses import Use


class Device(StrEnum):
    """The parts whose failure changes what the gate can do."""

    THERMOMETER = "thermometer"
    CAMERA = "camera"
    PRESENCE = "presence"
    TURNSTILE = "turnstile"
    FIRE_CONTACT = "fire_contact"
    BUTTONS = "buttons"
    LIGHTS = "lights"
    HEALTH_SERVICE = "health_service"
    DOCUMENTS = "documents"
    DESK = "desk"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class Started:
    """The service has started; `open_visits` were left without an end by an earlier run.

    `uses` are the passages on passes that are on record, `word` is what the centre has said; `epoch` names
    the ledger, and `new_epoch` says what came before it if nothing is written in it yet.
    """

    version: str
    open_visits: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ()
    epoch: str = ""
    word: CentreWord = NOTHING_SAID
    new_epoch: PreviousEpoch | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The service was asked to stop."""


@dataclass(frozen=True, slots=True)
class PersonArrived:
    """Somebody stands in front of the gate."""


@dataclass(frozen=True, slots=True)
class PersonLeft:
    """Nobody stands in front of the gate any more."""


@dataclass(frozen=True, slots=True)
class CodesRead:
    """The camera has one frame with at least one code; `payloads` are distinct bytes, never text.

    `appearance` is the colour of a code that is alone.
    """

    payloads: tuple[bytes, ...]
    fragment: bool = False
    appearance: Appearance = Appearance.NONE


@dataclass(frozen=True, slots=True)
class ReadingTaken:
    """The thermometer has answered the request made for `visit`."""

    visit: str
    measurement: Measurement


NOBODY: Final = ""
"""In the place of a visit's name: said while nobody was there."""


@dataclass(frozen=True, slots=True)
class MaskSeen:
    """The attendant or a mask detector has said whether a mask is worn.

    `visit` here and below: whom it was said of, None for whoever stands there when it is heard (a button).
    """

    mask: MaskStatus
    visit: str | None = None


@dataclass(frozen=True, slots=True)
class AttendantNoted:
    """The person on duty has written something down about this visitor; None and no field: nothing new.

    People without a phone are registered this way, by ID card or by a companion (AL-3), and symptoms, travel,
    origin and tests are asked for (CO-4, CL-1). `sealed` is what the registered fields say, which only the
    centre can read.
    """

    person: Person | None = None
    registered: frozenset[str] = frozenset()
    id_checked: bool | None = None
    symptoms: frozenset[Symptom] | None = None
    travel: Travel | None = None
    origin: Origin | None = None
    test: LabTest | None = None
    visit: str | None = None
    sealed: bytes | None = None


@dataclass(frozen=True, slots=True)
class ServiceAnswered:
    """The verify service has said something of the token that `visit` has shown."""

    visit: str
    payload: bytes
    answer: ServiceAnswer


@dataclass(frozen=True, slots=True)
class DocumentReceived:
    """A signed document of the day has come (`gate.core.documents`), from a file or from the centre."""

    text: bytes


@dataclass(frozen=True, slots=True)
class AttendantConfirmed:
    """The person on duty vouches for this visitor, and has done by hand what the gate could not."""

    visit: str | None = None


@dataclass(frozen=True, slots=True)
class AttendantRefused:
    """The person on duty turns this visitor away."""

    visit: str | None = None


@dataclass(frozen=True, slots=True)
class ArmTurned:
    """The turnstile has let one person through."""


@dataclass(frozen=True, slots=True)
class FireAlarmChanged:
    """The fire contact has opened (`active`) or closed."""

    active: bool


@dataclass(frozen=True, slots=True)
class DeviceFailed:
    """A part does not answer, or answers nonsense."""

    device: Device
    problem: str


@dataclass(frozen=True, slots=True)
class DeviceRecovered:
    """A part that had failed works again."""

    device: Device


@dataclass(frozen=True, slots=True)
class SensorChecked:
    """A part has looked at itself and found nothing wrong; `facts` as in `gate.core.events`."""

    device: Device
    facts: tuple[tuple[str, int | str], ...]


@dataclass(frozen=True, slots=True)
class InboxOverflowed:
    """Inputs were lost because the brain did not keep up."""

    lost: int


@dataclass(frozen=True, slots=True)
class LedgerOpened:
    """The ledger could not be opened at the start, and now it has been; as in `Started`."""

    open_visits: tuple[str, ...]
    uses: tuple[Use, ...]
    epoch: str = ""
    word: CentreWord = NOTHING_SAID
    new_epoch: PreviousEpoch | None = None


@dataclass(frozen=True, slots=True)
class LedgerRenewed:
    """A new epoch has begun, as `RenewLedger` has asked; nothing is written in it yet.

    What goes on from the old file to the new one: uses of passes and the centre's word.
    """

    epoch: str
    previous: PreviousEpoch


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """Somebody says that the centre commands something (`gate.core.commands`); whatever the bytes."""

    message: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class ReceiptWentBack:
    """A later receipt of the centre reaches to `now` only, one before it reached to `had`."""

    had: int
    now: int


@dataclass(frozen=True, slots=True)
class ReceiptDisagreed:
    """The centre has signed for a record `upto` that is not the one of this ledger."""

    upto: int
    reason: str


@dataclass(frozen=True, slots=True)
class PolicyReceived:
    """The policy that a command has brought can be followed, and will be after the next start too."""

    policy: Policy
    command_id: str


@dataclass(frozen=True, slots=True)
class PolicyRejected:
    """The policy that a command has brought cannot be followed; nothing has changed."""

    problem: str
    command_id: str


@dataclass(frozen=True, slots=True)
class UpdateReported:
    """What has become of an update that the centre has asked for; not on record yet, as far as is known."""

    result: UpdateResult


@dataclass(frozen=True, slots=True)
class RecordFailed:
    """The record that was asked for last is not durable; the effects after it were not performed."""

    event: Event
    problem: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The instant named by `next_wakeup` has come."""


Input = (
    Started
    | Stopped
    | PersonArrived
    | PersonLeft
    | CodesRead
    | ReadingTaken
    | MaskSeen
    | AttendantNoted
    | AttendantConfirmed
    | AttendantRefused
    | ServiceAnswered
    | DocumentReceived
    | ArmTurned
    | FireAlarmChanged
    | DeviceFailed
    | DeviceRecovered
    | SensorChecked
    | InboxOverflowed
    | LedgerOpened
    | LedgerRenewed
    | CommandReceived
    | ReceiptWentBack
    | ReceiptDisagreed
    | PolicyReceived
    | PolicyRejected
    | UpdateReported
    | RecordFailed
    | TimePassed
)
