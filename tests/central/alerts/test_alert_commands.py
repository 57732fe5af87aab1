"""`central alerts` and `central tasks` on a store of each kind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from central.alerts.book import Book
from central.alerts.commands import alerts, tasks
from central.alerts.rules import classify
from central.store import Store
from gate.checked import EX_CONFIG
from tests.central.alerts.alerting import NOON_MS, Office, event, fever, record
from tests.central.alerts.test_alert_outbox import SETTINGS

Command = Callable[..., Result]


@pytest.fixture
def run(store: Store, store_url: str, tmp_path: Path) -> Command:
    config = tmp_path / "central.toml"
    config.write_text(
        f'[centre]\nkeys_dir = "{tmp_path}"\nstore = "{store_url}"\n[mqtt]\nhost = "localhost"\n'
    )

    def call(group: str, *arguments: str, reports: str = "") -> Result:
        if reports:
            with config.open("a") as file:
                file.write(f"[reports]\n{reports}\n")
        command = {"alerts": alerts, "tasks": tasks}[group]
        return CliRunner().invoke(command, ["--config", str(config), *arguments])

    return call


def test_an_empty_book_says_nothing(run: Command) -> None:
    for group in ("alerts", "tasks"):
        result = run(group)
        assert (result.exit_code, result.output) == (0, "")


def test_the_list_says_what_where_when_and_who_was_told(store: Store, run: Command) -> None:
    office = Office(store.engine, SETTINGS)
    office.after()
    office.clock.ms += 1200
    office.dispatcher.take([record(fever())])
    office.after()
    assert run("alerts").output == (
        "1  2026-11-22 12:00:00+08:00  alarm  fever  hall-east/gate_1  "
        "体温异常 (CH-2)  [told 2/2 duty after 1.2 s]\n"
    )
    assert run("alerts", "--lang", "en").output.count("fever, measured twice (CH-2)") == 1
    line = json.loads(run("alerts", "--json").output)
    assert (line["id"], line["kind"], line["delay_ms"], line["roles"]) == (1, "fever", 1200, ["duty"])


def test_that_nobody_was_told_and_that_the_time_is_unsure_is_said(store: Store, run: Command) -> None:
    Book(store.engine).note(classify(event(fever(), trusted=False)), NOON_MS)
    assert "12:00:00+08:00?  alarm" in run("alerts").output
    assert "[told nobody]" in run("alerts").output


def test_language_and_zone_are_those_of_the_reports(store: Store, run: Command) -> None:
    Book(store.engine).note(classify(event(fever())), NOON_MS)
    listed = run("alerts", reports='lang = "en"\ntime_zone = "Europe/Berlin"').output
    assert "05:00:00+01:00  alarm  fever  hall-east/gate_1  fever, measured twice" in listed
    assert "体温异常" in run("alerts", "--lang", "zh").output
    assert "+01:00  hall-east/gate_1  CH-3  Disinfect the measuring point" in run("tasks").output
    assert run("alerts", "ack", "1", "--by", "Wang").output.strip().endswith(("+01:00", "+02:00"))


def test_taking_on_and_ticking_off_to_the_end(store: Store, run: Command) -> None:
    Book(store.engine).note(classify(event(fever())), NOON_MS)
    result = run("alerts", "ack", "1", "--by", "Wang")
    assert (result.exit_code, result.output.startswith("1: taken on by Wang, 20")) == (0, True)
    assert "taken on by Wang" in run("alerts").output
    assert run("alerts", "ack", "1", "--by", "Li").output.startswith("1: already taken on by Wang")
    listed = [json.loads(line) for line in run("tasks", "--json").output.splitlines()]
    assert [task["rule"] for task in listed] == ["CH-3", "CH-4"]
    assert "Disinfect the measuring point" in run("tasks", "--lang", "en").output
    result = run("tasks", "done", "1", "2", "--by", "Li")
    assert [line.split(",")[0] for line in result.output.splitlines()] == ["1: done by Li", "2: done by Li"]
    assert (run("alerts").output, run("tasks").output) == ("", "")


def test_a_storm_is_answered_at_once(store: Store, run: Command) -> None:
    found = [alert for seq in range(1, 31) for alert in classify(event(fever(visit=f"v-{seq}"), seq=seq))]
    Book(store.engine).note([*found, *classify(event(fever(gate="gate_2"), seq=1))], NOON_MS)
    result = run("alerts", "ack", "3", "--alike", "--by", "Wang")
    assert len(result.output.splitlines()) == 30
    assert sum(alert.acknowledged_by is None for alert in Book(store.engine).open_alerts()) == 1


@pytest.mark.parametrize(("group", "verb"), [("alerts", "ack"), ("tasks", "done")])
def test_a_number_that_is_none_is_named_and_the_others_are_done(
    store: Store, run: Command, group: str, verb: str
) -> None:
    Book(store.engine).note(classify(event(fever())), NOON_MS)
    result = run(group, verb, "77", "1", "78", "--by", "Wang")
    assert result.exit_code == 1
    assert "there is no number 77, 78" in result.output
    assert "1: " in result.output
    assert run("alerts", "ack", "77", "--alike", "--by", "Wang").exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("ack", "1"),
        ("ack", "--by", "Wang"),
        ("ack", "x", "--by", "Wang"),
        ("ack", "0", "--by", "Wang"),
        ("ack", f"{2**63}", "--by", "Wang"),
        ("ack", "1", "--by", " "),
        ("ack", "1", "--by", "W\x1b[2J"),
        ("ack", "1", "--by", "W" * 65),
    ],
)
def test_wrong_use_is_status_2(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(alerts, arguments).exit_code == 2


def test_a_configuration_that_is_none_is_status_78(tmp_path: Path) -> None:
    result = CliRunner().invoke(alerts, ["--config", str(tmp_path / "none.toml")])
    assert (result.exit_code, "no such file" in result.output) == (EX_CONFIG, True)


def test_a_store_that_cannot_be_used_is_status_1(tmp_path: Path) -> None:
    config = tmp_path / "central.toml"
    config.write_text(
        f'[centre]\nkeys_dir = "k"\nstore = "sqlite:///{tmp_path}/no/central.db"\n[mqtt]\nhost = "h"\n'
    )
    result = CliRunner().invoke(alerts, ["--config", str(config)])
    assert (result.exit_code, "there is no folder" in result.output) == (1, True)
