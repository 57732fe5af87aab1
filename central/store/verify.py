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

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, func, or_, select

from central.store import alarm_log, streams
from central.store.damage import any_text, as_stored, guarded, unreadable, without_rules
from central.store.engine import reading
from central.store.gates import check_keys
from central.store.ledger_check import LedgerCheck, Report
from central.store.lineage import check_lineage, follows
from central.store.model import Alarm, Counts, Problem
from central.store.store import Store
from central.store.streams import Stream
from central.store.tables import attachments, checkpoints, conflicts, metadata, receipts, records
from central.store.tables import streams as stream_rows

_OF_STREAMS: Final[tuple[Table, ...]] = (records, attachments, checkpoints, receipts, conflicts)


def verify(store: Store, centre_keys: Iterable[bytes], report: Report) -> Counts:
    """Check everything; report every problem found, and return how much was looked at. Raises StoreError.

    `centre_keys`: the public keys (32 bytes) that the centre's receipts may be signed with.
    """
    keys = tuple(centre_keys)
    with reading(store.engine) as connection, any_text(connection):
        for table, detail in without_rules(connection, metadata.sorted_tables):
            report(Problem("schema_differs", "", "", "", None, f"{table}: {detail}"))
        checks = [LedgerCheck(connection, stream, keys, report) for stream in _ledgers(connection, report)]
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


def _unsigned(checks: Iterable[LedgerCheck], what: str, report: Report) -> None:
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


def _check_lineage(checks: Iterable[LedgerCheck]) -> None:
    """Hold what the rows say of which ledger follows which against the ledgers' own first records."""
    gates: dict[tuple[str, str], list[LedgerCheck]] = {}
    for check in checks:
        gates.setdefault((check.stream.site, check.stream.gate), []).append(check)
    for own in gates.values():
        by_epoch = {check.stream.epoch: check for check in own}
        words = {epoch: check.word() for epoch, check in by_epoch.items()}
        said = {
            epoch: word for epoch, word in words.items() if word and follows(by_epoch[epoch].stream, word)
        }

        def differs(stream: Stream, detail: str, by_epoch: dict[str, LedgerCheck] = by_epoch) -> None:
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
