"""Which keys speak for which gate. Whatever is said of them stands in the alarm log as well."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from central.store.alarm_log import KeySaid, clear_alarm, must_be_text, note_key
from central.store.damage import as_stored, unreadable
from central.store.model import Code, GateKey, Problem, Trust
from central.store.reading import Name, is_name
from central.store.streams import insert_new
from central.store.tables import alarms, certificates, checkpoints, gate_keys, streams
from gate.core.codes.trust import key_id

_KEY_SIZE = 32


def register(connection: Connection, site: str, gate: str, public_key: bytes, now_ms: int, note: str) -> None:
    """Believe what this key signs for this gate. Raises ValueError for a name or key that is none."""
    if not is_name(Name(site, gate, "-")):
        raise ValueError(f"{site}/{gate} is no name of a gate: 1 to 32 letters, digits, _ or - each")
    if len(public_key) != _KEY_SIZE:
        raise ValueError(f"a public key has {_KEY_SIZE} bytes, this one {len(public_key)}")
    must_be_text(note=note)
    own = (gate_keys.c.site == site, gate_keys.c.gate == gate, gate_keys.c.public_key == public_key)
    key = KeySaid(public_key, note, now_ms, None)
    row = {"site": site, "gate": gate, "kid": key_id(public_key).hex(), **key._asdict()}
    # It is not new, either, when another centre was first just now.
    is_new = insert_new(connection, gate_keys, [row]) == 1
    known = connection.execute(select(gate_keys).where(*own).with_for_update()).one()
    if is_new:
        note_key(connection, site, gate, key, now_ms)
    elif known.revoked_ms is not None:
        connection.execute(update(gate_keys).where(*own).values(revoked_ms=None))
        note_key(connection, site, gate, KeySaid(public_key, known.note, known.registered_ms, None), now_ms)
    for code in (Code.UNKNOWN_GATE, Code.UNKNOWN_KEY):
        clear(connection, site, gate, code, now_ms, "", "a key was registered")


def clear(
    connection: Connection, site: str, gate: str, code: Code, now_ms: int, by: str, reason: str
) -> None:
    """Write down that the alarms of this code about a gate are over."""
    theirs = (alarms.c.site == site, alarms.c.gate == gate, alarms.c.code == str(code))
    standing = select(alarms.c.id).where(*theirs, alarms.c.cleared_ms.is_(None))
    for alarm_id in connection.scalars(standing).all():
        clear_alarm(connection, alarm_id, now_ms, by, reason)


def revoke(connection: Connection, site: str, gate: str, kid: str | None, now_ms: int) -> int:
    """Believe this key (None: every key) of a gate no longer, nor its certificates; return how many it were.

    The instant is no earlier than the newest word that was believed: whoever calls has read his clock before
    he waited for the store.
    """
    # As whoever judges a checkpoint does before he looks for its key: he is done, or sees the revocation.
    ours = select(streams.c.id).where(streams.c.site == site, streams.c.gate == gate)
    ids = connection.scalars(ours.order_by(streams.c.id).with_for_update()).all()
    believed = (checkpoints.c.stream.in_(ids), checkpoints.c.trust == str(Trust.TRUSTED))
    newest_ms = connection.scalar(select(func.max(checkpoints.c.came_ms)).where(*believed))
    still_valid = update(gate_keys).where(
        gate_keys.c.site == site, gate_keys.c.gate == gate, gate_keys.c.revoked_ms.is_(None)
    )
    if kid is not None:
        still_valid = still_valid.where(gate_keys.c.kid == kid)
    over = still_valid.values(revoked_ms=max(now_ms, newest_ms or now_ms)).returning(gate_keys)
    keys = sorted(connection.execute(over).all(), key=lambda row: row.id)
    # Behind the keys: whoever issues a certificate holds the row of its key until he is done.
    theirs = update(certificates).where(
        certificates.c.site == site, certificates.c.gate == gate, certificates.c.revoked_ms.is_(None),
        certificates.c.public_key.in_([bytes(row.public_key) for row in keys]),
    )  # fmt: skip
    connection.execute(theirs.values(revoked_ms=now_ms))
    for row in keys:
        key = KeySaid(bytes(row.public_key), row.note, row.registered_ms, row.revoked_ms)
        note_key(connection, site, gate, key, now_ms)
    return len(keys)


def read(connection: Connection) -> list[GateKey]:
    """Return all keys, by site, gate and time of registration."""
    ordered = select(gate_keys).order_by(gate_keys.c.site, gate_keys.c.gate, gate_keys.c.id)
    return [
        GateKey(
            row.site, row.gate, row.kid, bytes(row.public_key), row.note, row.registered_ms, row.revoked_ms
        )
        for row in connection.execute(ordered)
    ]


# What `verify` looks at


def check_keys(
    connection: Connection,
    said: Mapping[tuple[str, str, bytes], KeySaid],
    report: Callable[[Problem], None],
) -> None:
    """Hold the keys against what the log says of them; one problem per gate and cause."""
    rest = dict(said)
    found: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in connection.execute(as_stored(gate_keys).order_by(gate_keys.c.id)).all():
        cause = _cause(row, rest)
        if cause:
            found[str(row.site), str(row.gate), cause].append(str(row.kid))
    for site, gate, public_key in rest:
        found[site, gate, "the log says that this key was registered, and it is gone"].append(
            key_id(public_key).hex()
        )
    for (site, gate, cause), kids in found.items():
        more = f" (and {len(kids) - 1} more)" if len(kids) > 1 else ""
        report(Problem("keys_differ", site, gate, "", None, f"{kids[0]}{more}: {cause}"))


def _cause(row: Row[Any], rest: dict[tuple[str, str, bytes], KeySaid]) -> str:
    """Return what is wrong with a row, "" when nothing is; and take from `rest` what the log says of it."""
    logged = rest.pop((row.site, row.gate, row.public_key), None)
    if wrong := unreadable(row, gate_keys):
        return f"it cannot be read: {', '.join(wrong)}"
    here = KeySaid(row.public_key, row.note, row.registered_ms, row.revoked_ms)
    if logged is None:
        return "the log does not say that this key was registered"
    if logged != here or row.kid != key_id(row.public_key).hex():
        return "the log says otherwise of this key: when it was registered, or whether it is revoked"
    return ""
