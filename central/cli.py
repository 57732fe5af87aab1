"""The `central` command. Every subcommand says what is wrong and what to do, and imports only what it needs.

Exit status: 0 all is well · 1 the answer is no (tampering was found) · 2 wrong use · 78 configuration.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict
from functools import partial
from typing import IO, TYPE_CHECKING

import click

from central.alerts.commands import alerts, tasks
from central.clock import SystemClock
from central.enrolment.commands import enrol
from central.options import AS_JSON, BY, CONFIG, NUMBER, PATH, Main, configured, opened, refuse
from central.orders.command import command, commands
from central.people.commands import COMMANDS as PEOPLE
from central.reports.command import report
from central.updates.command import update, updates
from gate.checked import EX_CONFIG, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo
    from pathlib import Path

    from central.store import Alarm

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="health-gate")
def main() -> None:
    """Run the centre of the gates: it takes their records in, proves them, and signs for them."""


@main.command()
@click.argument("folder", type=PATH)
def init(folder: Path) -> None:
    """Make the centre's keys and an example configuration in FOLDER; nothing is overwritten."""
    from central.enrolment.authority import CA_FILE, CA_KEY, load_authority, make_authority
    from central.enrolment.own_certificates import CENTRE, certify
    from central.keys import FOR_GATES, SEAL_KEY, SIGN_KEY, KeysError, make_keys, write_new
    from central.setup import CONFIG_NAME, example

    folder = folder.absolute()
    try:
        made = make_keys(folder)
        if write_new(folder / CONFIG_NAME, example(folder), 0o600):
            made.append(folder / CONFIG_NAME)
        now_ms = SystemClock().now_ms()
        made += make_authority(folder, now_ms)
        certify(folder, load_authority(folder), CENTRE, (), now_ms)
    except KeysError as error:
        refuse(str(error), 1)
    for path in (folder / name for name in (SIGN_KEY, SEAL_KEY, FOR_GATES, CONFIG_NAME, CA_KEY, CA_FILE)):
        click.echo(f"made {path}" if path in made else f"kept {path} as it was")
    click.echo(
        f"Keep a copy of the .key files where nobody else comes; without them no gate believes this centre.\n"
        f"Next: say in {folder / CONFIG_NAME} where the broker is, and on which port devices enrol\n"
        f"  (central enrol --help); or without enrolment:\n"
        f"  copy {folder / FOR_GATES} to every gate and name it there as centre.keys_file,\n"
        f"  make each gate known:  gate identity | central gates add - --config {folder / CONFIG_NAME}\n"
        f"  start the centre:      central run --config {folder / CONFIG_NAME}"
    )


@main.command()
@CONFIG
def run(config_path: Path) -> None:
    """Take records in and sign for them until stopped (SIGTERM, Ctrl-C)."""
    from central.app import serve
    from central.keys import KeysError
    from central.store import StoreError

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = configured(config_path)
    try:
        serve(config)
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)
    except KeysError as error:
        refuse(str(error), EX_CONFIG)
    except (StoreError, OSError) as error:
        refuse(f"central run: {error}", 1)


@main.command("check-config")
@CONFIG
def check_config(config_path: Path) -> None:
    """Say everything that is wrong with the configuration, its files and folders, the addresses of alerts."""
    from central.alerts.send import open_addresses
    from central.config import STAND_IN, broker_settings, load_config, misplaced
    from central.enrolment.authority import CA_KEY, load_authority
    from central.keys import KeysError, load_keys
    from central.people.subjects import SubjectError, site_keys

    problems: list[str] = []
    try:
        config = load_config(config_path)
    except ConfigError as error:
        # What is sound of it is examined as well, so that all is said at once.
        problems.append(str(error))
        if error.sound is None:
            refuse(str(error), EX_CONFIG)
        config = error.sound
    problems += [f"{config_path}: {problem}" for problem in open_addresses(config.alerts)[1]]
    problems += [f"{config_path}: {problem}" for problem in misplaced(config)]
    reads: list[Callable[[], object]] = [partial(broker_settings, config.mqtt)]
    folder = config.centre.keys_dir
    if folder != STAND_IN:
        reads.insert(0, partial(load_keys, folder))
        if config.enrolment.port is not None or (folder / CA_KEY).exists():
            reads.append(partial(load_authority, folder))
    reads += [partial(site_keys, [site]) for site in config.site]
    for read in reads:
        try:
            read()
        except (KeysError, ConfigError, SubjectError) as error:
            problems.append(str(error))
    if problems:
        refuse("\n".join(dict.fromkeys(problems)), EX_CONFIG)
    click.echo(f"{config_path}: good")


