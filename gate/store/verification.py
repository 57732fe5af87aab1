"""Reading a ledger's file without changing it: is it whole, whose is it, what is in it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from gate.core.chain import genesis, link
from gate.ports import Entry, Held
from gate.store.database import (
    DAMAGE,
    LedgerError,
    advice,
    has_table,
    open_read_only,
    read_base,
    read_previous,
    read_receipt,
    read_word,
)

_RECORDS: Final = "SELECT seq, body, hash, blob FROM records LEFT JOIN sealed USING (seq)"
_RECORDS_BEFORE: Final = "SELECT seq, body, hash, NULL FROM records"
_LOOSE: Final = "SELECT min(seq) FROM sealed WHERE seq NOT IN (SELECT seq FROM records)"


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of a whole ledger found; `bad_seq` is the first bad record, None when all is well.

    `records` are those that are there and good. Those up to number `pruned` were deleted after their receipt;
    the chain begins with the hash of that one.
    """

    records: int
    head_hash: str
    epoch: str
    bad_seq: int | None = None
    problem: str = ""
    pruned: int = 0

    @property
    def ok(self) -> bool:
        """True when every record is what it was when it was written."""
        return not self.problem


@dataclass(frozen=True, slots=True)
class Linked:
    """A record with its place in the chain: `hash` is worked out anew, not what is written beside it."""

    epoch: str
    entry: Entry
    hash: bytes


class BadRecordError(Exception):
    """A record that is not what was written in its place: the message says which and what is wrong."""

    def __init__(self, seq: int, problem: str) -> None:
        super().__init__(problem)
        self.seq = seq


@dataclass(frozen=True, slots=True)
class _Stated:
    """What the file says beside its records: where the chain begins and ends, how far delivery is done."""

    epoch: str
    base: tuple[int, bytes]
    head: tuple[int, bytes]
    acknowledged: int
    receipt: Held | None


def verify(path: Path) -> Verification:
    """Check every record of a ledger file against the chain, without changing the file.

    Also that what is sealed for the centre is there, as its record says, and that neither mark nor receipt
    claims more than the records do. Raises LedgerError when there is no such file or it is no ledger.
    """
    with closing(open_read_only(path)) as db:
        stated = _stated(db, path)
        seq, digest = stated.base
        try:
            for linked in _follow(db, stated):
                seq, digest = linked.entry.seq, linked.hash
                _check_receipt(stated.receipt, seq, digest)
            _check_beside(db, stated)
        except BadRecordError as error:
            return _bad(stated, error, digest)
    return Verification(seq - stated.base[0], digest.hex(), stated.epoch, pruned=stated.base[0])


def linked_entries(path: Path, after: int = 0) -> Iterator[Linked]:
    """Yield the records above `after`, each checked against the chain, without changing the file.

    The chain is followed from its beginning, so that no hash is taken on trust. Raises LedgerError, and
    BadRecordError in the place of the first record that is bad.
    """
    with closing(open_read_only(path)) as db:
        for linked in _follow(db, _stated(db, path)):
            if linked.entry.seq > after:
                yield linked


def entries(path: Path, after: int = 0) -> Iterator[Entry]:
    """Yield the entries of a ledger file in order, as they lie there. Raises LedgerError."""
    with closing(open_read_only(path)) as db:
        try:
            for seq, body, _, sealed in _rows(db, "WHERE seq > ?", after):
                if not isinstance(body, bytes):
                    raise TypeError(f"record {seq} is not bytes")
                yield Entry(seq, body, sealed)
        except DAMAGE as error:
            raise LedgerError(advice(path, f"is no ledger or is damaged ({error})")) from error


def owner(path: Path) -> tuple[str, str]:
    """Return site and gate that a ledger file belongs to, without changing it. Raises LedgerError."""
    with closing(open_read_only(path)) as db:
        try:
            site, gate = db.execute("SELECT site, gate FROM ledger").fetchone()
        except DAMAGE as error:
            raise LedgerError(advice(path, f"is no ledger or is damaged ({error})")) from error
    return str(site), str(gate)


