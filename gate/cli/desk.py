"""`gate desk`: what the person on duty tells the running gate, and what it is waiting for."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from gate.checked import ConfigError
from gate.cli.ending import EX_CONFIG, refuse
from gate.config import load_config

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

PATH = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the gate is, as it was said on the command line; read only by a command that asks it."""

    config_path: Path
    socket_path: Path | None
    visit: str | None

    def ask(self, request: dict[str, object], lang: str | None) -> tuple[dict[str, Any], str]:
        """Return the gate's answer and the language for it, or end with a sentence."""
        from gate.app.desk import DeskError, ask

        path, own_lang = self._place()
        try:
            return ask(path, request), lang or own_lang
        except DeskError as error:
            refuse(str(error), 1)

    def tell(self, command: str, said: object, lang: str | None) -> None:
        """Hand in what has happened and say that it was taken."""
        from gate.app.desk import done_line

        meant = {} if self.visit is None else {"visit": self.visit}
        answer, spoken = self.ask({command: said, **meant}, lang)
        click.echo(done_line(command, answer, spoken))

    def located(self, lang: str | None) -> "tuple[Desk, str]":
        """Return this with its socket, and the language: who was root may not read a configuration twice."""
        path, own_lang = self._place()
        return replace(self, socket_path=path), lang or own_lang

    def _place(self) -> tuple[Path, str]:
        from gate.cli.owner import work_as_owner
        from gate.shell.desk import SOCKET_NAME

        if self.socket_path is not None:
            work_as_owner(self.socket_path.parent)
            return self.socket_path, "en"
        try:
            section = load_config(self.config_path).gate
        except ConfigError as error:
            refuse(str(error), EX_CONFIG)
        work_as_owner(section.state_dir)
        return section.state_dir / SOCKET_NAME, section.lang


LANG = click.option(
    "--lang", type=click.Choice(["zh", "en"]), help="Language of the answer; by default the gate's own."
)


@click.group("desk")
@click.option(
    "--config", "config_path", type=PATH, default=Path("/etc/gate/gate.toml"), show_default=True,
    help="The gate's configuration, which says where its state folder is.",
)  # fmt: skip
@click.option("--socket", "socket_path", type=PATH, help="The gate's desk.sock itself, instead of --config.")
@click.option("--visit", metavar="NAME", help="Only if this visitor is still there; show says the name.")
@click.pass_context
def desk(context: click.Context, config_path: Path, socket_path: Path | None, visit: str | None) -> None:
    """Tell the running gate what the person on duty has seen, asked and taken down.

    The gate only learns which fields were taken down: names and numbers stay on paper or in your own system,
    or are sealed for the centre (register), and then the gate cannot read them either.

    Exit status: 0 the gate has taken it, 1 it has not or is not running, 2 wrong use, 78 configuration.
    """
    context.obj = Desk(config_path, socket_path, visit)


@desk.command()
@LANG
@click.pass_obj
def show(place: Desk, lang: str | None) -> None:
    """Say what the gate is waiting for."""
    from gate.app.desk import status_lines

    answer, spoken = place.ask({"show": True}, lang)
    click.echo("\n".join(status_lines(answer, spoken)))


@desk.command()
@LANG
@click.option("--person", metavar="CLASS", help="staff, resident, supply or visitor.")
@click.option(
    "--registered", metavar="FIELDS", help="What was taken down, and only that: name,id_number,phone."
)
@click.option("--id-checked/--id-refused", default=None, help="Whether the original ID card was shown.")
@click.option(
    "--symptom", "symptoms", multiple=True, metavar="SYMPTOM",
    help="fever, cough, cold, breathing_difficulty or airway_infection; may be given several times.",
)  # fmt: skip
@click.option("--no-symptoms", is_flag=True, help="Asked, and has none; takes back what was noted before.")
@click.option("--travel", metavar="STATUS", help="clear, risk_area or declared.")
@click.option("--origin", metavar="AREA", help="key_area or elsewhere.")
@click.option("--test-at", metavar="INSTANT", help="When the sample was taken: 2022-04-10T10:00:00+08:00.")
@click.option("--test-result", metavar="RESULT", help="negative or positive.")
@click.pass_obj
def note(place: Desk, /, lang: str | None, **said: Any) -> None:
    """Take something down for the visitor at the gate; begins a visit when nobody is being checked."""
    from gate.shell.desk import RequestError, read_request

    noted = _noted(**said)
    try:
        read_request(json.dumps({"note": noted}).encode())
    except RequestError as error:
        raise click.UsageError(str(error)) from None
    place.tell("note", noted, lang)


