"""The `gate` command as people and scripts meet it: output, exit status, words about what is wrong."""

import base64
import fcntl
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import cv2
from click.testing import CliRunner, Result
from pytest import MonkeyPatch, fixture, mark

from gate.app.doctor import machine
from gate.cli import main
from gate.core import events
from gate.core.moment import Moment
from gate.store.ledger import Ledger
from tests.brokers import HOST, Mosquitto, free_port

COMMANDS = sorted(main.commands)


def gate(*words: object) -> Result:
    """Run the command within this process; anything that it does not handle itself fails the test."""
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


# Help and wrong use


@mark.parametrize("words", [[], *([name] for name in COMMANDS), ["ledger", "verify"], ["ledger", "export"]])
def test_every_command_explains_itself(words: list[str], monkeypatch: MonkeyPatch) -> None:
    if (
        words
    ):  # click keeps the help option of its first call, and another test may call a command without main
        monkeypatch.setattr(main.commands[words[0]], "_help_option", None)
    for flag in ("-h", "--help"):
        result = gate(*words, flag)
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: ")
        assert len(result.stdout.split("\n\n")[1].split()) >= 5, "a sentence says what it does"


def test_the_help_names_every_command_of_the_first_release() -> None:
    words = gate("--help").stdout.split()
    for name in ("run", "demo", "check-config", "read", "ledger", "simulate", "doctor"):
        assert name in words


@mark.parametrize(
    "words",
    [
        ["fly"],
        ["read"],
        ["ledger", "verify"],
        ["ledger", "tail", "x", "-n", "0"],
        ["ledger", "export", "x", "--after", "-1"],
        ["doctor", "--yaml"],
        ["simulate", "--faults", "gremlins"],
    ],
)
def test_wrong_use_is_status_2_with_a_word_about_it(words: list[str]) -> None:
    result = gate(*words)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert "Error: " in result.stderr


