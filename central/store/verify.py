"""Prove the whole store again, from its own bytes.

Every chain from genesis, every checkpoint and receipt with its signature and its hash at its place, every
attachment against the hash that its record declares, the alarm log, and what the rows of the streams claim.
Nothing that is derived is believed. What can be found, in one word each:

    record_altered       a body does not have the hash that is stored, or columns say other than the body
    record_misplaced     a body names another ledger or number
    record_missing       a number within the chain is not there
    record_inserted      a record that never came in through the door
    tail_cut             records, receipts, or the alarm log end before they should
    stream_differs       a stream's row claims what its records, checkpoints and receipts do not give
    checkpoint_altered   a checkpoint, or its columns, is not what its gate has signed
    checkpoint_differs   a checkpoint has another hash than the chain, and no alarm says so
    receipt_altered      likewise for receipts, and the centre's key
    receipt_differs      a receipt promises another hash than the chain has
    attachment_altered   a sealed attachment does not have its hash, or is gone and was not erased
    conflict_altered     a record that was kept beside the others does not have its hash, or its place
    alarm_log_altered    the chain of the alarm log is broken
    alarms_differ        the alarms are not what the log amounts to
    keys_differ          the keys of the gates are not what the log amounts to: one was added, exchanged,
                         taken away, or made valid again
    schema_differs       a table has lost the rules that kept rows from being there twice, or empty
    retired_differs      records without bytes, whose hashes are not those over which they were retired

What cannot be read at all is reported with the word of the check that tried, and the next check follows.
Where no key is here that has signed, one problem stands for all of a gate: it says how many, and the first.

Who holds the database can do everything at once and leave no contradiction: what that is, and what to do
about it, stands in docs/centre.md.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, func, or_, select, type_coerce
from sqlalchemy.types import NullType

from central.store import alarm_log, streams
from central.store.contents import DAY_MS
from central.store.damage import any_text, as_stored, guarded, unreadable, without_rules
from central.store.engine import reading
from central.store.gates import check_keys
from central.store.judging import trust_in
from central.store.lineage import check_lineage, follows
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
    gate_keys,
    metadata,
    receipts,
    records,
)
from central.store.tables import streams as stream_rows
from gate.core.chain import genesis, link
from gate.core.delivery import Checkpoint, Receipt
from gate.core.signed import SignedError, read_unproved

Report = Callable[[Problem], None]

_KEPT: Final = frozenset(map(str, Trust)) - {str(Trust.MALFORMED)}
_OF_STREAMS: Final[tuple[Table, ...]] = (records, attachments, checkpoints, receipts, conflicts)


def verify(store: Store, centre_keys: Iterable[bytes], report: Report) -> Counts:
    """Check everything; report every problem found, and return how much was looked at. Raises StoreError.

    `centre_keys`: the public keys (32 bytes) that the centre's receipts may be signed with.
    """
    keys = tuple(centre_keys)
    with reading(store.engine) as connection, any_text(connection):
        for table, detail in without_rules(connection, metadata.sorted_tables):
            report(Problem("schema_differs", "", "", "", None, f"{table}: {detail}"))
        checks = [_StreamCheck(connection, stream, keys, report) for stream in _ledgers(connection, report)]
        for check in checks:
            check.run()
        _unsigned(checks, "checkpoint_altered", report)
        _unsigned(checks, "receipt_altered", report)
        guarded(lambda: _check_lineage(checks), _about_nobody(report, "stream_differs"))
        guarded(lambda: _orphans(connection, report), _about_nobody(report, "record_inserted"))
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


def _about_nobody(report: Report, what: str) -> Callable[[str], None]:
    return lambda detail: report(Problem(what, "", "", "", None, detail))


def _ledgers(connection: Connection, report: Report) -> Iterator[Stream]:
    """Yield the rows of the streams that can be read; against another one nothing can be held."""
    for row in connection.execute(as_stored(stream_rows).order_by(stream_rows.c.id)).all():
        if wrong := unreadable(row, stream_rows):
            names = (str(row.site), str(row.gate), str(row.epoch))
            detail = f"the row cannot be read, nor anything be held against it: {', '.join(wrong)}"
            report(Problem("stream_differs", *names, None, detail))
        else:
            yield streams.of_row([*row, False])


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


@dataclass(slots=True)
class _StreamCheck:
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


def _unsigned(checks: Iterable[_StreamCheck], what: str, report: Report) -> None:
    """Report, once for each gate, what is signed with a key that is not here."""
    gates: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for check in checks:
        own = [(check.stream.epoch, number) for word, number in check.unsigned if word == what]
        gates.setdefault((check.stream.site, check.stream.gate), []).extend(own)
    for (site, gate), found in gates.items():
        if found:
            epoch, number = found[0]
            detail = f"{len(found)} from here on: no key that may have signed {_OF_WHOM[what]} is here"
            report(Problem(what, site, gate, epoch, number, detail))


_OF_WHOM: Final = {
    "checkpoint_altered": "checkpoints of this gate when they came",
    "receipt_altered": "receipts of the centre",
}


def _check_lineage(checks: Iterable[_StreamCheck]) -> None:
    """Hold what the rows say of which ledger follows which against the ledgers' own first records."""
    gates: dict[tuple[str, str], list[_StreamCheck]] = {}
    for check in checks:
        gates.setdefault((check.stream.site, check.stream.gate), []).append(check)
    for own in gates.values():
        by_epoch = {check.stream.epoch: check for check in own}
        words = {epoch: check.word() for epoch, check in by_epoch.items()}
        said = {
            epoch: word for epoch, word in words.items() if word and follows(by_epoch[epoch].stream, word)
        }

        def differs(stream: Stream, detail: str, by_epoch: dict[str, _StreamCheck] = by_epoch) -> None:
            by_epoch[stream.epoch].found("stream_differs", stream.ended, detail)

        check_lineage([check.stream for check in own], said, differs)


def _orphans(connection: Connection, report: Report) -> None:
    """Find what belongs to no stream; on SQLite nothing else would prevent it."""
    for table in _OF_STREAMS:
        lost = select(table.c.stream, func.count().label("rows")).where(
            or_(table.c.stream.not_in(select(stream_rows.c.id)), table.c.stream.is_(None))
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
        if type(row.n) is not int:
            found("alarm_log_altered", expected, "the number of an entry is none")
            continue
        if row.n != expected:
            found("alarm_log_altered", expected, f"entries {expected} to {row.n - 1} are missing")
        elif not _in_chain(digest, row) or not amounts.add(row.n, row.entry):
            found("alarm_log_altered", row.n, "the entry does not have its hash in the log")
        digest, expected = row.hash if isinstance(row.hash, bytes) else b"", row.n
    head = alarm_log.read_head(connection)
    if head is None:
        found("tail_cut", expected + 1, "where the alarm log was written last cannot be read: it is gone")
    elif head != (expected, digest):
        found("tail_cut", expected + 1, "the alarm log does not end where it was written last")
    guarded(lambda: check_keys(connection, amounts.keys, report), _about_nobody(report, "keys_differ"))
    guarded(lambda: _compare_alarms(amounts.alarms, connection, found), partial(found, "alarms_differ", None))
    return expected


def _in_chain(previous: bytes, row: Row[Any]) -> bool:
    return isinstance(row.entry, bytes) and alarm_log.chained(previous, row.entry) == row.hash


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