def _noted(
    *,
    registered: str | None,
    symptoms: tuple[str, ...],
    no_symptoms: bool,
    test_at: str | None,
    test_result: str | None,
    **said: object,
) -> dict[str, object]:
    """Put what the options say as the desk's requests do; what was not given is left out."""
    if symptoms and no_symptoms:
        raise click.UsageError("--symptom and --no-symptoms contradict each other")
    if (test_at is None) != (test_result is None):
        raise click.UsageError("a test is given by both --test-at and --test-result")
    noted = {field: value for field, value in said.items() if value is not None}
    if registered is not None:
        noted["registered"] = [field.strip() for field in registered.split(",")]
    if symptoms or no_symptoms:
        noted["symptoms"] = list(symptoms)
    if test_at is not None:
        noted["test"] = {"taken_at": test_at, "result": test_result}
    return noted


@desk.command()
@LANG
@click.option("--field", "fields", multiple=True, metavar="FIELD", help="Ask for this one; several times.")
@click.pass_obj
def register(place: Desk, lang: str | None, fields: tuple[str, ...]) -> None:
    """Take down what the visitor says; it is sealed at once, and only the centre can read it.

    Reads one JSON object such as {"name": "...", "phone": "..."} from standard input; on a terminal it asks
    for what is still to be taken down. There is no option for a value: a command line can be read by
    everybody on this machine, and is kept by the shell.
    """
    from gate.shell.registration import RegistrationError, read_registration

    if _is_terminal():
        place, lang = place.located(lang)
        place, said = _asked(place, lang, fields)
    else:
        said = _piped(fields)
    try:
        read_registration(said)
    except RegistrationError as error:
        raise click.UsageError(str(error)) from None
    place.tell("register", said, lang)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _piped(fields: Sequence[str]) -> object:
    from gate.shell.desk import REQUEST_BYTES_MAX

    if fields:
        raise click.UsageError("--field is for a terminal; the object says which fields it has")
    try:
        return json.loads(sys.stdin.buffer.read(REQUEST_BYTES_MAX))
    except (ValueError, RecursionError):
        raise click.UsageError('standard input must be an object such as {"name": "..."}') from None


def _asked(place: Desk, lang: str | None, fields: Sequence[str]) -> tuple[Desk, object]:
    """Ask on the terminal; what is answered is said of the visitor who was there when the asking began."""
    from gate.app.desk import WORDS

    answer, spoken = place.ask({"show": True}, lang)
    wanted = fields or answer.get("fields", ())
    if not wanted:
        raise click.UsageError("nothing is still to be taken down; say what all the same with --field")
    words = WORDS[spoken]
    said = {field: click.prompt(words.get(f"field.{field}", field), err=True) for field in wanted}
    return (place if place.visit is not None else replace(place, visit=answer.get("visit") or "")), said


@desk.command()
@LANG
@click.pass_obj
def confirm(place: Desk, lang: str | None) -> None:
    """Vouch for the visitor at the gate: you have looked, asked and measured where it could not."""
    place.tell("confirm", True, lang)


@desk.command("refuse")
@LANG
@click.pass_obj
def refuse_(place: Desk, lang: str | None) -> None:
    """Turn the visitor at the gate away."""
    place.tell("refuse", True, lang)


@desk.command()
@click.argument("seen", type=click.Choice(["worn", "missing"]))
@LANG
@click.pass_obj
def mask(place: Desk, seen: str, lang: str | None) -> None:
    """Say whether the visitor at the gate wears a mask."""
    place.tell("mask", seen, lang)
