"""What may be asked about persons, and what is forgotten: `central person`, `trace` and the others.

Each needs somebody who asks, and why; that is in the access log before anything is shown.

Exit status: 0 done · 1 the answer is no, or the store cannot be used · 2 wrong use · 78 configuration.
"""

from __future__ import annotations

import getpass
import json
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from central.options import AS_JSON, CONFIG, LANG, NUMBER, opened, refuse
from central.people.caller import Caller, What

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from central.config import Config
    from central.people.answers import Document, Statement
    from central.people.presence import Stay
    from central.people.subjects import Subject
    from central.store import Store

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

REASON: Final = click.option("--reason", required=True, help="Why; it stands in the access log.")
BY: Final = click.option("--by", required=True, help="Who asks; it stands in the access log.")
SITE: Final = click.option("--site", help="Only this site.")
_AHEAD_MS: Final = 366 * 86_400_000  # a gate's clock may be wrong
SUBJECT: Final = click.option(
    "--subject",
    metavar="S",
    help="16 hexadecimal digits: the reference of a pass, or a pseudonym of a record (then of its day).",
)
SPAN: Final = (
    click.option("--from", "since", required=True, metavar="TIME", help="Day, or local time, or ISO 8601."),
    click.option("--to", "until", required=True, metavar="TIME", help="Likewise; a day is included."),
)
RECORD: Final = (
    click.option("--gate", help="The gate of the record."),
    click.option("--epoch", help="Its ledger."),
    click.option("--seq", type=NUMBER, help="Its number."),
    SITE,
)


def _all(*options: Any) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.command()
@_all(CONFIG, SUBJECT, *SPAN, SITE, REASON, BY, LANG, AS_JSON)
def person(
    config_path: Path, subject: str | None, since: str, until: str, site: str | None, **how: Any
) -> None:
    """Show the sheet of one person: each visit, what was decided and how it ended (一人一表)."""
    from central.people.sheet import sheet

    with _asked(config_path, how) as asked:
        whom, span = asked.subject(subject), asked.span(since, until)
        asked.note(What.PERSON, {"subject": whom.reference, "site": site, **span.stated})
        found = sheet(asked.store, whom, span.from_ms, span.to_ms, site)
        asked.show(asked.statement.sheet(found), asked.statement.sheet_lines(found, whom.reference))


@click.command()
@_all(CONFIG, SUBJECT, *SPAN, SITE, REASON, BY, LANG, AS_JSON)
def trace(
    config_path: Path, subject: str | None, since: str, until: str, site: str | None, **how: Any
) -> None:
    """Show who was inside while one person was, through which gates, with times to look up pictures by."""
    from central.people import trace as following

    with _asked(config_path, how) as asked:
        whom, span = asked.subject(subject), asked.span(since, until)
        asked.note(What.TRACE, {"subject": whom.reference, "site": site, **span.stated})
        found = following.trace(asked.store, whom, asked.stay, span.from_ms, span.to_ms, site)
        asked.show(asked.statement.trace(found), asked.statement.trace_lines(found, whom.reference))


@click.command()
@_all(
    CONFIG,
    click.option("--date", "day", metavar="DAY", help="Local day, as 2022-04-11; default today."),
    click.option("--at", "at", metavar="TIME", help="As it stood then, such as 15:00; default now."),
    SITE,
    click.option("--reason", default="staff rounds (SB-3)", show_default=True, help="Why."),
    click.option("--by", help="Who asks; default the name of the account."),
    LANG,
    AS_JSON,
)
def rounds(config_path: Path, day: str | None, at: str | None, site: str | None, **how: Any) -> None:
    """Show when staff came, left, came back and were measured, and who is overdue (SB-3)."""
    from central.people import rounds as making

    how["by"] = how["by"] or getpass.getuser()
    with _asked(config_path, how) as asked:
        chosen, at_ms = asked.day_at(day, at)
        asked.note(What.ROUNDS, {"date": f"{chosen}", "site": site})
        found = making.rounds(asked.store, asked.config.people, asked.stay, chosen, at_ms, site)
        asked.show(asked.statement.rounds(found), asked.statement.rounds_lines(found))


