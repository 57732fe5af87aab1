"""Who may have a certificate: asked, decided and written in one transaction, before anything is answered.

A key that is registered gets one by proving itself (the request is signed with it): that is how certificates
are renewed, and how a device that never had the answer asks again. Any other key needs a token, and is
registered, its use of the token written and its certificate kept in the same transaction: a centre that is
killed has done all of it or nothing.

A token alone never gives a gate a second key, nor a board a second identity: those wait for a person, as do a
key that was revoked and one that comes from another board than its certificate is for. So a copied card does
not go unnoticed, whether it was copied before its first boot or after it, as long as the copy runs this
software: whoever has the key of a device can also say the number of its board.
"""

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Table,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from central.enrolment.authority import Authority, named, renewal_due
from central.store import AlarmKind, Code, Suspicion, gates
from central.store.alarm_log import must_be_text, raise_alarm
from central.store.engine import reading, writing
from central.store.tables import certificates, enrol_tokens, enrol_uses, enrol_waiting, gate_keys
from gate.core.codes.model import NAME
from gate.core.codes.trust import key_id

TOKEN_BYTES: Final = 20
CLOCK_MS_MAX: Final = 12 * 3_600_000
"""How far a device's clock may be off: its certificate begins a day before it is made."""

_NAMES_MAX: Final = 63  # with the "/" 64, what a common name may have (RFC 5280 appendix A.1)
_NO_GATE: Final = "doc"  # the documents of a site travel under that name
_WAITING_MAX: Final = 20
"""Keys of a site that may wait on tokens, and boards with one known key: more than a copied card in every
hall, fewer than fill a disk."""

_ENROLLING: Final = 0x68675F65  # any number that nobody else uses
_DAY_MS: Final = 86_400_000


