"""`gate pass`: what a counter does with home passes: make its key, issue, show, revoke."""

from __future__ import annotations

import json
import re
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gate.checked import ConfigError
from gate.cli.ending import EX_CONFIG, refuse
from gate.cli.options import KEY, PATH, SITE, ascii_name, instant, local_time, some_hours
from gate.core.codes.model import REGISTRATION_FIELDS, Reason, Status, Travel
from gate.core.codes.trust import DOCUMENTS, PASSES
from gate.trust_files import load_trust

if TYPE_CHECKING:
    from gate.core.codes import Trust
    from gate.core.codes.home import PassClaims

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

KINDS: Final = [kind.value for kind in PASSES]
SUBJECT_BYTES: Final = 8
PASS_ID_BYTES: Final = 8
"""Random, so that it takes a billion passes of one issuer until two are likely to share an id."""


def _hex(_ctx: click.Context, param: click.Parameter, text: str | None) -> bytes | None:
    if text is None:
        return None
    digits = 2 * (SUBJECT_BYTES if param.name == "subject" else 32)
    if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", text):
        raise click.BadParameter(f"must be {digits} hexadecimal digits")
    return bytes.fromhex(text)


def _registered(_ctx: click.Context, _param: click.Parameter, text: str) -> frozenset[str]:
    fields = frozenset(filter(None, text.split(",")))
    if unknown := sorted(fields - set(REGISTRATION_FIELDS)):
        known = ", ".join(REGISTRATION_FIELDS)
        raise click.BadParameter(f"unknown: {', '.join(unknown)}; there are {known}")
    return fields


def _picture(_ctx: click.Context, _param: click.Parameter, file: Path | None) -> Path | None:
    if file is not None and file.suffix not in {".png", ".svg"}:
        raise click.BadParameter("must end with .png or .svg")
    return file


@click.group("pass")
def pass_() -> None:
    """Issue, show and revoke the passes of a counter."""


@pass_.command()
@click.option("--new", "file", type=PATH, required=True, metavar="FILE", help="Where the private key goes.")
@click.option("--issuer", required=True, callback=ascii_name, help="The counter's name in every pass.")
@click.option("--issuer-name", required=True, help="The same for people, for instance 'County hall'.")
@click.option(
    "--purpose", "purposes", multiple=True, type=click.Choice([*KINDS, DOCUMENTS]), show_default=True,
    default=(*KINDS, DOCUMENTS), help="What gates let it sign; may be given several times.",
)  # fmt: skip
def key(file: Path, issuer: str, issuer_name: str, purposes: tuple[str, ...]) -> None:
    """Make a private key, and print what the gates have to know: a file for gate.trust_files."""
    from gate.app.counter import CounterError, create_key

    try:
        click.echo(create_key(file, issuer, issuer_name, purposes), nl=False)
    except CounterError as error:
        refuse(str(error), 2)


@pass_.command()
@KEY
@click.option("--kind", type=click.Choice(KINDS), default="visitor", show_default=True)
@SITE
@click.option("--from", "valid_from", callback=instant, metavar="INSTANT", help="ISO 8601; default now.")
@click.option("--until", "valid_until", callback=instant, metavar="INSTANT", help="ISO 8601, included.")
@click.option(
    "--hours",
    type=click.FloatRange(0, 100_000, min_open=True),
    callback=some_hours,
    help="Instead of --until.",
)
@click.option("--registered", default="", callback=_registered, help="What was taken down: name,phone,...")
@click.option(
    "--status", type=click.Choice(["green", "yellow", "red"]), default="green", show_default=True
)  # fmt: skip
@click.option("--travel", type=click.Choice(["clear", "risk_area", "declared"]), help="If it is known.")
@click.option("--uses", type=click.IntRange(1, 65_535), help="How often it may be used in all.")
@click.option("--holder-key", callback=_hex, metavar="HEX", help="Public key of the holder's phone (HG2).")
@click.option("--subject", callback=_hex, metavar="HEX", help="Pseudonym of the holder; default random.")
@click.option("--out", type=PATH, callback=_picture, metavar="FILE", help="Draw it: .png or .svg.")
@click.option("--terminal", is_flag=True, help="Draw it here, to be scanned from this screen.")
@click.option("--json", "as_json", is_flag=True, help="Print the text and what identifies it as JSON.")
def issue(key_file: Path, out: Path | None, *, terminal: bool, as_json: bool, **stated: Any) -> None:
    """Issue a pass: print its text, or draw its code."""
    from gate.app import counter
    from gate.core.codes import home

    if terminal and as_json:
        raise click.UsageError("--terminal draws and --json does not: give one of them")
    try:
        signer = counter.load_key(key_file)
        claims = _claims(signer.issuer, **stated)
        text = home.issue(signer.private_key, claims)
        if out is not None:
            counter.save_picture(text, out)
        if terminal:
            click.echo(counter.terminal_picture(text), color=True)
    except counter.CounterError as error:
        refuse(str(error), 2)
    if as_json:
        click.echo(json.dumps({"text": text, **_identity(claims)}))
    else:
        click.echo("\n".join(_described(claims)) if out or terminal else text)


