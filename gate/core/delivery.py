"""The delivery contract between a gate and the centre: checkpoints one way, receipts the other.

A broker may lose, repeat and reorder whatever it has acknowledged. So the gate states, signed with the key of
this device, how far its ledger reaches and what its newest hash is (`Checkpoint`); the centre stores the
records, follows the chain itself, and only when its own hash at that place equals the gate's it states,
signed with its key, up to where it holds everything (`Receipt`). A record is done when such a receipt carries
the very hash that the gate's ledger has in that place, and not before.

Checkpoints are the heartbeat as well: each says how many records there are, also when none is new. A receipt
may `ask`: for the records behind it once more, because the centre misses some, or for a checkpoint at once.

Topics under `hg/1/<site>/<gate>`: `checkpoint` (retained) and `receipt` (retained; not those that ask).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.chain import HASH_SIZE
from gate.core.codes.model import NAME
from gate.core.signed import SignedError, check_version, open_signed, sign

LABEL_MAX: Final = 64
"""Characters of an epoch's or a boot's name."""

COUNT_MAX: Final = 2**53 - 1
"""What every reader of JSON takes for a whole number (RFC 8259, section 6), and every database."""

_CHECKPOINT: Final = "checkpoint"
_RECEIPT: Final = "receipt"
V = TypeVar("V")


class Why(StrEnum):
    """What a checkpoint was made for."""

    START = "start"
    INTERVAL = "interval"
    COUNT = "count"
    DRAINED = "drained"
    DEMAND = "demand"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a ledger reaches: `size` records, the newest with this hash (genesis for none).

    With `why` count, `size` is only how far the records have been sent in order: that is how receipts come
    while a long backlog is on its way. It says nothing of what follows.

    `at_ms`: unix milliseconds on the gate's clock, to be believed if `clock_trusted`. `receipted`: up to
    where the gate itself knows its records to be with the centre.
    """

    site: str
    gate: str
    epoch: str
    size: int
    hash: bytes
    at_ms: int
    clock_trusted: bool
    boot_id: str
    why: Why
    receipted: int

    def signed(self, device_key: Ed25519PrivateKey) -> bytes:
        """Return the message that goes to the centre."""
        return sign(device_key, _CHECKPOINT, {
            "v": 1, "site": self.site, "gate": self.gate, "epoch": self.epoch, "size": self.size,
            "hash": self.hash.hex(), "at_ms": self.at_ms, "clock_trusted": self.clock_trusted,
            "boot_id": self.boot_id, "why": str(self.why), "receipted": self.receipted,
        })  # fmt: skip

    @classmethod
    def opened(cls, message: bytes, keys: tuple[bytes, ...]) -> "Checkpoint":
        """Return what one of a gate's keys has signed. Raises SignedError."""
        return cls.read(open_signed(message, _CHECKPOINT, keys))

    @classmethod
    def read(cls, stated: dict[str, Any]) -> "Checkpoint":
        """Return a checkpoint from its fields. Raises SignedError."""
        try:
            check_version(stated)
            checkpoint = cls(
                site=_name(stated["site"]),
                gate=_name(stated["gate"]),
                epoch=_label(stated["epoch"]),
                size=_count(stated["size"]),
                hash=_hash(stated["hash"]),
                at_ms=_count(stated["at_ms"]),
                clock_trusted=_as(bool, stated["clock_trusted"]),
                boot_id=_label(stated["boot_id"]),
                why=Why(_as(str, stated["why"])),
                receipted=_count(stated["receipted"]),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise SignedError("malformed") from error
        if checkpoint.receipted > checkpoint.size:
            raise SignedError("malformed")
        return checkpoint


class Ask(StrEnum):
    """What a receipt asks for beside what it states."""

    NOTHING = "nothing"
    RECORDS = "records"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The centre holds every record of this epoch up to `upto`, and the last of them has this hash.

    `at_ms`: when the centre's store said so, unix milliseconds; of two receipts the later one counts, also
    when it reaches less far (a centre that was restored from a backup).
    """

    site: str
    gate: str
    epoch: str
    upto: int
    hash: bytes
    at_ms: int
    ask: Ask = Ask.NOTHING

    def signed(self, centre_key: Ed25519PrivateKey) -> bytes:
        """Return the message that goes to the gate."""
        return sign(centre_key, _RECEIPT, {
            "v": 1, "site": self.site, "gate": self.gate, "epoch": self.epoch, "upto": self.upto,
            "hash": self.hash.hex(), "at_ms": self.at_ms, "ask": str(self.ask),
        })  # fmt: skip

    @classmethod
    def opened(cls, message: bytes, keys: tuple[bytes, ...]) -> "Receipt":
        """Return what one of the centre's keys has signed. Raises SignedError."""
        stated = open_signed(message, _RECEIPT, keys)
        try:
            check_version(stated)
            return cls(
                site=_name(stated["site"]),
                gate=_name(stated["gate"]),
                epoch=_label(stated["epoch"]),
                upto=_count(stated["upto"]),
                hash=_hash(stated["hash"]),
                at_ms=_count(stated["at_ms"]),
                ask=Ask(_as(str, stated["ask"])),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise SignedError("malformed") from error


@dataclass(frozen=True, slots=True)
class PreviousEpoch:
    """The ledger that came before this one on the same device, and why it was left.

    `hash` are the 64 hexadecimal digits of its newest record's (genesis where it held none). `epoch` is ""
    for the first ledger of a device.
    """

    epoch: str
    size: int
    hash: str
    reason: str


def _hash(text: object) -> bytes:
    digest = bytes.fromhex(_as(str, text))
    if len(digest) != HASH_SIZE or digest.hex() != text:
        raise ValueError("no hash")
    return digest


def _name(text: object) -> str:
    name = _as(str, text)
    if NAME.fullmatch(name) is None:
        raise ValueError("no name of a site or gate")
    return name


def _label(text: object) -> str:
    label = _as(str, text)
    if not (1 <= len(label) <= LABEL_MAX and label.isascii() and label.isprintable()):
        raise ValueError("no label")
    return label


def _count(number: object) -> int:
    count = _as(int, number)
    if not 0 <= count <= COUNT_MAX:
        raise ValueError(f"0 to {COUNT_MAX}")
    return count


def _as(kind: type[V], item: object) -> V:
    # A bool is an int for Python, not on the wire.
    if isinstance(item, kind) and (kind is bool or not isinstance(item, bool)):
        return item
    raise TypeError(f"no {kind.__name__}")
