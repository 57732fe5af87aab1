"""`gate desk` as the person on duty meets it: the real command, the real socket, words and exit statuses."""

import grp
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gate.app.desk import WORDS, DeskError, ask, done_line, status_lines
from gate.cli import main
from gate.core.codes.model import REGISTRATION_FIELDS, LabTest, Travel
from gate.core.evidence import MaskStatus, Origin, Person, Symptom
from gate.core.inputs import (
    NOBODY,
    AttendantConfirmed,
    AttendantNoted,
    AttendantRefused,
    Input,
    MaskSeen,
)
from gate.core.mode import Mode
from gate.core.session import State
from gate.shell.desk import SOCKET_NAME, DeskServer, DeskStatus, address
from tests.app.bounded import in_time
from tests.app.test_doctor import write_config

VISIT = "0a1b2c3d-000007"
WAITING = DeskStatus(
    Mode.SERVING, VISIT, State.WITH_STAFF, ("code_missing", "registration_missing"), ("name", "phone")
)
TAKEN_AT = "2022-04-10T10:00:00+08:00"


class Gate:
    """A gate's desk with a list for an inbox."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / SOCKET_NAME
        self.status = WAITING
        self.posted: list[Input] = []
        self.server = DeskServer(self.path, self.posted.append, lambda: self.status)

    def desk(self, *words: str) -> Result:
        return run("--socket", str(self.path), *words)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["desk", *words], catch_exceptions=False)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    gate.server.start()
    yield gate
    gate.server.stop(5)


# What is said arrives


@pytest.mark.parametrize(
    ("words", "happened", "told"),
    [
        (["confirm"], AttendantConfirmed(), f"Confirmed for visit {VISIT}.\n"),
        (["refuse"], AttendantRefused(), f"Visit {VISIT} is turned away.\n"),
        (["mask", "worn"], MaskSeen(MaskStatus.WORN), f"Mask noted for visit {VISIT}.\n"),
        (
            ["mask", "missing", "--lang", "zh"],
            MaskSeen(MaskStatus.MISSING),
            f"口罩情况已记录到来访 {VISIT}。\n",
        ),
        (["note", "--id-refused"], AttendantNoted(id_checked=False), f"Noted for visit {VISIT}.\n"),
        (["note", "--no-symptoms"], AttendantNoted(symptoms=frozenset()), f"Noted for visit {VISIT}.\n"),
        (
            [
                *("note", "--person", "resident", "--registered", "name, id_number,phone", "--id-checked"),
                *(
                    "--symptom",
                    "cough",
                    "--symptom",
                    "cold",
                    "--travel",
                    "risk_area",
                    "--origin",
                    "elsewhere",
                ),
                *("--test-at", TAKEN_AT, "--test-result", "negative"),
            ],
            AttendantNoted(
                Person.RESIDENT,
                frozenset({"name", "id_number", "phone"}),
                id_checked=True,
                symptoms=frozenset({Symptom.COUGH, Symptom.COLD}),
                travel=Travel.RISK_AREA,
                origin=Origin.ELSEWHERE,
                test=LabTest(1_649_556_000, negative=True),
            ),
            f"Noted for visit {VISIT}.\n",
        ),
    ],
)
def test_each_command_reaches_the_gate(gate: Gate, words: list[str], happened: Any, told: str) -> None:
    for place in ((), ("--visit", VISIT)):
        result = gate.desk(*place, *words)
        assert (result.exit_code, result.output) == (0, told)
        assert gate.posted.pop() == replace(happened, visit=VISIT)
    assert gate.posted == []


@pytest.mark.parametrize("words", [["confirm"], ["refuse"], ["mask", "worn"], ["note", "--id-checked"]])
@pytest.mark.parametrize("there", [None, "0a1b2c3d-000008"])
def test_a_word_for_a_visitor_who_has_gone_ends_with_1(
    gate: Gate, words: list[str], there: str | None
) -> None:
    gate.status = DeskStatus() if there is None else replace(WAITING, visit=there)
    result = gate.desk("--visit", VISIT, *words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "that visitor has gone; look again with show\n"
    assert gate.posted == []


def test_the_name_that_show_gives_is_the_one_that_is_taken(gate: Gate) -> None:
    shown = gate.desk("show").output
    name = shown.split("Visit ")[1].split(":")[0]
    assert gate.desk("--visit", name, "confirm").exit_code == 0
    assert gate.desk("--visit", name, "show").output == shown, "looking is for everybody"


def test_with_nobody_at_the_gate_the_answer_says_that_a_visit_begins(gate: Gate) -> None:
    gate.status = DeskStatus()
    assert "a visit begins with this note" in gate.desk("note", "--id-checked").output
    assert "nobody is vouched for yet" in gate.desk("confirm").output
    assert "尚未为任何人确认" in gate.desk("confirm", "--lang", "zh").output
    refused = gate.desk("refuse")
    assert (refused.exit_code, refused.stderr) == (1, "nobody is being checked at the gate\n")
    assert gate.posted == [AttendantNoted(id_checked=True, visit=NOBODY), *[AttendantConfirmed(NOBODY)] * 2]


def test_show_says_what_the_gate_waits_for(gate: Gate) -> None:
    assert gate.desk("show").output == (
        "The gate is serving.\n"
        f"Visit {VISIT}: waiting for you.\n"
        "Against a pass:\n"
        "  no code shown\n"
        "  registration incomplete\n"
        "  still to take down: name, phone\n"
    )
    assert gate.desk("show", "--lang", "zh").output == (
        "通道正常服务。\n"
        f"来访 {VISIT}：等待您办理。\n"
        "还不能放行，因为：\n"
        "  未出示码\n"
        "  登记不全\n"
        "  还需登记：姓名、电话\n"
    )
    gate.status = DeskStatus(Mode.EVACUATING)
    assert gate.desk("show").output == "Evacuation: the gate stands open.\nNobody is being checked.\n"
    gate.status = DeskStatus(Mode.SERVING, VISIT, State.RETESTING)
    assert gate.desk("show").output.endswith("Nothing stands against a pass.\n")
    assert gate.posted == []


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_word_is_there_in_every_language(lang: str) -> None:
    wanted = {f"mode.{mode}" for mode in Mode} | {f"state.{state}" for state in State}
    wanted |= {f"field.{field}" for field in REGISTRATION_FIELDS}
    wanted |= {f"done.{word}" for word in ("note", "register", "mask", "confirm", "refuse")}
    wanted |= {"began.note", "began.register", "began.confirm", "against", "nothing", "to_take_down", "comma"}
    assert WORDS[lang].keys() == wanted
    assert done_line("note", {"visit": "v-1"}, lang).count("v-1") == 1


def test_words_of_a_newer_gate_are_shown_as_they_are() -> None:
    answer = {"mode": "resting", "state": "dreaming", "visit": "v-1", "findings": ["odd"], "fields": ["age"]}
    lines = status_lines(answer, "en")
    assert lines == ["resting", "dreaming v-1", "Against a pass:", "  odd", "  still to take down: age"]


# Where the gate is


def a_config(folder: Path, lang: str) -> Path:
    path = folder / "gate.toml"
    path.write_text(
        f'[gate]\nsite = "hall"\nid = "north-1"\nlang = "{lang}"\nstate_dir = "{folder}"\n'
        '[mqtt]\nhost = "broker"\n[camera]\nsource = "folder"\npath = "/pictures"\n',
        "utf-8",
    )
    return path


def test_the_configuration_says_where_and_in_which_language(gate: Gate, tmp_path: Path) -> None:
    config = str(a_config(tmp_path, "zh"))
    assert run("--config", config, "show").output.startswith("通道正常服务。\n")
    assert run("--config", config, "show", "--lang", "en").output.startswith("The gate is serving.\n")


def test_a_configuration_that_cannot_be_used_ends_with_78(tmp_path: Path) -> None:
    result = run("--config", str(tmp_path / "none.toml"), "show")
    assert (result.exit_code, result.stdout) == (78, "")
    assert "no such file" in result.stderr


@pytest.mark.parametrize("words", [[], ["show"], ["note"], ["confirm"], ["refuse"], ["mask"]])
def test_help_needs_neither_gate_nor_configuration(words: list[str]) -> None:
    result = run("--config", "/nowhere", *words, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


# Wrong use


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["note"], "at least one of person, registered, id_checked"),
        (["note", "--registered", "Li Lei"], "which fields were taken down, never what they say"),
        (["note", "--registered", ""], "registered"),
        (["note", "--person", "king"], "visitor, staff, resident, supply"),
        (["note", "--symptom", "hunger"], "fever, cough, cold"),
        (["note", "--symptom", "cough", "--no-symptoms"], "contradict"),
        (["note", "--travel", "unknown"], "clear, risk_area, declared"),
        (["note", "--origin", "mars"], "key_area, elsewhere"),
        (["note", "--test-at", TAKEN_AT], "both --test-at and --test-result"),
        (["note", "--test-result", "negative"], "both --test-at and --test-result"),
        (["note", "--test-at", "yesterday", "--test-result", "negative"], "an instant such as"),
        (["note", "--test-at", "2022-04-10T10:00:00", "--test-result", "negative"], "offset"),
        (["mask", "unknown"], "worn"),
        (["show", "--lang", "fr"], "zh"),
        (["dance"], "No such command"),
    ],
)
def test_wrong_use_ends_with_2_before_the_gate_is_asked(gate: Gate, words: list[str], said: str) -> None:
    result = gate.desk(*words)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert "Li Lei" not in result.output
    assert gate.posted == []


# No gate, no permission


@pytest.mark.parametrize("place", ["desk.sock", "no-folder/desk.sock", "file/desk.sock"])
def test_without_a_gate_it_says_how_to_start_one(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    result = run("--socket", str(tmp_path / place), "confirm")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no gate is running here" in result.stderr
    assert "start it with: gate run" in result.stderr


def test_a_socket_that_was_left_behind_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead, address(tmp_path / SOCKET_NAME) as short:
        dead.bind(short)
    result = run("--socket", str(tmp_path / SOCKET_NAME), "show")
    assert result.exit_code == 1
    assert "is left from a gate that has ended; start it again" in result.stderr


@contextmanager
def somebody_else() -> Iterator[None]:
    """Be a user without rights, where the tests run as root."""
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(uid)


@pytest.mark.parametrize("closed", ["socket", "folder"])
def test_without_permission_the_group_is_named(closed: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        gate = Gate(folder)
        (gate.path if closed == "socket" else folder).chmod(0)
        with somebody_else():
            result = gate.desk("show")
        folder.chmod(0o700)
        gate.server.stop(5)
    assert result.exit_code == 1
    assert f"be added to the group {grp.getgrgid(os.getegid()).gr_name} " in result.stderr


# Something else at the other end


@contextmanager
def strange_gate(folder: Path, does: Callable[[socket.socket], object]) -> Iterator[Path]:
    path = folder / SOCKET_NAME
    with socket.socket(socket.AF_UNIX) as listener:
        with address(path) as short:
            listener.bind(short)
        listener.listen(1)

        def serve() -> None:
            with listener.accept()[0] as channel:
                does(channel)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join(5)


def read_then(answer: bytes) -> Callable[[socket.socket], object]:
    return lambda channel: (channel.recv(4096), channel.sendall(answer))


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (read_then(b""), "has ended while it was asked"),
        (read_then(b'{"ok": tr'), "has ended while it was asked"),
        (read_then(b"\xff\xfe\n"), "has ended while it was asked"),
        (read_then(b"[1]\n"), "is no gate"),
        (read_then(b'{"hello": 1}\n'), "is no gate"),
        (read_then(b"x" * 70_000), "has ended while it was asked"),
    ],
)
def test_whatever_answers_the_command_ends_in_words(
    tmp_path: Path, does: Callable[[socket.socket], object], said: str
) -> None:
    with strange_gate(tmp_path, does) as path, pytest.raises(DeskError, match=said):
        ask(path, {"show": True})


def test_a_gate_that_does_not_answer_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.app.desk.ANSWER_S", 0.1)
    done = threading.Event()
    with strange_gate(tmp_path, lambda _: done.wait(5)) as path:
        result = run("--socket", str(path), "show")
        done.set()
    assert result.exit_code == 1
    assert "does not answer just now" in result.stderr


def test_what_is_asked_on_a_terminal_reads_the_configuration_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root has become the gate's user by the second time."""
    config = write_config(tmp_path)

    def answer(*_: object) -> dict[str, object]:
        config.unlink(missing_ok=True)
        return {"ok": True, "visit": VISIT, "fields": ["name"]}

    monkeypatch.setattr("gate.app.desk.ask", answer)
    monkeypatch.setattr(sys.modules["gate.cli.desk"], "_is_terminal", lambda: True)
    asked = ["desk", "--config", str(config), "register", "--lang", "en"]
    result = CliRunner().invoke(main, asked, input="Li\n")
    assert (result.exit_code, "Taken down" in result.stdout) == (0, True), result.output


