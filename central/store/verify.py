"""Prove the whole store again, from its own bytes.

Every chain from genesis, every checkpoint and receipt with its signature and its hash at its place, every
attachment against the hash that its record declares, the alarm log, and what the rows of the streams claim.
Nothing that is derived is believed. What can be found, in one word each:

    record_altered       a body does not have the hash that is stored, or columns say other than the body
    record_misplaced     a body names another ledger or number
    record_missing       a number within the chain is not there
    record_inserted      a record that never came in through the door
    tail_cut             records, receipts, or the alarm log end before they should
    stream_differs       a stream's row claims what its records do not give
    checkpoint_altered   a checkpoint, or its columns, is not what its gate has signed
    checkpoint_differs   a checkpoint has another hash than the chain, and no alarm says so
    receipt_altered      likewise for receipts, and the centre's key
    receipt_differs      a receipt promises another hash than the chain has
    attachment_altered   a sealed attachment does not have its hash, or is gone and was not erased
    conflict_altered     a record that was kept beside the others does not have its hash
    alarm_log_altered    the chain of the alarm log is broken
    alarms_differ        the alarms are not what the log amounts to
    retired_differs      records without bytes, whose hashes are not those over which they were retired

Who holds the database can do everything at once and leave no contradiction: whole ledgers with all that was
ever said of them can be taken away. The gates hold receipts, and receipts are published: compare with those.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, func, select

from central.store import alarm_log, streams
from central.store.engine import reading
from central.store.judging import keys_of, trust_in
from central.store.model import Alarm, Code, Counts, Problem, Trust
from central.store.reading import UnreadableError, announced, record
from central.store.retired import RetiredCheck
from central.store.store import Store
from central.store.streams import Stream
from central.store.tables import (
    alarms,
    attachments,
    checkpoints,
    conflicts,
    receipts,
    records,
)
from central.store.tables import streams as stream_rows
from gate.core.chain import genesis, link
from gate.core.delivery import Checkpoint, Receipt
from gate.core.signed import SignedError, read_unproved

Report = Callable[[Problem], None]

_OF_STREAMS: Final[tuple[Table, ...]] = (records, attachments, checkpoints, receipts, conflicts)


def verify(store: Store, centre_keys: Iterable[bytes], report: Report) -> Counts:
    """Check everything; report every problem found, and return how much was looked at. Raises StoreError.

    `centre_keys`: the public keys (32 bytes) that the centre's receipts may be signed with.
    """
    keys = tuple(centre_keys)
    with reading(store.engine) as connection:
        rows = connection.execute(streams.everything().order_by(stream_rows.c.id)).all()
        checks = [_StreamCheck(connection, streams.of_row(row), keys, report) for row in rows]
        for check in checks:
            check.run()
        _orphans(connection, report)
        entries = _alarms(connection, report)
    return Counts(
        streams=len(checks),
        records=sum(check.records for check in checks),
        parked=sum(check.parked for check in checks),
        checkpoints=sum(check.checkpoints for check in checks),
        receipts=sum(check.receipts for check in checks),
        attachments=sum(check.attachments for check in checks),
        retired=sum(check.retired for check in checks),
        alarm_entries=entries,
    )


@dataclass(slots=True)
class _StreamCheck:
    """The check of one ledger. `hashes`: those of the chain, as computed here, where somebody asks."""

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

    def run(self) -> None:
        """Check the records first; everything else is held against them."""
        try:
            self._check_records()
            self._check_row()
            self._check_checkpoints()
            self._check_receipts()
            self._check_attachments()
            self._check_conflicts()
        except TypeError:  # SQLite keeps a text where bytes should be
            self.found("record_altered", self.linked + 1, "a column holds what it cannot hold")

    def found(self, what: str, seq: int | None, detail: str) -> None:
        """Report a problem of this ledger."""
        own = self.stream
        self.report(Problem(what, own.site, own.gate, own.epoch, seq, detail))

    def _rows(self, table: Table) -> Any:
        return self.connection.execute(select(table).where(table.c.stream == self.stream.id))

    # Records

    def _check_records(self) -> None:
        wanted = self._wanted()
        digest = genesis(self.stream.epoch)
        self.hashes[0] = digest
        retired = RetiredCheck.of(self.connection, self.stream.id)
        for row in self.connection.execute(
            select(records).where(records.c.stream == self.stream.id).order_by(records.c.seq)
        ):
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
        return row.hash or b""

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
        if self.top != own.top:
            self.found("stream_differs", own.top, f"the highest record should be {own.top}, is {self.top}")
        if own.proved and not self._proof_of(own.proved, own.proved_hash):
            self.found("stream_differs", own.proved, "no signed checkpoint proves this far")

    def _proof_of(self, size: int, digest: bytes) -> bool:
        claims = select(func.count()).where(
            checkpoints.c.stream == self.stream.id,
            checkpoints.c.size == size,
            checkpoints.c.hash == digest,
            checkpoints.c.trust == str(Trust.TRUSTED),
        )
        return bool(self.connection.scalar(claims)) or self._announced() == (size, digest)

    def _announced(self) -> tuple[int, bytes] | None:
        """Return what the ledger that followed says of this one's end."""
        first = (
            select(records.c.body)
            .join(stream_rows, stream_rows.c.id == records.c.stream)
            .where(
                stream_rows.c.site == self.stream.site,
                stream_rows.c.gate == self.stream.gate,
                stream_rows.c.epoch == self.stream.successor,
                records.c.seq == 1,
            )
        )
        body = self.connection.scalar(first)
        said = None if body is None else announced(body)
        return said[1:] if said is not None and said[0] == self.stream.epoch else None

    def _check_checkpoints(self) -> None:
        keys = keys_of(self.connection, self.stream.site, self.stream.gate)
        said = self._said_to_differ()
        for row in self._rows(checkpoints):
            self.checkpoints += 1
            if not self._sound_checkpoint(row, keys):
                self.found("checkpoint_altered", row.size, f"checkpoint {row.id} is not what was signed")
            elif row.trust == Trust.TRUSTED and row.size <= self.linked and not (row.contradicted and said):
                self._compare("checkpoint_differs", row.size, row.hash, f"checkpoint {row.id}")

    def _said_to_differ(self) -> bool:
        own = self.stream
        of_stream = (alarms.c.site == own.site) & (alarms.c.gate == own.gate) & (alarms.c.epoch == own.epoch)
        said = select(func.count()).where(of_stream, alarms.c.code == str(Code.CHECKPOINT_DIFFERS))
        return bool(self.connection.scalar(said))

    def _sound_checkpoint(self, row: Row[Any], keys: list[Row[Any]]) -> bool:
        own = self.stream
        try:
            says = Checkpoint.read(read_unproved(row.message))
        except (SignedError, TypeError, AttributeError):
            return False
        names = (says.site, says.gate, says.epoch) == (own.site, own.gate, own.epoch)
        columns = (says.size, says.hash, says.at_ms) == (row.size, row.hash, row.at_ms)
        digest = hashlib.sha256(row.message).digest() == row.digest
        if row.trust != Trust.TRUSTED:
            return names and columns and digest
        # A key that was revoked later was good then.
        then = [key for key in keys if key.revoked_ms is None or key.revoked_ms >= row.came_ms]
        signed = trust_in(row.message, then) in {Trust.TRUSTED, Trust.REVOKED_KEY}
        return names and columns and digest and signed

    def _check_receipts(self) -> None:
        for row in self._rows(receipts):
            self.receipts += 1
            if not self._sound_receipt(row):
                self.found("receipt_altered", row.upto, "the receipt is not what the centre has signed")
            elif row.upto > self.linked:
                self.found("tail_cut", self.linked + 1, f"a receipt was given up to {row.upto}")
            else:
                self._compare("receipt_differs", row.upto, row.hash, "a receipt")

    def _sound_receipt(self, row: Row[Any]) -> bool:
        own = self.stream
        try:
            says = Receipt.opened(row.message, self.centre_keys)
        except (SignedError, TypeError, AttributeError):
            return False
        names = (says.site, says.gate, says.epoch) == (own.site, own.gate, own.epoch)
        return names and (says.upto, says.hash, says.at_ms) == (row.upto, row.hash, row.at_ms)

    def _compare(self, what: str, seq: int, digest: bytes, whose: str) -> None:
        if self.hashes.get(seq) not in {None, digest}:
            self.found(what, seq, f"{whose} has another hash than the chain")

    def _check_attachments(self) -> None:
        present: set[tuple[int, bytes]] = set()
        for row in self._rows(attachments):
            self.attachments += 1
            present.add((row.seq, row.digest))
            erased = row.blob is None and row.erased_ms is not None
            if not erased and (row.blob is None or hashlib.sha256(row.blob).digest() != row.digest):
                self.found("attachment_altered", row.seq, "the attachment does not have its hash")
        for seq, digest in self.declared.items():
            if (seq, digest) not in present:
                self.found("attachment_altered", seq, "the attachment is missing and was not erased")

    def _check_conflicts(self) -> None:
        kept = 0
        retired = RetiredCheck.of(self.connection, self.stream.id)
        for row in self._rows(conflicts):
            kept += 1
            if not row.body and retired.covers(row.seq):
                continue
            if hashlib.sha256(row.body).digest() != row.digest:
                self.found("conflict_altered", row.seq, "the record kept beside does not have its hash")
        if kept != self.stream.conflicts:
            self.found(
                "stream_differs", None, f"{self.stream.conflicts} conflicts were kept, {kept} are there"
            )


