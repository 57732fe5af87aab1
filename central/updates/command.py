"""`central update` and `central updates`: bring gates to a version, ring by ring, and see what came of it.

Exit status: 0 done · 1 the answer is no, or not for every gate · 2 wrong use · 78 configuration.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from central.options import AS_JSON, BY, CONFIG, opened, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from central.config import Config
    from central.store import Store
    from central.updates.standing import Standing

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

_EXPIRES_S_MAX: Final = 86_340  # central.orders.book.EXPIRES_S_MAX, which is imported late


@click.command()
@CONFIG
@click.argument("version")
@click.option("--ring", "ring_name", metavar="NAME", help="All gates of this ring; see [[ring]].")
@click.option("--gate", "named", metavar="SITE/GATE", multiple=True, help="This gate; as often as needed.")
@BY
@click.option(
    "--expires-s", type=click.IntRange(5, _EXPIRES_S_MAX), default=_EXPIRES_S_MAX, show_default=True,
    metavar="S", help="How long a gate that is away may still hear of it.",
)  # fmt: skip
def update(
    config_path: Path, version: str, ring_name: str | None, named: tuple[str, ...], by: str, expires_s: int
) -> None:
    """Tell gates to install VERSION of the package in the quiet hours of their plans.

    Each ring waits for the one before it: until a gate of that has done it. A version that a gate had to undo
    goes no further by ring; what is named with --gate is told in any case. A gate that is at it already is
    not told again. Nothing is waited for here: central updates says what came of it.
    """
    from central.clock import SystemClock
    from central.updates.standing import standings
    from gate.core.commands import is_version

    if not is_version(version):
        refuse(f"{version} is no version of the package; they look like 0.2.0 or 0.2.0-1", 2)
    if not (ring_name or named):
        refuse("name a ring with --ring, or gates with --gate", 2)
    now_ms = SystemClock().now_ms()
    with opened(config_path) as (store, config):
        gates = standings(store.engine, store.gates(), now_ms)
        chosen = _named(named, gates) + (_of_ring(config, ring_name, version, gates) if ring_name else [])
        told = [_tell(store, config, gate, version, by, expires_s, now_ms) for gate in dict.fromkeys(chosen)]
    sys.exit(0 if all(told) else 1)


@click.command()
@CONFIG
@AS_JSON
def updates(config_path: Path, *, as_json: bool) -> None:
    """Show which version each gate runs, which it was told to install, and what came of that."""
    from central.clock import SystemClock
    from central.updates.standing import standings

    with opened(config_path) as (store, config):
        for gate in standings(store.engine, store.gates(), SystemClock().now_ms()):
            click.echo(json.dumps(_as_dict(gate)) if as_json else _in_line(gate, config))


def _named(named: Sequence[str], gates: Sequence[Standing]) -> list[Standing]:
    known = {f"{gate.site}/{gate.gate}": gate for gate in gates}
    for name in named:
        if name not in known:
            refuse(f"{name} is no gate whose key is believed; see: central gates list", 2)
    return [known[name] for name in named]


def _of_ring(config: Config, name: str, version: str, gates: Sequence[Standing]) -> list[Standing]:
    from central.updates.standing import members, objection

    ring = next((each for each in config.ring if each.name == name), None)
    if ring is None:
        known = ", ".join(each.name for each in config.ring) or "none; they stand in [[ring]]"
        refuse(f"there is no ring {name}; there are: {known}", 2)
    problem = objection(version, name, config.ring, gates)
    if problem:
        refuse(f"{problem}; name gates one by one with --gate if it is to go on all the same", 1)
    found = members(ring, gates)
    if not found:
        refuse(f"there is no gate in the ring {name} whose key is believed", 1)
    return found


def _tell(
    store: Store, config: Config, gate: Standing, version: str, by: str, expires_s: int, now_ms: int
) -> bool:
    """Make the command for one gate and say so; True unless that was not possible."""
    from central.keys import KeysError, load_keys
    from central.orders import book
    from central.orders.book import NotMadeError, Wanted
    from central.updates.standing import OPEN, State
    from gate.checked import EX_CONFIG
    from gate.core.commands import Name

    name = f"{gate.site}/{gate.gate}"
    if gate.wanted == version and gate.state in OPEN | {State.DONE}:
        click.echo(f"{name}: {version} was asked for already ({gate.state})")
        return True
    wanted = Wanted(gate.site, gate.gate, Name.UPDATE, {"version": version}, "", by, expires_s)
    try:
        book.make(store.engine, load_keys(config.centre.keys_dir).sign, wanted, now_ms)
    except KeysError as error:
        refuse(str(error), EX_CONFIG)
    except NotMadeError as error:
        click.echo(f"{name}: not asked: {error}", err=True)
        return False
    click.echo(f"{name}: {version} asked for; runs {gate.runs or 'an unknown version'}")
    return True


def _in_line(gate: Standing, config: Config) -> str:
    from central.clock import moment

    line = f"{gate.site}/{gate.gate}  runs {gate.runs or 'an unknown version'}"
    if gate.order is None or gate.state is None:
        return line
    detail = f" ({gate.detail})" if gate.detail else ""
    made = moment(gate.order.made_ms, config.reports.zone)
    state = str(gate.state).replace("_", " ")
    return f"{line}  {gate.wanted} {state}{detail}  asked for by {gate.order.made_by} {made}"


def _as_dict(gate: Standing) -> dict[str, Any]:
    order, reported = gate.order, gate.reported
    return {
        "site": gate.site,
        "gate": gate.gate,
        "runs": gate.runs,
        "wanted": gate.wanted,
        "state": gate.state and str(gate.state),
        "detail": gate.detail,
        "command": order and order.id,
        "by": order and order.made_by,
        "made_ms": order and order.made_ms,
        "seq": reported and reported.seq,
        "proved": reported is not None and reported.proved,
    }
