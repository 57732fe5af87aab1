"""Commands about plans: what they ask, and how they judge."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from gate.checked import ConfigError
from gate.cli.ending import EX_CONFIG, refuse
from gate.config import load_policy, policy_names

if TYPE_CHECKING:
    from gate.app.judging import Judge
    from gate.core.policy import Policy

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

POLICY = click.option(
    "--policy", "name", required=True, help="A plan that comes with the gate, or a .toml file of your own."
)

PLAN = click.argument("name", metavar="NAME|FILE")


@click.command()
@POLICY
@click.option("--evidence", type=click.File("rb"), required=True, help="JSON; - for standard input.")
@click.option("--lines", is_flag=True, help="One evidence per line in, one decision per line out.")
@click.option("--tasks", is_flag=True, help="Also name the rules of the tasks that the findings call for.")
def judge(name: str, evidence: BinaryIO, *, lines: bool, tasks: bool) -> None:
    """Judge evidence by a plan and print the decision as JSON.

    Evidence is one JSON object; everything in it may be absent, which means: not given.

    \b
    at, last_measured_at       instants such as 2022-04-11T10:00:00+08:00
    person                     visitor, staff, resident, supply
    direction                  in, out
    temperatures_c             first and second measurement; null: could not be measured,
                               which is also what counts below 34 and above 43
    temperature_error_c        what the thermometer may be wrong by; 0 when absent
    health_code                green, yellow, red, unknown, none, service_unreachable
    travel_code                clear, risk_area, declared, unknown, none
    mask                       worn, missing, unknown
    symptoms                   fever, cough, cold, breathing_difficulty, airway_infection
    registration               name, id_number, household_place, residence, phone, plate_number,
                               key_area_contact, signature
    id_checked, suspended      true, false
    appointment                {"from", "until", "booked_at", "used"}
    nucleic_acid_test          {"taken_at", "result": negative, positive, unknown}
    origin                     key_area, elsewhere, unknown
    household_pass             {"from", "until", "uses_left"}
    occupancy                  people inside before this one
    attendant                  {"confirmed", "refuses"}
    """
    from gate.app.judging import EvidenceError, Judge

    judged = Judge(_policy(name), tasks=tasks)
    if lines:
        sys.exit(_judge_lines(judged, evidence))
    try:
        answer = judged.answer(evidence.read())
    except EvidenceError as error:
        refuse("\n".join(error.problems), 2)
    click.echo(json.dumps(answer, ensure_ascii=False))


def _judge_lines(judged: "Judge", evidence: BinaryIO) -> int:
    """Answer line by line; a line that cannot be read has its error in place, and the answer is 1."""
    from gate.app.judging import EvidenceError

    status = 0
    for line in evidence:
        if not line.strip():
            continue
        try:
            answer = judged.answer(line.strip())
        except EvidenceError as error:
            answer, status = {"error": str(error)}, 1
        click.echo(json.dumps(answer, ensure_ascii=False))
    return status


def _policy(name: str) -> "Policy":
    try:
        return _loaded(name)
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)


def _loaded(name: str) -> "Policy":
    if name not in policy_names() and "\0" not in name and Path(name).is_dir():
        raise ConfigError(f"policy {name}", ["a folder; name the .toml files in it one by one"])
    return load_policy(name)


@click.group()
def policy() -> None:
    """Look at the plans: those that come with the gate, by name, or your own, by their .toml file."""


@policy.command("list")
def policy_list() -> None:
    """List the plans that come with the gate: name, version, title, first digits of the hash."""
    from gate.app.explaining import aligned, short_hash

    plans = [_policy(name) for name in policy_names()]
    rows = [(plan.name, str(plan.version), plan.title_zh, plan.title_en, short_hash(plan)) for plan in plans]
    for line in aligned([("name", "version", "方案", "plan", "hash"), *rows]):
        click.echo(line)


@policy.command("show")
@PLAN
def policy_show(name: str) -> None:
    """Print the whole plan as TOML, with everything that it takes from another one."""
    from gate.app.explaining import as_toml

    click.echo(as_toml(_policy(name)), nl=False)


@policy.command("check")
@click.argument("names", nargs=-1, metavar="[NAME|FILE]...")
def policy_check(names: tuple[str, ...]) -> None:
    """Check plans; all that come with the gate when none is named. Exit 78 if there is anything wrong."""
    status = 0
    for name in names or policy_names():
        problems = _check(name)
        if problems:
            status = EX_CONFIG
            click.echo("\n".join(problems), err=True)
    sys.exit(status)


@policy.command("explain")
@PLAN
@click.option("--lang", type=click.Choice(["zh", "en"]), default="zh", show_default=True, help="Language.")
def policy_explain(name: str, lang: str) -> None:
    """Say in words what the plan judges, rule by rule, and what it leaves to people."""
    from gate.app.explaining import explain

    click.echo(explain(_policy(name), lang))


def _check(name: str) -> list[str]:
    """Say that a plan is in order, or return what is wrong with it."""
    from gate.app.explaining import short_hash, unknown_reasons

    try:
        plan = _loaded(name)
    except ConfigError as error:
        return [str(error)]
    problems = [f"policy {name}: {problem}" for problem in unknown_reasons(plan)]
    if not problems:
        click.echo(f"ok  {name}  version {plan.version}  {short_hash(plan)}")
    return problems
