"""`central command` and `central commands`: what a gate is told to do, and what it has answered.

Exit status: 0 done · 1 refused, failed, or no answer yet · 2 wrong use · 78 configuration.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from central.options import AS_JSON, BY, CONFIG, PATH, opened, refuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from central.orders.book import Order
    from central.store import Store

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

FILE_BYTES_MAX: Final = 256 * 1024
_EXPIRES_S_MAX: Final = 86_340  # central.orders.book.EXPIRES_S_MAX, which is imported late
_OPTIONS: Final = (
    CONFIG,
    click.argument("site"),
    click.argument("gate"),
    BY,
    click.option("--expires-s", type=click.IntRange(5, _EXPIRES_S_MAX), default=120, show_default=True,
                 metavar="S", help="How long the gate may still obey; it is told again until then."),
    click.option("--wait-s", type=click.FloatRange(0, 3600), default=30.0, show_default=True, metavar="S",
                 help="How long to wait here for its answer."),
    AS_JSON,
)  # fmt: skip
REASON: Final = click.option("--reason", required=True, help="Shown and recorded; 1 to 100 characters.")
FILE: Final = click.option("--file", "file", type=PATH, required=True)


@click.group()
def command() -> None:
    """Tell a gate to do something, and wait for its answer.

    The running centre sends it; the gate records it, obeyed or refused, and that record is the answer.
    """


def _ordering(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@command.command()
@_ordering
@REASON
def suspend(reason: str, **common: Any) -> None:
    """Serve no visitors until `resume`; staff still are."""
    _order("suspend", {"reason": reason}, **common)


@command.command()
@_ordering
def resume(**common: Any) -> None:
    """End a suspension by the centre."""
    _order("resume", {}, **common)


@command.command("open-once")
@_ordering
@REASON
def open_once(reason: str, **common: Any) -> None:
    """Let one person pass, on record."""
    _order("open_once", {"reason": reason}, **common)


@command.command()
@_ordering
@FILE
def policy(file: Path, **common: Any) -> None:
    """Follow another plan from the next visit on; the gate examines it and may refuse it."""
    _order_file("policy", file, **common)


@command.command()
@_ordering
@FILE
def document(file: Path, **common: Any) -> None:
    """Take a signed document of the day."""
    _order_file("document", file, **common)


@command.command()
@_ordering
@click.option(
    "--after", type=click.IntRange(0, 2**53 - 1), required=True, help="The last that is not needed."
)
def resend(after: int, **common: Any) -> None:
    """Send all records after number N again, as far as the gate still has them."""
    _order("resend", {"after": after}, **common)


@command.command()
@_ordering
def checkpoint(**common: Any) -> None:
    """Sign at once how far the ledger reaches."""
    _order("checkpoint", {}, **common)


@click.command()
@CONFIG
@AS_JSON
@click.option("--site")
@click.option("--gate")
@click.option("--last", "count", type=click.IntRange(1, 10_000), default=50, show_default=True,
              metavar="N", help="The newest N.")  # fmt: skip
def commands(config_path: Path, *, as_json: bool, site: str | None, gate: str | None, count: int) -> None:
    """List what gates were told, by whom, and what they answered; oldest first."""
    from central.clock import SystemClock
    from central.orders import book
    from central.orders.words import as_json as line_of
    from central.orders.words import in_line

    now_ms = SystemClock().now_ms()
    with opened(config_path) as (store, config):
        zone = config.reports.zone
        for order in book.newest(store.engine, count, site, gate):
            click.echo(json.dumps(line_of(order, now_ms)) if as_json else in_line(order, now_ms, zone))


def _order_file(name: str, file: Path, **common: Any) -> None:
    try:
        with file.open("rb") as opened:
            text = opened.read(FILE_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"{file} cannot be read: {error}", 2)
    _order(name, {"text": text}, file.name, **common)


def _order(
    name: str, args: dict[str, str | int], source: str = "", *, config_path: Path, site: str, gate: str,
    by: str, expires_s: int, wait_s: float, as_json: bool,
) -> None:  # fmt: skip
    """Make the command, wait for what becomes of it, say so, and end with the status that belongs to it."""
    from central.clock import SystemClock
    from central.keys import KeysError, load_keys
    from central.orders import book, words
    from central.orders.book import NotMadeError, Wanted
    from gate.checked import EX_CONFIG
    from gate.core.commands import Name

    clock = SystemClock()
    wanted = Wanted(site, gate, Name(name), args, source, by, expires_s)
    with opened(config_path) as (store, config):
        try:
            made = book.make(store.engine, load_keys(config.centre.keys_dir).sign, wanted, clock.now_ms())
        except KeysError as error:
            refuse(str(error), EX_CONFIG)
        except NotMadeError as error:
            refuse(str(error), 2)
        order = _await(store, made, wait_s)
    now_ms = clock.now_ms()
    zone = config.reports.zone
    click.echo(json.dumps(words.as_json(order, now_ms)) if as_json else words.outcome(order, now_ms, zone))
    sys.exit(0 if words.well_done(order) else 1)


def _await(store: Store, made: str, wait_s: float) -> Order:
    """Return the order when it is settled, or as it stands when the time is over."""
    import threading

    from central.clock import SystemClock
    from central.orders import book, words

    clock, never = SystemClock(), threading.Event()
    over_at = clock.monotonic() + wait_s
    while True:
        order = book.find(store.engine, made)
        assert order is not None
        if words.settled(order) or clock.monotonic() >= over_at:
            return order
        clock.wait(never, 0.2)