@click.command()
@_all(CONFIG, *SPAN, SITE, REASON, BY, LANG, AS_JSON)
def risk(config_path: Path, since: str, until: str, site: str | None, **how: Any) -> None:
    """Show the abnormal visits of a span by what was abnormal: high, medium and low risk (GR-3)."""
    from central.people.risk import by_risk

    with _asked(config_path, how) as asked:
        span = asked.span(since, until)
        asked.note(What.RISK, {"site": site, **span.stated})
        found = by_risk(asked.store, span.from_ms, span.to_ms, site)
        asked.show(asked.statement.risk(found), asked.statement.risk_lines(found))


@click.command()
@_all(CONFIG, *RECORD, REASON, BY, AS_JSON)
def reveal(
    config_path: Path, gate: str | None, epoch: str | None, seq: int | None, site: str | None, **how: Any
) -> None:
    """Open the registration that came sealed with one record."""
    from central.keys import KeysError, load_keys
    from central.people.privacy import SealedError, find
    from central.people.privacy import reveal as open_sealed

    if gate is None or epoch is None or seq is None:
        raise click.UsageError("say which record: --gate, --epoch and --seq")
    with _asked(config_path, how) as asked:
        try:
            keys = load_keys(asked.config.centre.keys_dir)
            place = find(asked.store, gate, epoch, seq, site)
            fields = open_sealed(asked.store, keys.seal, place, asked.caller, asked.now_ms)
        except KeysError as error:
            refuse(str(error), 78)
        except SealedError as error:
            refuse(str(error), 1)
        asked.show(dict(fields), (f"{name}: {value}" for name, value in fields.items()))


@click.command()
@_all(CONFIG, SUBJECT, *RECORD, REASON, BY)
def erase(
    config_path: Path,
    subject: str | None,
    gate: str | None,
    epoch: str | None,
    seq: int | None,
    site: str | None,
    **how: Any,
) -> None:
    """Erase the registrations of one person, or of one record, for good. Records and chain stay whole."""
    from central.people import privacy

    of_record = gate is not None and epoch is not None and seq is not None
    if of_record == (subject is not None) or (subject is not None and (gate or epoch or seq)):
        raise click.UsageError("say whose: --subject, or one record with --gate, --epoch and --seq")
    with _asked(config_path, how) as asked:
        unknown = False
        if subject is not None:
            whom = asked.subject(subject)
            subject, places = whom.reference, privacy.sealed_of(asked.store, whom)
            unknown = not places and not asked.knows(whom)
        else:
            assert gate is not None and epoch is not None and seq is not None
            try:
                places = [privacy.find(asked.store, gate, epoch, seq, site)]
            except privacy.SealedError as error:
                refuse(str(error), 1)
        count = privacy.erase(asked.store, places, asked.caller, asked.now_ms, subject=subject)
        said = f"{count} registration{'' if count == 1 else 's'} erased"
        click.echo(f"{said}: {whom.reference} is known by no record" if unknown else said)
        if not privacy.scrub(asked.store):
            refuse("somebody is using the database: the bytes are still in its files; repeat the command", 1)


@click.command()
@_all(CONFIG, click.option("--dry-run", is_flag=True, help="Only say how much it would be."), AS_JSON)
def retention(config_path: Path, *, dry_run: bool, as_json: bool) -> None:
    """Erase and retire what is over its time, as the running centre does once a day."""
    from dataclasses import asdict

    from central.people import retention as keeping

    how = {"by": getpass.getuser(), "reason": "retention", "lang": "en", "as_json": as_json}
    with _asked(config_path, how) as asked:
        settings = asked.config.retention
        if dry_run:
            found = keeping.due(asked.store, settings, asked.now_ms)
        else:
            found = keeping.run(asked.store, settings, asked.now_ms, asked.caller.by)
        would = "would be " if dry_run else ""
        line = f"{found.sealed} registrations {would}erased, {found.records} records {would}retired"
        asked.show(asdict(found), [line])


@click.command("access-log")
@_all(CONFIG, LANG, AS_JSON)
def access_log(config_path: Path, lang: str | None, *, as_json: bool) -> None:
    """Show who has looked at whom, what was erased, and why."""
    from central.people.access_log import entries

    how = {"by": getpass.getuser(), "reason": "access log", "lang": lang, "as_json": as_json}
    with _asked(config_path, how) as asked:
        for entry in entries(asked.store):
            said = asked.statement.entry(entry)
            asked.show(said, [asked.statement.entry_line(entry)])


