"""Signed documents: what changes daily, and which of it still counts.

    "HGD1:" base64url( key id (4 bytes), Ed25519 signature (64 bytes), JSON payload )

    payload = {"kind", "issuer", "site", "version", "issued_at", "not_after", "content"}

A document is no QR code and may hold thousands of rows, so it is not made like one. The frame has a fixed
size: the signature is checked before anything of a stranger's is parsed. The payload is JSON, which the
library reads at once and a person can read too. The signed bytes start with a prefix of their own, so that no
pass can ever be a document, even under a key that is trusted for both.

A gate keeps, of each kind and issuer, the highest version that it has seen and never goes back. A document
is not forgotten when its time is over: a revoked pass stays revoked. But then the kind is stale, and what
that means is for the policy to say.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gate.core.codes.model import NAME, Circumstances, CodeError, Freshness, Reason
from gate.core.codes.trust import DOCUMENTS, Trust, TrustedKey, key_id

PREFIX: Final = b"HGD1:"

DOCUMENT_BYTES_MAX: Final = 256 * 1024
"""Decoded, in all: some 13,000 residents or 3,500 appointments."""

TEXT_BYTES_MAX: Final = len(PREFIX) + (DOCUMENT_BYTES_MAX + 2) // 3 * 4

_KID_BYTES, _SIGNATURE_BYTES = 4, 64
_DOMAIN: Final = b"health gate, document of a site\x00"

_SUBJECT: Final = re.compile(r"[0-9a-f]{16}")
PASS_ID: Final = re.compile(r"(?:[0-9a-f]{2}){4,16}")

COUNT_MAX: Final = 1_000_000


class Kind(StrEnum):
    """What a document is about."""

    RISK_AREAS = "risk_areas"
    RESIDENTS = "residents"
    APPOINTMENTS = "appointments"
    REVOCATIONS = "revocations"
    OCCUPANCY = "occupancy"
    SUSPENSION = "suspension"


@dataclass(frozen=True, slots=True)
class RiskAreas:
    """Regions of raised risk, by name or code: each 1-64 printable characters."""

    kind: ClassVar = Kind.RISK_AREAS
    regions: frozenset[str]

    def __post_init__(self) -> None:
        _require(
            all(0 < len(r) <= 64 and r.isprintable() for r in self.regions), "regions: 1 to 64 characters"
        )


@dataclass(frozen=True, slots=True)
class Residents:
    """Who lives here: pseudonyms as passes carry them, 16 hexadecimal digits in lower case."""

    kind: ClassVar = Kind.RESIDENTS
    subjects: frozenset[str]

    def __post_init__(self) -> None:
        _require(all(map(_SUBJECT.fullmatch, self.subjects)), "subjects: 16 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class Appointment:
    """One appointment: times in unix seconds, both ends included; the pass may be used once inside them."""

    subject: str
    valid_from: int
    valid_until: int
    booked_at: int
    pass_id: str

    def __post_init__(self) -> None:
        _require(_SUBJECT.fullmatch(self.subject), "subject: 16 hexadecimal digits")
        _require(PASS_ID.fullmatch(self.pass_id), "pass_id: 8 to 32 hexadecimal digits")
        _require(_are_times(self.valid_from, self.valid_until, self.booked_at), "times: unix seconds")
        _require(self.valid_from <= self.valid_until, "the appointment ends before it starts")


@dataclass(frozen=True, slots=True)
class Appointments:
    """Everybody who is expected."""

    kind: ClassVar = Kind.APPOINTMENTS
    rows: frozenset[Appointment]


@dataclass(frozen=True, slots=True)
class Revocations:
    """Passes of the document's own issuer that are called back: ids of 8 to 32 hexadecimal digits."""

    kind: ClassVar = Kind.REVOCATIONS
    pass_ids: frozenset[str]

    def __post_init__(self) -> None:
        _require(all(map(PASS_ID.fullmatch, self.pass_ids)), "pass_ids: 8 to 32 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How many people are inside, and when they were counted (unix seconds)."""

    kind: ClassVar = Kind.OCCUPANCY
    count: int
    counted_at: int

    def __post_init__(self) -> None:
        _require(0 <= self.count <= COUNT_MAX, f"count: 0 to {COUNT_MAX}")
        _require(_are_times(self.counted_at), "counted_at: unix seconds")


@dataclass(frozen=True, slots=True)
class Suspension:
    """Whether the site's service is suspended on order (CO-7), or goes on again."""

    kind: ClassVar = Kind.SUSPENSION
    suspended: bool


Content = RiskAreas | Residents | Appointments | Revocations | Occupancy | Suspension


@dataclass(frozen=True, slots=True)
class Document:
    """What one issuer says of one site. Raises ValueError when it could not be signed.

    `version` 1 to 2^32 - 1, rising; `issued_at`, `not_after`: unix seconds, 0 < t < 2^32, both included.
    """

    site: str
    issuer: str
    version: int
    issued_at: int
    not_after: int
    content: Content

    def __post_init__(self) -> None:
        _require(
            NAME.fullmatch(self.issuer) and NAME.fullmatch(self.site), "issuer and site: 1 to 32 letters"
        )
        _require(0 < self.version < 2**32, "version: 1 to 2^32 - 1")
        _require(_are_times(self.issued_at, self.not_after), "times: unix seconds above 0 and below 2^32")
        _require(self.issued_at <= self.not_after, "the document ends before it starts")

    @property
    def kind(self) -> Kind:
        """What the document is about."""
        return self.content.kind


def _require(holds: object, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


def _are_times(*times: int) -> bool:
    return all(0 < time < 2**32 for time in times)


def sign_document(private_key: Ed25519PrivateKey, document: Document) -> str:
    """Return the text of a document; the same document always gives the same text.

    Raises ValueError when it has more rows than a gate would read.
    """
    fields = {
        "kind": document.kind,
        "issuer": document.issuer,
        "site": document.site,
        "version": document.version,
        "issued_at": document.issued_at,
        "not_after": document.not_after,
        "content": _rows(document.content),
    }
    payload = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    kid = key_id(private_key.public_key().public_bytes_raw())
    raw = kid + private_key.sign(_DOMAIN + payload) + payload
    _require(len(raw) <= DOCUMENT_BYTES_MAX, f"the document has more than {DOCUMENT_BYTES_MAX} bytes")
    return (PREFIX + base64.urlsafe_b64encode(raw)).decode("ascii")


def open_document(text: bytes, *, trust: Trust, site: str) -> Document:
    """Return what an issuer has signed for this site, whatever its time: see `Documents.stale`.

    Raises `CodeError`, whatever the bytes: malformed, too_large, unknown_issuer, bad_signature,
    wrong_purpose (a key that may not sign documents), wrong_site.
    """
    raw = _decoded(text)
    kid, signature = raw[:_KID_BYTES], raw[_KID_BYTES : _KID_BYTES + _SIGNATURE_BYTES]
    payload = raw[_KID_BYTES + _SIGNATURE_BYTES :]
    known = [key for key in trust.keys if key.kid == kid]
    if not known:
        raise CodeError(Reason.UNKNOWN_ISSUER)
    signers = [key for key in known if _signed_by(key, signature, payload)]
    if not signers:
        raise CodeError(Reason.BAD_SIGNATURE)
    document = _read(payload)
    # One key may stand for several issuers, each with purposes of its own.
    signer = next((key for key in signers if key.issuer == document.issuer), None)
    if signer is None:
        raise CodeError(Reason.UNKNOWN_ISSUER)
    if DOCUMENTS not in signer.purposes:
        raise CodeError(Reason.WRONG_PURPOSE)
    if document.site != site:
        raise CodeError(Reason.WRONG_SITE)
    return document


def read_document(text: bytes) -> Document:
    """Return what a document states, whoever signed it: to be shown, not believed. Raises `CodeError`."""
    return _read(_decoded(text)[_KID_BYTES + _SIGNATURE_BYTES :])


class Taken(StrEnum):
    """What became of a document: only `accepted` changes what is known."""

    ACCEPTED = "accepted"
    SAME = "same"
    OLDER = "older"
    CONFLICT = "conflict"


C = TypeVar("C", bound=Content)
V = TypeVar("V")


class Documents:
    """The newest document of each kind and issuer; what several issuers say of one kind is put together.

    Only what is current is looked into, apart from revocations: what was called back stays so.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[Kind, str], Document] = {}

    def take(self, document: Document) -> Taken:
        """Keep a document if its version is the highest so far of its kind and issuer.

        A document is taken also when its time is over, because it still says more than the one before.
        `conflict`: two documents with one version; the one that came first stays.
        """
        taken = self.weigh(document)
        if taken is Taken.ACCEPTED:
            self._held[document.kind, document.issuer] = document
        return taken

    def weigh(self, document: Document) -> Taken:
        """Say what would become of a document."""
        held = self._held.get((document.kind, document.issuer))
        if held is None or document.version > held.version:
            return Taken.ACCEPTED
        if document.version < held.version:
            return Taken.OLDER
        return Taken.SAME if document == held else Taken.CONFLICT

    def held(self, kind: Kind) -> tuple[Document, ...]:
        """Return the documents of a kind, one per issuer, in the order of issuers; empty if none has come."""
        return tuple(self._held[place] for place in sorted(self._held) if place[0] is kind)

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of which any has come."""
        return frozenset(kind for kind, _ in self._held)

    def stale(self, at: Circumstances) -> frozenset[Kind]:
        """Name every kind of which a document is not current: out of its time, or the clock is unsure."""
        return frozenset(document.kind for document in self.not_current(at))

    def not_current(self, at: Circumstances) -> frozenset[Document]:
        """Return the documents that do not count now."""
        return frozenset(document for document in self._held.values() if not _is_current(document, at))

    def risk_areas(self, at: Circumstances) -> frozenset[str]:
        """Return every region of raised risk."""
        return frozenset().union(*(content.regions for content in self._contents(RiskAreas, at)))

    def is_resident(self, subject: str, at: Circumstances) -> bool:
        """Say whether a pseudonym (16 hexadecimal digits) stands in a list of residents."""
        return any(subject in content.subjects for content in self._contents(Residents, at))

    def appointments(self, subject: str, at: Circumstances) -> tuple[Appointment, ...]:
        """Return the appointments of a pseudonym, the earliest first."""
        rows = (row for content in self._contents(Appointments, at) for row in content.rows)
        mine = (row for row in rows if row.subject == subject)
        return tuple(sorted(mine, key=lambda row: (row.valid_from, row.valid_until, row.pass_id)))

    def revoked(self) -> frozenset[tuple[str, str]]:
        """Return the (issuer, pass id) of every pass that is called back, as `Trust.revoked` takes them."""
        return frozenset(
            (document.issuer, pass_id)
            for document in self._held.values()
            if isinstance(document.content, Revocations)
            for pass_id in document.content.pass_ids
        )

    def occupancy(self, at: Circumstances) -> Occupancy | None:
        """Return the latest count."""
        return max(self._contents(Occupancy, at), key=lambda content: content.counted_at, default=None)

    def suspended(self, at: Circumstances) -> bool:
        """Say whether anybody orders the service to be suspended.

        While nobody knows the time an order stands: a hall does not open because its clock has stopped.
        """
        return any(
            isinstance(document.content, Suspension)
            and document.content.suspended
            and (not at.clock_trusted or _is_current(document, at))
            for document in self._held.values()
        )

    def _contents(self, kind: type[C], at: Circumstances) -> list[C]:
        return [d.content for d in self._held.values() if isinstance(d.content, kind) and _is_current(d, at)]


def _is_current(document: Document, at: Circumstances) -> bool:
    return at.freshness(start=document.issued_at, end=document.not_after) is Freshness.CURRENT


# On the wire: a set is a sorted list, a row the list of its fields.


def _rows(content: Content) -> Sequence[object]:
    match content:
        case RiskAreas(texts) | Residents(texts) | Revocations(texts):
            return sorted(texts)
        case Appointments(rows):
            return sorted([r.subject, r.valid_from, r.valid_until, r.booked_at, r.pass_id] for r in rows)
        case Occupancy(count, counted_at):
            return [count, counted_at]
    return [int(content.suspended)]


_READERS: Final[dict[Kind, Callable[[list[object]], Content]]] = {
    Kind.RISK_AREAS: lambda rows: RiskAreas(_texts(rows)),
    Kind.RESIDENTS: lambda rows: Residents(_texts(rows)),
    Kind.APPOINTMENTS: lambda rows: Appointments(frozenset(_appointment(row) for row in rows)),
    Kind.REVOCATIONS: lambda rows: Revocations(_texts(rows)),
    Kind.OCCUPANCY: lambda rows: Occupancy(*(_as(int, row) for row in _fields(rows, 2))),
    Kind.SUSPENSION: lambda rows: Suspension(bool((0, 1).index(_as(int, _fields(rows, 1)[0])))),
}
_NAMES: Final = {"kind", "issuer", "site", "version", "issued_at", "not_after", "content"}


def _decoded(text: bytes) -> bytes:
    """Undo the text form, of which there is one spelling."""
    if len(text) > TEXT_BYTES_MAX:
        raise CodeError(Reason.TOO_LARGE, f"document: more than {DOCUMENT_BYTES_MAX} bytes")
    try:
        raw = base64.b64decode(text.removeprefix(PREFIX), altchars=b"-_", validate=True)
    except binascii.Error as fault:
        raise CodeError(Reason.MALFORMED, "document: no base64") from fault
    if PREFIX + base64.urlsafe_b64encode(raw) != text or len(raw) <= _KID_BYTES + _SIGNATURE_BYTES:
        raise CodeError(Reason.MALFORMED, "document: not the one spelling, or nothing signed")
    return raw


def _signed_by(key: TrustedKey, signature: bytes, payload: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, _DOMAIN + payload)
    except InvalidSignature:
        return False
    return True


def _read(payload: bytes) -> Document:
    try:
        fields = _as(dict, json.loads(payload.decode("utf-8")))
        _require(fields.keys() == _NAMES, "not the fields of a document")
        return Document(
            site=_as(str, fields["site"]),
            issuer=_as(str, fields["issuer"]),
            version=_as(int, fields["version"]),
            issued_at=_as(int, fields["issued_at"]),
            not_after=_as(int, fields["not_after"]),
            content=_READERS[Kind(_as(str, fields["kind"]))](_as(list, fields["content"])),
        )
    except (ValueError, RecursionError) as fault:
        raise CodeError(Reason.MALFORMED, f"document: {fault}") from fault


def _texts(rows: list[object]) -> frozenset[str]:
    return frozenset(_as(str, row) for row in rows)


def _appointment(row: object) -> Appointment:
    subject, valid_from, valid_until, booked_at, pass_id = _fields(row, 5)
    return Appointment(
        _as(str, subject),
        _as(int, valid_from),
        _as(int, valid_until),
        _as(int, booked_at),
        _as(str, pass_id),
    )


def _fields(item: object, count: int) -> list[object]:
    row = _as(list, item)
    _require(len(row) == count, f"not a list of {count}")
    return row


def _as(kind: type[V], item: object) -> V:
    if isinstance(item, kind) and not isinstance(item, bool):
        return item
    raise CodeError(Reason.MALFORMED, "not of its type")
