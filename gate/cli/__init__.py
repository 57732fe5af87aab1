"""The `gate` command. Every subcommand says what is wrong and what to do, and imports only what it needs.

Exit status: 0 all is well · 1 the answer is no (a bad ledger, a violation) · 2 wrong use · 78 configuration.
"""

import json
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gate.checked import ConfigError
from gate.cli import passes, policies
from gate.cli.certlogic import certlogic
from gate.cli.check_code import check_code
from gate.cli.desk import desk
from gate.cli.document import document
from gate.cli.ending import EX_CONFIG, refuse
from gate.cli.enrol import enrol
from gate.cli.identity import identity
from gate.cli.replay import replay
from gate.cli.update import update
from gate.config import load_config, load_policy
from gate.trust_files import load_trust

if TYPE_CHECKING:
    from gate.config import Config
    from gate.core.codes import Trust
    from gate.core.policy import Policy

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

PATH = click.Path(path_type=Path)
CONFIG = click.option(
    "--config", "config_path", type=PATH, default=Path("/etc/gate/gate.toml"), show_default=True,
    help="The gate's configuration.",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="health-gate")
def main() -> None:
    """Health gate: checks code, temperature, mask and registration at an entrance, and proves it."""


@main.command()
@CONFIG
def run(config_path: Path) -> None:
    """Serve visitors until stopped (SIGTERM, Ctrl-C)."""
    import faulthandler

    from gate.app.application import Application, StateFolderError

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    config, policy, trust = _configured(config_path)
    faulthandler.enable()  # systemd ends a gate that hangs with SIGABRT: the journal then says where it hung
    visitors: AbstractContextManager[object] = nullcontext()
    world = None
    try:
        if config.simulation is not None:
            from gate.demo.crowd import Crowd

            visitors = crowd = Crowd(config, trust)
            config, trust, world = crowd.config, crowd.trust, crowd.world
        app = Application(config, policy, trust, world)
    except (StateFolderError, OSError) as error:
        refuse(str(error), 1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: app.stop())
    with visitors:
        app.run()


@main.command()
@click.option(
    "--visitors", default=14, show_default=True, type=click.IntRange(1, 10_000), help="How many come."
)
@click.option("--seed", default=1, show_default=True, help="Seed of the random choices.")
@click.option(
    "--lang", default="en", show_default=True, type=click.Choice(["zh", "en"]), help="Language of the story."
)
@click.option("--headless", is_flag=True, help="Print only the result, as one line of JSON.")
@click.option("--events", type=PATH, help="Write each event as the subscriber received it, one per line.")
@click.option(
    "--state", type=PATH, default=Path("demo-state"), show_default=True, help="Folder for the ledger."
)
@click.option(
    "--broker",
    metavar="URL",
    help="Your own broker, mqtt://[user:password@]host[:port]; else a built-in one.",
)
@click.option("--with-centre", is_flag=True, help="Show after each visitor how the centre sees the gate.")
def demo(
    visitors: int,
    seed: int,
    lang: str,
    headless: bool,
    events: Path | None,
    state: Path,
    broker: str | None,
    with_centre: bool,
) -> None:
    """Show a morning at a gate without any hardware: real pictures, bus words, broker and centre."""
    from importlib.util import find_spec

    if missing := [name for name in ("amqtt", "rich", "segno") if find_spec(name) is None]:
        refuse(f"demo: {', '.join(missing)} missing, which no gate needs; in a checkout: make demo", 1)
    from gate.app.application import StateFolderError
    from gate.demo.broker import BrokerAddress, BrokerError
    from gate.demo.centre import CentreError
    from gate.demo.morning import run_morning
    from gate.demo.stage import StageError

    logging.basicConfig(level=logging.CRITICAL)
    try:
        address = BrokerAddress.parse(broker) if broker else None
    except BrokerError as error:
        refuse(f"demo: {error}", 2)
    try:
        ok = run_morning(
            count=visitors,
            seed=seed,
            lang=lang,
            headless=headless,
            state=state,
            events_file=events,
            address=address,
            with_centre=with_centre,
        )
    except (StageError, BrokerError, CentreError, StateFolderError, OSError) as error:
        refuse(f"demo: {error}", 1)
    sys.exit(0 if ok else 1)


@main.command("check-config")
@CONFIG
def check_config(config_path: Path) -> None:
    """Check the configuration and the files that it names; touch nothing else.

    Called by root it looks as the gate's user does, who has to be able to read them.
    """
    _configured(config_path)
    click.echo(f"{config_path}: ok")