@main.group()
def gates() -> None:
    """Say whose checkpoints are believed."""


@gates.command()
@CONFIG
@click.argument("file", type=click.File("rb"))
@click.option("--note", default="", help="A word for people, such as where the gate stands.")
def add(config_path: Path, file: IO[bytes], note: str) -> None:
    """Believe a gate: FILE is what `gate identity` prints, or its certificate in PEM form; - for input."""
    from central.enrolment.identity import TEXT_BYTES_MAX, EnrolmentError, read_identity

    now_ms = SystemClock().now_ms()
    try:
        identity = read_identity(file.read(TEXT_BYTES_MAX + 1), now_ms)
    except EnrolmentError as error:
        refuse(str(error), 2)
    with opened(config_path) as (store, _):
        store.register_gate(identity.site, identity.gate, identity.public_key, now_ms, note=note)
    click.echo(f"{identity.site}/{identity.gate}: registered")


@gates.command("list")
@CONFIG
@AS_JSON
def list_(config_path: Path, *, as_json: bool) -> None:
    """List all keys of all gates."""
    from central.clock import moment

    with opened(config_path) as (store, config):
        keys, zone = store.gates(), config.reports.zone
    for key in keys:
        if as_json:
            click.echo(json.dumps(asdict(key) | {"public_key": key.public_key.hex()}))
        else:
            end = "" if key.revoked_ms is None else f", revoked {moment(key.revoked_ms, zone)}"
            note = f"  {key.note}" if key.note else ""
            since = moment(key.registered_ms, zone)
            click.echo(f"{key.site}/{key.gate}  {key.kid}  since {since}{end}{note}")


@gates.command()
@CONFIG
@click.argument("site")
@click.argument("gate")
@click.option("--key", "kid", metavar="KID", help="Only this key, 8 hexadecimal digits as in the list.")
def revoke(config_path: Path, site: str, gate: str, kid: str | None) -> None:
    """Believe a gate's keys and certificates no longer. What they have proved stays proved."""
    from central.enrolment.commands import written_crl

    now_ms = SystemClock().now_ms()
    with opened(config_path) as (store, config):
        count = store.revoke_key(site, gate, kid, now_ms)
        told = written_crl(config, store, now_ms) if count else ""
    if not count:
        refuse(f"{site}/{gate} has no such key that is believed; see: central gates list", 1)
    click.echo(f"{site}/{gate}: {count} key{'s' if count > 1 else ''} revoked")
    if told:
        click.echo(told, err=True)


@main.command()
@CONFIG
@AS_JSON
def status(config_path: Path, *, as_json: bool) -> None:
    """Show the gates: when they were last heard, what is proved, what is outstanding, which alarms stand."""
    from rich.console import Console

    from central.status import drawn, overview, standing

    now_ms = SystemClock().now_ms()
    with opened(config_path) as (store, config):
        rows, stand = overview(store, now_ms), standing(store)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows]))
    elif rows:
        known = sys.stdout.isatty() or "COLUMNS" in os.environ
        console = Console(width=None if known else 160, highlight=False)
        console.print(drawn(rows, stand, now_ms, console.width, config.reports.zone))
    else:
        click.echo("no gates yet; make one known with: gate identity | central gates add -")


@main.group(invoke_without_command=True)
@CONFIG
@AS_JSON
@click.option("--all", "everything", is_flag=True, help="Those that are over, too.")
@click.pass_context
def alarms(context: click.Context, config_path: Path, *, as_json: bool, everything: bool) -> None:
    """List the alarms that stand: what came late, was false, was concealed, or is missing; and what to do.

    With --all also what is over, who has looked into it, and what was found; and what each was raised for.
    """
    context.obj = config_path
    if context.invoked_subcommand:
        return
    with opened(config_path) as (store, config):
        cleared = store.clearings() if everything else {}
        for alarm in store.alarms(standing=not everything):
            by, reason = cleared.get(alarm.id, ("", ""))
            if as_json:
                click.echo(json.dumps({**_plain(alarm), "cleared_by": by, "reason": reason}))
            else:
                click.echo(_in_words(alarm, config.reports.zone, evidence=everything))
                if reason:
                    click.echo(f"    over because: {reason}{f' ({by})' if by else ''}")


