"""Commands to the gates, on the metadata of the centre's store; `migrations` makes the tables.

    commands            one row per command, as it was signed; never changed
    command_sendings    when it was published; only grows

What became of a command is no row here: the answer is the gate's own record, and is read from `records`.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from central.store.tables import NAME, metadata, records

ANSWERING: Final = "kind IN ('command', 'policy.adopted', 'anomaly')"
"""Records that may answer a command: few, and found by ledger and number."""

Index(
    "records_answering",
    records.c.stream,
    records.c.seq,
    sqlite_where=text(ANSWERING),
    postgresql_where=text(ANSWERING),
)

commands: Final = Table(
    "commands",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("epoch", NAME, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("after", BigInteger, nullable=False),
    Column("name", String(16), nullable=False),
    Column("summary", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
    UniqueConstraint("site", "gate", "counter", name="commands_counted"),
    Index("commands_expires", "expires_ms"),
)
"""`after`: the highest record of the ledger `epoch` that had come by then; the answer lies behind it.
`expires_ms`: the first instant at which the command is void. `message`: as it goes to the gate."""

sendings: Final = Table(
    "command_sendings",
    metadata,
    Column("command", String(32), ForeignKey("commands.id"), nullable=False),
    Column("n", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("command", "n"),
)
"""Whoever inserts row n sends a command for the n-th time: of several centres only one does."""