def test_the_command_starts_without_the_libraries_of_other_commands() -> None:
    """What a small board needs seconds to load is loaded by who needs it."""
    code = (
        "import sys, gate.cli; print(sorted({'cv2', 'numpy', 'paho', 'gpiozero', 'rich'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# check-config


def write_config(folder: Path, *, more: str = "", port: int = 1) -> Path:
    key = {"issuer": "counter", "issuer_name": "Counter", "public_key": "ab" * 32}
    lines = [f'{name} = "{value}"' for name, value in key.items()]
    (folder / "keys.toml").write_text("\n".join(["[[keys]]", *lines, 'purposes = ["visitor"]\n']))
    path = folder / "gate.toml"
    path.write_text(f"""
[gate]
site = "north-hall"
id = "gate-1"
clock = "always_trusted"
state_dir = "{folder / "state"}"
trust_files = ["{folder / "keys.toml"}"]
[mqtt]
host = "{HOST}"
port = {port}
[camera]
device = "/dev/v4l/by-id/none"
{more}
""")
    return path


def test_a_good_configuration_is_ok_and_nothing_is_touched(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    result = gate("check-config", "--config", path)
    assert (result.exit_code, result.stdout) == (0, f"{path}: ok\n")
    assert not (tmp_path / "state").exists()


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    path = write_config(tmp_path, more='fsp = 3\n[pins]\nrelay = 4\n[thermometer]\nvdd_mv = "3300"')
    result = gate("check-config", "--config", path)
    assert result.exit_code == 78
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: ") for line in lines)
    for words in ("camera.fsp: unknown key; did you mean 'fps'?", "pins.relay", "thermometer.vdd_mv"):
        assert words in result.stderr


def test_what_a_faulty_configuration_names_is_checked_with_it(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    text = path.read_text().replace("clock =", 'policy = "county-hal"\npolicy2 = 1\nclock =')
    path.write_text(text.replace("[camera]", f'ca_file = "{tmp_path / "ca.pem"}"\n[camera]'))
    result = gate("check-config", "--config", path)
    assert result.exit_code == 78
    for words in (
        "gate.policy2: unknown key",
        "did you mean 'county-hall'?",
        "mqtt.ca_file: there is no file",
    ):
        assert words in result.stderr


def test_a_site_that_fits_no_topic_is_said_with_all_the_rest(tmp_path: Path) -> None:
    path = write_config(tmp_path, more="fsp = 3")
    path.write_text(path.read_text().replace('"north-hall"', '"north hall"'))
    for command in ("check-config", "run"):
        result = gate(command, "--config", path)
        assert result.exit_code == 78
        assert len(result.stderr.splitlines()) == 2


def test_policy_and_keys_are_checked_together(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    text = path.read_text().replace("keys.toml", "none.toml")
    path.write_text(text.replace("clock =", 'policy = "county-hal"\nclock ='))
    result = gate("check-config", "--config", path)
    assert result.exit_code == 78
    assert "did you mean 'county-hall'?" in result.stderr
    assert "none.toml" in result.stderr


@mark.parametrize("content", [None, b"[gate", b"\xff\xfe", b""])
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "gate.toml"
    if content is not None:
        path.write_bytes(content)
    for command in ("check-config", "run"):
        result = gate(command, "--config", path)
        assert result.exit_code == 78
        assert str(path) in result.stderr


# ledger

NOW = Moment(mono_ns=1, wall_ms=1_800_000_000_000, clock_trusted=True)


@fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with closing(Ledger(path, site="hall", gate="door", new_epoch="e1", boot_id="b")) as writer:
        for number in range(12):
            writer.append(events.device_failed("camera", f"problem {number} 坏"), NOW)
    return path


def damage(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


def test_a_good_ledger_is_verified(ledger: Path) -> None:
    before = ledger.read_bytes()
    result = gate("ledger", "verify", ledger)
    assert result.exit_code == 0
    first, records, head, epoch = (line.split() for line in result.stdout.splitlines())
    assert (first, records, epoch) == (["ok"], ["records", "12"], ["epoch", "e1"])
    assert len(bytes.fromhex(head[1])) == 32
    assert ledger.read_bytes() == before


@mark.parametrize(
    ("statement", "bad"),
    [
        ("UPDATE records SET body = CAST(replace(body, 'problem 4', 'problem 5') AS BLOB) WHERE seq = 5", 5),
        ("DELETE FROM records WHERE seq = 7", 7),
        ("DELETE FROM records WHERE seq = 12", 12),
        ("UPDATE records SET seq = 13 WHERE seq = 12", 12),
        ("INSERT INTO records SELECT 13, body, hash FROM records WHERE seq = 12", 13),
        ("UPDATE head SET hash = x'00'", 13),
    ],
)
def test_the_first_bad_record_is_named(ledger: Path, statement: str, bad: int) -> None:
    damage(ledger, statement)
    result = gate("ledger", "verify", ledger)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"bad record {bad}: ")


BAD_BODIES = (
    "x'00'",
    "'text'",
    "7",
    "CAST('{\"data\": 1}' AS BLOB)",
    "x'ff7b7d'",
    f"CAST('{'[' * 9000}' AS BLOB)",
)


@mark.parametrize("body", BAD_BODIES)
def test_looking_at_a_damaged_ledger_shows_the_rest_and_is_status_1(ledger: Path, body: str) -> None:
    damage(ledger, f"UPDATE records SET body = {body} WHERE seq = 9")
    result = gate("ledger", "tail", ledger)
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert isinstance(gate("ledger", "export", ledger).exception, SystemExit | None)


def test_numbers_beyond_all_ledgers_are_refused(ledger: Path) -> None:
    for words in (("export", ledger, "--after", "9" * 20), ("tail", ledger, "-n", "9" * 20)):
        assert gate("ledger", *words).exit_code == 2


@mark.parametrize("command", ["verify", "tail", "export"])
@mark.parametrize("content", [None, b"", b"this is no database" * 200])
def test_a_file_that_is_no_ledger_is_status_1(tmp_path: Path, command: str, content: bytes | None) -> None:
    path = tmp_path / "x.db"
    if content is not None:
        path.write_bytes(content)
    result = gate("ledger", command, path)
    assert result.exit_code == 1
    assert str(path) in result.stderr
    assert "Traceback" not in result.output
    assert path.exists() == (content is not None)


def test_the_newest_records_are_shown_a_line_each(ledger: Path) -> None:
    lines = gate("ledger", "tail", ledger, "-n", 3).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["10", "11", "12"]
    assert "device.failed" in lines[-1]
    assert lines[-1].endswith("camera problem 11 坏")
    assert len(gate("ledger", "tail", ledger).stdout.splitlines()) == 10


def test_the_exact_bytes_are_exported(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as db:
        stored = [body for (body,) in db.execute("SELECT body FROM records ORDER BY seq")]
    assert gate("ledger", "export", ledger).stdout_bytes == b"".join(body + b"\n" for body in stored)
    assert gate("ledger", "export", ledger, "--after", 11).stdout_bytes == stored[-1] + b"\n"
    assert gate("ledger", "export", ledger, "--after", 12).stdout_bytes == b""


def test_an_export_into_a_closed_pipe_ends_quietly(ledger: Path) -> None:
    command = [sys.executable, "-c", "from gate.cli import main; main()", "ledger", "export", str(ledger)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        assert b"Traceback" not in process.stderr.read()


# read


def test_pictures_are_read_one_json_line_each(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), machine._built_in_code())
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "c.txt").write_text("no picture")
    os.mkfifo(tmp_path / "d.fifo")
    result = gate("read", "--json", tmp_path, tmp_path / "none.png")
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(row["file"]).name for row in rows] == ["a.png", "b.png", "c.txt", "d.fifo", "none.png"]
    assert all({"file", "reads", "outcome", "ms"} <= set(row) for row in rows)
    (code,) = rows[0]["reads"]
    assert set(code) == {"text", "bytes_base64", "decoder", "pass"}
    assert base64.b64decode(code["bytes_base64"]) == code["text"].encode() == machine.DECODED
    assert [row["outcome"] for row in rows[3:]] == ["not_a_file", "missing"]
    assert all(row["reads"] == [] for row in rows[1:])


def test_a_file_name_that_is_no_text_is_still_one_json_line(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\n.png"
    Path(os.fsdecode(name)).touch()
    done = subprocess.run(
        [sys.executable, "-c", "from gate.cli import main; main()", "read", "--json", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    (line,) = done.stdout.splitlines()
    assert os.fsencode(json.loads(line.decode("ascii"))["file"]) == name


def test_what_a_stranger_wrote_does_not_steer_the_terminal(tmp_path: Path) -> None:
    import segno

    segno.make("\x1b[2Jgone", micro=False).save(str(tmp_path / "a.png"), scale=6, border=4)
    result = gate("read", tmp_path)
    assert "\x1b" not in result.stdout
    assert "\\x1b[2Jgone" in result.stdout


# doctor


def test_the_doctor_without_a_configuration_is_status_2(tmp_path: Path) -> None:
    result = gate("doctor", "--config", tmp_path / "none.toml")
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert lines[0].startswith("failed   configuration")
    assert any("> no such file" in line for line in lines)
    assert lines[-1].startswith("32 checks: ")
    assert "1 failed" in lines[-1]


def test_the_doctor_beside_a_running_gate_is_status_0(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with Mosquitto(tmp_path / "broker") as broker, (tmp_path / "state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = gate("doctor", "--json", "--config", write_config(tmp_path, port=broker.port))
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"]) == (0, True)
    assert all(set(check) == {"name", "status", "value", "limit", "advice"} for check in found["checks"])
    assert {check["status"] for check in found["checks"]} == {"ok", "skipped"}


def test_the_doctor_s_warnings_are_status_1(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    path = write_config(tmp_path, more='[pins]\nfactory = "mock"')
    with Mosquitto(tmp_path / "broker") as broker, (tmp_path / "state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.write_text(path.read_text().replace("port = 1\n", f"port = {broker.port}\n"))
        result = gate("doctor", "--json", "--config", path)
    assert (result.exit_code, json.loads(result.stdout)["ok"]) == (1, False)


def test_the_doctor_says_what_to_do_about_what_failed(tmp_path: Path) -> None:
    result = gate("doctor", "--config", write_config(tmp_path, port=free_port()))
    assert result.exit_code == 2
    assert "> start the broker or check the port" in result.stdout
    assert "\x1b" not in result.stdout
