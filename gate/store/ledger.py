"""The ledger: every record with a gapless sequence number and a hash chain, in one SQLite file.

One transaction appends the record and moves the head, with the write-ahead log and synchronous=FULL: when
`append` returns, the record has been flushed to the disk. The writer belongs to the brain thread. `Outbox`
is a connection of its own for the thread that sends. `verify` reads a file without changing it.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import astuple, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from gate.core.chain import genesis, link
from gate.core.events import Event, Kind, Origin, encode
from gate.core.evidence import Direction
from gate.core.moment import Moment
from gate.core.uses import Use
from gate.ports import Entry, RecordFailure

# One commit logs whole pages: those of the record, and up to four that change by a few bytes each (head, file
# header, leaf and index of the table). With small pages that is 9 kB on the disk for a record of 1.4 kB; with
# pages of 2048 bytes it is 15.
PAGE_BYTES: Final = 512
BUSY_MS: Final = 2000
SCHEMA_VERSION: Final = 1
OPEN_VISITS_LOOKED_AT: Final = 1000
USES_KEPT_MS: Final = 86_400_000


# What a damaged file leads to: a row that is missing, a value of another type or beyond 64 bits, or what
# SQLite itself finds (in words that need not be UTF-8).
DAMAGE: Final = (sqlite3.Error, TypeError, ValueError, OverflowError)


class LedgerError(Exception):
    """The ledger file cannot be used as it is; the message says what to do. Nothing was overwritten."""


class Ledger:
    """The writer of one ledger file, opened or created. `path` may be ":memory:" for simulation.

    Raises LedgerError when the file is damaged, belongs to another gate, or was written by a newer version.
    """

    def __init__(self, path: Path | str, *, site: str, gate: str, new_epoch: str, boot_id: str) -> None:
        try:
            with ExitStack() as on_failure:
                self._db = _connect(path)
                on_failure.callback(self._db.close)
                _prepare(self._db, site, gate, new_epoch)
                epoch, *owner = self._db.execute("SELECT epoch, site, gate FROM ledger").fetchone()
                _check_owner(path, owner, [site, gate])
                self._seq, self._hash = self._db.execute("SELECT seq, hash FROM head").fetchone()
                _check_tail(self._db, self._seq, self._hash, epoch)
                _read_uses(self._db)
                on_failure.pop_all()
        except (*DAMAGE, AttributeError) as error:
            raise LedgerError(_advice(path, f"cannot be opened ({error})")) from error
        self._origin = Origin(site, gate, epoch, boot_id)

    @property
    def epoch(self) -> str:
        """The name of this ledger's chain: new after a re-flash or a lost disk."""
        return self._origin.epoch

    @property
    def head(self) -> tuple[int, bytes]:
        """Sequence number and hash of the newest record; (0, genesis) when there is none."""
        return self._seq, self._hash

    def append(self, event: Event, now: Moment, use: Use | None = None) -> Entry:
        """Commit one event durably; raises RecordFailure and changes nothing when that is not possible."""
        seq = self._seq + 1
        body = encode(event, self._origin, seq, now)
        digest = link(self._hash, body)
        try:
            self._commit(seq, body, digest, use)
        except sqlite3.Error as error:
            raise RecordFailure(str(error)) from error
        self._seq, self._hash = seq, digest
        return Entry(seq, body)

    def _commit(self, seq: int, body: bytes, digest: bytes, use: Use | None) -> None:
        # Begin and commit are spelled out because Python's own are prepared anew each time.
        execute = self._db.execute
        try:
            execute("BEGIN IMMEDIATE")
            execute("INSERT INTO records VALUES (?, ?, ?)", (seq, body, digest))
            execute("UPDATE head SET seq = ?, hash = ?", (seq, digest))
            if use is not None:
                execute("INSERT INTO uses VALUES (NULL, ?, ?, ?, ?, ?, ?)", astuple(use))
            execute("COMMIT")
        except BaseException:
            self._db.rollback()
            raise

    def open_visits(self) -> tuple[str, ...]:
        """Return visits among the newest records that were decided and not closed, oldest first."""
        rows = self._db.execute(
            "SELECT body FROM records ORDER BY seq DESC LIMIT ?", (OPEN_VISITS_LOOKED_AT,)
        )
        unclosed: dict[str, None] = {}
        for (body,) in reversed(rows.fetchall()):
            event = json.loads(body)
            visit = event["data"].get("visit")
            if event["type"].startswith(f"hg.{Kind.VISIT_DECIDED}."):
                unclosed[visit] = None
            elif event["type"].startswith(f"hg.{Kind.VISIT_CLOSED}."):
                unclosed.pop(visit, None)
        return tuple(unclosed)

    def uses(self, now_ms: int | None = None) -> tuple[Use, ...]:
        """Return the last use of each pass.

        Passes that ended a day before `now_ms` (unix milliseconds) are forgotten; none are while nobody knows
        the time, because a wrong clock would forget what still counts.
        """
        # A disk that takes no more must not keep the gate from starting: the next record tells of it.
        with suppress(sqlite3.OperationalError), self._db:
            self._db.execute(_FORGET_OVERTAKEN)
            if now_ms is not None:
                self._db.execute(_FORGET_ENDED, (now_ms - USES_KEPT_MS,))
        return _read_uses(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Outbox:
    """What has still to be sent, seen from the sending thread: one object per thread.

    The file is opened when it is first asked for and never created; LedgerError while that is not possible.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: sqlite3.Connection | None = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._opened is None:
            try:
                self._opened = _connect(f"{self._path.resolve().as_uri()}?mode=rw")
            except DAMAGE as error:
                raise LedgerError(_advice(self._path, f"cannot be read ({error})")) from error
        return self._opened

    def pending(self, after: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries with sequence numbers above `after`, in order."""
        rows = self._db.execute(
            "SELECT seq, body FROM records WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        )
        return [Entry(seq, body) for seq, body in rows]

    def acknowledged(self) -> int:
        """Return up to where everything is acknowledged."""
        (seq,) = self._db.execute("SELECT acknowledged FROM delivery").fetchone()
        return int(seq)

    def acknowledge(self, upto: int) -> None:
        """Move the acknowledged mark forward; it never moves back nor past the head."""
        with self._db:
            self._db.execute(
                "UPDATE delivery SET acknowledged = max(acknowledged, min(?, (SELECT seq FROM head)))",
                (upto,),
            )

    def head(self) -> int:
        """Return the newest sequence number; 0 when there is none."""
        (seq,) = self._db.execute("SELECT seq FROM head").fetchone()
        return int(seq)

    def close(self) -> None:
        """Close this thread's connection."""
        if self._opened is not None:
            self._opened.close()


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of a whole ledger found; `bad_seq` is the first bad record, None when all is well."""

    records: int
    head_hash: str
    epoch: str
    bad_seq: int | None = None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """True when every record is what it was when it was written."""
        return not self.problem


def verify(path: Path) -> Verification:
    """Check every record of a ledger file against the chain, without changing the file.

    Raises LedgerError when there is no such file or it is no ledger.
    """
    with closing(_open_read_only(path)) as db:
        try:
            db.execute("BEGIN")  # one view of a ledger that may be growing
            (epoch,) = db.execute("SELECT epoch FROM ledger").fetchone()
            head_seq, head_hash = db.execute("SELECT seq, hash FROM head").fetchone()
            (acknowledged,) = db.execute("SELECT acknowledged FROM delivery").fetchone()
            start = genesis(epoch)
        except (*DAMAGE, AttributeError) as error:
            raise LedgerError(_advice(path, f"is no ledger or is damaged ({error})")) from error
        seq, previous, problem = _walk(db, epoch, start)
    if not problem and (seq, previous) != (head_seq, head_hash):
        problem, seq = f"the newest record should be number {head_seq}", seq + 1
    if not problem and not (isinstance(acknowledged, int) and 0 <= acknowledged <= seq):
        problem = f"acknowledged up to {acknowledged}, which does not exist"
    return Verification(
        records=seq if not problem else max(seq - 1, 0),
        head_hash=previous.hex(),
        epoch=str(epoch),
        bad_seq=seq if problem else None,
        problem=problem,
    )


def owner(path: Path) -> tuple[str, str]:
    """Return site and gate that a ledger file belongs to, without changing it. Raises LedgerError."""
    with closing(_open_read_only(path)) as db:
        try:
            site, gate = db.execute("SELECT site, gate FROM ledger").fetchone()
        except DAMAGE as error:
            raise LedgerError(_advice(path, f"is no ledger or is damaged ({error})")) from error
    return str(site), str(gate)


def entries(path: Path, after: int = 0) -> Iterator[Entry]:
    """Yield the entries of a ledger file in order, without changing it. Raises LedgerError."""
    with closing(_open_read_only(path)) as db:
        try:
            for seq, body in db.execute("SELECT seq, body FROM records WHERE seq > ? ORDER BY seq", (after,)):
                if not isinstance(body, bytes):
                    raise TypeError(f"record {seq} is not bytes")
                yield Entry(seq, body)
        except DAMAGE as error:
            raise LedgerError(_advice(path, f"is no ledger or is damaged ({error})")) from error


def _walk(db: sqlite3.Connection, epoch: str, start: bytes) -> tuple[int, bytes, str]:
    """Follow the chain; return the last sequence number looked at, the last good hash, and what is wrong."""
    previous, expected = start, 0
    try:
        for seq, body, digest in db.execute("SELECT seq, body, hash FROM records ORDER BY seq"):
            expected += 1
            if seq != expected:
                return expected, previous, f"record {expected} is missing"
            if not isinstance(body, bytes) or link(previous, body) != digest:
                return seq, previous, f"record {seq} does not match its hash"
            if not _says(body, epoch, seq):
                return seq, previous, f"record {seq} carries another number or epoch"
            previous = digest
    except sqlite3.Error as error:
        return expected + 1, previous, f"the file is damaged ({error})"
    return expected, previous, ""


def _says(body: bytes, epoch: str, seq: int) -> bool:
    try:
        data = json.loads(body)["data"]
        return bool(data["epoch"] == epoch and data["seq"] == seq)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _connect(path: Path | str) -> sqlite3.Connection:
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


def _check_kind(db: sqlite3.Connection) -> None:
    """Refuse a file that is not for this program to write to, before anything is set in it."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise LedgerError(f"this ledger was written by a newer version (schema {version}); update the gate")
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version < SCHEMA_VERSION and tables:
        raise LedgerError("this is a database of another program; give the gate a state folder of its own")


def _prepare(db: sqlite3.Connection, site: str, gate: str, new_epoch: str) -> None:
    """Make an empty file a ledger, whole or not at all; add what the ledgers of earlier versions lack.

    What is added is in no earlier version's way, so that going back to one needs nothing.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        db.execute(_schema("uses"))
        return
    schema = _schema("schema") + _schema("uses")
    with db:
        db.executescript(f"BEGIN IMMEDIATE;\n{schema}\nPRAGMA user_version = {SCHEMA_VERSION};")
        db.execute("INSERT INTO ledger VALUES (1, ?, ?, ?)", (new_epoch, site, gate))
        db.execute("INSERT INTO head VALUES (1, 0, ?)", (genesis(new_epoch),))
        db.execute("INSERT INTO delivery VALUES (1, 0)")


def _schema(name: str) -> str:
    return files("gate.store").joinpath(f"{name}.sql").read_text("utf-8")


def _check_owner(path: Path | str, owner: list[str], expected: list[str]) -> None:
    if owner != expected:
        raise LedgerError(
            f"ledger {path} belongs to gate {'/'.join(map(str, owner))}, not {'/'.join(expected)}; "
            "give this gate a state folder of its own"
        )


def _check_tail(db: sqlite3.Connection, seq: int, digest: bytes, epoch: str) -> None:
    """Refuse to write after a tail that is not what was written last (power cut on a card that lies)."""
    rows = db.execute("SELECT seq, body, hash FROM records ORDER BY seq DESC LIMIT 2").fetchall()
    start = genesis(epoch)
    newest = (rows[0][0], rows[0][2]) if rows else (0, start)
    previous = rows[1][2] if len(rows) > 1 else start
    if newest != (seq, digest) or (rows and link(previous, rows[0][1]) != digest):
        raise LedgerError("the newest record is not the one written last; keep the file, start a new ledger")


_FORGET_OVERTAKEN: Final = (
    "DELETE FROM uses WHERE id NOT IN (SELECT max(id) FROM uses GROUP BY pass, direction)"
)
_FORGET_ENDED: Final = "DELETE FROM uses WHERE coalesce(until_s * 1000, at_ms) < ?"


def _read_uses(db: sqlite3.Connection) -> tuple[Use, ...]:
    """Return what was written last of each pass and direction, apart from what was given back."""
    rows = db.execute("SELECT pass, direction, at_ms, until_s, step, count FROM uses ORDER BY id")
    last = {(key, direction): Use(key, Direction(direction), *rest) for key, direction, *rest in rows}
    return tuple(use for use in last.values() if use.count)


def _open_read_only(path: Path) -> sqlite3.Connection:
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


def _advice(path: Path | str, problem: str) -> str:
    return f"ledger {path} {problem}; copy it away for examination, then start with an empty state folder"