class Refusal(StrEnum):
    """Why there is no certificate."""

    BAD_REQUEST = "bad_request"
    CLOCK = "clock"
    NO_TOKEN = "no_token"  # noqa: S105 - these are names of reasons
    WRONG_TOKEN = "wrong_token"  # noqa: S105
    WRONG_SITE = "wrong_site"
    EXPIRED_TOKEN = "expired_token"  # noqa: S105
    USED_TOKEN = "used_token"  # noqa: S105
    REVOKED_KEY = "revoked_key"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a device asks: names and key come out of a request that was signed with that key.

    `device`: what it says of its hardware, "" for nothing. `at_ms`: its clock;
    `address`: where it calls from.
    """

    site: str
    gate: str
    public_key: bytes
    token: str
    device: str
    at_ms: int
    address: str


@dataclass(frozen=True, slots=True)
class Granted:
    """A certificate; `is_new`: the key was registered just now."""

    certificate: x509.Certificate
    is_new: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """No certificate: why, and in a sentence what to do."""

    why: Refusal
    words: str


class Token(NamedTuple):
    """A token as it is kept. Times: unix milliseconds."""

    id: int
    site: str
    gate: str
    uses: int
    used: int
    made_by: str
    made_ms: int
    ends_ms: int


class Waiting(NamedTuple):
    """A key that a person has to allow. Times: unix milliseconds."""

    site: str
    gate: str
    kid: str
    device: str
    why: str
    address: str
    first_ms: int
    last_ms: int
    times: int


class Issued(NamedTuple):
    """The newest certificate of a key. Times: unix milliseconds."""

    site: str
    gate: str
    kid: str
    device: str
    address: str
    issued_ms: int
    ends_ms: int
    revoked_ms: int | None


class EnrolmentBook:
    """Tokens, certificates and waiting keys of one store. Every method may raise StoreError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ask(self, asked: Asked, authority: Authority, now_ms: int) -> Granted | Refused:
        """Decide, and write what was decided; all of it is on disk when this returns."""
        if problem := _unfit(asked, now_ms):
            return problem
        with writing(self._engine) as connection:
            _alone(connection)
            return _decide(connection, asked, authority, now_ms)

    def make_token(self, site: str, gate: str, *, days: int, uses: int, by: str, now_ms: int) -> str:
        """Return a new token for a site, or for one gate of it; it is shown once. Raises ValueError."""
        if problem := _no_names(site, gate) if gate else _no_names(site):
            raise ValueError(problem)
        must_be_text(by=by)
        token = secrets.token_hex(TOKEN_BYTES)
        row = {
            "digest": _digest(token), "site": site, "gate": gate, "uses": uses, "made_by": by,
            "made_ms": now_ms, "ends_ms": now_ms + days * _DAY_MS,
        }  # fmt: skip
        with writing(self._engine) as connection:
            connection.execute(insert(enrol_tokens).values(row))
        return token

    def token_number(self, token: str) -> int | None:
        """Return by which number a token is listed."""
        with reading(self._engine) as connection:
            row = _token(connection, token)
        return None if row is None else row.id

    def end_token(self, number: int, now_ms: int) -> bool:
        """Let a token be of no more use; False when there is none, or it is over."""
        live = (enrol_tokens.c.id == number, enrol_tokens.c.ends_ms > now_ms)
        with writing(self._engine) as connection:
            return connection.execute(update(enrol_tokens).where(*live).values(ends_ms=now_ms)).rowcount > 0

    def tokens(self, now_ms: int) -> list[Token]:
        """Return the tokens that are good for something, the oldest first."""
        used = select(func.count()).where(enrol_uses.c.token == enrol_tokens.c.id).scalar_subquery()
        live = select(enrol_tokens, used.label("used")).where(enrol_tokens.c.ends_ms > now_ms)
        with reading(self._engine) as connection:
            rows = connection.execute(live.order_by(enrol_tokens.c.id)).all()
        found = (Token(*(getattr(row, name) for name in Token._fields)) for row in rows)
        return [token for token in found if token.used < token.uses]

    def waiting(self) -> list[Waiting]:
        """Return the keys that nobody has allowed, the oldest first."""
        columns = [enrol_waiting.c[name] for name in Waiting._fields]
        open_ones = select(*columns).where(enrol_waiting.c.allowed_ms.is_(None)).order_by(enrol_waiting.c.id)
        with reading(self._engine) as connection:
            return [Waiting(*row) for row in connection.execute(open_ones).all()]

    def allow(self, site: str, gate: str, kid: str, device: str, by: str, now_ms: int) -> list[str]:
        """Register a key that waits on this board; return the ids of the gate's other keys that are believed.

        Raises LookupError, with a sentence, when it does not wait, or was revoked since it began to.
        """
        must_be_text(by=by)
        with writing(self._engine) as connection:
            _alone(connection)
            row = _waiting(connection, site, gate, kid, device)
            known = _keys_of(connection, site, gate)
            _not_revoked_since(known, row)
            keys = [key for key in known if key.revoked_ms is None]
            # One key, one board: who was allowed before has to be allowed again.
            before = (*_same_key(row), enrol_waiting.c.allowed_ms.is_not(None))
            connection.execute(delete(enrol_waiting).where(*before))
            done = update(enrol_waiting).where(enrol_waiting.c.id == row.id)
            connection.execute(done.values(allowed_ms=now_ms, allowed_by=by))
            note = f"allowed by {by}" + (f", device {row.device}" if row.device else "")
            gates.register(connection, site, gate, bytes(row.public_key), now_ms, note)
            _looked_into(connection, row, now_ms, by, f"key {kid} was allowed")
        return [key.kid for key in keys if key.public_key != row.public_key]

    def refuse(self, site: str, gate: str, kid: str, device: str, by: str, now_ms: int) -> None:
        """Take a key on a board off the list; asking once more it waits once more.

        Raises LookupError, with a sentence, when it does not wait.
        """
        must_be_text(by=by)
        with writing(self._engine) as connection:
            _alone(connection)
            row = _waiting(connection, site, gate, kid, device)
            connection.execute(delete(enrol_waiting).where(enrol_waiting.c.id == row.id))
            _looked_into(connection, row, now_ms, by, f"key {kid} was refused")

    def issued(self) -> Iterator[Issued]:
        """Yield the newest certificate of each key, by site and gate."""
        newest = select(func.max(certificates.c.id)).group_by(
            certificates.c.site, certificates.c.gate, certificates.c.public_key
        )
        ours = select(certificates).where(certificates.c.id.in_(newest))
        with reading(self._engine) as connection:
            rows = connection.execute(
                ours.order_by(certificates.c.site, certificates.c.gate, certificates.c.id)
            ).all()
        for row in rows:
            kid = key_id(bytes(row.public_key)).hex()
            yield Issued(
                row.site, row.gate, kid, row.device, row.address, row.issued_ms, row.ends_ms, row.revoked_ms
            )

    def revoked(self, now_ms: int) -> list[tuple[int, int]]:
        """Return number and instant of each certificate that is revoked and would be valid otherwise."""
        columns = select(certificates.c.number, certificates.c.revoked_ms)
        ours = columns.where(certificates.c.revoked_ms.is_not(None), certificates.c.ends_ms > now_ms)
        with reading(self._engine) as connection:
            return [(int(row.number, 16), row.revoked_ms) for row in connection.execute(ours).all()]