def _orphans(connection: Connection, report: Report) -> None:
    """Find what belongs to no stream; on SQLite nothing else would prevent it."""
    for table in _OF_STREAMS:
        lost = select(table.c.stream, func.count().label("rows")).where(
            table.c.stream.not_in(select(stream_rows.c.id))
        )
        for row in connection.execute(lost.group_by(table.c.stream)).all():
            detail = f"{row.rows} rows of {table.name} belong to stream {row.stream}, which is not there"
            report(Problem("record_inserted", "", "", "", None, detail))


# The alarm log


def _alarms(connection: Connection, report: Report) -> int:
    def found(what: str, n: int | None, detail: str) -> None:
        report(Problem(what, "", "", "", n, detail))

    digest, expected, amounts = alarm_log.START, 0, alarm_log.Amounts()
    for row in alarm_log.read_log(connection):
        expected += 1
        if row.n != expected:
            found("alarm_log_altered", expected, f"entries {expected} to {row.n - 1} are missing")
        elif alarm_log.chained(digest, row.entry) != row.hash or not amounts.add(row.n, row.entry):
            found("alarm_log_altered", row.n, "the entry does not have its hash in the log")
        digest, expected = row.hash, row.n
    head = alarm_log.read_head(connection)
    if head != (expected, digest):
        found("tail_cut", expected + 1, "the alarm log does not end where it was written last")
    _compare_alarms(amounts.alarms, connection, found)
    return expected


def _compare_alarms(
    expected: Mapping[int, Alarm],
    connection: Connection,
    found: Callable[[str, int | None, str], None],
) -> None:
    rest = dict(expected)
    for alarm in alarm_log.read_alarms(connection, standing=False):
        if rest.pop(alarm.id, None) != alarm:
            found("alarms_differ", alarm.id, "the alarm is not what the log says")
    for alarm_id in rest:
        found("alarms_differ", alarm_id, "the alarm of this entry is missing")
