"""Check the book of commands again, from its own bytes; `central verify` does.

    command_altered      a row, or its columns, is not what the centre has signed; or sendings of it are gone:
                         a number is missing, an alarm counted more, or it was answered and none is there;
                         or an alarm names another one who has made it
    command_missing      a gate has put a command on record that is not in the book

What became of a command is kept nowhere but in the gate's own records, which the store proves. The other way
round they tell what the book must hold: a gate names a command only when a key of the centre has signed it,
and it was sent. One that the gate has obeyed while the store was restored from an older backup is not missed:
the gate's own record says from where to where its receipts went back.

Not signed, and so not checked: who has made a command (`made_by`) unless an alarm names him, the name of a
file in its summary, `after`, and when it was sent. One that no gate has answered can be taken away unseen,
and so can the last sendings of any: all of them when it was not answered, all but one when it was, but none
that an alarm has counted.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, select, type_coerce
from sqlalchemy.types import NullType

from central.orders.book import EARLY_S, in_a_line
from central.orders.tables import commands, sendings
from central.orders.unanswered import UNANSWERED, Unanswered, about
from central.store import Problem, Store
from central.store.damage import any_text, as_stored, unreadable
from central.store.engine import reading
from central.store.tables import alarms, records, streams
from gate.core.codes.model import Circumstances
from gate.core.commands import Address, CommandRefusedError, open_command
from gate.core.events import Kind

_WENT_BACK: Final = re.compile(r"from record \d+ to record (\d{1,20})")


def verify(store: Store, centre_keys: Iterable[bytes], report: Callable[[Problem], None]) -> int:
    """Check every command; report every problem, and return how many the book has. Raises StoreError.

    `centre_keys`: the public keys (32 bytes) that commands may be signed with.
    """
    keys = tuple(centre_keys)
    known: set[str] = set()
    count = 0
    with reading(store.engine) as connection, any_text(connection):
        told = _told_by_alarms(connection)
        for row in connection.execute(as_stored(commands).order_by(commands.c.made_ms)):
            count += 1
            known.add(row.id)
            if problem := _problem(row, keys, told.get(row.id)):
                names = (str(row.site), str(row.gate), str(row.epoch))
                report(Problem("command_altered", *names, None, f"{row.id}: {problem}"))
        sent = _check_sendings(connection, known, told, report)
        for row in connection.execute(as_stored(streams).order_by(streams.c.id)).all():
            if not unreadable(row, streams):  # which is found where the ledgers are checked
                _check_answers(connection, row, known, sent, report)
    return count


def _problem(row: Row[Any], keys: Sequence[bytes], told: Unanswered | None) -> str:
    """Return what is wrong with a row, "" when nothing is; read as its gate would in the last millisecond.

    `told`: what an alarm says of it.
    """
    if wrong := unreadable(row, commands):
        return f"it cannot be read: {', '.join(wrong)}"
    try:
        signed = open_command(
            row.message,
            keys=keys,
            to=Address(row.site, row.gate, row.epoch),
            at=Circumstances(row.site, row.expires_ms - 1, clock_trusted=True),
            counter=row.counter - 1,
            retained=False,
        )
    except CommandRefusedError as error:
        return f"the command is not what the centre has signed ({error.reason})"
    columns = (row.id, row.counter, row.name, row.made_ms // 1000 - EARLY_S, row.expires_ms)
    stated = (signed.id, signed.counter, str(signed.name), signed.not_before, (signed.expires + 1) * 1000)
    if stated != columns or not _sums_up(row.summary, signed.args):
        return "columns say other than the command"
    if told is not None and told.by != row.made_by:
        return f"an alarm says that it was made by {told.by}, not by {row.made_by}"
    return ""


def _sums_up(summary: str, args: Mapping[str, str | int]) -> bool:
    """Say whether this is what a command says, in a line; the name of a file nobody has signed."""
    line = in_a_line(args)
    return summary.endswith(line) if "text" in args else summary == line


def _check_sendings(
    connection: Connection,
    known: set[str],
    told: Mapping[str, Unanswered],
    report: Callable[[Problem], None],
) -> set[str]:
    """Hold the sendings against the book and the alarms; return the commands that were sent."""
    found: dict[str, list[Any]] = {}
    for row in connection.execute(as_stored(sendings).order_by(sendings.c.command, sendings.c.n)):
        found.setdefault(row.command, []).append(row)
    for command, rows in found.items():
        numbers = [row.n for row in rows]
        least = told[command].sent if command in told else 0
        if command not in known:
            report(Problem("command_missing", "", "", "", None, f"{command}: it was sent, and is not here"))
        elif numbers != list(range(1, len(numbers) + 1)):
            detail = f"{command}: sendings {', '.join(map(str, numbers))} are there, numbered from 1"
            report(Problem("command_altered", "", "", "", None, detail))
        elif any(unreadable(row, sendings) for row in rows):
            report(Problem("command_altered", "", "", "", None, f"{command}: a sending cannot be read"))
        elif len(numbers) < least:
            _report_fewer(command, len(numbers), least, report)
    for command in sorted((known & told.keys()) - found.keys()):
        if told[command].sent > 0:
            _report_fewer(command, 0, told[command].sent, report)
    return set(found)


def _report_fewer(command: str, here: int, counted: int, report: Callable[[Problem], None]) -> None:
    detail = f"{command}: an alarm has counted {counted} sendings, {here} are there"
    report(Problem("command_altered", "", "", "", None, detail))


def _told_by_alarms(connection: Connection) -> dict[str, Unanswered]:
    """Return what alarms say of commands that nobody had answered: those are in their log.

    Of several the one that has counted the most sendings.
    """
    told: dict[str, Unanswered] = {}
    asked = select(type_coerce(alarms.c.evidence, NullType())).where(alarms.c.code == UNANSWERED)
    for evidence in connection.scalars(asked):
        named = about(evidence)
        if named is not None and (named.command not in told or told[named.command].sent < named.sent):
            told[named.command] = named
    return told


def _check_answers(
    connection: Connection,
    ledger: Row[Any],
    known: set[str],
    sent: set[str],
    report: Callable[[Problem], None],
) -> None:
    """Hold what a gate has signed for against the book and what was sent."""
    there = known & sent
    missing: list[tuple[int, str]] = []
    for seq, kind, data in _said(connection, ledger):
        if kind == Kind.COMMAND and isinstance(data.get("id"), str) and data["id"] not in there:
            missing.append((seq, data["id"]))
        elif kind == Kind.ANOMALY and data.get("what") == "receipt_went_back":
            back = _WENT_BACK.fullmatch(str(data.get("detail")))
            missing = [one for one in missing if back is None or one[0] <= int(back[1])]
    for seq, command in missing:
        if command in known:
            what, gone = "command_altered", "none of its sendings is there"
        else:
            what, gone = "command_missing", "it is not here"
        detail = f"{command}: the gate has answered this command, and {gone}"
        report(Problem(what, ledger.site, ledger.gate, ledger.epoch, seq, detail))


def _said(connection: Connection, ledger: Row[Any]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield number, kind and content of the proved records that may name a command, in order."""
    asked = as_stored(records).where(
        records.c.stream == ledger.id,
        records.c.seq <= ledger.proved,
        records.c.kind.in_([str(Kind.COMMAND), str(Kind.ANOMALY)]),
    )
    for row in connection.execute(asked.order_by(records.c.seq)):
        try:
            data = json.loads(row.body)["data"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # retired, or altered: that is found where the records are checked
        if isinstance(data, dict) and type(row.seq) is int:
            yield row.seq, row.kind, data