def _claims(
    issuer: str,
    *,
    valid_from: int | None,
    valid_until: int | None,
    hours: float | None,
    travel: str | None,
    status: str,
    kind: str,
    uses: int | None,
    subject: bytes | None,
    **stated: Any,
) -> PassClaims:
    from gate.core.codes.home import PassClaims

    now_s = _now_s()
    start = now_s if valid_from is None else valid_from
    if (valid_until is None) == (hours is None):
        raise click.UsageError("say how long the pass is valid: --until INSTANT or --hours N")
    end = start + round((hours or 0) * 3600) if valid_until is None else valid_until
    try:
        return PassClaims(
            issuer=issuer,
            subject=subject or secrets.token_bytes(SUBJECT_BYTES),
            valid_from=start,
            valid_until=end,
            issued_at=now_s,
            pass_id=secrets.token_bytes(PASS_ID_BYTES),
            credential=PASSES[KINDS.index(kind)],
            status=Status(status),
            travel=Travel(travel or "unknown"),
            uses_max=uses,
            **stated,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@pass_.command()
@click.argument("text")
@click.option("--trust", "trust_files", type=PATH, multiple=True, metavar="FILE", help="Keys, as TOML.")
@click.option("--list", "lists", type=PATH, multiple=True, metavar="FILE", help="Signed revocations.")
@click.option("--site", callback=ascii_name, help="The site at which it is shown.")
def show(text: str, trust_files: tuple[Path, ...], lists: tuple[Path, ...], site: str | None) -> None:
    """Say what a pass states and, with --trust and --site, what it is worth there now; - reads it from stdin.

    Exit status: 0 it could be read and, with --trust, would be accepted; 1 it would not.
    """
    if bool(trust_files) != (site is not None) or (lists and site is None):
        raise click.UsageError("what a pass is worth depends on both --trust FILE and --site SITE")
    payload = _payload(text)
    for line in _read_words(payload):
        click.echo(line)
    if site is None:
        click.echo("nobody's signature was checked: give --trust FILE and --site SITE")
        return
    words, verified = _worth(payload, _trust(trust_files, lists, site), site)
    click.echo(words)
    sys.exit(0 if verified else 1)


def _payload(text: str) -> bytes:
    if text != "-":
        return text.encode("utf-8", "surrogateescape")
    return sys.stdin.buffer.read(64 * 1024).rstrip(b"\r\n")


def _read_words(payload: bytes) -> list[str]:
    """Say what a pass states, or end with why it cannot be read."""
    from gate.core.codes import home, rotating
    from gate.core.codes.model import CodeError

    try:
        if payload.startswith(rotating.PREFIX):
            shown, claims = rotating.read_shown(payload)
            return [*_described(claims), f"shown by its holder at {local_time(shown.step * rotating.STEP_S)}"]
        if payload.startswith(home.PREFIX):
            return _described(home.read_pass(payload)[1])
        fault = "this is no home pass: it begins with neither HG1: nor HG2:"
    except CodeError as error:
        fault = _DAMAGES.get(error.reason, "this is a home pass, but it is damaged")
    return refuse(fault, 1)


_DAMAGES: Final = {
    Reason.TOO_LARGE: "this begins as a home pass, but is too long for one",
    Reason.UNSUPPORTED: "this is a home pass of a later version, which states what this one does not know",
}


def _trust(trust_files: tuple[Path, ...], lists: tuple[Path, ...], site: str) -> Trust:
    from gate.app.counter import CounterError, read_documents

    try:
        trust = load_trust(trust_files)
        documents = read_documents(lists, trust=trust, site=site)
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)
    except CounterError as error:
        refuse(str(error), 2)
    return replace(trust, revoked=documents.revoked())


