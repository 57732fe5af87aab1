"""What goes into the centre's store and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgspec

from gate.core.delivery import Ask, Checkpoint

SEALED_BYTES_MAX: Final = 8192
"""Of a sealed attachment."""


class StoreError(Exception):
    """The store cannot be used; the message says what to do.

    Whoever has arrived with something should keep it unacknowledged and come again.
    """


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """One record as it came; `site` and `gate` are those of the topic, `body` the exact bytes."""

    site: str
    gate: str
    body: bytes


class ArrivedSealed(msgspec.Struct, frozen=True, gc=False):
    """One message of the topic `sealed` as it came: `{"v":1,"epoch","seq","sealed":"<base64>"}`."""

    site: str
    gate: str
    message: bytes


class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """One record in the store.

    `hash` is that of the chain, None as long as the record is parked behind a hole. `at_ms`: unix
    milliseconds that the record itself states, None when it states none. `seen_ms`: when it first came.
    `kind`: see `gate.core.events.Kind`, "" when unreadable.
    """

    site: str
    gate: str
    epoch: str
    seq: int
    body: bytes
    hash: bytes | None
    at_ms: int | None
    seen_ms: int
    kind: str
    abnormal: bool


class AlarmKind(StrEnum):
    """What may have happened to a report."""

    LATE = "late"
    FALSE = "false"
    CONCEALED = "concealed"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What an alarm is about. While one with the same kind, gate, epoch and code stands, there is no second.

    `code` is one word for what was seen, such as `altered`, `went_back`, `unknown_key` (see `Code`). The
    range of sequence numbers `first` to `last` is inclusive; None where there is none. `evidence` is JSON.
    """

    kind: AlarmKind
    site: str
    gate: str
    epoch: str
    code: str
    first: int | None = None
    last: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Code(StrEnum):
    """The suspicions that the store itself raises; the service has more of its own (late, silent ...)."""

    ALTERED = "altered"
    """false: other bytes for a record that is proved."""
    CHECKPOINT_DIFFERS = "checkpoint_differs"
    """false: a signed checkpoint and the records that came disagree."""
    BAD_SIGNATURE = "bad_signature"
    """false: a checkpoint that its key has not signed, or that is none at all."""
    UNKNOWN_GATE = "unknown_gate"
    """false: records of a gate without any registered key; ends when one is registered."""
    UNKNOWN_KEY = "unknown_key"
    """false: a checkpoint signed with a key that is not registered for this gate; ends likewise."""
    REVOKED_KEY = "revoked_key"
    """false: a checkpoint signed with a key after it was revoked."""
    KEY_WAITS = "key_waits"
    """false: a key that a person has to allow; ends when it is allowed or refused."""
    WENT_BACK = "went_back"
    """concealed: a later checkpoint states fewer records."""
    UNANNOUNCED_EPOCH = "unannounced_epoch"
    """concealed: a new ledger that does not say which one it follows, and why."""
    CUT_TAIL = "cut_tail"
    """concealed: a new ledger says that the old one ended before what its gate had signed for, proved here or
    not. What it is known to have signed for after the new one began is `old_epoch_goes_on`."""
    OLD_EPOCH_GOES_ON = "old_epoch_goes_on"
    """concealed: an old ledger is signed for although a newer one has begun: two devices."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm; `id` is the number of its entry in the alarm log. `cleared_ms` is None while it stands."""

    id: int
    about: Suspicion
    raised_ms: int
    cleared_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StreamState:
    """How far the records of one ledger (site, gate, epoch) have come. Times: unix milliseconds.

    linked     the records 1 to `linked` are all here and chained; the last of them has `linked_hash`
    proved     up to here a checkpoint signed by the gate has the same hash; what receipts state
    top        the highest record that is here at all; above `linked` when there is a hole (see `holes`)
    head       the most records that a believed checkpoint has stated; 0 before the first
    head_at_ms what the gate's clock said in that checkpoint, to be believed if `head_clock_trusted`
    heard_ms   when the newest believed checkpoint came (centre's clock), None before the first
    record_ms  when the newest record came that was not known yet, None before the first
    receipted  the highest record for which the gate itself has said that it holds a receipt; above
               `proved` when this store was restored from a backup
    receipt_ms `at_ms` of the newest receipt kept, None before the first; the next one has to be later
    ended      how many records this ledger had in the end, as its successor states; None while it goes on
    successor  the epoch that followed, "" while there is none
    conflicts  how many records lie in `conflicts`
    known      whether the gate has a registered key that is not revoked
    """

    id: int
    site: str
    gate: str
    epoch: str
    first_ms: int
    linked: int
    linked_hash: bytes
    proved: int
    proved_hash: bytes
    top: int
    head: int
    head_at_ms: int | None
    head_clock_trusted: bool
    heard_ms: int | None
    record_ms: int | None
    receipted: int
    receipt_ms: int | None
    ended: int | None
    successor: str
    conflicts: int
    known: bool

    @property
    def backlog(self) -> int:
        """How many records the gate is known to have that are not proved here."""
        return max(self.head, self.top, self.ended or 0) - self.proved

    @property
    def hole(self) -> bool:
        """True when a record that is known to exist, or its attachment, is not here."""
        return max(self.head, self.top, self.ended or 0) > self.linked


@dataclass(frozen=True, slots=True)
class Progress:
    """What a batch meant for one stream: how it stands now, and whether `proved` has moved.

    `ask` is RECORDS when what came was found wrong and has to be sent again.
    """

    state: StreamState
    advanced: bool
    ask: Ask = Ask.NOTHING


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a batch. `new` by stream and number; `raised` are alarms, already in the alarm log."""

    new: tuple[StoredRecord, ...] = ()
    progress: tuple[Progress, ...] = ()
    duplicates: int = 0
    conflicts: int = 0
    rejects: int = 0
    raised: tuple[Alarm, ...] = ()


class Trust(StrEnum):
    """Whether a checkpoint is believed."""

    TRUSTED = "trusted"
    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_GATE = "unknown_gate"
    UNKNOWN_KEY = "unknown_key"
    REVOKED_KEY = "revoked_key"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a checkpoint.

    Only a TRUSTED one is answered: with `state.proved`, `state.proved_hash` and `ask`. `state` and
    `checkpoint` are None when it is MALFORMED. `repeated`: exactly this message was here before (retained
    messages come with every connection); it is answered all the same. `advanced`: it moved `proved`.
    """

    trust: Trust
    checkpoint: Checkpoint | None = None
    state: StreamState | None = None
    advanced: bool = False
    repeated: bool = False
    ask: Ask = Ask.NOTHING
    raised: tuple[Alarm, ...] = ()


@dataclass(frozen=True, slots=True)
class GateKey:
    """One public key (Ed25519, 32 bytes) of a gate; `kid` is its name in signed messages, in hex."""

    site: str
    gate: str
    kid: str
    public_key: bytes
    note: str
    registered_ms: int
    revoked_ms: int | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that `verify` found. `what` is one word (see `central.store.verify`), `detail` a sentence.

    `epoch` and `seq` are "" and None where the problem is not about a ledger or a record.
    """

    what: str
    site: str
    gate: str
    epoch: str
    seq: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How much `verify` has looked at."""

    streams: int
    records: int
    parked: int
    checkpoints: int
    receipts: int
    attachments: int
    alarm_entries: int
    retired: int = 0
