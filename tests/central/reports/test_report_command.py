"""`central report` as somebody calls it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from openpyxl import load_workbook

from central.cli import main
from central.keys import load_keys
from central.reports.keeping import ReportDesk
from central.store import Store, open_store
from tests.central.reports.town import SETTINGS, TownGate, ms


@pytest.fixture
def centre(tmp_path: Path) -> Path:
    """A centre as `central init` makes it, with one gate and one visit on 11 April 2022."""
    made = CliRunner().invoke(main, ["init", str(tmp_path)])
    assert made.exit_code == 0, made.output
    return tmp_path


@pytest.fixture
def store(centre: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{centre / 'central.db'}") as opened:
        yield opened


@pytest.fixture
def gate(store: Store) -> TownGate:
    gate = TownGate(store)
    gate.register()
    gate.visit(ms("2022-04-11T12:00"))
    gate.send(ms("2022-04-11T12:01"))
    gate.checkpoint(ms("2022-04-12T00:01"))
    return gate


def call(centre: Path, *arguments: object) -> Result:
    config = ["--config", str(centre / "central.toml")]
    return CliRunner().invoke(main, ["report", *config, *map(str, arguments)])


def documents(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_day_is_reported_as_json(centre: Path, gate: TownGate) -> None:
    (found,) = documents(call(centre, "--date", "2022-04-11", "--json"))
    assert (found["date"], found["level"], found["unit"], found["day_over"]) == ("2022-04-11", 1, "all", True)
    assert found["totals"]["day"]["visits"]["all"] == 1 and found["gates"]["vouched"] == 1


def test_an_empty_day_is_reported_with_proofs(centre: Path, gate: TownGate) -> None:
    gate.checkpoint(ms("2022-04-15T00:01"))
    (found,) = documents(call(centre, "--date", "2022-04-14", "--json"))
    assert found["zero"] and found["empty"] and found["gates"]["vouched"] == 1
    (proof,) = found["proofs"]
    assert proof["vouched"] and proof["checkpoint"]["size"] == 2


def test_a_store_without_anything_has_a_zero_report(centre: Path) -> None:
    (found,) = documents(call(centre, "--date", "2022-04-14", "--json"))
    assert found["zero"] and found["empty"] and found["proofs"] == []


def test_the_same_cut_off_gives_the_same_bytes(centre: Path, gate: TownGate) -> None:
    asked = ("--date", "2022-04-11", "--cut-off", "2022-04-12T09:00+08:00", "--json")
    assert call(centre, *asked).stdout_bytes == call(centre, *asked).stdout_bytes


@pytest.mark.parametrize(
    ("asked", "units"),
    [
        (["--level", 3], ["north/g-1", "west/g-1"]),
        (["--level", 2], ["north", "west"]),
        (["--site", "west"], ["west"]),
        (["--site", "west", "--gate", "g-1"], ["west/g-1"]),
        (["--site", "west", "--level", 3], ["west/g-1"]),
    ],
)
def test_units_are_chosen(
    centre: Path, store: Store, gate: TownGate, asked: list[object], units: list[str]
) -> None:
    TownGate(store, site="west").register()
    found = documents(call(centre, "--date", "2022-04-11", "--json", *asked))
    assert [document["unit"] for document in found] == units


def test_forms_are_written(centre: Path, gate: TownGate, tmp_path: Path) -> None:
    xlsx, html = tmp_path / "day.xlsx", tmp_path / "day.html"
    made = call(centre, "--date", "2022-04-11", "--xlsx", xlsx, "--html", html, "--lang", "en")
    assert made.exit_code == 0 and made.output == ""
    assert "Daily report of the entrances" in html.read_text()
    assert "Summary" in load_workbook(xlsx).sheetnames


def test_without_a_form_it_is_told_in_short(centre: Path, gate: TownGate) -> None:
    told = call(centre, "--date", "2022-04-11", "--lang", "en")
    assert "Zero report" in told.output and "       1  Visits" in told.output


def test_a_report_is_checked_with_the_public_keys_alone(centre: Path, gate: TownGate, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_bytes(call(centre, "--date", "2022-04-11", "--json").stdout_bytes)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "centre.json").write_bytes((centre / "centre.json").read_bytes())
    asked = ["report", "--check", str(report), "--keys", str(elsewhere)]
    checked = CliRunner().invoke(main, asked)
    assert checked.exit_code == 0 and checked.output.startswith("good: 2022-04-11 level 1 all")
    by_file = CliRunner().invoke(main, [*asked[:-1], str(elsewhere / "centre.json")])
    assert by_file.output == checked.output
    without = CliRunner().invoke(main, [*asked[:-2], "--config", str(tmp_path / "none.toml")])
    assert without.exit_code == 78 and "--keys centre.json" in without.output
    report.write_bytes(report.read_bytes().replace(b'"passed":1', b'"passed":0'))
    checked = CliRunner().invoke(main, asked)
    assert checked.exit_code == 1 and "sha256" in checked.output
    report.write_bytes(b"{")
    assert CliRunner().invoke(main, asked).exit_code == 1


def test_what_was_handed_in_can_be_had_again(centre: Path, store: Store, gate: TownGate) -> None:
    desk = ReportDesk(store, SETTINGS, load_keys(centre).sign)
    desk.tick(ms("2022-04-12T18:00"))
    (found,) = documents(call(centre, "--date", "2022-04-12", "--kept", "--json"))
    assert found["handed_in"]["late"] is False
    missing = call(centre, "--date", "2021-04-12", "--kept", "--json")
    assert missing.exit_code == 1 and "no report of 2021-04-12 was handed in" in missing.output


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        (["--date", "11.4.2022"], 2, "must be a day such as 2022-04-11"),
        (["--date", "2999-01-01"], 2, "begins after the cut-off"),
        (["--site", "nowhere"], 1, "no gate is known as nowhere"),
        (["--site", "north", "--gate", "g-9"], 1, "no gate is known as north/g-9"),
        (["--gate", "g-1"], 2, "also say --site"),
        (["--level", "1", "--site", "north"], 2, "level 1 is everything"),
        (["--cut-off", "2022-04-12T09:00"], 2, "does not say its offset"),
        (["--html", "/nowhere/day.html"], 1, "cannot be written"),
    ],
)
def test_wrong_use_is_answered_in_a_sentence(
    centre: Path, gate: TownGate, asked: list[str], status: int, said: str
) -> None:
    answered = call(centre, *asked)
    assert answered.exit_code == status and said in answered.output, answered.output


def test_one_file_holds_one_report(centre: Path, store: Store, gate: TownGate, tmp_path: Path) -> None:
    TownGate(store, site="west").register()
    answered = call(centre, "--level", 2, "--html", tmp_path / "day.html")
    assert answered.exit_code == 2 and "north, west" in answered.output
