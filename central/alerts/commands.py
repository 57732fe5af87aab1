"""`central alerts` and `central tasks`: for the people on duty. `central.cli` registers both groups.

Exit status: 0 done · 1 there is no such number, or the store cannot be used · 2 wrong use · 78 configuration.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from central.options import AS_JSON, BY, CONFIG, LANG, NUMBER, opened, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo
    from pathlib import Path

    from central.alerts.book import Answered, Book, NotedAlert, OpenTask
    from central.config import Config

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

NUMBERS: Final = click.argument("numbers", metavar="ID…", nargs=-1, required=True, type=NUMBER)


@click.group(invoke_without_command=True)
@CONFIG
@AS_JSON
@LANG
@click.pass_context
def alerts(context: click.Context, config_path: Path, *, as_json: bool, lang: str | None) -> None:
    """List the alerts that are not closed: not acknowledged yet, or with tasks left."""
    context.obj = config_path
    if context.invoked_subcommand is None:
        with _book(config_path) as (book, config):
            for alert in book.open_alerts():
                click.echo(
                    _as_json(alert)
                    if as_json
                    else _alert_line(alert, lang or config.alerts.spoken, config.reports.zone)
                )


@alerts.command("ack")
@NUMBERS
@BY
@click.option("--alike", is_flag=True, help="And all unanswered alerts of the same gate and kind.")
@click.pass_obj
def acknowledge(config_path: Path, numbers: tuple[int, ...], by: str, *, alike: bool) -> None:
    """Take alerts on: nobody further is called in. They stay open until their tasks are done."""
    with _book(config_path) as (book, config):
        if alike:
            numbers = _every(book, numbers)
        _answer(book.acknowledge, numbers, by, "taken on by", config.reports.zone)


@click.group(invoke_without_command=True)
@CONFIG
@AS_JSON
@LANG
@click.pass_context
def tasks(context: click.Context, config_path: Path, *, as_json: bool, lang: str | None) -> None:
    """List what is still to be done after alerts, such as disinfecting the measuring point (CH-3)."""
    context.obj = config_path
    if context.invoked_subcommand is None:
        with _book(config_path) as (book, config):
            for task in book.open_tasks():
                click.echo(
                    _as_json(task)
                    if as_json
                    else _task_line(task, lang or config.alerts.spoken, config.reports.zone)
                )


@tasks.command("done")
@NUMBERS
@BY
@click.pass_obj
def done(config_path: Path, numbers: tuple[int, ...], by: str) -> None:
    """Tick tasks off."""
    with _book(config_path) as (book, config):
        _answer(book.finish, numbers, by, "done by", config.reports.zone)


@contextmanager
def _book(config_path: Path) -> Iterator[tuple[Book, Config]]:
    """Give the book of a configuration, and the configuration."""
    from central.alerts.book import Book

    with opened(config_path) as (store, config):
        yield Book(store.engine), config


def _every(book: Book, numbers: tuple[int, ...]) -> tuple[int, ...]:
    from central.alerts.book import UnknownNumberError

    found = dict.fromkeys(numbers)
    for number in numbers:
        try:
            found |= dict.fromkeys(book.alike(number))
        except UnknownNumberError:
            continue  # said when it is its turn
    return tuple(found)


def _answer(
    answer: Callable[[int, str, int], Answered], numbers: tuple[int, ...], by: str, done: str, zone: tzinfo
) -> None:
    """Answer each number, say what became of it, and end with 1 when one of them is unknown."""
    from central.alerts.book import UnknownNumberError
    from central.clock import SystemClock, moment

    unknown = []
    for number in dict.fromkeys(numbers):
        try:
            answered = answer(number, by, SystemClock().now_ms())
        except UnknownNumberError:
            unknown.append(number)
            continue
        already = "" if answered.fresh else "already "
        click.echo(f"{number}: {already}{done} {answered.by}, {moment(answered.at_ms, zone)}")
    if unknown:
        refuse(f"there is no number {', '.join(map(str, unknown))}", 1)


def _alert_line(alert: NotedAlert, lang: str, zone: tzinfo) -> str:
    from central.clock import moment

    at_ms = alert.noted_ms if alert.event_ms is None else alert.event_ms
    unsure = "" if alert.clock_trusted else "?"
    delay = "" if alert.delay_ms is None else f" after {alert.delay_ms / 1000:.1f} s"
    told = (
        f"told {alert.told}/{alert.to_tell} {','.join(alert.roles)}{delay}" if alert.roles else "told nobody"
    )
    answered = f", taken on by {alert.acknowledged_by}" if alert.acknowledged_by else ""
    rules = f" ({', '.join(alert.rules)})" if alert.rules else ""
    return (
        f"{alert.id}  {moment(at_ms, zone)}{unsure}  {alert.severity}  {alert.kind}  "
        f"{alert.site}/{alert.gate}  {alert.zh if lang == 'zh' else alert.en}{rules}  [{told}{answered}]"
    )


def _task_line(task: OpenTask, lang: str, zone: tzinfo) -> str:
    from central.clock import moment

    words = task.zh if lang == "zh" else task.en
    return (
        f"{task.id}  {moment(task.opened_ms, zone)}  {task.site}/{task.gate}  "
        f"{task.rule}  {words}  [alert {task.alert_id}]"
    )


def _as_json(item: NotedAlert | OpenTask) -> str:
    return json.dumps(asdict(item), ensure_ascii=False)