def test_whoever_sends_a_byte_at_a_time_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gate.app.desk.ANSWER_S", 0.3)
    done = threading.Event()

    def drip(channel: socket.socket) -> None:
        with suppress(OSError):
            while not done.wait(0.05):
                channel.sendall(b"x")

    with strange_gate(tmp_path, drip) as path:
        try:
            with pytest.raises(DeskError, match="does not answer just now"):
                in_time(lambda: ask(path, {"show": True}))
        finally:
            done.set()


def test_no_answer_steers_the_terminal(tmp_path: Path) -> None:
    told = {"error": "\x1b]0;owned\x07no", "ok": False}
    with strange_gate(tmp_path, read_then(json.dumps(told).encode() + b"\n")) as path:
        result = run("--socket", str(path), "show")
    assert (result.exit_code, result.stderr) == (1, "?]0;owned?no\n")
    (tmp_path / SOCKET_NAME).unlink()
    told = {"ok": True, "visit": "\x1b[2J", "mode": "serving", "state": "with_staff", "findings": ["\x1b[3J"]}
    with strange_gate(tmp_path, read_then(json.dumps(told).encode() + b"\n")) as path:
        result = run("--socket", str(path), "show")
    assert (result.exit_code, "\x1b" in result.stdout) == (0, False)