def _configured(config_path: Path) -> "tuple[Config, Policy, Trust]":
    """Read the configuration, and as the gate's user all that it names, or end with every problem at once."""
    from gate.app.application import mqtt_settings
    from gate.app.centre import load_centre_keys
    from gate.app.code_services import service_problems
    from gate.app.site_key import site_key_problems
    from gate.cli.owner import work_as_owner

    problems: list[str] = []
    try:
        config = load_config(config_path)
    except ConfigError as error:
        if error.sound is None:
            refuse(str(error), EX_CONFIG)
        config = error.sound
        problems.append(str(error))
    work_as_owner(config.gate.state_dir)
    read: list[Any] = []
    checks: tuple[Callable[[], object], ...] = (
        lambda: load_policy(config.gate.policy),
        lambda: load_trust(config.gate.trust_files),
        lambda: mqtt_settings(config),
        lambda: load_centre_keys(config.centre.keys_file) if config.centre else None,
    )
    for check in checks:
        try:
            read.append(check())
        except ConfigError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(
                f"{config_path}: mqtt.password_file: {error.filename} cannot be read ({error.strerror}); "
                "write the broker's password there, readable for the user of the service"
            )
    problems += [
        f"{config_path}: mqtt.{name}: there is no file {path}, or none that this user may see"
        for name in ("ca_file", "cert_file", "key_file")
        if (path := getattr(config.mqtt, name)) is not None and not os.path.isfile(path)  # noqa: PTH113 - says no
    ]
    unfit = (*site_key_problems(config), *service_problems(config))
    problems += [f"{config_path}: {problem}" for problem in unfit]
    problems += [
        f"{config_path}: simulation.world_log: there is no folder {path.parent}; make it first"
        for path in ([config.simulation.world_log.absolute()] if config.simulation else [])
        if not os.path.isdir(path.parent)  # noqa: PTH112 - says no where it may not look
    ]
    if problems:
        refuse("\n".join(problems), EX_CONFIG)
    return config, read[0], replace(read[1], token_families=config.codes.token_families)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=PATH)
@click.option("--json", "as_json", is_flag=True, help="One JSON line per picture.")
def read(paths: tuple[Path, ...], as_json: bool) -> None:
    """Read the codes in picture files and folders, as the camera would that holds each for five frames."""
    from gate.app.pictures import picture_rows

    for row in picture_rows(paths):
        if as_json:
            click.echo(json.dumps(row))  # as ASCII, because a file name may be neither UTF-8 nor printable
            continue
        click.echo(
            f"{_printable(row['file'])}: {row['outcome']} ({row['ms']:.0f} ms) "
            f"{row.get('detail', '')}".rstrip()
        )
        for code in row["reads"]:
            click.echo(f"    {code['decoder']}/{code['pass']}: {_printable(code['text'])}")


@main.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the random choices.")
@click.option(
    "--hours", default=24.0, show_default=True, type=click.FloatRange(0.1, 100_000), help="Simulated time."
)
@click.option(
    "--faults",
    default="all",
    show_default=True,
    help="all, none, or some of broker,camera,clock,fire,ledger,power,sensor.",
)
@click.option("--policy", default="county-hall", show_default=True, help="The plan that the gate follows.")
@click.option(
    "--direction", default="in", show_default=True, type=click.Choice(["in", "out"]),
    help="Which way the gate leads.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def simulate(seed: int, hours: float, faults: str, policy: str, direction: str, as_json: bool) -> None:
    """Run the same gate in virtual time with visitors and faults, and check what must always hold."""
    from gate.app.simulation import FAULT_KINDS
    from gate.app.simulation import simulate as run_simulation
    from gate.core.evidence import Direction

    chosen = _fault_kinds(faults, FAULT_KINDS)
    if math.isnan(hours):
        raise click.BadParameter("nan is no number of hours", param_hint="'--hours'")
    try:
        report = run_simulation(
            seed=seed, hours=hours, faults=chosen, policy=policy, direction=Direction(direction)
        )
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)
    click.echo(json.dumps(report.as_dict()) if as_json else report.as_text())
    if report.violations:
        refuse(f"replay with: {report.replay}", 1)