class _Span:
    """A span of the gates' time; unix milliseconds, the end excluded."""

    def __init__(self, from_ms: int, to_ms: int, statement: Statement) -> None:
        if to_ms <= from_ms:
            raise click.UsageError("--to must be later than --from")
        self.from_ms, self.to_ms = from_ms, to_ms
        self.stated = {"from": statement.at(from_ms), "to": statement.at(to_ms)}


class _Asked:
    """One question: who asks, in which store, and how the answer is shown."""

    def __init__(self, config: Config, store: Store, caller: Caller, now_ms: int, how: Document) -> None:
        from central.people.answers import Statement

        self.config, self.store, self.caller, self.now_ms = config, store, caller, now_ms
        self.zone = config.reports.zone
        self.statement = Statement(self.zone, how.get("lang") or config.reports.lang)
        self._as_json = how.get("as_json", False)

    @property
    def stay(self) -> Stay:
        from central.people.presence import Stay

        return Stay(self.zone, self.config.people.max_stay_h)

    def note(self, what: What, about: Document) -> None:
        """Write the question into the access log; nothing is shown before."""
        from central.people.access_log import note

        note(self.store, self.caller, what, about, self.now_ms)

    def subject(self, reference: str | None) -> Subject:
        from central.people.subjects import Subject, SubjectError, site_keys

        if reference is None:
            raise click.UsageError("say who: --subject")
        try:
            keys = site_keys(self.config.site)
        except SubjectError as error:
            refuse(str(error), 78)
        try:
            return Subject(reference, keys)
        except SubjectError as error:
            raise click.BadParameter(str(error), param_hint="--subject") from None

    def knows(self, whom: Subject) -> bool:
        """Tell whether a visit of this person is on record, whenever it was."""
        from central.people.sheet import sheet

        return bool(sheet(self.store, whom, 0, self.now_ms + _AHEAD_MS).visits)

    def span(self, since: str, until: str) -> _Span:
        from_ms = self._instant("--from", since, later=False)
        return _Span(from_ms, self._instant("--to", until, later=True), self.statement)

    def day_at(self, day: str | None, at: str | None) -> tuple[date, int]:
        """Return the local day, and the instant as of which it is told."""
        from central.reports.spans import day_of

        try:
            chosen = day_of(self.now_ms, self.zone) if day is None else date.fromisoformat(day)
        except ValueError:
            raise click.BadParameter("must be a day such as 2022-04-11", param_hint="--date") from None
        if chosen == date.max:
            raise click.BadParameter(f"{chosen} has no end", param_hint="--date")
        if at is None:
            return chosen, self.now_ms
        return chosen, self._instant(
            "--at", f"{chosen}T{at}" if len(at) <= len("15:00:00") else at, later=False
        )

    def _instant(self, option: str, text: str, *, later: bool) -> int:
        """Read a day, a local time, or a time with its offset, as unix milliseconds."""
        try:
            read = datetime.fromisoformat(text)
            if later and len(text) == len("2022-04-11"):
                read += timedelta(days=1)
            return round((read if read.tzinfo else read.replace(tzinfo=self.zone)).timestamp() * 1000)
        except (ValueError, OverflowError):
            wanted = "must be a time such as 2022-04-11, 2022-04-11T08:00 or 2022-04-11T08:00+08:00"
            raise click.BadParameter(wanted, param_hint=option) from None

    def show(self, document: Document, lines: Any) -> None:
        if self._as_json:
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            for line in lines:
                click.echo(line)


@contextmanager
def _asked(config_path: Path, how: Document) -> Iterator[_Asked]:
    """Give what a question needs. One sentence where it cannot be asked."""
    from central.clock import SystemClock

    try:
        caller = Caller(how["by"], how["reason"])
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with opened(config_path) as (store, config):
        yield _Asked(config, store, caller, SystemClock().now_ms(), how)


COMMANDS: Final = (person, trace, rounds, risk, reveal, erase, retention, access_log)
"""For `central.cli` to register."""
