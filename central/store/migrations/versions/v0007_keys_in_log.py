"""The keys of the gates as entries of the alarm log, as they stand; from now on each change is one.

Nothing is written where the log speaks of keys already: somebody has set the version back.
"""

import json

import sqlalchemy as sa
from alembic import op

from central.store.alarm_log import KeySaid, note_key

revision = "v0007"
down_revision = "v0006"
branch_labels = None
depends_on = None

_KEYS = "SELECT site, gate, public_key, note, registered_ms, revoked_ms FROM gate_keys ORDER BY id"


def upgrade() -> None:
    """Write the entries."""
    store = op.get_bind()
    head = store.execute(sa.text("SELECT n FROM alarm_head")).first()
    if head is None or any(_about_key(bytes(row.entry)) for row in store.execute(_entries)):
        return
    for row in store.execute(sa.text(_KEYS)).all():
        key = KeySaid(bytes(row.public_key), row.note, row.registered_ms, row.revoked_ms)
        note_key(store, row.site, row.gate, key, row.registered_ms)


_entries = sa.text("SELECT entry FROM alarm_log")


def _about_key(entry: bytes) -> bool:
    try:
        return bool(json.loads(entry)["what"] == "key")
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def downgrade() -> None:
    """Refuse: a log is only appended to."""
    raise NotImplementedError("what is in the log stays there; restore a backup")
