"""`central enrol`: tokens for new devices, keys that wait for a person, certificates for the broker.

Exit status: 0 done · 1 the answer is no · 2 wrong use · 78 configuration.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from central.clock import SystemClock
from central.options import AS_JSON, CONFIG, NUMBER, configured, opened, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo
    from pathlib import Path

    from central.config import Config
    from central.enrolment.book import EnrolmentBook, Issued, Token, Waiting
    from central.store import Store

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return f"uid {os.getuid()}"


BY: Final = click.option("--by", default=_user, help="Who answers for it; your user name without it.")
KEY: Final = click.option(
    "--key", "kid", metavar="KID", help="Which key, where several wait: 8 hexadecimal digits."
)
DEVICE: Final = click.option(
    "--device", metavar="SERIAL", help="Which board, where one key comes from several; '' for none."
)


@click.group()
def enrol() -> None:
    """Let devices make themselves known: tokens, keys that wait for a person, certificates.

    Devices ask `central run` where the configuration has a section [enrolment].
    """


@enrol.command()
@CONFIG
@click.argument("site")
@click.option("--gate", default="", help="For this gate only; else for any of the site.")
@click.option(
    "--days", type=click.IntRange(1, 365), default=7, show_default=True, help="How long it is good."
)
@click.option("--uses", type=click.IntRange(1, 1000), default=1, show_default=True,
              help="For how many devices: a batch of cards of one site.")  # fmt: skip
@BY
def token(config_path: Path, site: str, gate: str, days: int, uses: int, by: str) -> None:
    """Print a token for SITE, with which a device gets its first certificate. It is shown once."""
    from central.enrolment.book import EnrolmentBook

    with opened(config_path) as (store, _):
        book = EnrolmentBook(store.engine)
        try:
            made = book.make_token(site, gate, days=days, uses=uses, by=by, now_ms=SystemClock().now_ms())
        except ValueError as error:
            refuse(str(error), 2)
        number = book.token_number(made)
    click.echo(made)
    click.echo(f"token {number}; where it is not wanted any more: central enrol end-token {number}", err=True)


@enrol.command("list")
@CONFIG
@AS_JSON
def list_(config_path: Path, *, as_json: bool) -> None:
    """List the keys that wait for a person, the tokens that are good, and each key's newest certificate."""
    from central.enrolment.book import EnrolmentBook

    with opened(config_path) as (store, config):
        book = EnrolmentBook(store.engine)
        waiting, tokens, issued = book.waiting(), book.tokens(SystemClock().now_ms()), list(book.issued())
    if as_json:
        for what, rows in (("waiting", waiting), ("token", tokens), ("certificate", issued)):
            for row in rows:
                click.echo(json.dumps({"what": what, **row._asdict()}))
        return
    zone = config.reports.zone
    for line in (
        *(_waiting_line(one, zone) for one in waiting),
        *(_token_line(one, zone) for one in tokens),
        *(_issued_line(one, zone) for one in issued),
    ):
        click.echo(line)
    if not (waiting or tokens or issued):
        click.echo("nothing yet; make a token with: central enrol token SITE --by NAME")


def _waiting_line(key: Waiting, zone: tzinfo) -> str:
    from central.clock import moment

    return (
        f"waiting  {key.site}/{key.gate}  {key.kid}  {key.why.replace('_', ' ')}{_device(key)}, "
        f"from {key.address}, since {moment(key.first_ms, zone)}, "
        f"last {moment(key.last_ms, zone)} ({key.times} times)"
    )


def _token_line(one: Token, zone: tzinfo) -> str:
    from central.clock import moment

    return (
        f"token {one.id}  {one.site}/{one.gate or '*'}  used {one.used} of {one.uses}, "
        f"good until {moment(one.ends_ms, zone)}, made by {one.made_by}"
    )


def _issued_line(one: Issued, zone: tzinfo) -> str:
    from central.clock import moment

    end = f"until {moment(one.ends_ms, zone)}"
    if one.revoked_ms is not None:
        end = f"revoked {moment(one.revoked_ms, zone)}"
    device = f", device {one.device}" if one.device else ""
    return f"certificate  {one.site}/{one.gate}  {one.kid}  {end}{device}, from {one.address}"


@enrol.command()
@CONFIG
@click.argument("site")
@click.argument("gate")
@KEY
@DEVICE
@BY
def allow(config_path: Path, site: str, gate: str, kid: str | None, device: str | None, by: str) -> None:
    """Register a key that waits: another one for a known gate or board, or one whose board is another.

    The device asks again by itself.
    """
    with _chosen(config_path, site, gate, kid, device) as (book, key):
        others = book.allow(site, gate, key.kid, key.device, by, SystemClock().now_ms())
    click.echo(f"{site}/{gate}: key {key.kid} registered{_device(key)}")
    for other in others:
        click.echo(
            f"key {other} is still believed, too; if its device is gone: "
            f"central gates revoke {site} {gate} --key {other}"
        )


