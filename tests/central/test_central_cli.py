"""The `central` command: every subcommand by itself, with the status that a script reads."""

import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.cli import main
from central.clock import SystemClock
from central.keys import load_keys
from central.orders.book import Wanted, make
from central.receipts import Signer
from central.status import span
from central.store import AlarmKind, Arrived, Store, Suspicion, open_store
from gate.checked import EX_CONFIG
from gate.core.chain import genesis, link
from gate.core.commands import Name
from gate.core.delivery import Ask, Checkpoint, Why
from gate.core.events import Event, Kind, Origin, encode
from gate.core.moment import Moment
from tests.central.running import write_config

NOW_MS = SystemClock().now_ms()


def central(*arguments: str | Path, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def good(*arguments: str | Path, stdin: bytes = b"") -> str:
    done = central(*arguments, stdin=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    good("init", tmp_path / "centre")
    return tmp_path / "centre"


@pytest.fixture
def config(folder: Path) -> Path:
    return folder / "central.toml"


KEY = Ed25519PrivateKey.generate()
IDENTITY = {"site": "north", "gate": "g-1", "public_key": KEY.public_key().public_bytes_raw().hex()}
ORIGIN = Origin("north", "g-1", "e1", "b")
BODIES = [
    encode(
        Event(Kind.GATE_STOPPED, {}), Origin("north", "g-1", "e1", "b"), seq, Moment(0, NOW_MS + seq, True)
    )
    for seq in (1, 2, 3)
]


def fill(folder: Path) -> None:
    """Store three records and a checkpoint that proves them, and keep its receipt."""
    digest = genesis("e1")
    for body in BODIES:
        digest = link(digest, body)
    stated = Checkpoint("north", "g-1", "e1", 3, digest, NOW_MS, True, "b", Why.STOP, 2)
    with opened(folder) as store:
        store.ingest([Arrived("north", "g-1", body) for body in BODIES], NOW_MS)
        outcome = store.checkpoint(stated.signed(KEY), "north", "g-1", NOW_MS)
        assert outcome.state is not None
        made = Signer(load_keys(folder).sign).sign(outcome.state, Ask.NOTHING, NOW_MS)
        store.keep_receipts((receipt.receipt, receipt.message) for receipt in made)


def opened(folder: Path) -> Store:
    return open_store(f"sqlite:///{folder}/central.db")


@pytest.fixture
def filled(folder: Path, config: Path) -> Path:
    good("gates", "add", "-", "--config", config, stdin=json.dumps(IDENTITY).encode())
    fill(folder)
    return config


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_init_makes_everything_once(tmp_path: Path) -> None:
    said = good("init", tmp_path / "centre")
    for name in ("centre.key", "seal.key", "centre.json", "central.toml"):
        assert f"made {tmp_path / 'centre' / name}" in said
    before = contents(tmp_path / "centre")
    assert {"ca.key", "ca.pem", "centre.key", "centre.pem"} <= {path.name for path in before}
    (tmp_path / "centre" / "centre.json").unlink()
    again = good("init", tmp_path / "centre").splitlines()
    assert again[:4] == [
        f"kept {tmp_path}/centre/centre.key as it was", f"kept {tmp_path}/centre/seal.key as it was",
        f"made {tmp_path}/centre/centre.json", f"kept {tmp_path}/centre/central.toml as it was",
    ]  # fmt: skip
    assert contents(tmp_path / "centre") == before
    assert "good" in good("check-config", "--config", tmp_path / "centre" / "central.toml")
    (tmp_path / "file").write_text("")
    assert central("init", tmp_path / "file" / "centre").exit_code == 1


def test_addresses_of_alerts_are_checked_without_being_shown(config: Path, folder: Path) -> None:
    good_ones = ["json://127.0.0.1/secretword", "mailtos://user:secretword@example.org?to=duty@example.org"]
    bad_ones = ["dingtalk://secretword!", "secretword", "tgram://secretword", "nosuch://secretword@host"]
    role = "\n[[alerts.role]]\nname = {}\nurls = {}\n"
    config.write_text(config.read_text() + role.format('"day"', json.dumps(good_ones)))
    assert "good" in good("check-config", "--config", config)
    config.write_text(config.read_text() + role.format('"night"', json.dumps(bad_ones)))
    (folder / "seal.key").unlink()
    done = central("check-config", "--config", config)
    assert (done.exit_code, done.stdout) == (EX_CONFIG, "")
    lines = done.stderr.splitlines()
    said = [line.removeprefix(f"{config}: alerts.role 'night': ") for line in lines[:4]]
    for index, words in enumerate(
        ("this dingtalk:// address is not", "this begins", "this tgram:// address is not", "this begins")
    ):
        assert said[index].startswith(f"urls no. {index + 1}: {words}"), said[index]
        assert "appriseit.com/services" in said[index]
    assert "seal.key" in lines[4], "and what else is wrong is said as well"
    assert "secretword" not in done.output


def test_gates_come_and_go(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "identity"
    path.write_text(json.dumps(IDENTITY))
    assert "north/g-1: registered" in good("gates", "add", path, "--config", config, "--note", "door")
    [line] = good("gates", "list", "--json", "--config", config).splitlines()
    listed = json.loads(line)
    assert (listed["public_key"], listed["note"], listed["revoked_ms"]) == (
        IDENTITY["public_key"],
        "door",
        None,
    )
    assert listed["kid"] in good("gates", "list", "--config", config)
    assert central("gates", "revoke", "north", "g-1", "--key", "00000000", "--config", config).exit_code == 1
    assert "1 key revoked" in good(
        "gates", "revoke", "north", "g-1", "--key", listed["kid"], "--config", config
    )
    assert "revoked" in good("gates", "list", "--config", config)
    assert central("gates", "revoke", "north", "g-1", "--config", config).exit_code == 1
    assert central("gates", "add", "-", "--config", config, stdin=b"junk").exit_code == 2


def test_status_tells_who_has_how_much_outstanding(filled: Path, folder: Path) -> None:
    with opened(folder) as store:
        store.raise_alarm(Suspicion(AlarmKind.MISSED, "north", "g-1", "", "silent"), NOW_MS)
        extra = BODIES[0].replace(b"g-1", b"g-2")
        store.ingest([Arrived("north", "g-2", extra)], NOW_MS)
    first, second = json.loads(good("status", "--json", "--config", filled))
    assert (first["gate"], first["identity"], first["stated"], first["proved"]) == ("g-1", "registered", 3, 3)
    assert (first["receipted"], first["backlog"], first["alarms"]) == (2, 0, ["silent"])
    assert (second["identity"], second["proved"], second["backlog"]) == ("unknown", 0, 1)
    assert first["stopped_ms"] == NOW_MS
    said = good("status", "--config", filled)
    assert "north/g-1" in said
    assert "2 gates, 1 stopped, 1 record outstanding, 2 alarms:" in said
    assert "north/g-1  missed: the gate is silent, raised " in said
    good("gates", "revoke", "north", "g-1", "--config", filled)
    assert json.loads(good("status", "--json", "--config", filled))[0]["identity"] == "revoked"


def test_status_of_nobody_says_what_to_do(config: Path) -> None:
    assert "gate identity" in good("status", "--config", config)


@pytest.mark.parametrize(
    ("ms", "words"),
    [(-5, "0 s"), (119_000, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"), (200_000_000, "2 d")],
)
def test_spans_are_short(ms: int, words: str) -> None:
    assert span(ms) == words


def test_alarms_are_listed_and_looked_into(filled: Path, folder: Path) -> None:
    assert good("alarms", "--config", filled) == ""
    with opened(folder) as store:
        about = Suspicion(AlarmKind.FALSE, "north", "g-1", "e1", "altered", 2, 3, {"why": "see"})
        alarm = store.raise_alarm(about, NOW_MS)
        assert alarm
    said = good("alarms", "--config", filled)
    assert said.startswith(
        f"{alarm.id}  false/altered  north/g-1 ledger e1 records 2-3: other bytes for a proved record"
    )
    assert said.endswith("+08:00\n    to do: both are kept; examine the gate\n"), "and no raw evidence"
    assert '    raised for: {"why": "see"}' in good("alarms", "--all", "--config", filled)
    listed = json.loads(good("alarms", "--json", "--config", filled))
    assert (listed["kind"], listed["first"], listed["evidence"]) == ("false", 2, {"why": "see"})
    for number, by in ((f"{2**63}", "Li"), (str(alarm.id), " "), (str(alarm.id), "L\x1b[2J")):
        wrong = central("alarms", "--config", filled, "clear", number, "--by", by, "--reason", "a test")
        assert wrong.exit_code == 2
    clear = ("alarms", "--config", filled, "clear", str(alarm.id), "--by", "Li", "--reason", "a test")
    assert "over" in good(*clear)
    assert central(*clear).exit_code == 1
    assert good("alarms", "--config", filled) == ""
    over = good("alarms", "--all", "--config", filled)
    assert ", over " in over
    assert "\n    over because: a test (Li)\n" in over
    assert "to do" not in over
    listed = json.loads(good("alarms", "--all", "--json", "--config", filled))
    assert (listed["cleared_by"], listed["reason"]) == ("Li", "a test")


def test_verify_says_whole_or_what_is_wrong(filled: Path, folder: Path) -> None:
    said = good("verify", "--config", filled)
    assert said.startswith("1 stream, 3 records, 0 parked, 1 checkpoint, 1 receipt, 0 attachments, ")
    assert said.endswith(": whole\n")
    counts = json.loads(good("verify", "--json", "--config", filled))
    assert (counts["records"], counts["receipts"], counts["problems"]) == (3, 1, 0)
    assert (counts["commands"], counts["access_entries"]) == (0, 0)
    with opened(folder) as store, store.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE records SET body = replace(body, 'stopped', 'st0pped') WHERE seq = 2"
        )
    done = central("verify", "--config", filled)
    assert done.exit_code == 1
    assert "north/g-1 e1" in done.stderr
    lines = [json.loads(line) for line in central("verify", "--json", "--config", filled).stdout.splitlines()]
    assert lines[-1]["problems"] == len(lines) - 1 > 0


def test_verify_checks_the_commands_as_well(filled: Path, folder: Path) -> None:
    with opened(folder) as store:
        wanted = Wanted("north", "g-1", Name.CHECKPOINT, {}, "", "Li", 120)
        make(store.engine, load_keys(folder).sign, wanted, NOW_MS)
    assert "1 command," in good("verify", "--config", filled)
    with opened(folder) as store, store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE commands SET name = 'resume'")
    done = central("verify", "--config", filled)
    assert (done.exit_code, "command_altered: north/g-1 e1" in done.stderr) == (1, True)


def test_export_as_lines(filled: Path) -> None:
    lines = [json.loads(line) for line in good("export", "--config", filled).splitlines()]
    assert [line["record"] for line in lines] == [json.loads(body) for body in BODIES]
    assert set(lines[0]) == {"site", "gate", "epoch", "seq", "hash", "record"}
    assert good("export", "--jsonl", "--config", filled) == good("export", "--config", filled)


def test_export_as_csv(filled: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(good("export", "--csv", "--config", filled))))
    assert [row["record"].encode() for row in rows] == BODIES
    assert (rows[0]["seq"], rows[0]["kind"], rows[0]["abnormal"]) == ("1", "gate.stopped", "0")


def test_export_of_a_part(filled: Path) -> None:
    def seqs(*options: str) -> list[Any]:
        return [json.loads(line)["seq"] for line in good("export", "--config", filled, *options).splitlines()]

    assert seqs("--site", "north", "--gate", "g-1") == [1, 2, 3]
    assert seqs("--to", "2020-01-01T00:00+08:00") == []
    assert seqs("--from", "2020-01-01T00:00Z") == [1, 2, 3]
    for text in ("yesterday", "2020-01-01T00:00"):
        assert central("export", "--config", filled, "--from", text).exit_code == 2


@pytest.mark.parametrize("form", ["--jsonl", "--csv"])
def test_an_export_of_nobody_or_nothing_says_so(filled: Path, config: Path, form: str) -> None:
    export = ("export", form, "--config", filled)
    done = central(*export, "--site", "nort")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no site 'nort'; did you mean 'north'?" in done.stderr
    assert (
        "there is no gate 'g-9' at the site 'north'"
        in central(*export, "--site", "north", "--gate", "g-9").stderr
    )
    done = central(*export, "--to", "2020-01-01T00:00+08:00")
    assert (done.exit_code, done.stderr) == (0, "no records\n")
    assert central(*export, "--gate", "g-1").stderr == ""


def test_an_empty_store_exports_nothing(config: Path) -> None:
    done = central("export", "--config", config)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no records\n")


def test_all_that_is_wrong_is_said_in_one_go(config: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (folder / "site.key").write_text("no key")
    (folder / "seal.key").unlink()
    text = config.read_text().replace("central.db", "missing/central.db")
    config.write_text(
        f"""{text}
[watch]
late_s = 1
[reports]
folder = "{tmp_path}/file/reports"
[[site]]
name = "north"
key_file = "{folder}/site.key"
[[alerts.role]]
name = "duty"
urls = ["nosuch://host"]
"""
    )
    done = central("check-config", "--config", config)
    assert (done.exit_code, done.stdout) == (EX_CONFIG, "")
    lines = done.stderr.splitlines()
    for words in (
        "watch.late_s",
        "alerts.role 'duty': urls no. 1: this begins",
        f"centre.store: there is no folder {folder}/missing; make it first",
        f"reports.folder: {tmp_path}/file is no folder",
        "seal.key",
        "site.key",
    ):
        assert any(words in line for line in lines), words
    assert len(lines) == 6


def test_the_manual_names_every_command_with_an_example_that_can_be_given(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manual = Path("docs/centre.md").read_text()
    rows = re.findall(r"^\| `central ([^`]+)` \|[^|]+\| `central ([^`]+)` \|$", manual, re.MULTILINE)
    assert {name.split()[0] for name, _ in rows} | {"init", "run"} == main.commands.keys()
    monkeypatch.setenv("CENTRAL_CONFIG", str(filled))
    monkeypatch.chdir(tmp_path)  # one of them writes a file
    for name, example in rows:
        assert example.startswith(name)
        done = central(*("ab" * 8 if word == "S" else word for word in shlex.split(example)))
        assert "Usage:" not in done.output, example
        assert isinstance(done.exception, SystemExit | None), example


@pytest.mark.parametrize(
    "arguments",
    [
        ("commands", "--site", "\udcff"), ("export", "--gate", "\udcff"),
        ("gates", "revoke", "\udcff", "g-1"), ("gates", "add", "-", "--note", "a\udc80b"),
        ("command", "resume", "north", "\udcff", "--by", "Li"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_said_to_be_none(filled: Path, arguments: tuple[str, ...]) -> None:
    place = 2 if arguments[0] in {"gates", "command"} else 1
    done = central(*arguments[:place], "--config", filled, *arguments[place:])
    assert (done.exit_code, "is no text in UTF-8" in done.stderr) == (2, True)


def test_without_a_configuration_or_a_store_it_says_what_to_do(tmp_path: Path, folder: Path) -> None:
    for command in ("run", "status", "verify", "export", "check-config", "alarms"):
        done = central(command, "--config", tmp_path / "none.toml")
        assert done.exit_code == EX_CONFIG
        assert "central init" in done.stderr
    config = write_config(folder, 1883, store="sqlite:////nowhere/at/all.db")
    done = central("status", "--config", config)
    assert (done.exit_code, "nowhere" in done.stderr) == (1, True)
    assert central("run", "--config", config).exit_code == 1
    (folder / "seal.key").unlink()
    for command in ("run", "check-config"):
        done = central(command, "--config", config)
        assert (done.exit_code, "seal.key" in done.stderr) == (EX_CONFIG, True)
