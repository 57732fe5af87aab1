"""Judging the past again."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gate.cli.ending import EX_CONFIG, refuse
from gate.config import ConfigError, load_policy

if TYPE_CHECKING:
    from gate.app.replay import Replay

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly


@click.command()
@click.option("--policy", "name", required=True, help="The other plan: by name, or a .toml file.")
@click.argument("ledger", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON line per visit, and one with the sums.")
def replay(name: str, ledger: Path, *, as_json: bool) -> None:
    """Judge the visits of a ledger by another plan: who would have been treated differently, by which rule.

    Exit status: 0 done, 1 the ledger has damaged records, or the very plan of a record now judges otherwise.
    """
    from gate.app.replay import Replay
    from gate.store.ledger import LedgerError, entries

    try:
        judged = Replay(load_policy(name))
        for found in judged.differences(entries(ledger)):
            click.echo(json.dumps(found.as_dict()) if as_json else f"{found}")
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)
    except LedgerError as error:
        refuse(str(error), 1)
    click.echo(json.dumps(_sums(judged)) if as_json else _summary(judged))
    sys.exit(1 if judged.unreadable or judged.irreproducible else 0)


def _sums(judged: "Replay") -> dict[str, object]:
    return {
        "policy": judged.policy.name,
        "visits": judged.visits,
        "different": judged.different,
        "by_rule": dict(judged.by_rule.most_common()),
        "unreadable": judged.unreadable,
        "irreproducible": judged.irreproducible,
    }


def _summary(judged: "Replay") -> str:
    lines = [f"{judged.visits} visits, {judged.different} would have been treated differently"]
    lines += [f"{count:>7}  {rule}" for rule, count in judged.by_rule.most_common()]
    if judged.unreadable:
        lines.append(f"not judged, because damaged: records {_numbers(judged.unreadable)}")
    if judged.irreproducible:
        lines.append(f"the same plan now judges otherwise: records {_numbers(judged.irreproducible)}")
    return "\n".join(lines)


def _numbers(seqs: list[int]) -> str:
    return ", ".join(map(str, seqs[:20])) + (" ..." if len(seqs) > 20 else "")