def _unfit(asked: Asked, now_ms: int) -> Refused | None:
    if problem := _no_names(asked.site, asked.gate):
        return Refused(Refusal.BAD_REQUEST, problem)
    if len(asked.site) + len(asked.gate) > _NAMES_MAX:
        words = (
            f"site and gate have more than {_NAMES_MAX} characters together, which no certificate can hold"
        )
        return Refused(Refusal.BAD_REQUEST, words)
    if not re.fullmatch(r"[0-9A-Za-z.:-]{0,64}", asked.device):  # as a certificate can hold it
        return Refused(Refusal.BAD_REQUEST, "the serial number of the device is none")
    if abs(asked.at_ms - now_ms) > CLOCK_MS_MAX:
        words = (
            "the device's clock differs from the centre's by more than 12 hours; set it, or look at its NTP"
        )
        return Refused(Refusal.CLOCK, words)
    return None


def _no_names(*names: str) -> str:
    """Return why a site and a gate cannot be called so, "" when they can."""
    for name in names:
        if not NAME.fullmatch(name):
            return f"{name!a} is no name of a site or gate: 1 to 32 of A-Z a-z 0-9 _ -"
    if names[1:] == (_NO_GATE,):
        return f"no gate can be called {_NO_GATE!r}: the documents of a site travel under that name"
    return ""


def _decide(connection: Connection, asked: Asked, authority: Authority, now_ms: int) -> Granted | Refused:
    own = next((key for key in _keys_of(connection, asked.site, asked.gate) if _is(key, asked)), None)
    if own is not None and own.revoked_ms is None:
        if _is_elsewhere(connection, asked):
            return _to_wait(connection, asked, None, "other_board", now_ms)
        _wait_no_more(connection, asked, now_ms)
        return Granted(_certificate(connection, asked, authority, now_ms), is_new=False)
    token = _token(connection, asked.token)
    if refused := _no_use(asked, token, now_ms):
        return refused if own is None else Refused(Refusal.REVOKED_KEY, _REVOKED)
    assert token is not None
    if why := _contradicted(connection, asked):
        return _to_wait(connection, asked, token.id, why, now_ms)
    used = connection.scalar(select(func.count()).where(enrol_uses.c.token == token.id)) or 0
    if used >= token.uses:
        words = "this token was used by another device; make one for this: central enrol token"
        return Refused(Refusal.USED_TOKEN, words)
    connection.execute(insert(enrol_uses).values(token=token.id, public_key=asked.public_key, used_ms=now_ms))
    certificate = _certificate(connection, asked, authority, now_ms)
    note = f"enrolled from {asked.address}" + (f", device {asked.device}" if asked.device else "")
    gates.register(connection, asked.site, asked.gate, asked.public_key, now_ms, note)
    return Granted(certificate, is_new=True)


def _is_elsewhere(connection: Connection, asked: Asked) -> bool:
    """Tell whether a key comes from another board than the one that was allowed, else than before."""
    theirs = (*_of_key(enrol_waiting, asked), enrol_waiting.c.allowed_ms.is_not(None))
    allowed = connection.scalar(select(enrol_waiting.c.device).where(*theirs))
    if allowed is not None:
        return bool(allowed != asked.device)
    ours = select(certificates.c.device).where(*_of_key(certificates, asked))
    before = connection.scalar(ours.order_by(certificates.c.id.desc()).limit(1))
    return before not in {None, "", asked.device}


def _no_use(asked: Asked, token: Row[Any] | None, now_ms: int) -> Refused | None:
    """Return why a token gives this device nothing, None when it does."""
    if not asked.token:
        return Refused(Refusal.NO_TOKEN, "the centre does not know this device's key, and it has no token")
    if token is None:
        return Refused(Refusal.WRONG_TOKEN, "the centre has made no such token; see: central enrol list")
    if asked.site != token.site or token.gate not in {"", asked.gate}:
        words = "this token is for another site or gate; see gate.site and gate.id, or make another token"
        return Refused(Refusal.WRONG_SITE, words)
    if token.ends_ms <= now_ms:
        words = "the time of this token is over; make a new one: central enrol token"
        return Refused(Refusal.EXPIRED_TOKEN, words)
    return None


