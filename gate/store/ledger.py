"""The ledger: every record with a gapless sequence number and a hash chain, in one SQLite file.

One transaction appends the record and moves the head, with the write-ahead log and synchronous=FULL: when
`append` returns, the record has been flushed to the disk. The writer belongs to the brain thread. `Outbox`
is a connection of its own for the thread that sends. `verify` reads a file without changing it.

A file is one epoch. Where the centre knows another ledger under this epoch (this one was rolled back, or
copied), `renew` puts the file aside under the epoch's name and goes on in a new one that tells of the old.
"""

import json
import sqlite3
from contextlib import ExitStack, closing, suppress
from dataclasses import astuple
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from typing import Final

from gate.core.chain import genesis, link
from gate.core.commands import CentreWord
from gate.core.delivery import PreviousEpoch
from gate.core.events import Event, Kind, Origin, encode
from gate.core.evidence import Direction
from gate.core.moment import Moment
from gate.core.uses import Use
from gate.durable import flush_names
from gate.ports import Entry, RecordFailure
from gate.store.database import (
    ABNORMAL,
    DAMAGE,
    INSERT_USE,
    SET_WORD,
    Inherited,
    LedgerError,
    advice,
    connect,
    prepare,
    read_previous,
    read_word,
)
from gate.store.outbox import Outbox
from gate.store.verification import (
    BadRecordError,
    Linked,
    Verification,
    entries,
    linked_entries,
    owner,
    verify,
)

__all__ = [
    "BadRecordError", "Ledger", "LedgerError", "Linked", "Outbox", "Verification",
    "archive", "entries", "linked_entries", "owner", "verify",
]  # fmt: skip

OPEN_VISITS_LOOKED_AT: Final = 1000
_BEGINS_VISIT: Final = (f"hg.{Kind.VISIT_DECIDED}.", f"hg.{Kind.COMMAND}.")
USES_KEPT_MS: Final = 86_400_000
IN_MEMORY: Final = ":memory:"


class Ledger:
    """The writer of one ledger file, opened or created. `path` may be ":memory:" for simulation.

    `site_key` is that of the pseudonyms (`gate.core.events.encode`). Raises LedgerError when the file is
    damaged, belongs to another gate, or was written by a newer version.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        site: str,
        gate: str,
        new_epoch: str,
        boot_id: str,
        site_key: bytes | None = None,
    ) -> None:
        self._path = path
        self._site_key = site_key
        self._origin = Origin(site, gate, new_epoch, boot_id)
        self._open(new_epoch)

    def _open(self, new_epoch: str, inherited: Inherited | None = None) -> None:
        """Open the file, or make it with this epoch; the origin is then that of the file."""
        path, given = self._path, self._origin
        try:
            with ExitStack() as on_failure:
                if path != IN_MEMORY:
                    _finish_renewal(Path(path))
                self._db = connect(path)
                on_failure.callback(self._db.close)
                prepare(self._db, given.site, given.gate, new_epoch, inherited)
                epoch, *owner = self._db.execute("SELECT epoch, site, gate FROM ledger").fetchone()
                _check_owner(path, owner, [given.site, given.gate])
                self._seq, self._hash = self._db.execute("SELECT seq, hash FROM head").fetchone()
                _check_tail(self._db, self._seq, self._hash, epoch)
                _read_uses(self._db)
                self._word = read_word(self._db)
                self._previous = read_previous(self._db)
                on_failure.pop_all()
        except (*DAMAGE, AttributeError, OSError) as error:
            raise LedgerError(advice(path, f"cannot be opened ({error})")) from error
        self._origin = Origin(given.site, given.gate, epoch, given.boot_id)

    @property
    def epoch(self) -> str:
        """The name of this ledger's chain: new after a re-flash or a lost disk."""
        return self._origin.epoch

    @property
    def head(self) -> tuple[int, bytes]:
        """Sequence number and hash of the newest record; (0, genesis) when there is none."""
        return self._seq, self._hash

    @property
    def previous(self) -> PreviousEpoch | None:
        """Which ledger was put aside for this one, and why; None where none was."""
        return self._previous

    def append(
        self,
        event: Event,
        now: Moment,
        use: Use | None = None,
        word: CentreWord | None = None,
        sealed: bytes | None = None,
    ) -> Entry:
        """Commit one event durably with what goes with it.

        Raises RecordFailure and changes nothing when that is not possible, ValueError when the event does not
        declare what is sealed, or declares what is not there: nobody would ever take that for whole.
        """
        if event.data.get("sealed") != (None if sealed is None else sha256(sealed).hexdigest()):
            raise ValueError(f"{event.kind} does not declare the SHA-256 of what is sealed with it")
        seq = self._seq + 1
        body = encode(event, self._origin, seq, now, self._site_key)
        entry, digest = Entry(seq, body, sealed), link(self._hash, body)
        try:
            self._commit(entry, digest, use, word)
        except sqlite3.Error as error:
            raise RecordFailure(str(error)) from error
        self._seq, self._hash = seq, digest
        self._word = word or self._word
        return entry

    def _commit(self, entry: Entry, digest: bytes, use: Use | None, word: CentreWord | None) -> None:
        # Begin and commit are spelled out because Python's own are prepared anew each time.
        execute = self._db.execute
        try:
            execute("BEGIN IMMEDIATE")
            execute("INSERT INTO records VALUES (?, ?, ?)", (entry.seq, entry.body, digest))
            execute("UPDATE head SET seq = ?, hash = ?", (entry.seq, digest))
            if use is not None:
                execute(INSERT_USE, astuple(use))
            if word is not None:
                execute(SET_WORD, astuple(word))
            if entry.sealed is not None:
                execute("INSERT INTO sealed VALUES (?, ?)", (entry.seq, entry.sealed))
            execute("COMMIT")
        except BaseException:
            self._db.rollback()
            raise

    def open_visits(self) -> tuple[str, ...]:
        """Return visits among the newest records that were decided and not closed, oldest first.

        The centre's command to let one person pass begins one as well.
        """
        rows = self._db.execute(
            "SELECT body FROM records ORDER BY seq DESC LIMIT ?", (OPEN_VISITS_LOOKED_AT,)
        )
        unclosed: dict[str, None] = {}
        for (body,) in reversed(rows.fetchall()):
            event = json.loads(body)
            visit = event["data"].get("visit")
            if event["type"].startswith(_BEGINS_VISIT) and visit:
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

    def word(self) -> CentreWord:
        """Return what the centre has said last, as it was recorded."""
        return self._word

    def renew(self, new_epoch: str, reason: str) -> PreviousEpoch:
        """Put this file aside and go on in a new one, under another epoch and without any record.

        Uses of passes and the centre's word go on. The new file is whole before the old one gets its other
        name, and whatever breaks that off is made good at the next opening. Every other connection must have
        been closed, the outbox too; LedgerError while one is open, or where the disk refuses: then this
        ledger is still what it was, or the new one has its name and could not be opened (`epoch` is the old
        one in both cases).
        """
        previous = PreviousEpoch(self.epoch, self._seq, self._hash.hex(), reason)
        try:
            inherited = Inherited(previous, self.uses(), self._word)
        except DAMAGE as error:
            raise LedgerError(advice(self._path, f"cannot be read ({error})")) from error
        if self._path == IN_MEMORY:
            self._db.close()
        else:
            self._put_aside(Path(self._path), new_epoch, inherited)
        self._open(new_epoch, inherited)
        return previous

    def _put_aside(self, path: Path, new_epoch: str, inherited: Inherited) -> None:
        try:
            _make_next(path, self._origin, new_epoch, inherited)
            self._db.close()  # where it is the last connection, the write-ahead log goes into the file
            archive(path, self.epoch)
        except (*DAMAGE, OSError, LedgerError) as error:
            self._db.close()
            if not path.exists():
                return  # it has its other name, though perhaps not durably: there is no way back
            self._open(self.epoch)
            raise LedgerError(f"ledger {path} cannot be put aside ({error}); it goes on as it is") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def archive(path: Path, epoch: str) -> Path:
    """Rename a ledger that nobody has open any more after its epoch; return its new path.

    Nothing is overwritten: a second file of the same epoch (a copy that came back) gets a number. Raises
    LedgerError when the file is still in use or was not closed in order, OSError when the disk refuses.
    """
    # It holds the newest records, and goes by a name that the next ledger will have.
    if Path(f"{path}-wal").exists():
        raise LedgerError(f"ledger {path} is still in use")
    stem = f"{path.stem}-{''.join(filter(str.isalnum, epoch))}"
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    target = next(place for name in names if not (place := path.with_name(name + path.suffix)).exists())
    path.rename(target)
    flush_names(path.parent)
    return target


