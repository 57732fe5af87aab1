"""What the store reads in the bytes that arrive: enough to put them in their place, and no more."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from re import compile as pattern
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from central.store.model import SEALED_BYTES_MAX
from gate.core.batches import BATCH_BYTES_MAX

RECORD_BYTES_MAX: Final = BATCH_BYTES_MAX
"""More than any gate writes; what is longer is no record."""

SEQ_MAX: Final = 2**53
"""Beyond that JSON's numbers are not exact everywhere."""

DIGEST_SIZE: Final = 32

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_LINE_BREAK: Final = ord("\n")  # a number is found in bytes ten times as fast as bytes are
_NAME: Final = pattern(r"[A-Za-z0-9_-]{1,32}")
_NAME_MAX: Final = 64


class Name(NamedTuple):
    """Which ledger."""

    site: str
    gate: str
    epoch: str


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """One record that may be stored. `sealed`: the hash of the attachment that it declares."""

    seq: int
    body: bytes
    at_ms: int | None
    kind: str
    abnormal: bool
    sealed: bytes | None


class Attachment(msgspec.Struct, frozen=True, gc=False):
    """One sealed attachment of the record `seq`."""

    seq: int
    blob: bytes


class UnreadableError(ValueError):
    """Bytes that cannot be put anywhere; the message is one word."""


class _Data(msgspec.Struct, gc=False):
    site: str
    gate: str
    epoch: str
    seq: int
    abnormal: bool = False
    sealed: str | None = None


class _Event(msgspec.Struct, gc=False):
    data: _Data
    type: str = ""
    time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _BareData(msgspec.Struct, gc=False):
    site: str
    gate: str
    epoch: str
    seq: int
    abnormal: Any = False
    sealed: Any = None


class _BareEvent(msgspec.Struct, gc=False):
    data: _BareData


class _Sealed(msgspec.Struct, gc=False):
    v: int
    epoch: str
    seq: int
    sealed: str


_UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they should be; it decodes only the texts it needs."""

_event: Final = msgspec.json.Decoder(_Event).decode
_bare_event: Final = msgspec.json.Decoder(_BareEvent).decode
_sealed: Final = msgspec.json.Decoder(_Sealed).decode


def record(site: str, gate: str, body: bytes) -> tuple[str, Incoming]:
    """Return the epoch that a record names, and the record. Raises UnreadableError.

    A record that is chained by its gate has to find a place here, or its stream would stand still for ever:
    so nothing is asked of it but site, gate, epoch and number.
    """
    if len(body) > RECORD_BYTES_MAX:
        raise UnreadableError("too_long")
    try:
        event = _event(body)
    except _UNDECODABLE:
        return _bare_record(site, gate, body)
    data, time = event.data, event.time
    # _check_place, spelled out: every record comes this way.
    if data.site != site or data.gate != gate or not 0 < data.seq <= SEQ_MAX or _LINE_BREAK in body:
        _check_place(data, site, gate, body)
    at_ms = None if time is None else (time - _UNIX_EPOCH) // _MS
    sealed = None if data.sealed is None else _digest(data.sealed)
    return data.epoch, Incoming(data.seq, body, at_ms, _kind(event.type), data.abnormal, sealed)


def _bare_record(site: str, gate: str, body: bytes) -> tuple[str, Incoming]:
    try:
        data = _bare_event(body).data
    except _UNDECODABLE as error:
        raise UnreadableError("malformed") from error
    _check_place(data, site, gate, body)
    return data.epoch, Incoming(data.seq, body, None, "", data.abnormal is True, _digest(data.sealed))


def _check_place(data: _Data | _BareData, site: str, gate: str, body: bytes) -> None:
    if data.site != site or data.gate != gate:
        raise UnreadableError("other_gate")
    if not 0 < data.seq <= SEQ_MAX:
        raise UnreadableError("number")
    if _LINE_BREAK in body:  # a record is one line, in batches and in exports
        raise UnreadableError("line_break")


def sealed_message(message: bytes) -> tuple[str, Attachment]:
    """Return the epoch that a message of the topic `sealed` names, and the attachment (UnreadableError)."""
    if len(message) > 2 * SEALED_BYTES_MAX:
        raise UnreadableError("too_long")
    try:
        stated = _sealed(message)
        blob = base64.b64decode(stated.sealed, validate=True)
    except (*_UNDECODABLE, binascii.Error, ValueError) as error:
        raise UnreadableError("malformed") from error
    if stated.v != 1 or len(blob) > SEALED_BYTES_MAX or not 0 < stated.seq <= SEQ_MAX:
        raise UnreadableError("malformed")
    return stated.epoch, Attachment(stated.seq, blob)


def checked(name: Name) -> Name:
    """Return a name that may be one. Raises UnreadableError."""
    if not is_name(name):
        raise UnreadableError("no_name")
    return name


def is_name(name: Name) -> bool:
    """Return whether this may be the name of a ledger."""
    plain = _NAME.fullmatch(name.site) and _NAME.fullmatch(name.gate)
    return bool(plain) and 0 < len(name.epoch) <= _NAME_MAX and name.epoch.isprintable()


def announced(body: bytes) -> tuple[str, int, bytes] | None:
    """Return epoch, size and hash of the ledger that this first record of a new one says it follows."""
    try:
        event = msgspec.json.decode(body)
        if _kind(event["type"]) != "epoch.started":
            return None
        before = event["data"]["previous"]
        epoch, size, digest = before["epoch"], before["size"], _digest(before["hash"])
    except (*_UNDECODABLE, KeyError, TypeError, AttributeError):
        return None
    sound = isinstance(epoch, str) and type(size) is int and 0 <= size <= SEQ_MAX and digest is not None
    return (epoch, size, digest) if sound and digest is not None else None


@lru_cache(maxsize=256)
def _kind(event_type: str) -> str:
    """Return the kind in `hg.<kind>.v1`; "" for anything else."""
    start, _, rest = event_type.partition("hg.")
    kind, _, version = rest.rpartition(".")
    sound = not start and version.startswith("v") and len(kind) <= _NAME_MAX and kind.isprintable()
    return kind if sound else ""


def _digest(text: object) -> bytes | None:
    if not isinstance(text, str) or len(text) != 2 * DIGEST_SIZE:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