def _contradicted(connection: Connection, asked: Asked) -> str:
    """Return why a person has to look at this key first, "" when nobody need."""
    named = _keys_of(connection, asked.site, asked.gate)
    if any(_is(key, asked) for key in named):
        return "revoked_key"
    if named:
        return "known_gate"
    if connection.execute(select(gate_keys.c.id).where(gate_keys.c.public_key == asked.public_key)).first():
        return "known_key"
    others = (certificates.c.device == asked.device, certificates.c.public_key != asked.public_key)
    if asked.device and connection.execute(select(certificates.c.id).where(*others).limit(1)).first():
        return "known_device"
    return ""


_REVOKED: Final = (
    "the key of this device was revoked; if that is to be taken back: central gates add, "
    "or give it a new token and central enrol allow"
)
_WHY: Final = {
    "revoked_key": "this key was revoked",
    "known_gate": "another device is known as this gate",
    "known_key": "this key is known as another gate",
    "known_device": "this board is known with another key",
    "other_board": "this gate's key is known with another board: its card was moved, or copied",
}


def _to_wait(connection: Connection, asked: Asked, token: int | None, why: str, now_ms: int) -> Refused:
    refused = Refused(
        Refusal.WAITING,
        f"{_WHY[why]}; somebody at the centre has to allow it: central enrol allow {asked.site} {asked.gate}",
    )
    # A row for each board: who allows one that was listed does not allow another that has asked since.
    own = _of_board(asked)
    here = connection.execute(select(enrol_waiting).where(*own)).first()
    if here is not None:
        said = {"why": why, "address": asked.address, "last_ms": now_ms}
        since = {"first_ms": here.first_ms, "times": here.times + 1}
        if here.allowed_ms is not None:
            since = {"first_ms": now_ms, "times": 1}
        again = update(enrol_waiting).where(enrol_waiting.c.id == here.id)
        connection.execute(again.values(**said, **since, allowed_ms=None))
    elif full := _no_room(connection, asked, token):
        return Refused(Refusal.WAITING, f"{_WHY[why]}; {full}: central enrol list")
    else:
        row = {
            "token": token, "site": asked.site, "gate": asked.gate, "public_key": asked.public_key,
            "kid": key_id(asked.public_key).hex(), "device": asked.device, "why": why,
            "address": asked.address, "first_ms": now_ms, "last_ms": now_ms, "times": 1, "allowed_by": "",
        }  # fmt: skip
        connection.execute(insert(enrol_waiting).values(row))
    # Not each time that it asks: an alarm that somebody has cleared would be back within the minute.
    if here is None or here.allowed_ms is not None:
        kid = key_id(asked.public_key).hex()
        evidence = {"kid": kid, "why": why, "device": asked.device, "address": asked.address}
        about = Suspicion(AlarmKind.FALSE, asked.site, asked.gate, "", Code.KEY_WAITS, evidence=evidence)
        raise_alarm(connection, about, now_ms)
    return refused


def _no_room(connection: Connection, asked: Asked, token: int | None) -> str:
    """Return why one more may not wait on a token of this site, or with a key that is known; else ""."""
    if token is None:  # strangers do not keep it from being noticed
        theirs = (*_of_key(enrol_waiting, asked), enrol_waiting.c.token.is_(None))
        who = "boards with this key"
    else:
        theirs = (enrol_waiting.c.site == asked.site, enrol_waiting.c.token.is_not(None))
        who = f"keys of {asked.site}"
    waiting = select(func.count()).where(*theirs, enrol_waiting.c.allowed_ms.is_(None))
    if (connection.scalar(waiting) or 0) < _WAITING_MAX:
        return ""
    return f"{_WAITING_MAX} {who} wait already, and some have to be refused first"


def _waiting(connection: Connection, site: str, gate: str, kid: str, device: str) -> Row[Any]:
    """Return the row of a key that waits on this board. Raises LookupError."""
    own = (
        enrol_waiting.c.site == site, enrol_waiting.c.gate == gate, enrol_waiting.c.kid == kid,
        enrol_waiting.c.device == device, enrol_waiting.c.allowed_ms.is_(None),
    )  # fmt: skip
    row = connection.execute(select(enrol_waiting).where(*own)).first()
    if row is None:
        raise LookupError(f"no key {kid} of {site}/{gate} waits on device {device or 'without a number'}")
    return row