def _next(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def _make_next(path: Path, origin: Origin, new_epoch: str, inherited: Inherited) -> None:
    """Make the whole of the file that will follow on, under a name of its own."""
    _discard_next(path)
    with closing(connect(_next(path))) as db:
        prepare(db, origin.site, origin.gate, new_epoch, inherited)
    # Closing keeps silent about a write-ahead log for which there was no room in the file.
    if Path(f"{_next(path)}-wal").exists():
        raise LedgerError("there is no room for another file")


def _finish_renewal(path: Path) -> None:
    """Give the file that follows on its name if the one before has been put aside; else take it away."""
    if _next(path).exists() and not path.exists():
        _next(path).rename(path)
        flush_names(path.parent)
    _discard_next(path)


def _discard_next(path: Path) -> None:
    """Take away what an attempt has left, also what SQLite keeps beside a file that is not whole."""
    for suffix in ("", "-wal", "-shm"):
        left = Path(f"{_next(path)}{suffix}")
        if left.exists():
            left.unlink()


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
    # The index is written to as well: better found out now than at a fever.
    last_abnormal = f"SELECT max(seq) FROM records INDEXED BY abnormal WHERE {ABNORMAL}"  # noqa: S608 - ours
    db.execute(last_abnormal).fetchone()


_FORGET_OVERTAKEN: Final = (
    "DELETE FROM uses WHERE id NOT IN (SELECT max(id) FROM uses GROUP BY pass, direction)"
)
_FORGET_ENDED: Final = "DELETE FROM uses WHERE coalesce(until_s * 1000, at_ms) < ?"


def _read_uses(db: sqlite3.Connection) -> tuple[Use, ...]:
    """Return what was written last of each pass and direction, apart from what was given back."""
    rows = db.execute("SELECT pass, direction, at_ms, until_s, step, count FROM uses ORDER BY id")
    last = {(key, direction): Use(key, Direction(direction), *rest) for key, direction, *rest in rows}
    return tuple(use for use in last.values() if use.count)
