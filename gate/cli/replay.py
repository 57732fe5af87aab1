"""Judging the past again."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gate.checked import ConfigError
from gate.cli.ending import EX_CONFIG, refuse
from gate.config import load_policy

if TYPE_CHECKING:
    from gate.app.replay import Difference, Replay, Treatment

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

_VERDICTS: Final = {"admit": "admitted", "retest": "measured again", "refer": "to staff", "refuse": "refused"}
_DISPOSITIONS: Final = {
    "wear_mask": "wear a mask",
    "observe_at_home": "observe at home",
    "fever_clinic": "fever clinic",
    "isolate_and_call_120": "call 120",
}
_ROW: Final = "{:>8}  {:19}  {:15}  {:24}  {}"


@click.command()
@click.option(
    "--policy",
    "name",
    required=True,
    help="The other plan: one that comes with the gate, or a .toml file of your own.",
)
@click.argument("ledger", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON line per difference, and one with the sums.")
def replay(name: str, ledger: Path, *, as_json: bool) -> None:
    """Judge the visits of a ledger by another plan: who would have been treated differently, by which rule.

    Under each such visit, a minus marks what spoke against it then and would not, a plus what would now.
    What the gate did not ask for at the time, the other plan finds missing.

    Exit status: 0 done, 1 the ledger has damaged records, or the very plan of a record now judges otherwise.
    """
    from gate.app.replay import Replay
    from gate.store.ledger import LedgerError, entries

    told = False
    try:
        judged = Replay(load_policy(name))
        for found in judged.differences(entries(ledger)):
            if not (as_json or told):
                click.echo(_ROW.format("record", "time (UTC)", "visit", "was", "would be"))
            told = True
            click.echo(json.dumps(found.as_dict()) if as_json else _told(found))
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)
    except LedgerError as error:
        refuse(str(error), 1)
    if told and not as_json:
        click.echo()
    click.echo(json.dumps(_sums(judged)) if as_json else _summary(judged))
    sys.exit(1 if judged.unreadable or judged.irreproducible else 0)


def _told(found: "Difference") -> str:
    when = found.time[:19].replace("T", " ")
    rows = [_ROW.format(found.seq, when, found.visit, _words(found.old), _words(found.new))]
    rows += [f"{'-':>12} {_finding(*named)}" for named in found.gone]
    rows += [f"{'+':>12} {_finding(*named)}" for named in found.came]
    return "\n".join(map(_printable, rows))


def _words(treatment: "Treatment") -> str:
    verdict = _VERDICTS.get(treatment.verdict, treatment.verdict)
    if treatment.disposition == "none":
        return verdict
    return f"{verdict}, {_DISPOSITIONS.get(treatment.disposition, treatment.disposition)}"


def _finding(rule: str, reason: str) -> str:
    from gate.core.texts import reason_text

    return f"{rule:5} {reason_text('en', reason)}"


def _printable(line: str) -> str:
    """Show a record that is not one's own without letting it steer the terminal."""
    return "".join(char if char.isprintable() else "?" for char in line)


def _sums(judged: "Replay") -> dict[str, object]:
    return {
        "policy": judged.policy.name,
        "visits": judged.visits,
        "different": judged.different,
        "gone": {":".join(named): count for named, count in judged.gone.most_common()},
        "came": {":".join(named): count for named, count in judged.came.most_common()},
        "unreadable": judged.unreadable,
        "irreproducible": judged.irreproducible,
    }


def _summary(judged: "Replay") -> str:
    plan = f"{judged.policy.name}, version {judged.policy.version}"
    different = f"{judged.different or 'none'} would have been treated differently"
    lines = [f"{_counted(judged.visits, 'visit')} judged by {plan}: {different}"]
    for sign, counts in (("-", judged.gone), ("+", judged.came)):
        lines += [f"{n:>8}  {sign} {_finding(*named)}" for named, n in counts.most_common()]
    if judged.unreadable:
        lines.append(f"not judged, because damaged: {_numbers(judged.unreadable)}")
    if judged.irreproducible:
        lines.append(f"the same plan now judges otherwise: {_numbers(judged.irreproducible)}")
    return "\n".join(map(_printable, lines))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _numbers(seqs: list[int]) -> str:
    more = ", ..." if len(seqs) > 20 else ""
    return f"{_counted(len(seqs), 'record')} ({', '.join(map(str, seqs[:20]))}{more})"