def _same_key(row: Row[Any]) -> tuple[ColumnElement[bool], ...]:
    return (
        enrol_waiting.c.site == row.site,
        enrol_waiting.c.gate == row.gate,
        enrol_waiting.c.public_key == row.public_key,
    )


def _not_revoked_since(known: list[Row[Any]], row: Row[Any]) -> None:
    """Raise LookupError where it is not on the list for its revocation: allowing it would take that back."""
    is_revoked = any(key.public_key == row.public_key and key.revoked_ms is not None for key in known)
    if is_revoked and row.why != "revoked_key":
        raise LookupError(
            f"key {row.kid} of {row.site}/{row.gate} was revoked since it began to wait, and that stands; "
            f"take it off the list: central enrol refuse {row.site} {row.gate}"
        )


def _wait_no_more(connection: Connection, asked: Asked, now_ms: int) -> None:
    """Take a key on this board off the list: a person has registered it, or taken its revocation back."""
    own = _of_board(asked)
    gone = delete(enrol_waiting).where(*own, enrol_waiting.c.allowed_ms.is_(None))
    if connection.execute(gone).rowcount:
        _looked_into(connection, asked, now_ms, "", "its key was registered")


def _looked_into(connection: Connection, about: Asked | Row[Any], now_ms: int, by: str, reason: str) -> None:
    """Let the alarm be over when no other key waits under this name."""
    named_so = (enrol_waiting.c.site == about.site, enrol_waiting.c.gate == about.gate)
    more = select(enrol_waiting.c.id).where(*named_so, enrol_waiting.c.allowed_ms.is_(None)).limit(1)
    if connection.execute(more).first() is None:
        gates.clear(connection, about.site, about.gate, Code.KEY_WAITS, now_ms, by, reason)


def _certificate(connection: Connection, asked: Asked, authority: Authority, now_ms: int) -> x509.Certificate:
    """Return the certificate of a key: the one that it has, or a new one where that is none or is due."""
    own = select(certificates).where(*_of_key(certificates, asked), certificates.c.revoked_ms.is_(None))
    name = f"{asked.site}/{asked.gate}"
    row = connection.execute(own.order_by(certificates.c.id.desc()).limit(1)).first()
    if row is not None:
        here = x509.load_der_x509_certificate(bytes(row.certificate))
        is_for_it = authority.signed(here) and here.subject == named(name, asked.device)
        if is_for_it and not renewal_due(here, now_ms):
            return here
    made = authority.gate_certificate(name, asked.public_key, now_ms, asked.device)
    row_of_it = {
        "number": f"{made.serial_number:x}", "site": asked.site, "gate": asked.gate,
        "public_key": asked.public_key, "device": asked.device, "address": asked.address,
        "issued_ms": now_ms, "ends_ms": round(made.not_valid_after_utc.timestamp() * 1000),
        "certificate": made.public_bytes(Encoding.DER),
    }  # fmt: skip
    connection.execute(insert(certificates).values(row_of_it))
    return made


def _of_key(table: Table, asked: Asked) -> tuple[ColumnElement[bool], ...]:
    """Return what finds the rows of a key under its name."""
    return (
        table.c.site == asked.site,
        table.c.gate == asked.gate,
        table.c.public_key == asked.public_key,
    )


def _of_board(asked: Asked) -> tuple[ColumnElement[bool], ...]:
    """Return what finds the row of a key on its board among those that wait, or have waited."""
    return *_of_key(enrol_waiting, asked), enrol_waiting.c.device == asked.device


def _keys_of(connection: Connection, site: str, gate: str) -> list[Row[Any]]:
    """Return all keys that a gate ever had; whoever revokes one waits until this is done."""
    ours = select(gate_keys).where(gate_keys.c.site == site, gate_keys.c.gate == gate)
    return list(connection.execute(ours.order_by(gate_keys.c.id).with_for_update()).all())


def _is(key: Row[Any], asked: Asked) -> bool:
    return bytes(key.public_key) == asked.public_key


def _token(connection: Connection, token: str) -> Row[Any] | None:
    return connection.execute(select(enrol_tokens).where(enrol_tokens.c.digest == _digest(token))).first()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _alone(connection: Connection) -> None:
    """Let no other enrolment decide meanwhile: two devices may ask for one name at the same instant."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ENROLLING})
