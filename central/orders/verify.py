"""Check the book of commands again, from its own bytes; `central verify` does.

    command_altered      a row, or its columns, is not what the centre has signed; or sendings of it are gone:
                         a number is missing, an alarm counted more, or it was answered and none is there
    command_missing      a gate has put a command on record that is not in the book

What became of a command is kept nowhere but in the gate's own records, which the store proves. The other way
round they tell what the book must hold: a gate names a command only when a key of the centre has signed it,
and it was sent. One that the gate has obeyed while the store was restored from an older backup is not missed:
the gate's own record says from where to where its receipts went back.

Not signed, and so not checked: who has made a command (`made_by`), its summary, `after`, and when it was
sent. One that no gate has answered can be taken away unseen, and so can the last sendings of any: all of
them when it was not answered, all but one when it was, but none that an alarm has counted.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from central.orders.book import EARLY_S
from central.orders.tables import commands, sendings
from central.orders.unanswered import UNANSWERED, about
from central.store import Problem, Store, StreamState
from central.store.contents import states
from central.store.engine import reading
from central.store.tables import alarms, records
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
    with reading(store.engine) as connection:
        for row in connection.execute(select(commands).order_by(commands.c.made_ms)):
            known.add(row.id)
            if problem := _problem(row, keys):
                detail = f"{row.id}: {problem}"
                report(Problem("command_altered", row.site, row.gate, row.epoch, None, detail))
        sent = _check_sendings(connection, known, report)
        for ledger in states(connection):
            _check_answers(connection, ledger, known, sent, report)
    return len(known)


def _problem(row: Row[Any], keys: Sequence[bytes]) -> str:
    """Return what is wrong with a row, "" when nothing is; read as its gate would in the last millisecond."""
    try:
        signed = open_command(
            row.message,
            keys=keys,
            to=Address(row.site, row.gate, row.epoch),
            at=Circumstances(row.site, row.expires_ms - 1, clock_trusted=True),
            counter=row.counter - 1,
            retained=False,
        )
        columns = (row.id, row.counter, row.name, row.made_ms // 1000 - EARLY_S, row.expires_ms)
    except CommandRefusedError as error:
        return f"the command is not what the centre has signed ({error.reason})"
    except TypeError:  # SQLite keeps a text where bytes or a number should be
        return "a column holds what it cannot hold"
    stated = (signed.id, signed.counter, str(signed.name), signed.not_before, (signed.expires + 1) * 1000)
    return "" if stated == columns else "columns say other than the command"


def _check_sendings(connection: Connection, known: set[str], report: Callable[[Problem], None]) -> set[str]:
    """Hold the sendings against the book and the alarms; return the commands that were sent."""
    counted = _counted_by_alarms(connection)
    sent: set[str] = set()
    asked = select(sendings.c.command, sendings.c.n).order_by(sendings.c.command, sendings.c.n)
    for command, rows in groupby(connection.execute(asked), key=lambda row: row.command):
        numbers = [row.n for row in rows]
        sent.add(command)
        least = counted.pop(command, 0)
        if command not in known:
            report(Problem("command_missing", "", "", "", None, f"{command}: it was sent, and is not here"))
        elif numbers != list(range(1, len(numbers) + 1)):
            detail = f"{command}: sendings {', '.join(map(str, numbers))} are there, numbered from 1"
            report(Problem("command_altered", "", "", "", None, detail))
        elif len(numbers) < least:
            _report_fewer(command, len(numbers), least, report)
    for command in sorted(known & counted.keys()):
        _report_fewer(command, 0, counted[command], report)
    return sent


def _report_fewer(command: str, here: int, counted: int, report: Callable[[Problem], None]) -> None:
    detail = f"{command}: an alarm has counted {counted} sendings, {here} are there"
    report(Problem("command_altered", "", "", "", None, detail))


def _counted_by_alarms(connection: Connection) -> dict[str, int]:
    """Return how often commands had been sent when they became alarms: those say it, and are in their log."""
    counted: dict[str, int] = {}
    for evidence in connection.scalars(select(alarms.c.evidence).where(alarms.c.code == UNANSWERED)):
        named = about(evidence)
        if named is not None and named[1] > 0:
            counted[named[0]] = max(named[1], counted.get(named[0], 0))
    return counted


def _check_answers(
    connection: Connection,
    ledger: StreamState,
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


def _said(connection: Connection, ledger: StreamState) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield number, kind and content of the proved records that may name a command, in order."""
    asked = select(records.c.seq, records.c.kind, records.c.body).where(
        records.c.stream == ledger.id,
        records.c.seq <= ledger.proved,
        records.c.kind.in_([str(Kind.COMMAND), str(Kind.ANOMALY)]),
    )
    for row in connection.execute(asked.order_by(records.c.seq)):
        try:
            data = json.loads(row.body)["data"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # retired, or altered: that is found where the records are checked
        if isinstance(data, dict):
            yield row.seq, row.kind, data
