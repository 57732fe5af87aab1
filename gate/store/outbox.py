"""What has still to be sent, and how it has arrived: a connection to the ledger for the thread that sends."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

from gate.core.chain import genesis
from gate.ports import Entry, Head, Held
from gate.store.database import (
    ABNORMAL,
    DAMAGE,
    LedgerError,
    add_missing_tables,
    advice,
    connect,
    is_prepared,
    read_base,
    read_receipt,
)

RECORDS_KEPT: Final = 1000
"""The newest records are never deleted: what is open is looked for among them at each start."""

_LOOK_AGAIN_MS: Final = 0.5

_PENDING: Final = (
    "SELECT seq, body, blob FROM records LEFT JOIN sealed USING (seq) WHERE seq > ? ORDER BY seq LIMIT ?"
)
_ABNORMAL: Final = (
    "SELECT seq, body, blob FROM records INDEXED BY abnormal LEFT JOIN sealed USING (seq)"  # noqa: S608 - ours
    f" WHERE seq > ? AND {ABNORMAL} ORDER BY seq"
)


class Outbox:
    """The outbox of one ledger file (`gate.ports.Outbox`): one object per thread.

    The file is opened when it is first asked for and never created; LedgerError while that is not possible.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: sqlite3.Connection | None = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._opened is None:
            try:
                self._opened = _opened(self._path)
            except DAMAGE as error:
                raise LedgerError(advice(self._path, f"cannot be read ({error})")) from error
        return self._opened

    def pending(self, after: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries with sequence numbers above `after`, in order."""
        rows = self._db.execute(_PENDING, (after, limit))
        return [Entry(*row) for row in rows]

    def abnormal(self, after: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries above `after` whose event is abnormal, in order."""
        # The index knows the records that hold certain bytes; what else holds them is told apart by parsing.
        with closing(self._db.execute(_ABNORMAL, (after,))) as rows:
            found = (Entry(*row) for row in rows)
            return list(islice((entry for entry in found if _is_abnormal(entry.body)), limit))

    def head(self) -> Head:
        """Return how far the ledger reaches."""
        return Head(*self._db.execute("SELECT epoch, seq, hash FROM ledger, head").fetchone())

    def hash_at(self, seq: int) -> bytes | None:
        """Return the hash of this record, genesis for 0; None for one that is not there (any more)."""
        epoch = self.head().epoch
        known = dict([read_base(self._db, epoch), (0, genesis(epoch))])
        row = self._db.execute("SELECT hash FROM records WHERE seq = ?", (seq,)).fetchone()
        return known.get(seq) if row is None else row[0]

    def acknowledged(self) -> int:
        """Return the mark: the sequence number up to which all is done without a gap; 0 for none."""
        (seq,) = self._db.execute("SELECT acknowledged FROM delivery").fetchone()
        return int(seq)

    def acknowledge(self, upto: int) -> None:
        """Move the mark forward; it never moves back nor past the head."""
        with self._writing():
            self._db.execute(
                "UPDATE delivery SET acknowledged = max(acknowledged, min(?, (SELECT seq FROM head)))",
                (upto,),
            )

    def receipt(self) -> Held | None:
        """Return the newest receipt; None as long as none has come."""
        return read_receipt(self._db)

    def receive(self, receipt: Held) -> None:
        """Keep a receipt that the caller has checked, and set the mark to it, forward or back.

        Raises ValueError for one of another epoch, beyond the head, or with a hash that is not ours there.
        """
        head = self.head()
        within = receipt.epoch == head.epoch and 0 <= receipt.upto <= head.seq
        if not within or self.hash_at(receipt.upto) not in {receipt.hash, None}:
            raise ValueError(f"no receipt of this ledger: {receipt}")
        row = (receipt.epoch, receipt.upto, receipt.hash, receipt.at_ms)
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO receipt VALUES (1, ?, ?, ?, ?)", row)
            self._db.execute("UPDATE delivery SET acknowledged = ?", (receipt.upto,))

    def prune(self, before_ms: int, limit: int = 1000) -> int:
        """Delete records that are receipted and were written before this time; return how many.

        The writer waits meanwhile, some 0.2 ms for each record: ask for a hundred at a time.
        """
        base, _ = read_base(self._db, self.head().epoch)
        upto = self._prunable(base, before_ms, limit)
        if upto == base:
            return 0
        with self._writing():
            self._db.execute(
                "INSERT OR REPLACE INTO pruned SELECT 1, seq, hash FROM records WHERE seq = ?", (upto,)
            )
            self._db.execute("DELETE FROM sealed WHERE seq <= ?", (upto,))
            self._db.execute("DELETE FROM records WHERE seq <= ?", (upto,))
        return upto - base

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Give a transaction that begins between two records of the writer.

        SQLite's own wait looks every 100 ms whether the file is free. While a gate writes record after
        record it hardly ever is at that instant, and all that is to be sent would wait for seconds.
        """
        (patience_ms,) = self._db.execute("PRAGMA busy_timeout").fetchone()
        self._db.execute("PRAGMA busy_timeout = 0")
        try:
            self._begin(round(patience_ms / _LOOK_AGAIN_MS))
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {patience_ms}")
        with self._db:
            yield

    def _begin(self, looks: int) -> None:
        pause = threading.Event()
        for left in reversed(range(looks + 1)):
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not left or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                pause.wait(_LOOK_AGAIN_MS / 1000)
            else:
                return

    def _prunable(self, base: int, before_ms: int, limit: int) -> int:
        """Return the last record that may go.

        Records stand in the order in which they were written: one that is old enough for certain takes those
        before it along, whatever a clock that nobody trusted has made them say.
        """
        receipt, found = self.receipt(), base
        done = 0 if receipt is None else min(receipt.upto, self.acknowledged())
        last = min(done - 1, self.head().seq - RECORDS_KEPT)
        rows = self._db.execute("SELECT seq, body FROM records WHERE seq <= ? ORDER BY seq", (last,))
        with closing(rows):
            for seq, body in rows:
                written_ms = _written_ms(body)
                if written_ms is not None and written_ms < before_ms:
                    found = seq
                if written_ms is not None and seq - base >= limit:
                    break
        return min(found, base + limit)

    def close(self) -> None:
        """Close this thread's connection; the next question opens a new one."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def _opened(path: Path) -> sqlite3.Connection:
    db = connect(f"{path.resolve().as_uri()}?mode=rw")
    try:
        # Not where the writer is still at it: a file that has some of its tables is no ledger.
        if is_prepared(db):
            add_missing_tables(db)
    except DAMAGE:
        db.close()
        raise
    return db


def _is_abnormal(body: bytes) -> bool:
    try:
        return bool(json.loads(body)["data"]["abnormal"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _written_ms(body: bytes) -> int | None:
    """Return when a record was written, unix milliseconds; None where the gate was not sure of the time."""
    try:
        event = json.loads(body)
        if event["data"]["clock"]["trusted"] is not True:
            return None
        return round(datetime.fromisoformat(event["time"]).timestamp() * 1000)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
