"""`central report`: makes the report of a day, shows one that was handed in, and checks one.

Exit status: 0 done · 1 the answer is no (a report that does not hold, a store that cannot be used) · 2 wrong
use · 78 configuration.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from typing import IO, TYPE_CHECKING, Any, Final, cast

import click

from central.options import CONFIG, PATH, configured, refuse

if TYPE_CHECKING:
    from pathlib import Path

    from central.config import Config
    from central.reports.scopes import Scope
    from central.reports.settings import Form, Level
    from central.store import Store

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

_FILE_BYTES_MAX: Final = 256 * 1024 * 1024

Document = dict[str, Any]


def _day(_context: click.Context, _option: click.Parameter, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("must be a day such as 2022-04-11") from None


def _instant(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    from central.export import instant

    try:
        return None if text is None else instant(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@CONFIG
@click.option("--date", "day", callback=_day, metavar="DAY", help="Local day, as 2022-04-11; default today.")
@click.option(
    "--level",
    type=click.IntRange(1, 3),
    help="1 everything (default), 2 a site or unit (with --site), 3 a gate.",
)
@click.option("--site", help="Of this site, or of the unit that it belongs to.")
@click.option("--gate", help="Of this gate of the site.")
@click.option(
    "--cut-off", "cut_ms", callback=_instant, metavar="INSTANT",
    help="As known before this instant (ISO 8601 with its offset); default now.",
)  # fmt: skip
@click.option("--kept", is_flag=True, help="The report that was handed in when it was due, not a new one.")
@click.option("--json", "as_json", is_flag=True, help="The signed document, one line per report.")
@click.option("--xlsx", type=PATH, metavar="FILE", help="Write a workbook.")
@click.option("--html", type=PATH, metavar="FILE", help="Write a page to print.")
@click.option(
    "--lang", type=click.Choice(["zh", "en"]), help="Of the forms; default that of the configuration."
)
@click.option(
    "--check", type=click.File("rb"), metavar="FILE",
    help="Check a JSON report instead: hash, signatures, checkpoints. - for input.",
)  # fmt: skip
@click.option(
    "--keys",
    type=PATH,
    metavar="FILE",
    help="For --check: the centre's public keys, centre.json; default the one of the configuration.",
)
def report(
    config_path: Path,
    day: date | None,
    cut_ms: int | None,
    lang: str | None,
    check: IO[bytes] | None,
    keys: Path | None,
    *,
    as_json: bool,
    kept: bool,
    **asked: Any,
) -> None:
    """Report a day: what happened at the gates, and which of them can be vouched for.

    A day without anything has a report as well. Without --json, --xlsx or --html it is told in short.
    """
    if check is not None:
        _check(check, keys, config_path)
        return
    config = configured(config_path)
    documents = _documents(
        config, day, cut_ms, kept=kept, **{name: asked[name] for name in ("level", "site", "gate")}
    )
    files = {form: path for form in ("xlsx", "html") if (path := asked[form]) is not None}
    if files and len(documents) > 1:
        names = ", ".join(document["unit"] for document in documents)
        raise click.UsageError(
            f"a file holds one report, and this asks for several ({names}): say --site, --gate"
        )
    for document in documents:
        _put(document, files, lang or config.reports.lang, as_json=as_json)


def _documents(
    config: Config, day: date | None, cut_ms: int | None, *, kept: bool, **which: Any
) -> list[Document]:
    from central.clock import SystemClock
    from central.reports.spans import day_of
    from central.store import StoreError, open_store

    now_ms = SystemClock().now_ms()
    chosen = day or day_of(now_ms, config.reports.zone)
    try:
        with open_store(config.centre.store) as store:
            scopes = _scopes(config, store, **which)
            if kept:
                return [_kept(store, scope, chosen) for scope in scopes]
            return [_made(config, store, scope, chosen, cut_ms or now_ms) for scope in scopes]
    except StoreError as error:
        refuse(f"central report: {error}", 1)


def _scopes(
    config: Config, store: Store, level: int | None, site: str | None, gate: str | None
) -> list[Scope]:
    """Return the units that are asked for. A name that nobody knows is no empty report."""
    from central.reports.scopes import registered, scopes

    settings = config.reports
    if gate is not None and site is None:
        raise click.UsageError("--gate: also say --site")
    if level == 1 and site is not None:
        raise click.UsageError("--level 1 is everything; leave --site out, or ask for level 2")
    chosen = cast("Level", level or (1 if site is None else 2 if gate is None else 3))
    heard = {(stream.site, stream.gate): stream.first_ms for stream in store.streams()}
    gates = heard | registered(store.gates())
    found = [
        scope
        for scope in scopes(settings, gates)
        if scope.level == chosen and (site is None or site in scope.sites) and gate in {None, scope.gate}
    ]
    known = site is None or any(site == name for name, _ in gates)
    if not found or not known:
        where = "/".join(part for part in (site, gate) if part)
        refuse(f"no gate is known {f'as {where}' if where else 'yet'}; see: central gates list", 1)
    return found


def _made(config: Config, store: Store, scope: Scope, day: date, cut_ms: int) -> Document:
    from central.keys import KeysError, load_keys
    from central.reports.day import Order, report_of, span_for
    from central.reports.keeping import last_cut_ms
    from central.reports.sealing import sealed

    try:
        key = load_keys(config.centre.keys_dir).sign
        span = span_for(config.reports, scope, day, cut_ms, last_cut_ms(store, scope, day))
    except KeysError as error:
        refuse(str(error), 78)
    except ValueError as error:
        raise click.UsageError(f"--date: {error}") from None
    return sealed(report_of(store, config.reports, Order(scope, span)), key)


def _kept(store: Store, scope: Scope, day: date) -> Document:
    from central.reports.keeping import kept_report

    found = kept_report(store, day, scope.level, scope.name)
    if found is None:
        refuse(f"no report of {day} was handed in for level {scope.level} {scope.name}", 1)
    return found.document


def _put(document: Document, files: dict[str, Path], lang: str, *, as_json: bool) -> None:
    from central.reports.keeping import FORMS
    from central.reports.sealing import written
    from gate.durable import replace

    for form, path in files.items():
        try:
            replace(path, FORMS[cast("Form", form)](document, lang))
        except OSError as error:
            refuse(f"{path} cannot be written: {error.strerror}", 1)
    if as_json:
        click.echo(written(document), nl=False)
    elif not files:
        _tell(document, lang)


def _tell(document: Document, lang: str) -> None:
    from central.reports import layout
    from central.reports.words import Words

    words = Words(lang)
    for name, said in layout.heading(document, words):
        click.echo(f"{name}{words('colon')}{said}")
    for row in layout.doubts(document, words).rows:
        click.echo("  " + " ".join(str(cell) for cell in row))
    for figure, *_, total in layout.summary(document, words).rows:
        click.echo(f"{total:>8}  {figure}")
    click.echo(words("in_short"))


def _check(file: IO[bytes], keys: Path | None, config_path: Path) -> None:
    from central.keys import KeysError, public_keys
    from central.reports.sealing import check

    if keys is None and not config_path.exists():
        refuse(f"no {config_path} here; name the centre's public keys with --keys centre.json", 78)
    folder = configured(config_path).centre.keys_dir if keys is None else keys
    try:
        centre_keys = public_keys(folder)
    except KeysError as error:
        refuse(str(error), 78)
    try:
        document = json.loads(file.read(_FILE_BYTES_MAX))
    except (ValueError, RecursionError):
        refuse("this is no JSON report", 1)
    problems = list(check(document, centre_keys))
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)
    gates = document["gates"]
    click.echo(
        f"good: {document['date']} level {document['level']} {document['unit']}, known before "
        f"{document['cut_off']}: {gates['vouched']} of {gates['all']} gates vouched for"
    )
