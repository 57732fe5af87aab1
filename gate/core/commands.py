"""Commands from the centre: signed, addressed, expiring, counted, never retained.

    topic hg/1/<site>/<gate>/cmd, a signed message (`gate.core.signed`) that states
    {"v", "id", "site", "gate", "epoch", "counter", "not_before", "expires", "command", "args"}

A command is for one gate and one epoch of its ledger, so that a gate that has lost its memory cannot be told
an old one again. The counter rises from command to command; the gate keeps the highest in the transaction in
which it records the command, and refuses whatever does not come above it. Every command that comes, obeyed or
refused, is a record in the gate's own chain: that record is the answer.

No command can hold the gate shut in a fire, and none lets anybody in without a record.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.codes.model import Circumstances
from gate.core.signed import SignedError, check_version, open_signed, sign

LIFE_S_MAX: Final = 86_400
COUNTER_MAX: Final = 2**53 - 1
TEXT_MAX: Final = 48 * 1024
VERSION_MAX: Final = 40
_PURPOSE: Final = "command"
# deb-version(7), without an epoch: it is part of file names, and of arguments to what runs as root.
_VERSION: Final = re.compile(r"[0-9][A-Za-z0-9.+~-]*")
V = TypeVar("V")


class Name(StrEnum):
    """What a gate can be told to do, with the arguments of each."""

    SUSPEND = "suspend"
    """`reason`: 1 to 100 characters. Visitors are not served until `resume` (CO-7); staff are."""
    RESUME = "resume"
    OPEN_ONCE = "open_once"
    """`reason`: as above. One person may pass."""
    DOCUMENT = "document"
    """`text`: a signed document of the day (`gate.core.documents`)."""
    POLICY = "policy"
    """`text`: a policy file. It is followed from the next visit on, and after the next start."""
    RESEND = "resend"
    """`after`: records above this sequence number are sent again."""
    CHECKPOINT = "checkpoint"
    UPDATE = "update"
    """`version`: of the Debian package. It is installed in the plan's quiet hours (`gate.core.updates`)."""


_ARGUMENTS: Final[Mapping[Name, Mapping[str, tuple[type, int]]]] = {
    Name.SUSPEND: {"reason": (str, 100)},
    Name.RESUME: {},
    Name.OPEN_ONCE: {"reason": (str, 100)},
    Name.DOCUMENT: {"text": (str, TEXT_MAX)},
    Name.POLICY: {"text": (str, TEXT_MAX)},
    Name.RESEND: {"after": (int, COUNTER_MAX)},
    Name.CHECKPOINT: {},
    Name.UPDATE: {"version": (str, VERSION_MAX)},
}


class Refusal(StrEnum):
    """Why a command is not obeyed. The first four say that nobody known has said it."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    RETAINED = "retained"
    MISADDRESSED = "misaddressed"
    REPLAYED = "replayed"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    CLOCK_UNSURE = "clock_unsure"


class CommandRefusedError(Exception):
    """A command that is not obeyed; `command` only where a key of the centre has signed it."""

    def __init__(self, reason: Refusal, command: "Command | None" = None) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.command = command


@dataclass(frozen=True, slots=True)
class CentreWord:
    """What the centre has said that must outlive a restart; stored with the record of the command.

    `counter` of the newest command that was taken, 0 for none; `suspended` is the reason for which visitors
    are not served, "" while they are.
    """

    counter: int = 0
    suspended: str = ""


NOTHING_SAID: Final = CentreWord()


@dataclass(frozen=True, slots=True)
class Address:
    """Which gate, in which epoch of its ledger."""

    site: str
    gate: str
    epoch: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `counter` 1 to 2^53 - 1; `not_before`, `expires`: unix seconds, both included.

    Raises ValueError for arguments that the command does not take, and for a life of more than a day.
    """

    id: str
    to: Address
    counter: int
    not_before: int
    expires: int
    name: Name
    args: Mapping[str, str | int]

    def __post_init__(self) -> None:
        if not 1 <= self.counter <= COUNTER_MAX:
            raise ValueError(f"counter: 1 to {COUNTER_MAX}")
        if not 0 <= self.expires - self.not_before <= LIFE_S_MAX:
            raise ValueError(f"a command lives for at most {LIFE_S_MAX} s")
        if not 1 <= len(self.id) <= 32 or not self.id.isalnum() or not self.id.isascii():
            raise ValueError("id: 1 to 32 letters and digits")
        wanted = _ARGUMENTS[self.name]
        if self.args.keys() != wanted.keys():
            raise ValueError(f"{self.name} takes {', '.join(wanted) or 'no arguments'}")
        for name, (kind, limit) in wanted.items():
            _check_argument(name, self.args[name], kind, limit)

    def signed(self, centre_key: Ed25519PrivateKey) -> bytes:
        """Return the message that goes to the gate."""
        return sign(centre_key, _PURPOSE, {
            "v": 1, "id": self.id, "site": self.to.site, "gate": self.to.gate, "epoch": self.to.epoch,
            "counter": self.counter, "not_before": self.not_before, "expires": self.expires,
            "command": str(self.name), "args": dict(self.args),
        })  # fmt: skip


def open_command(
    message: bytes, *, keys: Iterable[bytes], to: Address, at: Circumstances, counter: int, retained: bool
) -> Command:
    """Return a command that is to be obeyed now by the gate `to`, which has obeyed up to `counter`.

    Raises CommandRefusedError, whatever the bytes.
    """
    try:
        command = _read(open_signed(message, _PURPOSE, keys))
    except SignedError as error:
        raise CommandRefusedError(Refusal(error.reason)) from error
    for refusal, holds in (
        (Refusal.RETAINED, retained),
        (Refusal.MISADDRESSED, command.to != to),
        (Refusal.REPLAYED, command.counter <= counter),
        (Refusal.CLOCK_UNSURE, not at.clock_trusted),
        (Refusal.NOT_YET, at.now_ms < command.not_before * 1000),
        (Refusal.EXPIRED, at.now_ms >= (command.expires + 1) * 1000),
    ):
        if holds:
            raise CommandRefusedError(refusal, command)
    return command


def is_version(text: str) -> bool:
    """Tell whether this can be the version of a package of ours."""
    return len(text) <= VERSION_MAX and _VERSION.fullmatch(text) is not None


def _check_argument(name: str, value: object, kind: type, limit: int) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name}: must be {'text' if kind is str else 'a number'}")  # noqa: TRY004 - one kind of error
    if isinstance(value, str) and not 1 <= len(value) <= limit:
        raise ValueError(f"{name}: 1 to {limit} characters")
    if isinstance(value, str) and name == "reason" and not value.isprintable():
        raise ValueError(f"{name}: one line of text")
    if name == "version" and not is_version(str(value)):
        raise ValueError(f"{name}: a version of the package, such as 0.2.0 or 0.2.0-1")
    if isinstance(value, int) and not 0 <= value <= limit:
        raise ValueError(f"{name}: 0 to {limit}")


def _read(stated: dict[str, Any]) -> Command:
    try:
        check_version(stated)
        return Command(
            id=_as(str, stated["id"]),
            to=Address(_as(str, stated["site"]), _as(str, stated["gate"]), _as(str, stated["epoch"])),
            counter=_as(int, stated["counter"]),
            not_before=_as(int, stated["not_before"]),
            expires=_as(int, stated["expires"]),
            name=Name(_as(str, stated["command"])),
            args=_as(dict, stated["args"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise SignedError("malformed") from error


def _as(kind: type[V], item: object) -> V:
    if isinstance(item, kind) and not isinstance(item, bool):
        return item
    raise TypeError(f"no {kind.__name__}")