def _stated(db: sqlite3.Connection, path: Path) -> _Stated:
    try:
        db.execute("BEGIN")  # one view of a ledger that may be growing
        (epoch,) = db.execute("SELECT epoch FROM ledger").fetchone()
        head = db.execute("SELECT seq, hash FROM head").fetchone()
        (acknowledged,) = db.execute("SELECT acknowledged FROM delivery").fetchone()
        genesis(epoch)
        read_previous(db), read_word(db)
        return _Stated(str(epoch), read_base(db, epoch), tuple(head), acknowledged, read_receipt(db))
    except (*DAMAGE, AttributeError) as error:
        raise LedgerError(advice(path, f"is no ledger or is damaged ({error})")) from error


def _rows(db: sqlite3.Connection, where: str = "", *values: int) -> Iterator[tuple[Any, ...]]:
    records = _RECORDS if has_table(db, "sealed") else _RECORDS_BEFORE
    return db.execute(f"{records} {where} ORDER BY seq", values)


def _follow(db: sqlite3.Connection, stated: _Stated) -> Iterator[Linked]:
    """Yield record after record from the beginning of the chain to its stated end. Raises BadRecordError."""
    seq, digest = stated.base
    try:
        for number, body, written, sealed in _rows(db):
            seq += 1
            if number != seq:
                raise BadRecordError(seq, f"record {seq} is missing")
            if not isinstance(body, bytes) or link(digest, body) != written:
                raise BadRecordError(seq, f"record {seq} does not match its hash")
            _check_content(body, stated.epoch, seq, sealed)
            digest = written
            yield Linked(stated.epoch, Entry(seq, body, sealed), digest)
    except sqlite3.Error as error:
        raise BadRecordError(seq + 1, f"the file is damaged ({error})") from error
    if (seq, digest) != stated.head:
        raise BadRecordError(seq + 1, f"the newest record should be number {stated.head[0]}")


def _check_content(body: bytes, epoch: str, seq: int, sealed: object) -> None:
    try:
        data = json.loads(body)["data"]
        own = data["epoch"] == epoch and data["seq"] == seq
        declared = data.get("sealed")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        own, declared = False, None
    if not own:
        raise BadRecordError(seq, f"record {seq} carries another number or epoch")
    if declared != (sha256(sealed).hexdigest() if isinstance(sealed, bytes) else sealed):
        raise BadRecordError(
            seq, f"what is sealed with record {seq} is not there, or is not what it declares"
        )


def _check_receipt(receipt: Held | None, seq: int, digest: bytes) -> None:
    if receipt is not None and receipt.upto == seq and receipt.hash != digest:
        raise BadRecordError(seq, f"the centre's receipt is for another record {seq}")


def _check_beside(db: sqlite3.Connection, stated: _Stated) -> None:
    """Check what is known of the records beside them, once all of them are good."""
    (base, base_hash), receipt, head = stated.base, stated.receipt, stated.head[0]
    if not (isinstance(stated.acknowledged, int) and 0 <= stated.acknowledged <= head):
        raise BadRecordError(head, f"acknowledged up to {stated.acknowledged}, which does not exist")
    if receipt is None:
        if base:
            raise BadRecordError(base, f"records up to {base} were deleted without a receipt")
    elif receipt.epoch != stated.epoch or not 0 <= receipt.upto <= head:
        raise BadRecordError(head, f"the centre's receipt is for record {receipt.upto} of {receipt.epoch}")
    else:
        # One that reaches less far than what was deleted is that of a centre restored from its backup.
        for seq, digest in ((0, genesis(stated.epoch)), (base, base_hash)):
            _check_receipt(receipt, seq, digest)
    (loose,) = db.execute(_LOOSE).fetchone() if has_table(db, "sealed") else (None,)
    if loose is not None:
        raise BadRecordError(loose, f"something is sealed with record {loose}, which is not there")


def _bad(stated: _Stated, error: BadRecordError, last_hash: bytes) -> Verification:
    base = stated.base[0]
    good = max(error.seq - 1 - base, 0)
    return Verification(good, last_hash.hex(), stated.epoch, error.seq, str(error), base)
