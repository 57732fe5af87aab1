"""The demo as the README has it, without a terminal: `gate demo --headless`, as a process of its own."""

import json
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from gate.app.application import StateFolderError, claim
from gate.demo import morning as morning_module
from gate.demo import script
from gate.demo.broker import BrokerAddress, BrokerError
from gate.demo.health_service import StandInHealthService
from gate.demo.morning import GATE, SITE, run_morning
from gate.demo.script import MORNING, Scene, visitors
from gate.demo.witness import event_validator, visits_complete
from gate.demo.words import SUMMARY, WORDS
from gate.store.ledger import Ledger, entries, verify
from tests.brokers import HOST, Mosquitto, free_port, password_file

GATE_COMMAND = Path(sys.executable).with_name("gate")
PASSWORD = "p@ss:w/rd"
DEFAULT_VISITORS = 14


def gate(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([GATE_COMMAND, *map(str, arguments)], capture_output=True, check=False, timeout=100)


def demo(folder: Path, visitors: int, *more: object) -> tuple[dict[str, Any], list[bytes]]:
    """Return the summary and the lines of the events file, checked against the ledger."""
    state, file = folder / "state", folder / "events.jsonl"
    places = ("--events", file, "--state", state)
    done = gate("demo", "--headless", "--seed", "7", "--visitors", visitors, *places, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == b""
    lines = file.read_bytes().splitlines()
    assert gate("ledger", "export", state / "ledger.db").stdout == file.read_bytes()
    assert [event_validator()(line) for line in lines] == [None] * len(lines)
    assert len(visits_complete([json.loads(line) for line in lines])) == visitors
    return json.loads(done.stdout), lines


@pytest.mark.soak
def test_with_a_broker_of_ones_own_where_a_ledger_lies_already(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    Ledger(state / "ledger.db", site=SITE, gate=GATE, new_epoch="e1", boot_id="b").close()
    before = (state / "ledger.db").read_bytes()
    passwords = password_file(tmp_path / "broker", "user", PASSWORD)
    with Mosquitto(tmp_path / "broker", f"password_file {passwords}") as broker:
        url = f"mqtt://user:p%40ss%3Aw%2Frd@{HOST}:{broker.port}"
        summary, lines = demo(tmp_path, 1, "--broker", url)
    assert (state / "ledger-1.db").read_bytes() == before, "the earlier ledger is put aside as it was"
    assert summary == summary | {"visits": 1, "witnessed": 1, "ok": True, "problems": []}
    assert summary["events"] == summary["records"] == summary["proved"] == len(lines)


@pytest.mark.soak
def test_a_second_time_in_the_same_folder(tmp_path: Path) -> None:
    state = tmp_path / "state"
    _, lines = demo(tmp_path, 1)
    before = (state / "ledger.db").read_bytes()
    _, more = demo(tmp_path, 1)
    assert [entry.body for entry in entries(state / "ledger-1.db")] == lines
    assert (state / "ledger-1.db").read_bytes() == before, "the first ledger is put aside as it was"
    assert verify(state / "ledger-1.db").ok
    assert not set(lines) & set(more)


@pytest.mark.parametrize(
    "url", ["localhost:1883", "http://localhost", "mqtt://", "mqtt://host:99999", "mqtt://user@:1883"]
)
def test_a_bad_broker_url_is_wrong_use_and_touches_nothing(tmp_path: Path, url: str) -> None:
    done = gate("demo", "--headless", "--state", tmp_path / "state", "--broker", url)
    assert done.returncode == 2
    assert done.stderr.startswith(f"demo: {url}: ".encode())
    assert not (tmp_path / "state").exists()


def test_a_broker_that_is_not_there_is_named(tmp_path: Path) -> None:
    port = free_port()
    done = gate("demo", "--headless", "--state", tmp_path / "state", "--broker", f"mqtt://{HOST}:{port}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"demo: no broker at {HOST}:{port} (".encode())


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://host", BrokerAddress("host", 1883)),
        ("mqtt://host:1884", BrokerAddress("host", 1884)),
        ("mqtt://u:p%40ss@host", BrokerAddress("host", 1883, "u", "p@ss")),
        ("mqtt://u@[::1]:5", BrokerAddress("::1", 5, "u")),
    ],
)
def test_broker_urls(url: str, address: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == address


def run_here(
    state: Path,
    events: Path | None = None,
    *,
    count: int = 1,
    lang: str = "en",
    headless: bool = True,
    port: int | None = None,
    with_centre: bool = False,
) -> bool:
    address = BrokerAddress(HOST, port or free_port())
    return run_morning(
        count=count,
        seed=1,
        lang=lang,
        headless=headless,
        state=state,
        events_file=events,
        address=address,
        with_centre=with_centre,
    )


Visits = list[tuple[list[dict[str, Any]], str]]


def visits_with_tokens(lines: list[bytes]) -> Visits:
    """Return the decisions and the end of every visit in which a national code counted, in order."""
    events = [json.loads(line) for line in lines]
    told = [event["data"] for event in events if event["type"].startswith("hg.visit.")]
    visits = [list(records) for _, records in groupby(told, key=lambda data: data["visit"])]
    return [
        (records[:-1], records[-1]["result"])
        for records in visits
        if (records[0]["evidence"]["code"] or {}).get("format") == "cn_health"
    ]


def ends(visits: Visits, **code: str) -> list[tuple[list[str], str]]:
    """Return stages and end of those visits whose code was worth this."""
    return [
        ([decided["stage"] for decided in decisions], end)
        for decisions, end in visits
        if code.items() <= decisions[-1]["evidence"]["code"].items()
    ]


def test_the_ledger_of_a_running_gate_is_not_put_aside(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"in use")
    with claim(tmp_path), pytest.raises(StateFolderError, match="another gate is running"):
        run_here(tmp_path)
    assert (tmp_path / "ledger.db").read_bytes() == b"in use"
    with pytest.raises(BrokerError):
        run_here(tmp_path)
    assert (tmp_path / "ledger-1.db").read_bytes() == b"in use"


def test_the_ledger_of_another_gate_is_not_put_aside(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.db", site="hall", gate="north", new_epoch="e1", boot_id="b").close()
    before = (tmp_path / "ledger.db").read_bytes()
    with pytest.raises(StateFolderError, match="another gate"):
        run_here(tmp_path)
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_an_events_file_that_cannot_be_written_is_known_before_the_morning(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_here(tmp_path / "state", tmp_path / "no-folder" / "events")


class Watched(StandInHealthService):
    """A stand-in that says what came of it."""

    last: StandInHealthService

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        type(self).last = self


REST = MORNING[DEFAULT_VISITORS:]


def play_here(
    monkeypatch: pytest.MonkeyPatch, folder: Path, scenes: tuple[Scene, ...], *, lang: str = "en"
) -> list[bytes]:
    """Play these scenes in this process, told aloud, and return the events."""
    monkeypatch.setattr(morning_module, "StandInHealthService", Watched)
    monkeypatch.setattr(morning_module, "visitors", lambda count, _seed: iter(scenes[:count]))
    events = folder / "events.jsonl"
    with Mosquitto(folder / "broker") as broker:
        done = run_here(
            folder / "state",
            events,
            count=len(scenes),
            lang=lang,
            headless=False,
            port=broker.port,
            with_centre=lang == "zh",
        )
    assert done
    return events.read_bytes().splitlines()


@pytest.mark.soak
def test_the_rest_of_the_script_in_english(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = play_here(monkeypatch, tmp_path, REST)
    told = capsys.readouterr().out
    visits = visits_with_tokens(lines)
    assert len(visits) == Watched.last.asked == 3, "the old picture is not even asked about"
    assert ends(visits, status="green", authenticity="verified") == [(["authorised"], "passed")] * 2
    assert ends(visits, reason="service_timeout") == [(["referred", "authorised"], "passed")]
    assert "made 24 h ago" in told
    assert "the city's service says green, been in a risk area, tested negative 20 h ago" in told
    assert "hears  nothing: the city's service does not answer in time" in told
    assert "questions to the verify service: 3" in told
    assert f"the centre has proved and signed for {len(lines)} records" in told
    assert "signed  the centre has signed for the records up to" in told
    assert "demo-hall/gate-1" not in told, "nobody has asked to see the centre's table"


@pytest.mark.soak
def test_green_and_red_in_chinese(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    play_here(monkeypatch, tmp_path, (script.CITY_GREEN, script.CITY_RED), lang="zh")
    told = capsys.readouterr().out
    assert told.count("demo-hall/gate-1") == 2, "the centre's table after each visitor"
    signed = re.findall(r"签收到第 (\d+) 条（共 (\d+) 条）\n *gate .*\n.*ago +(\d+) +(\d+) +(\d+) ", told)
    assert [len(set(counts)) for counts in signed] == [1, 1], "told and shown are the same"
    told = "\n".join(line for line in told.splitlines() if "demo-hall/gate-1" not in line)
    assert Watched.last.asked == 2
    assert "答复  市里的核验服务：绿码" in told
    assert "答复  市里的核验服务：红码" in told
    assert "待办  TR-2  立即上报防控工作组" in told
    assert "核验服务被查询 2 次" in told
    story, _, _ = told.partition("总结")  # which names the folder of the test
    assert not [word for word in ("green", "red", "CN-31", "code") if word in story]


def test_who_comes_follows_from_the_seed_alone() -> None:
    assert tuple(visitors(20, 1)) == MORNING
    assert [*visitors(60, 7)][:40] == [*visitors(40, 7)]
    assert [*visitors(60, 7)] != [*visitors(60, 8)]


def test_the_words_of_both_languages_are_the_same_ones() -> None:
    asked_for = {key for key in WORDS["en"] if key not in WORDS["zh"]}
    assert not asked_for
    assert SUMMARY["en"].keys() == SUMMARY["zh"].keys()


@pytest.mark.soak
def test_the_morning_by_default(tmp_path: Path) -> None:
    summary, lines = demo(tmp_path, DEFAULT_VISITORS)
    assert set(summary) == {"visits", "witnessed", "events", "records", "proved", "ok", "problems", "ledger"}
    assert summary["visits"] == summary["witnessed"] == DEFAULT_VISITORS
    assert summary["ok"]
    assert summary["problems"] == []
    assert summary["events"] == summary["records"] == summary["proved"] == len(lines)
    events = [json.loads(line) for line in lines]
    results = [event["data"]["result"] for event in events if event["type"] == "hg.visit.closed.v1"]
    assert {"passed", "not_passed", "forced", "left"} <= set(results)
    stages = [event["data"]["stage"] for event in events if event["type"] == "hg.visit.decided.v1"]
    assert {"authorised", "referred", "refused"} <= set(stages)
    kinds = {event["type"] for event in events}
    assert {"hg.fire.alarm.v1", "hg.device.failed.v1", "hg.device.recovered.v1"} <= kinds
    visits = visits_with_tokens(lines)
    by_staff, turned_away = ["referred", "authorised"], ["refused"]
    assert ends(visits, status="green", authenticity="verified") == [(["authorised"], "passed")]
    assert ends(visits, status="red") == [(turned_away, "left")]
    assert ends(visits, status="yellow") == [(turned_away, "forced")]
    assert ends(visits, authenticity="service_unreachable") == [(by_staff, "passed")]
    persons = [event["data"]["evidence"].get("person") for event in events if "evidence" in event["data"]]
    assert "staff" in persons
    checked = gate("ledger", "verify", tmp_path / "state" / "ledger.db")
    assert checked.returncode == 0
    assert checked.stdout.startswith(b"ok\nrecords %d\n" % len(lines))