def _worth(payload: bytes, trust: Trust, site: str) -> tuple[str, bool]:
    from gate.core.codes import Circumstances, examine

    now_s = _now_s()
    result = examine(payload, trust=trust, at=Circumstances(site, now_s * 1000)).result
    words = _WORTHS.get(result.reason, result.reason.value)
    return f"{words} (judged for {site} at {local_time(now_s)})", result.verified


_WORTHS: Final = {
    Reason.OK: "accepted: signed by its issuer, for this site and this time",
    Reason.MALFORMED: "not accepted: it is not made as a pass has to be",
    Reason.UNKNOWN_ISSUER: "not accepted: its issuer's key is in none of these files",
    Reason.BAD_SIGNATURE: "not accepted: a signature is false, it is forged or damaged",
    Reason.WRONG_PURPOSE: "not accepted: its issuer's key may not sign passes of this kind",
    Reason.WRONG_SITE: "not accepted: it is for another site",
    Reason.REVOKED: "not accepted: it was revoked",
    Reason.REPLAY: "not accepted: it is bound to a phone, so this is only a copy of it",
    Reason.EXPIRED: "not accepted: its time is over",
    Reason.NOT_YET_VALID: "not accepted: its time has not come",
    Reason.STATUS_YELLOW: "not accepted: its status is yellow",
    Reason.STATUS_RED: "not accepted: its status is red",
}


@pass_.command()
@KEY
@SITE
@click.option("--list", "file", type=PATH, required=True, metavar="FILE", help="Made if there is none.")
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="Until it is stale.")
@click.argument("pass_ids", nargs=-1, metavar="[PASS_ID]...")
def revoke(key_file: Path, site: str, file: Path, days: int, pass_ids: tuple[str, ...]) -> None:
    """Call passes back: add their ids to a signed list for the gates.

    Without a PASS_ID the list is only signed anew, which has to be done before it is stale.
    """
    from gate.app import counter

    try:
        signer = counter.load_key(key_file)
        signed = counter.revoke(signer, site=site, file=file, pass_ids=pass_ids, now_s=_now_s(), days=days)
    except counter.CounterError as error:
        refuse(str(error), 2)
    passes = "1 pass" if signed.passes == 1 else f"{signed.passes} passes"
    click.echo(
        f"{file}: version {signed.version}, {passes} revoked, good until {local_time(signed.not_after)}"
    )


def _described(claims: PassClaims) -> list[str]:
    lines = [
        f"{claims.credential} pass {claims.pass_id.hex()} of {claims.issuer} for {claims.site}",
        f"subject {claims.subject.hex()}",
        f"valid from {local_time(claims.valid_from)} until {local_time(claims.valid_until)}",
        f"issued {local_time(claims.issued_at)}",
        f"status {claims.status}, travel {claims.travel}",
        f"registered: {', '.join(sorted(claims.registered)) or 'nothing'}",
    ]
    if claims.uses_max is not None:
        lines.append(f"may be used {claims.uses_max} times in all")
    if claims.holder_key is not None:
        lines.append(f"bound to the holder key {claims.holder_key.hex()}")
    return lines


def _identity(claims: PassClaims) -> dict[str, str]:
    return {
        "pass_id": claims.pass_id.hex(),
        "subject": claims.subject.hex(),
        "valid_from": local_time(claims.valid_from),
        "valid_until": local_time(claims.valid_until),
    }


def _now_s() -> int:
    from gate.shell.clock import SystemClock

    # Whoever works at a counter sees the clock, and every answer here says which time it took.
    return SystemClock(trusted=lambda: True).now().wall_s
