"""Which keys speak for which gate."""

from sqlalchemy import Connection, func, insert, select, update

from central.store.alarm_log import clear_alarm
from central.store.model import Code, GateKey, Trust
from central.store.reading import Name, is_name
from central.store.tables import alarms, checkpoints, gate_keys, streams
from gate.core.codes.trust import key_id

_KEY_SIZE = 32


def register(connection: Connection, site: str, gate: str, public_key: bytes, now_ms: int, note: str) -> None:
    """Believe what this key signs for this gate. Raises ValueError for a name or key that is none."""
    if not is_name(Name(site, gate, "-")):
        raise ValueError(f"{site}/{gate} is no name of a gate: 1 to 32 letters, digits, _ or - each")
    if len(public_key) != _KEY_SIZE:
        raise ValueError(f"a public key has {_KEY_SIZE} bytes, this one {len(public_key)}")
    again = (
        update(gate_keys)
        .where(gate_keys.c.site == site, gate_keys.c.gate == gate, gate_keys.c.public_key == public_key)
        .values(revoked_ms=None)
    )
    if connection.execute(again).rowcount == 0:
        kid = key_id(public_key).hex()
        connection.execute(
            insert(gate_keys).values(
                site=site, gate=gate, kid=kid, public_key=public_key, note=note, registered_ms=now_ms
            )
        )
    _clear_unknown(connection, site, gate, now_ms)


def _clear_unknown(connection: Connection, site: str, gate: str, now_ms: int) -> None:
    unknown = select(alarms.c.id).where(
        alarms.c.site == site,
        alarms.c.gate == gate,
        alarms.c.code.in_([str(Code.UNKNOWN_GATE), str(Code.UNKNOWN_KEY)]),
        alarms.c.cleared_ms.is_(None),
    )
    for alarm_id in connection.scalars(unknown).all():
        clear_alarm(connection, alarm_id, now_ms, "", "a key was registered")


def revoke(connection: Connection, site: str, gate: str, kid: str | None, now_ms: int) -> int:
    """Believe this key (None: every key) of a gate no longer; return how many it were.

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
    return connection.execute(still_valid.values(revoked_ms=max(now_ms, newest_ms or now_ms))).rowcount


def read(connection: Connection) -> list[GateKey]:
    """Return all keys, by site, gate and time of registration."""
    ordered = select(gate_keys).order_by(gate_keys.c.site, gate_keys.c.gate, gate_keys.c.id)
    return [
        GateKey(
            row.site, row.gate, row.kid, bytes(row.public_key), row.note, row.registered_ms, row.revoked_ms
        )
        for row in connection.execute(ordered)
    ]
