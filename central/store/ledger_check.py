"""The check of one ledger: its records, and everything that is said of them, each against the others.

`verify` says in which words, and holds the ledgers against each other.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, func, select, type_coerce
from sqlalchemy.types import NullType

from central.store.contents import DAY_MS
from central.store.damage import as_stored, guarded, unreadable
from central.store.judging import trust_in
from central.store.model import Code, Problem, Trust
from central.store.reading import UnreadableError, announced, record
from central.store.retired import RetiredCheck
from central.store.streams import Stream
from central.store.tables import alarms, attachments, checkpoints, conflicts, gate_keys, receipts, records
from central.store.tables import streams as stream_rows
from gate.core.chain import genesis, link
from gate.core.delivery import Checkpoint, Receipt
from gate.core.signed import SignedError, read_unproved

Report = Callable[[Problem], None]

_KEPT: Final = frozenset(map(str, Trust)) - {str(Trust.MALFORMED)}


@dataclass(slots=True)
class LedgerCheck:
    """The check of one ledger. `hashes`: those of the chain, as computed here, where somebody asks.

    `unsigned`: what no key that is here has signed, by the word for it, with its number.
    """

    connection: Connection
    stream: Stream
    centre_keys: tuple[bytes, ...]
    report: Report
    hashes: dict[int, bytes] = field(default_factory=dict)
    declared: dict[int, bytes] = field(default_factory=dict)
    linked: int = 0
    top: int = 0
    records: int = 0
    parked: int = 0
    checkpoints: int = 0
    receipts: int = 0
    attachments: int = 0
    retired: int = 0
    unsigned: list[tuple[str, int]] = field(default_factory=list)

    def run(self) -> None:
        """Check the records first; everything else is held against them."""
        for what, check in (
            ("record_altered", self._check_records),
            ("stream_differs", self._check_row),
            ("checkpoint_altered", self._check_checkpoints),
            ("receipt_altered", self._check_receipts),
            ("attachment_altered", self._check_attachments),
            ("conflict_altered", self._check_conflicts),
        ):
            guarded(check, partial(self.found, what, None))

    def found(self, what: str, seq: int | None, detail: str) -> None:
        """Report a problem of this ledger."""
        own = self.stream
        self.report(Problem(what, own.site, own.gate, own.epoch, _number(seq), detail))

    def _each(self, table: Table, number: str, what: str, check: Callable[[Row[Any]], None]) -> None:
        """Check the rows of a table one by one; `number`: the column that says where, if one is damaged."""
        for row in self.connection.execute(as_stored(table).where(table.c.stream == self.stream.id)):
            say = partial(self.found, what, _number(getattr(row, number)))
            if wrong := unreadable(row, table):
                say(f"it cannot be read: {', '.join(wrong)}")
            else:
                guarded(partial(check, row), say)

    # Records

    def _check_records(self) -> None:
        wanted = self._wanted()
        digest = genesis(self.stream.epoch)
        self.hashes[0] = digest
        retired = RetiredCheck.of(self.connection, self.stream.id)
        in_order = as_stored(records).where(records.c.stream == self.stream.id).order_by(records.c.seq)
        for row in self.connection.execute(in_order):
            if type(row.seq) is not int:
                self.found("record_altered", None, "a record's number is none")
                continue
            if type(row.seen_ms) is not int:
                self.found("record_altered", row.seq, "when it came is no time")
            self.top = max(self.top, row.seq)
            readable = not self._is_retired(row, retired) and self._check_body(row)
            if 0 < row.seq <= self.stream.linked:
                digest = self._check_link(row, digest, readable=readable)
            else:
                self._check_parked(row)
            if row.seq in wanted and row.seq == self.linked:
                self.hashes[row.seq] = digest
        if retired.differs or retired.upto > self.stream.proved:
            self.found("retired_differs", retired.upto, "the hashes of retired records are others")
        if self.linked < self.stream.linked:
            self.found(
                "tail_cut", self.linked + 1, f"records end at {self.linked}, not at {self.stream.linked}"
            )

    def _wanted(self) -> set[int]:
        asked = select(checkpoints.c.size).where(checkpoints.c.stream == self.stream.id)
        promised = select(receipts.c.upto).where(receipts.c.stream == self.stream.id)
        own = {self.stream.linked, self.stream.proved}
        return own | set(self.connection.scalars(asked)) | set(self.connection.scalars(promised))

    def _check_link(self, row: Row[Any], previous: bytes, *, readable: bool) -> bytes:
        """Return the hash that is stored, to go on with: one bad record is named, not all behind it."""
        self.records += 1
        if row.seq != self.linked + 1:
            self.found("record_missing", self.linked + 1, f"no records {self.linked + 1} to {row.seq - 1}")
        elif readable and link(previous, row.body) != row.hash:
            self.found("record_altered", row.seq, "the record does not have its hash in the chain")
        self.linked = row.seq
        return row.hash if isinstance(row.hash, bytes) else b""

    def _check_parked(self, row: Row[Any]) -> None:
        self.parked += 1
        if row.seq > self.stream.top or row.hash is not None:
            self.found("record_inserted", row.seq, "the record is beyond what has come in")

    def _is_retired(self, row: Row[Any], retired: RetiredCheck) -> bool:
        if not retired.follow(row):
            return False
        self.retired += 1
        if row.sealed is not None:
            self.declared[row.seq] = row.sealed
        return True

    def _check_body(self, row: Row[Any]) -> bool:
        """Hold the body against its place and its columns; return whether it is readable at all."""
        own = self.stream
        try:
            epoch, says = record(own.site, own.gate, row.body)
        except (UnreadableError, TypeError) as error:
            self.found("record_altered", row.seq, f"the record cannot be read ({error})")
            return False
        if (epoch, says.seq) != (own.epoch, row.seq):
            self.found("record_misplaced", row.seq, f"the record says that it is {epoch}/{says.seq}")
        columns = (row.at_ms, row.kind, row.abnormal, row.sealed)
        if columns != (says.at_ms, says.kind, says.abnormal, says.sealed):
            self.found("record_altered", row.seq, "columns say other than the record")
        if says.sealed is not None and row.seq <= own.linked:
            self.declared[row.seq] = says.sealed
        return True

    # What is said about them

    def _check_row(self) -> None:
        own = self.stream
        if own.proved > own.linked:
            self.found(
                "stream_differs", own.proved, f"proved up to {own.proved}, linked only to {own.linked}"
            )
        for what, seq, digest in (
            ("linked", own.linked, own.linked_hash), ("proved", own.proved, own.proved_hash),
        ):  # fmt: skip
            if self.hashes.get(seq) not in {None, digest}:
                self.found("stream_differs", seq, f"the hash of what is {what} is another")
        if (own.ended is None) != (own.ended_hash is None):
            self.found("stream_differs", own.ended, "an end without its hash, or the other way round")
        if self.top != own.top:
            self.found("stream_differs", own.top, f"the highest record should be {own.top}, is {self.top}")
        if own.proved and not self._proof_of(own.proved, own.proved_hash):
            self.found("stream_differs", own.proved, "no signed checkpoint proves this far")
        claimed = self._trusted(func.max(checkpoints.c.size))
        if own.head != (claimed or 0):
            self.found("stream_differs", own.head, f"the gate has signed for {claimed or 0} records")

    def _proof_of(self, size: int, digest: bytes) -> bool:
        claims = self._trusted(func.count(), checkpoints.c.size == size, checkpoints.c.hash == digest)
        return bool(claims) or self._announced() == (size, digest)

    def _trusted(self, asked: ColumnElement[Any], *where: ColumnElement[bool]) -> Any:
        ours = (checkpoints.c.stream == self.stream.id, checkpoints.c.trust == str(Trust.TRUSTED))
        return self.connection.scalar(select(type_coerce(asked, NullType())).where(*ours, *where))

    def _announced(self) -> tuple[int, bytes] | None:
        """Return what the ledger that followed says of this one's end."""
        said = self._word_of(self.stream.successor)
        return said[1:] if said is not None and said[0] == self.stream.epoch else None

    def word(self) -> tuple[str, int, bytes] | None:
        """Return which ledger this one's first record says that it follows."""
        return self._word_of(self.stream.epoch)

    def _word_of(self, epoch: str) -> tuple[str, int, bytes] | None:
        first = (
            select(type_coerce(records.c.body, NullType()))
            .join(stream_rows, stream_rows.c.id == records.c.stream)
            .where(
                stream_rows.c.site == self.stream.site,
                stream_rows.c.gate == self.stream.gate,
                stream_rows.c.epoch == epoch,
                records.c.seq == 1,
            )
        )
        body = self.connection.scalar(first)
        return announced(body) if isinstance(body, bytes) else None

    def _check_checkpoints(self) -> None:
        keys = self._keys()
        said = self._said_to_differ()

        def check(row: Row[Any]) -> None:
            self.checkpoints += 1
            if not self._sound_checkpoint(row):
                self.found("checkpoint_altered", row.size, f"checkpoint {row.id} is not what was signed")
            elif row.trust != Trust.TRUSTED:
                return
            elif (trust := _trust_then(row, keys)) in {Trust.UNKNOWN_GATE, Trust.UNKNOWN_KEY}:
                self.unsigned.append(("checkpoint_altered", row.size))
            elif trust is Trust.BAD_SIGNATURE:
                self.found("checkpoint_altered", row.size, f"checkpoint {row.id} is not what was signed")
            elif row.size <= self.linked and not (row.contradicted and said):
                self._compare("checkpoint_differs", row.size, row.hash, f"checkpoint {row.id}")

        self._each(checkpoints, "size", "checkpoint_altered", check)

    def _keys(self) -> list[Row[Any]]:
        own = (gate_keys.c.site == self.stream.site, gate_keys.c.gate == self.stream.gate)
        rows = self.connection.execute(as_stored(gate_keys).where(*own).order_by(gate_keys.c.id)).all()
        return [row for row in rows if not unreadable(row, gate_keys)]  # the others `check_keys` names

    def _said_to_differ(self) -> bool:
        own = self.stream
        of_stream = (alarms.c.site == own.site) & (alarms.c.gate == own.gate) & (alarms.c.epoch == own.epoch)
        said = select(func.count()).where(of_stream, alarms.c.code == str(Code.CHECKPOINT_DIFFERS))
        return bool(self.connection.scalar(said))

    def _sound_checkpoint(self, row: Row[Any]) -> bool:
        own = self.stream
        try:
            says = Checkpoint.read(read_unproved(row.message))
        except (SignedError, TypeError, AttributeError):
            return False
        names = (says.site, says.gate, says.epoch) == (own.site, own.gate, own.epoch)
        columns = (says.size, says.hash, says.at_ms) == (row.size, row.hash, row.at_ms)
        digest = hashlib.sha256(row.message).digest() == row.digest
        return names and columns and row.trust in _KEPT and digest

    def _check_receipts(self) -> None:
        given: list[int] = []

        def check(row: Row[Any]) -> None:
            self.receipts += 1
            reason = self._unsound_receipt(row)
            if reason == "unknown_key":
                self.unsigned.append(("receipt_altered", row.upto))
            elif reason:
                self.found("receipt_altered", row.upto, "the receipt is not what the centre has signed")
            if reason:
                return
            given.append(row.at_ms)
            if row.upto > self.linked:
                self.found("tail_cut", self.linked + 1, f"a receipt was given up to {row.upto}")
            else:
                self._compare("receipt_differs", row.upto, row.hash, "a receipt")

        self._each(receipts, "upto", "receipt_altered", check)
        if len(given) == self.receipts:  # else an altered one, which is named, may be the last
            self._check_last_receipt(max(given, default=None))

    def _check_last_receipt(self, newest_ms: int | None) -> None:
        last_ms = self.stream.receipt_ms
        if last_ms is not None and (newest_ms is None or newest_ms < last_ms):
            self.found("tail_cut", None, "the last receipt that was given is not here")
        elif newest_ms != last_ms:
            self.found("stream_differs", None, "a receipt is here that is later than the last one given")

    def _unsound_receipt(self, row: Row[Any]) -> str:
        own = self.stream
        try:
            says = Receipt.opened(row.message, self.centre_keys)
        except SignedError as error:
            return error.reason
        except (TypeError, AttributeError):
            return "unreadable"
        names = (says.site, says.gate, says.epoch) == (own.site, own.gate, own.epoch)
        columns = (says.upto, says.hash, says.at_ms) == (row.upto, row.hash, row.at_ms)
        return "" if names and columns and row.day == says.at_ms // DAY_MS else "columns"

    def _compare(self, what: str, seq: int, digest: bytes, whose: str) -> None:
        if self.hashes.get(seq) not in {None, digest}:
            self.found(what, seq, f"{whose} has another hash than the chain")

    def _check_attachments(self) -> None:
        present: set[tuple[int, bytes]] = set()

        def check(row: Row[Any]) -> None:
            self.attachments += 1
            present.add((row.seq, row.digest))
            noted = row.erased_ms is not None or row.erased_by or row.erased_why
            erased = row.blob is None and row.erased_ms is not None
            if row.blob is not None and noted:
                self.found("attachment_altered", row.seq, "it is noted as erased, and is here")
            elif not erased and (row.blob is None or hashlib.sha256(row.blob).digest() != row.digest):
                self.found("attachment_altered", row.seq, "the attachment does not have its hash")

        self._each(attachments, "seq", "attachment_altered", check)
        for seq, digest in self.declared.items():
            if (seq, digest) not in present:
                self.found("attachment_altered", seq, "the attachment is missing and was not erased")

    def _check_conflicts(self) -> None:
        kept = 0
        retired = RetiredCheck.of(self.connection, self.stream.id)

        def check(row: Row[Any]) -> None:
            nonlocal kept
            kept += 1
            if not row.body and retired.covers(row.seq):
                return
            if hashlib.sha256(row.body).digest() != row.digest:
                self.found("conflict_altered", row.seq, "the record kept beside does not have its hash")
            elif not self._belongs(row):
                self.found("conflict_altered", row.seq, "the record kept beside says that it is another one")

        self._each(conflicts, "seq", "conflict_altered", check)
        if kept != self.stream.conflicts:
            self.found(
                "stream_differs", None, f"{self.stream.conflicts} conflicts were kept, {kept} are there"
            )

    def _belongs(self, row: Row[Any]) -> bool:
        own = self.stream
        try:
            epoch, says = record(own.site, own.gate, row.body)
        except UnreadableError:
            return False
        return (epoch, says.seq) == (own.epoch, row.seq)


def _trust_then(row: Row[Any], keys: list[Row[Any]]) -> Trust:
    """Return whether a checkpoint is signed by a key that was believed when it came; revoked later or not."""
    return trust_in(
        row.message, [key for key in keys if key.revoked_ms is None or key.revoked_ms >= row.came_ms]
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
