"""The ledger's file as a database: how it is opened, what is in it, and what is refused.

Every connection that may write commits with the write-ahead log and synchronous=FULL: what a commit has
returned from has been flushed to the disk. Tables that earlier versions lack are added to their ledgers when
they are opened, without a new schema version: an earlier version goes on with such a file as if they were not
there.
"""

import os
import sqlite3
from dataclasses import astuple, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from gate.core.chain import HASH_SIZE, genesis
from gate.core.commands import CentreWord
from gate.core.delivery import PreviousEpoch
from gate.core.uses import Use
from gate.ports import Held

# One commit logs whole pages: those of the record, and up to four that change by a few bytes each (head, file
# header, leaf and index of the table). With small pages that is 9 kB on the disk for a record of 1.4 kB; with
# pages of 2048 bytes it is 15.
PAGE_BYTES: Final = 512
BUSY_MS: Final = 2000
SCHEMA_VERSION: Final = 1

# What a damaged file leads to: a row that is missing, a value of another type or beyond 64 bits, or what
# SQLite itself finds (in words that need not be UTF-8).
DAMAGE: Final = (sqlite3.Error, TypeError, ValueError, OverflowError)


class LedgerError(Exception):
    """The ledger file cannot be used as it is; the message says what to do. Nothing was overwritten."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a new ledger takes over from the one that it follows on."""

    previous: PreviousEpoch
    uses: tuple[Use, ...]
    word: CentreWord


def connect(path: Path | str) -> sqlite3.Connection:
    """Open a ledger's file for writing; `path` may be ":memory:" or a URI.

    Raises one of DAMAGE, or LedgerError.
    """
    uri = str(path).startswith("file:")
    db = sqlite3.connect(path, timeout=BUSY_MS / 1000, check_same_thread=False, uri=uri)
    try:
        _check_kind(db)
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except (*DAMAGE, LedgerError):
        db.close()
        raise
    return db


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a ledger's file without ever changing it. Raises LedgerError."""
    try:
        if not path.is_file():
            raise LedgerError(f"no ledger at {path}; give the path of a ledger.db")
        # Even to read, SQLite makes files beside a ledger in WAL mode. Where that is not possible and none is
        # there, nobody writes to the ledger either, and it can be read as it lies.
        still = not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
        mode = "immutable=1" if still else "mode=ro"
        return sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"ledger {path} cannot be read ({error}); look at its permissions") from error


def prepare(
    db: sqlite3.Connection, site: str, gate: str, new_epoch: str, inherited: Inherited | None = None
) -> None:
    """Make an empty file a ledger, whole or not at all; add what the ledgers of earlier versions lack."""
    if is_prepared(db):
        add_missing_tables(db)
        return
    schema = "\n".join(_schema(name) for name in ("schema", "uses", "centre"))
    with db:
        db.executescript(f"BEGIN IMMEDIATE;\n{schema}\nPRAGMA user_version = {SCHEMA_VERSION};")
        db.execute("INSERT INTO ledger VALUES (1, ?, ?, ?)", (new_epoch, site, gate))
        db.execute("INSERT INTO head VALUES (1, 0, ?)", (genesis(new_epoch),))
        db.execute("INSERT INTO delivery VALUES (1, 0)")
        if inherited is not None:
            db.execute("INSERT INTO previous VALUES (1, ?, ?, ?, ?)", astuple(inherited.previous))
            db.executemany(INSERT_USE, [astuple(use) for use in inherited.uses])
            db.execute(SET_WORD, astuple(inherited.word))


ABNORMAL: Final = "instr(body, x'2261626e6f726d616c223a74727565')"
"""The condition of the index of that name, word for word: only so does SQLite use it."""

INSERT_USE: Final = "INSERT INTO uses VALUES (NULL, ?, ?, ?, ?, ?, ?)"
SET_WORD: Final = "INSERT OR REPLACE INTO word VALUES (1, ?, ?)"


def is_prepared(db: sqlite3.Connection) -> bool:
    """Tell whether the file is a ledger of this schema, and not still an empty one."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return bool(version == SCHEMA_VERSION)


def add_missing_tables(db: sqlite3.Connection) -> None:
    """Add the tables that an earlier version did not make; nothing is written where all are there."""
    db.executescript(_schema("uses") + _schema("centre"))


def has_table(db: sqlite3.Connection, name: str) -> bool:
    """Tell whether there is such a table: whoever only reads may meet a ledger of an earlier version."""
    found = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,))
    return found.fetchone() is not None


def read_base(db: sqlite3.Connection, epoch: str) -> tuple[int, bytes]:
    """Return number and hash of the last record that was deleted; (0, genesis) when none was.

    Raises one of DAMAGE.
    """
    row = _row(db, "pruned", "seq, hash")
    if row is None:
        return 0, genesis(epoch)
    seq, digest = row
    if not isinstance(seq, int) or not isinstance(digest, bytes) or len(digest) != HASH_SIZE:
        raise TypeError("what was deleted last is no number and hash")
    return seq, digest


def read_receipt(db: sqlite3.Connection) -> Held | None:
    """Return the centre's newest receipt, None where there is none. Raises one of DAMAGE."""
    row = _row(db, "receipt", "epoch, upto, hash, at_ms")
    if row is None:
        return None
    if not all(isinstance(field, kind) for field, kind in zip(row, (str, int, bytes, int), strict=True)):
        raise TypeError("the receipt is none")
    return Held(*row)


def read_word(db: sqlite3.Connection) -> CentreWord:
    """Return what the centre has said last. Raises one of DAMAGE."""
    row = _row(db, "word", "counter, suspended")
    if row is None:
        return CentreWord()
    if not isinstance(row[0], int) or not isinstance(row[1], str):
        raise TypeError("the word of the centre is none")
    return CentreWord(*row)


def read_previous(db: sqlite3.Connection) -> PreviousEpoch | None:
    """Return which ledger this one has followed on, None where that is not known. Raises one of DAMAGE."""
    row = _row(db, "previous", "epoch, size, hash, reason")
    return None if row is None else PreviousEpoch(*row)


def advice(path: Path | str, problem: str) -> str:
    """Return what to tell whoever finds a ledger in such a state."""
    return f"ledger {path} {problem}; copy it away for examination, then start with an empty state folder"


def _row(db: sqlite3.Connection, table: str, columns: str) -> tuple[Any, ...] | None:
    if not has_table(db, table):
        return None
    row: tuple[Any, ...] | None = db.execute(f"SELECT {columns} FROM {table}").fetchone()  # noqa: S608 - names of ours
    return row


def _check_kind(db: sqlite3.Connection) -> None:
    """Refuse a file that is not for this program to write to, before anything is set in it."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise LedgerError(f"this ledger was written by a newer version (schema {version}); update the gate")
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version < SCHEMA_VERSION and tables:
        raise LedgerError("this is a database of another program; give the gate a state folder of its own")


def _schema(name: str) -> str:
    return files("gate.store").joinpath(f"{name}.sql").read_text("utf-8")