@enrol.command("refuse")
@CONFIG
@click.argument("site")
@click.argument("gate")
@KEY
@DEVICE
@BY
def refuse_key(config_path: Path, site: str, gate: str, kid: str | None, device: str | None, by: str) -> None:
    """Take a key that waits off the list, and end its alarm. A device that asks once more waits once more."""
    with _chosen(config_path, site, gate, kid, device) as (book, key):
        book.refuse(site, gate, key.kid, key.device, by, SystemClock().now_ms())
    click.echo(f"{site}/{gate}: key {key.kid}{_device(key)} waits no more")


@contextmanager
def _chosen(
    config_path: Path, site: str, gate: str, kid: str | None, device: str | None
) -> Iterator[tuple[EnrolmentBook, Waiting]]:
    """Give the book and which of its waiting keys is meant; end the command where there is none."""
    from central.enrolment.book import EnrolmentBook

    with opened(config_path) as (store, _):
        book = EnrolmentBook(store.engine)
        theirs = [key for key in book.waiting() if (key.site, key.gate) == (site, gate)]
        found = [key for key in theirs if kid in {None, key.kid} and device in {None, key.device}]
        if not found:
            meant = f"{kid} " if kid else ""
            on = "" if device is None else f" on device {device or 'without a number'}"
            refuse(f"no key {meant}of {site}/{gate} waits{on}; see: central enrol list", 1)
        if len(found) > 1:
            refuse(_which(found), 2)
        try:
            yield book, found[0]
        except LookupError as error:  # somebody else was first just now, or it was revoked
            refuse(f"{error}; see: central enrol list", 1)
        except ValueError as error:
            refuse(str(error), 2)


def _which(found: list[Waiting]) -> str:
    """Return how each of several is named: who has read the list before may not know of the newest."""
    each = "".join(f"\n  --key {key.kid} --device {shlex.quote(key.device)}" for key in found)
    return f"several keys or boards of {found[0].site}/{found[0].gate} wait; say which:{each}"


def _device(key: Waiting) -> str:
    return f", device {key.device}" if key.device else ""


@enrol.command("end-token")
@CONFIG
@click.argument("number", type=NUMBER)
def end_token(config_path: Path, number: int) -> None:
    """Let token NUMBER be of no more use, as when a card was lost or is not needed."""
    from central.enrolment.book import EnrolmentBook

    with opened(config_path) as (store, _):
        if not EnrolmentBook(store.engine).end_token(number, SystemClock().now_ms()):
            refuse(f"there is no token {number} that is good; see: central enrol list", 1)
    click.echo(f"token {number}: over")


@enrol.command()
@CONFIG
@click.argument("name")
@click.option("--host", "hosts", multiple=True, metavar="NAME",
              help="For a server: a host name or address of it; may be given several times.")  # fmt: skip
def certificate(config_path: Path, name: str, hosts: tuple[str, ...]) -> None:
    """Make key and certificate for the broker (`broker --host …`) or another client of it, in keys_dir/tls.

    A client's NAME is its user name at the broker. `central run` renews them; nothing is made anew before.
    """
    from central.enrolment.authority import load_authority
    from central.enrolment.own_certificates import FOLDER, certify
    from central.keys import KeysError

    folder = configured(config_path).centre.keys_dir
    try:
        is_new = certify(folder, load_authority(folder), name, hosts, SystemClock().now_ms())
    except KeysError as error:
        refuse(str(error), 1)
    click.echo(f"{'made' if is_new else 'kept'} {folder / FOLDER / name}.pem and .key")


def written_crl(config: Config, store: Store, now_ms: int) -> str:
    """Write the list of revoked certificates; return what is left to do, "" where there is no authority."""
    from central.enrolment.authority import CA_KEY, CRL_FILE, load_authority
    from central.enrolment.book import EnrolmentBook
    from central.enrolment.keeper import write_crl
    from central.keys import KeysError
    from central.store import StoreError

    folder = config.centre.keys_dir
    try:
        if not (folder / CA_KEY).exists():
            return ""
        write_crl(folder, load_authority(folder), EnrolmentBook(store.engine), now_ms)
    except (KeysError, StoreError, OSError) as error:
        return f"{folder / CRL_FILE} could not be written ({error}); central run will do it"
    return f"{folder / CRL_FILE} is written; the broker has to read it again (docs/enrolment.md)"
