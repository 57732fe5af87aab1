"""The tables of the centre's store, the same on SQLite and PostgreSQL.

`migrations` makes them; a test holds both together. Whoever adds tables elsewhere in the centre defines them
on this `metadata` and adds a migration.

What a gate has said (`records`, `checkpoints`) and what was promised to it (`receipts`) is kept as the exact
bytes. What is derived from it (`streams`, the columns beside a body) can be derived again: `verify` does.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata: Final = MetaData()
Big: Final = BigInteger().with_variant(Integer, "sqlite")
"""64 bits; SQLite numbers rows by itself only in a column that is called INTEGER."""

NAME: Final = String(64)


gate_keys: Final = Table(
    "gate_keys",
    metadata,
    Column("id", Big, primary_key=True),
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("kid", String(8), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("registered_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    UniqueConstraint("site", "gate", "public_key"),
)
"""Whose checkpoints are believed."""

certificates: Final = Table(
    "certificates",
    metadata,
    Column("id", Big, primary_key=True),
    Column("number", String(40), nullable=False, unique=True),
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("device", String(64), nullable=False),
    Column("address", String(64), nullable=False),
    Column("issued_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    Column("certificate", LargeBinary, nullable=False),
    Index("certificates_gate", "site", "gate"),
    Index("certificates_device", "device"),
)
"""What the authority has signed for devices. `number`: the serial number in hexadecimal digits;
`device`: what it says of its hardware; `certificate`: in DER form. Revoked with its key, and for good."""

enrol_tokens: Final = Table(
    "enrol_tokens",
    metadata,
    Column("id", Big, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger, nullable=False),
)
"""With which devices make themselves known. `digest`: SHA-256 of the token, which is kept nowhere; `gate`: ""
for any of the site; `uses`: for how many keys."""

enrol_uses: Final = Table(
    "enrol_uses",
    metadata,
    Column("token", Big, ForeignKey("enrol_tokens.id"), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("used_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("token", "public_key"),
)
"""Which keys were registered with a token; written in the transaction that registers the key."""

enrol_waiting: Final = Table(
    "enrol_waiting",
    metadata,
    Column("id", Big, primary_key=True),
    Column("token", Big, ForeignKey("enrol_tokens.id")),
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("kid", String(8), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("device", String(64), nullable=False),
    Column("why", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("allowed_ms", BigInteger),
    Column("allowed_by", Text, nullable=False),
    UniqueConstraint("site", "gate", "public_key", "device"),
)
"""Keys that a person has to allow (`central enrol allow`), a row for each board that they come from, with
where they were last heard from. `token`: none for a known key that comes from another board."""

streams: Final = Table(
    "streams",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("epoch", NAME, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("linked", BigInteger, nullable=False),
    Column("linked_hash", LargeBinary, nullable=False),
    Column("proved", BigInteger, nullable=False),
    Column("proved_hash", LargeBinary, nullable=False),
    Column("top", BigInteger, nullable=False),
    Column("head", BigInteger, nullable=False),
    Column("head_at_ms", BigInteger),
    Column("head_clock_trusted", Boolean, nullable=False),
    Column("heard_ms", BigInteger),
    Column("record_ms", BigInteger),
    Column("receipted", BigInteger, nullable=False),
    Column("receipt_ms", BigInteger),
    Column("ended", BigInteger),
    Column("ended_hash", LargeBinary),
    Column("ended_at_ms", BigInteger),
    Column("successor", NAME, nullable=False),
    Column("conflicts", BigInteger, nullable=False),
    UniqueConstraint("site", "gate", "epoch"),
)
"""One row for each ledger of a gate; see `StreamState`. Locking this row is the right to write its records.