def _fault_kinds(words: str, known: frozenset[str]) -> frozenset[str]:
    if words in {"all", "none"}:
        return known if words == "all" else frozenset()
    chosen = frozenset(word.strip() for word in words.split(",") if word.strip())
    if unknown := sorted(chosen - known):
        raise click.BadParameter(f"unknown: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return chosen


def _printable(text: str) -> str:
    """Show a stranger's text without letting it steer the terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:200])


@main.command()
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON object.")
@click.option("--pulse", is_flag=True, help="Test the turnstile alone: frees the arm once, after asking.")
def doctor(config_path: Path, as_json: bool, pulse: bool) -> None:
    """Examine configuration, devices, decoder, disk, clock and broker; say what is wrong and what to do.

    It takes at most 20 s, and may be run beside a running gate, whose devices it then leaves alone. It moves
    nothing; only --pulse does, with the gate stopped and a person at the arm who agrees. Called by root it
    looks as the gate's user does.

    Exit status: 0 all is well, 1 warnings, 2 failures.
    """
    import shutil

    from gate.app.doctor import as_dict, as_text, examine, exit_status, summary
    from gate.cli.pulse import as_gates_user, pulsed

    logging.basicConfig(level=logging.CRITICAL)
    columns, checks = shutil.get_terminal_size((100, 24)).columns, []
    with as_gates_user(config_path):
        for check in pulsed(config_path) if pulse else examine(config_path):
            checks.append(check)
            if not as_json:
                click.echo(as_text(check, columns))
    click.echo(json.dumps(as_dict(checks), ensure_ascii=False) if as_json else summary(checks))
    sys.exit(exit_status(checks))


@main.group()
def ledger() -> None:
    """Look into a ledger without changing it."""


@ledger.command("verify")
@click.argument("file", type=PATH)
def ledger_verify(file: Path) -> None:
    """Check every record against the chain: ok, number of records, head hash; or the first bad record.

    Records that were deleted after the centre's receipt are named: the chain goes on from the last of them.
    """
    from gate.store.ledger import LedgerError, verify

    try:
        found = verify(file)
    except LedgerError as error:
        refuse(str(error), 1)
    if not found.ok:
        click.echo(f"bad record {found.bad_seq}: {found.problem}")
        click.echo(f"{found.records} records before it are good, up to hash {found.head_hash}")
        sys.exit(1)
    click.echo(f"ok\nrecords {found.records}\nhead    {found.head_hash}\nepoch   {found.epoch}")
    if found.pruned:
        click.echo(f"deleted up to {found.pruned}, with the centre's receipt")


@ledger.command("tail")
@click.argument("file", type=PATH)
@click.option(
    "-n", "count", default=10, show_default=True, type=click.IntRange(1, 1_000_000), help="How many records."
)
def ledger_tail(file: Path, count: int) -> None:
    """Print the newest records, one line each."""
    from collections import deque

    damaged = False
    for entry in deque(_entries(file), maxlen=count):
        try:
            click.echo(f"{entry.seq:>7}  {_told(json.loads(entry.body))}")
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            damaged = True
            click.echo(f"{entry.seq:>7}  is damaged; gate ledger verify says which record is the first")
    sys.exit(1 if damaged else 0)


def _told(event: Any) -> str:
    data = event["data"]
    words = [data.get(key) for key in ("visit", "stage", "result", "verdict", "mode", "device", "problem")]
    kind = event["type"].removeprefix("hg.").removesuffix(".v1")
    return _printable(f"{event['time']}  {kind:16}  {' '.join(str(w) for w in words if w)}")


@ledger.command("export")
@click.argument("file", type=PATH)
@click.option(
    "--after",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**63 - 1),
    help="Start after record number N.",
)
@click.option(
    "--jsonl",
    "placed",
    is_flag=True,
    help="With each record its site, gate, epoch, seq and hash in the chain, which is checked.",
)
def ledger_export(file: Path, after: int, placed: bool) -> None:
    """Print the exact bytes of every record, one JSON event per line.

    With --jsonl it ends with status 1 at the first record that is bad: all lines before it are good.
    """
    out = sys.stdout.buffer
    for line in _placed(file, after) if placed else (entry.body for entry in _entries(file, after)):
        out.write(line + b"\n")


def _placed(file: Path, after: int) -> Iterator[bytes]:
    """Yield for each record a JSON object that says where it stands and holds its exact bytes."""
    from gate.store.ledger import BadRecordError, LedgerError, linked_entries, owner

    try:
        site, gate = owner(file)
        for linked in linked_entries(file, after):
            place = {
                "site": site,
                "gate": gate,
                "epoch": linked.epoch,
                "seq": linked.entry.seq,
                "hash": linked.hash.hex(),
            }
            # To the byte as the centre exports it.
            named = json.dumps(place, separators=(",", ":")).encode()
            yield named[:-1] + b',"record":' + linked.entry.body + b"}"
    except LedgerError as error:
        refuse(str(error), 1)
    except BadRecordError as error:
        refuse(f"bad record {error.seq}: {error}", 1)


def _entries(file: Path, after: int = 0) -> Any:
    from gate.store.ledger import LedgerError, entries

    try:
        yield from entries(file, after)
    except LedgerError as error:
        refuse(str(error), 1)


for command in (
    certlogic, check_code, desk, document, enrol, identity, passes.pass_, policies.judge, policies.policy,
    replay, update,
):  # fmt: skip
    main.add_command(command)