# What a visitor says of themselves

SAID = {"name": "欧阳 修", "phone": "13800138000"}


class Sealing(Gate):
    """A gate whose centre's key is a list."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / SOCKET_NAME
        self.status = WAITING
        self.posted: list[Input] = []
        self.sealed: list[dict[str, str]] = []
        self.server = DeskServer(self.path, self.posted.append, lambda: self.status, self.seal)

    def seal(self, fields: Mapping[str, str]) -> bytes:
        self.sealed.append(dict(fields))
        return b"sealed"

    def hand_in(self, text: str | bytes, *words: str) -> Result:
        arguments = ["desk", "--socket", str(self.path), "register", *words]
        return CliRunner().invoke(main, arguments, input=text, catch_exceptions=False)


@pytest.fixture
def sealing(tmp_path: Path) -> Iterator[Sealing]:
    gate = Sealing(tmp_path)
    gate.server.start()
    yield gate
    gate.server.stop(5)


@pytest.mark.parametrize(
    ("lang", "told"),
    [
        ("en", f"Taken down for visit {VISIT}, sealed for the centre.\n"),
        ("zh", f"已登记到来访 {VISIT}，并为中心加密封存。\n"),
    ],
)
def test_what_stands_on_standard_input_is_sealed(sealing: Sealing, lang: str, told: str) -> None:
    result = sealing.hand_in(json.dumps(SAID, ensure_ascii=False), "--lang", lang)
    assert (result.exit_code, result.output) == (0, told)
    assert sealing.sealed == [SAID]
    assert sealing.posted == [AttendantNoted(registered=frozenset(SAID), visit=VISIT, sealed=b"sealed")]


@pytest.mark.parametrize(
    "text",
    ["", "name=欧阳 修", '{"name": "欧阳 修"', '["欧阳 修"]', '{"surname": "欧阳 修"}', b"\xff", "[" * 9000],
)
def test_anything_else_is_refused_before_the_gate_hears_of_it(sealing: Sealing, text: str | bytes) -> None:
    result = sealing.hand_in(text)
    assert result.exit_code == 2
    assert "欧阳" not in result.output
    assert (sealing.sealed, sealing.posted) == ([], [])


def test_a_value_is_no_argument(sealing: Sealing) -> None:
    """A command line is read by everybody on the machine, and kept by the shell."""
    assert sealing.hand_in("", "--name", "欧阳 修").exit_code == 2
    assert sealing.hand_in(json.dumps(SAID), "--field", "name").exit_code == 2
    assert sealing.sealed == []


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["gate.cli.desk"], "_is_terminal", lambda: True)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_is_asked_for_what_is_still_to_be_taken_down(sealing: Sealing) -> None:
    result = sealing.hand_in("欧阳 修\n13800138000\n", "--lang", "en")
    assert result.exit_code == 0
    assert "name: " in result.output
    assert sealing.sealed == [SAID]
    result = sealing.hand_in("\nWuxi\n", "--field", "residence")
    assert (result.exit_code, sealing.sealed[1:]) == (0, [{"residence": "Wuxi"}])


@pytest.mark.usefixtures("terminal")
def test_who_comes_while_it_is_typed_is_not_meant(sealing: Sealing, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(*_: object, **__: object) -> str:
        sealing.status = replace(WAITING, visit="0a1b2c3d-000008")
        return "欧阳 修"

    monkeypatch.setattr("click.prompt", typed)
    result = sealing.hand_in("")
    assert (result.exit_code, "that visitor has gone" in result.output) == (1, True)
    assert (sealing.sealed, sealing.posted) == ([], [])


@pytest.mark.usefixtures("terminal")
def test_when_nothing_is_to_be_taken_down_it_says_so(sealing: Sealing) -> None:
    sealing.status = replace(WAITING, fields=())
    result = sealing.hand_in("")
    assert result.exit_code == 2
    assert "nothing is still to be taken down; say what all the same with --field" in result.output


def test_without_a_centre_it_says_what_to_do_instead(gate: Gate) -> None:
    arguments = ["desk", "--socket", str(gate.path), "register"]
    result = CliRunner().invoke(main, arguments, input=json.dumps(SAID), catch_exceptions=False)
    assert result.exit_code == 1
    assert "nothing was kept; write it down elsewhere" in result.output
    assert "欧阳" not in result.output
    assert gate.posted == []