`ended`, `ended_hash`: what the next ledger says of this one's end; `ended_at_ms`: the gate's clock when the
next one was first proved, None unless that clock was trusted.
"""

records: Final = Table(
    "records",
    metadata,
    Column("stream", Integer, nullable=False),  # no foreign key: its check would cost as much as the row
    Column("seq", BigInteger, nullable=False),
    Column("at_ms", BigInteger),
    Column("seen_ms", BigInteger, nullable=False),
    Column("kind", NAME, nullable=False),
    Column("abnormal", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("hash", LargeBinary),
    Column("sealed", LargeBinary),
    PrimaryKeyConstraint("stream", "seq"),
    Index("records_stream_at", "stream", "at_ms"),
)
"""Every record that has not been contradicted. `hash`: of the chain, NULL while parked. `sealed`: the hash
of the attachment that the record declares."""

conflicts: Final = Table(
    "conflicts",
    metadata,
    Column("stream", Integer, ForeignKey("streams.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("why", String(32), nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("stream", "seq", "digest"),
)
"""Records that came beside another with the same number (`other_bytes`), or that a checkpoint spoke against
(`cast_out`). `digest`: SHA-256 of the body."""

attachments: Final = Table(
    "attachments",
    metadata,
    Column("stream", Integer, ForeignKey("streams.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("blob", LargeBinary),
    Column("seen_ms", BigInteger, nullable=False),
    Column("erased_ms", BigInteger),
    Column("erased_by", Text, nullable=False),
    Column("erased_why", Text, nullable=False),
    PrimaryKeyConstraint("stream", "seq", "digest"),
)
"""Sealed fields of persons. `digest`: SHA-256 of the blob, which is NULL once erased."""

checkpoints: Final = Table(
    "checkpoints",
    metadata,
    Column("id", Big, primary_key=True),
    Column("stream", Integer, ForeignKey("streams.id"), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("came_ms", BigInteger, nullable=False),
    Column("trust", String(16), nullable=False),
    Column("contradicted", Boolean, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Index("checkpoints_stream_size", "stream", "size"),
    UniqueConstraint("stream", "digest"),
)
"""What gates have signed. While nothing is new, each heartbeat takes the place of the one before: the first
and the last checkpoint of each size stay. `contradicted`: it has differed from what was here, which an alarm
says; it casts out records only once.
`digest`: SHA-256 of the message."""

receipts: Final = Table(
    "receipts",
    metadata,
    Column("stream", Integer, ForeignKey("streams.id"), nullable=False),
    Column("day", Integer, nullable=False),
    Column("upto", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
    PrimaryKeyConstraint("stream", "day"),
)
"""The last receipt of each day (days since 1970 in UTC)."""

rejects: Final = Table(
    "rejects",
    metadata,
    Column("id", Big, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("start", LargeBinary, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("times", BigInteger, nullable=False),
)
"""What was no message of the gate whose topic it came in. `start`: its first bytes; `digest`: of all."""

gate_states: Final = Table(
    "gate_states",
    metadata,
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("state", String(16), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("site", "gate"),
)
"""What the state messages of registered gates said last (`central.states`). Nobody has signed them."""

alarms: Final = Table(
    "alarms",
    metadata,
    Column("id", Big, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("epoch", NAME, nullable=False),
    Column("code", String(32), nullable=False),
    Column("first", BigInteger),
    Column("last", BigInteger),
    Column("evidence", Text, nullable=False),
    Column("raised_ms", BigInteger, nullable=False),
    Column("cleared_ms", BigInteger),
    Index(
        "alarms_standing",
        "site",
        "gate",
        "epoch",
        "kind",
        "code",
        unique=True,
        sqlite_where=text("cleared_ms IS NULL"),
        postgresql_where=text("cleared_ms IS NULL"),
    ),
)
"""What the alarm log amounts to. `id`: the number of the entry that raised it."""

alarm_log: Final = Table(
    "alarm_log",
    metadata,
    Column("n", Big, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
"""Every raising and clearing, append-only, each entry (JSON) with the hash of the chain up to it."""

alarm_head: Final = Table(
    "alarm_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("n", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
"""One row: the newest entry of the log, kept apart so that a cut tail is seen. Locking it is the right to
write the log."""
