"""`gate document`: what an office does with the signed documents of the day: sign them, look at them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gate.checked import ConfigError
from gate.cli.ending import EX_CONFIG, refuse
from gate.cli.options import KEY, PATH, SITE, ascii_name, instant, local_time, some_hours
from gate.core.codes.model import CodeError, Freshness, Reason
from gate.core.documents import COUNT_MAX, Kind
from gate.trust_files import load_trust

if TYPE_CHECKING:
    from gate.core.codes import Trust
    from gate.core.documents import Content, Document
    from gate.core.moment import Moment

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

# What is called back is signed by `gate pass revoke`, which adds to a list and never forgets.
KINDS: Final = [kind.value for kind in Kind if kind is not Kind.REVOCATIONS]
HOURS: Final = 24.0


def _hgd(_ctx: click.Context, _param: click.Parameter, file: Path) -> Path:
    if file.suffix != ".hgd":
        raise click.BadParameter("must end with .hgd: gates read no other files")
    return file


@click.group("document")
def document() -> None:
    """Sign and show the documents of the day: residents, appointments, risk areas, occupancy, suspension.

    Revocations are signed with: gate pass revoke.
    """


@document.command()
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What the document is about.")
@KEY
@SITE
@click.option(
    "--version", type=click.IntRange(1, 2**32 - 1), metavar="N",
    help="Default: one more than the version in the file that --out replaces.",
)  # fmt: skip
@click.option(
    "--hours", type=click.FloatRange(0, 100_000, min_open=True), callback=some_hours,
    help=f"How long from now it is current; default {HOURS:g}.",
)  # fmt: skip
@click.option("--until", callback=instant, metavar="INSTANT", help="Instead of --hours: ISO 8601, included.")
@click.option("--count", type=click.IntRange(0, COUNT_MAX), help="For occupancy: people inside now.")
@click.option("--suspended/--resumed", default=None, help="For suspension: what the service is from now on.")
@click.option("--out", type=PATH, required=True, callback=_hgd, metavar="FILE.hgd", help="Where it goes.")
@click.argument("content", required=False, type=PATH, metavar="[CONTENT]")
def sign(
    kind: str,
    key_file: Path,
    site: str,
    version: int | None,
    hours: float | None,
    until: int | None,
    out: Path,
    **said: Any,
) -> None:
    """Sign a document of the day into a file. CONTENT is a file, or - for standard input.

    \b
    residents     one pseudonym per line, 16 hexadecimal digits
    risk_areas    one region per line, such as CN-31
    appointments  CSV with the header subject,from,until,booked_at,pass_id, or
                  one JSON object with these fields per line; times as
                  2022-04-11T10:00:00+08:00
    occupancy     --count instead of CONTENT
    suspension    --suspended or --resumed instead of CONTENT

    What follows a # is a comment; an empty list needs one.

    To bring it to the gates, publish the file as it is, retained, to hg/1/SITE/doc/KIND (doc/KIND-ISSUER
    where several offices sign), or copy it into the folder documents/ of a gate's state_dir, which is read
    when the gate starts.

    A gate keeps the highest version that it has seen: keep one file per kind, or give --version. Once a
    document is over it is not used: sign the next one before. A suspension ends with its document.
    """
    from gate.app import counter, day_documents

    if hours is not None and until is not None:
        raise click.UsageError("--hours and --until both say when it ends: give one of them")
    now_s = _now().wall_s
    not_after = now_s + round((HOURS if hours is None else hours) * 3600) if until is None else until
    if not_after < now_s:
        raise click.UsageError(f"--until {local_time(not_after)} is over: it is {local_time(now_s)}")
    try:
        key = counter.load_key(key_file)
        content = _content(Kind(kind), now_s, **said)
        made = day_documents.sign(
            key, site=site, file=out, content=content, now_s=now_s, not_after=not_after, version=version
        )
    except counter.CounterError as error:
        refuse(str(error), 2)
    click.echo(
        f"{out}: {kind}, {day_documents.size(content)}, version {made.version}, "
        f"good until {local_time(made.not_after)}"
    )


_SOURCES: Final = {Kind.OCCUPANCY: "--count", Kind.SUSPENSION: "--suspended or --resumed"}


def _content(
    kind: Kind, now_s: int, *, count: int | None, suspended: bool | None, content: Path | None
) -> Content:
    """Put together what the document says, from the one place where its kind is said."""
    from gate.app.day_documents import CONTENT_BYTES_MAX, read_content, read_file
    from gate.core.documents import Occupancy, Suspension

    sources = {"--count": count, "--suspended or --resumed": suspended, "CONTENT": content}
    given = [source for source, value in sources.items() if value is not None]
    source = _SOURCES.get(kind, "CONTENT")
    if given != [source]:
        raise click.UsageError(f"a document of {kind} is made from {source}, and from nothing else")
    if count is not None:
        return Occupancy(count, now_s)
    if suspended is not None:
        return Suspension(suspended)
    assert content is not None
    if content != Path("-"):
        return read_content(kind, str(content), read_file(content))
    raw = sys.stdin.buffer.read(CONTENT_BYTES_MAX + 1)
    if len(raw) > CONTENT_BYTES_MAX:
        refuse("standard input is too large to be what it should be", 2)
    return read_content(kind, "standard input", raw)


@document.command()
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option("--trust", "trust_files", type=PATH, multiple=True, metavar="FILE", help="Keys, as TOML.")
@click.option("--site", callback=ascii_name, help="The site whose gates are to take it.")
def show(files: tuple[Path, ...], trust_files: tuple[Path, ...], site: str | None) -> None:
    """Say what documents state and, with --trust and --site, whether a gate takes them and uses them now.

    Each is judged alone: a gate that has a higher version already keeps that one.

    Exit status: 0 all could be read and, with --trust, are taken and current; 1 one could not, or is not.
    """
    if bool(trust_files) != (site is not None):
        raise click.UsageError("whether a gate takes it depends on both --trust FILE and --site SITE")
    trust = _trust(trust_files)
    # A list, because every file is to be shown, whatever the one before it was.
    statuses = [_shown(file, trust, site) for file in files]
    if site is None:
        click.echo("nobody's signature was checked: give --trust FILE and --site SITE")
    sys.exit(max(statuses))


def _trust(trust_files: tuple[Path, ...]) -> Trust:
    try:
        return load_trust(trust_files)
    except ConfigError as error:
        return refuse(str(error), EX_CONFIG)


def _shown(file: Path, trust: Trust, site: str | None) -> int:
    """Show one file and return its part of the exit status."""
    from gate.app.counter import CounterError
    from gate.app.day_documents import DamagedError, read_text, size, stated

    try:
        text = read_text(file)
        found = stated(file, text)
    except (CounterError, DamagedError) as error:
        click.echo(str(error), err=True)
        return 1 if isinstance(error, DamagedError) else 2
    click.echo(f"{file}: {found.kind} of {found.issuer} for {found.site}")
    click.echo(f"  version {found.version}, {size(found.content)}")
    click.echo(f"  issued {local_time(found.issued_at)}, good until {local_time(found.not_after)}")
    if site is None:
        return 0
    words, good = _worth(text, found, trust, site)
    click.echo(f"  {words}")
    return 0 if good else 1


def _worth(text: bytes, found: Document, trust: Trust, site: str) -> tuple[str, bool]:
    """Say what a gate of the site would do with a document, and whether it would be used."""
    from gate.core.codes import Circumstances
    from gate.core.documents import open_document

    try:
        open_document(text, trust=trust, site=site)
    except CodeError as error:
        return f"not taken by a gate of {site}: {_FAULTS.get(error.reason, error.reason.value)}", False
    now = _now()
    fresh = Circumstances(site, now.wall_ms).freshness(start=found.issued_at, end=found.not_after)
    words = f"taken by a gate of {site}, {_TIMES[fresh]} (judged at {local_time(now.wall_s)})"
    return words, fresh is Freshness.CURRENT


_FAULTS: Final = {
    Reason.UNKNOWN_ISSUER: "its issuer's key is in none of these files",
    Reason.BAD_SIGNATURE: "it was changed after it was signed",
    Reason.WRONG_PURPOSE: "its issuer's key may not sign documents",
    Reason.WRONG_SITE: "it is for another site",
}

_TIMES: Final = {
    Freshness.CURRENT: "and current",
    Freshness.EXPIRED: "but stale: its time is over",
    Freshness.NOT_YET_VALID: "but stale: its time has not come",
}


def _now() -> Moment:
    from gate.shell.clock import SystemClock

    # Whoever signs here sees the clock, and every answer says which time it took.
    return SystemClock(trusted=lambda: True).now()