@alarms.command()
@click.argument("number", type=NUMBER)
@BY
@click.option("--reason", required=True, help="What was found.")
@click.pass_obj
def clear(config_path: Path, number: int, by: str, reason: str) -> None:
    """Write into the log that somebody has looked into alarm NUMBER, and what was found."""
    with opened(config_path) as (store, _):
        if not store.clear_alarm(number, SystemClock().now_ms(), by=by, reason=reason):
            refuse(f"alarm {number} does not stand; see: central alarms", 1)
    click.echo(f"alarm {number}: over")


@main.command()
@CONFIG
@AS_JSON
def verify(config_path: Path, *, as_json: bool) -> None:
    """Prove the whole store again: every chain, checkpoint, receipt, attachment and command.

    Exit status 1 when there is a problem.
    """
    from central.keys import KeysError, public_keys
    from central.orders.verify import verify as verify_commands
    from central.people.access_log import verify as verify_access
    from central.reports.verify import verify as verify_reports
    from central.store import Problem
    from central.store import verify as prove

    problems = 0

    def report(problem: Problem) -> None:
        nonlocal problems
        problems += 1
        where = f"{problem.site}/{problem.gate} {problem.epoch} {problem.seq or ''}".strip("/ ")
        click.echo(
            json.dumps(asdict(problem)) if as_json else f"{problem.what}: {where}: {problem.detail}",
            err=not as_json,
        )

    try:
        keys = public_keys(configured(config_path).centre.keys_dir)
    except KeysError as error:
        refuse(str(error), EX_CONFIG)
    with opened(config_path) as (store, _):
        counts = asdict(prove(store, keys, report)) | {
            "commands": verify_commands(store, keys, report),
            "access_entries": verify_access(store, report),
            "reports": verify_reports(store, keys, report),
        }
    if as_json:
        click.echo(json.dumps(counts | {"problems": problems}))
    else:
        words = ", ".join(_counted(count, name) for name, count in counts.items())
        click.echo(f"{words}: {_counted(problems, 'problems') if problems else 'whole'}")
    sys.exit(1 if problems else 0)


@main.command()
@CONFIG
@click.option("--jsonl", "form", flag_value="jsonl", default=True, help="One JSON object per line (default).")
@click.option("--csv", "form", flag_value="csv", help="Comma separated values, with a heading.")
@click.option("--site")
@click.option("--gate")
@click.option("--from", "since", metavar="INSTANT", help="ISO 8601 with its offset, by the gate's own clock.")
@click.option("--to", "until", metavar="INSTANT", help="Likewise; not included.")
def export(
    config_path: Path, form: str, site: str | None, gate: str | None, since: str | None, until: str | None
) -> None:
    """Print records with gate, epoch, number and hash, ledger by ledger.

    Exit status 1 when nobody bears the name of the site or gate.
    """
    from central import export as write

    span = {"from_ms": _instant("--from", since), "to_ms": _instant("--to", until)}
    with opened(config_path) as (store, _):
        if problem := write.unknown(store, site, gate):
            refuse(problem, 1)
        if form == "csv":
            count = write.as_csv(store, sys.stdout, site, gate, **span)
        else:
            count = write.as_lines(store, sys.stdout.buffer, site, gate, **span)
    if not count:
        click.echo("no records", err=True)


for each in (alerts, command, commands, enrol, report, tasks, update, updates, *PEOPLE):
    main.add_command(each)


def _instant(option: str, text: str | None) -> int | None:
    from central.export import instant

    try:
        return None if text is None else instant(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def _counted(count: int, name: str) -> str:
    words = name.replace("_", " ")
    if count == 1:
        words = words.removesuffix("s") if not words.endswith("ies") else f"{words.removesuffix('ies')}y"
    return f"{count:,} {words}"


def _plain(alarm: Alarm) -> dict[str, object]:
    about = asdict(alarm.about)
    return {"id": alarm.id, **about, "raised_ms": alarm.raised_ms, "cleared_ms": alarm.cleared_ms}


def _in_words(alarm: Alarm, zone: tzinfo, *, evidence: bool) -> str:
    from central.alerts.codes import code_words, in_words
    from central.clock import moment

    lines = [f"{alarm.id}  {in_words(alarm.about)}, raised {moment(alarm.raised_ms, zone)}"]
    to_do = code_words(alarm.about.code).to_do_en
    if alarm.cleared_ms is not None:
        lines[0] += f", over {moment(alarm.cleared_ms, zone)}"
    elif to_do:
        lines.append(f"    to do: {to_do}")
    if evidence and alarm.about.evidence:
        lines.append(f"    raised for: {json.dumps(dict(alarm.about.evidence), ensure_ascii=False)}")
    return "\n".join(lines)
