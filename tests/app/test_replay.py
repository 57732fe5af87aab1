"""The past judged again: by the same plan as it was, by another one with names and rules, damage counted."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st

from gate.app.replay import Replay
from gate.app.simulation import WatchedThermometer
from gate.cli import main
from gate.config import load_policy, policy_names
from gate.core import events
from gate.core.codes.model import (
    Authenticity,
    CodeResult,
    Format,
    Freshness,
    LabTest,
    Reason,
    Status,
    Travel,
)
from gate.core.events import Event, Stage
from gate.core.evidence import (
    Appointment,
    AttendantWord,
    Evidence,
    HandCheck,
    HouseholdPass,
    MaskStatus,
    Reading,
)
from gate.core.moment import Moment
from gate.core.policy import Policy, policy_hash
from gate.core.rules import decide
from gate.ports import Entry
from gate.sim.faults import FAULT_KINDS
from gate.sim.world import Setup, Simulation
from gate.store.ledger import Ledger, entries

OLD = load_policy("county-hall")
WALL_MS = 1_709_164_800_000
GREEN = CodeResult(
    Format.HOME, Reason.OK, Status.GREEN, Authenticity.VERIFIED, Freshness.CURRENT, issuer="county"
)
FINE = Evidence(
    (Reading(3650, 3640, 3660),),
    GREEN,
    mask=MaskStatus.WORN,
    registered=frozenset({"name", "phone"}),
    travel=Travel.CLEAR,
    at_s=WALL_MS / 1000,
)
FEVER = replace(FINE, measurements=(Reading(3800, 3790, 3810), Reading(3790, 3780, 3800)))


def visit(number: int) -> str:
    return f"0a1b2c3d-{number:06d}"


def decided(number: int, evidence: Evidence, plan: Policy = OLD) -> Event:
    decision = decide(plan, policy_hash(plan), evidence)
    stage = {"admit": Stage.AUTHORISED, "refuse": Stage.REFUSED}.get(decision.verdict, Stage.REFERRED)
    return events.visit_decided(visit(number), stage, decision, evidence, (), 1500)


def written(path: Path, made: Iterable[Event]) -> Path:
    ledger = Ledger(path, site="hall", gate="g1", new_epoch="epoch", boot_id="boot")
    with contextlib.closing(ledger):
        for event in made:
            ledger.append(event, Moment(1, WALL_MS, clock_trusted=True))
    return path


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A morning of people and faults at the real actor, with full disks, wrong clocks and power cuts."""
    folder = tmp_path_factory.mktemp("simulated")
    setup = Setup(OLD, 7, 2, FAULT_KINDS - {"centre"}, WatchedThermometer, folder)
    assert Simulation(setup).run().violations == ()
    return folder / "ledger.db"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Four visitors; the third is with the person on duty before being let in."""
    unregistered = replace(FINE, registered=frozenset())
    vouched = replace(unregistered, attendant=AttendantWord.CONFIRMED, by_hand=frozenset(HandCheck))
    made = [
        events.gate_stopped(),
        decided(1, FINE),
        decided(2, FEVER),
        decided(3, unregistered),
        events.anomaly("test", "between"),
        decided(3, vouched),
        decided(4, replace(FINE, mask=MaskStatus.MISSING)),
    ]
    return written(tmp_path / "ledger.db", made)


def damage(path: Path, seq: int, body: bytes | str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE records SET body = ? WHERE seq = ?", (body, seq))


def gate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["replay", *map(str, arguments)])


def summed(*arguments: object) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    result = gate("--json", *arguments)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return result.exit_code, lines[:-1], lines[-1]


# --- the same plan


def test_the_same_plan_decides_every_simulated_visit_as_it_did(simulated: Path) -> None:
    status, differences, sums = summed("--policy", OLD.name, simulated)
    assert (status, differences) == (0, [])
    assert sums["visits"] > 100
    assert (sums["different"], sums["unreadable"], sums["irreproducible"]) == (0, [], [])
    late = [
        entry
        for entry in entries(simulated)
        if b'"late":true' in entry.body and b"visit.decided" in entry.body
    ]
    assert late  # those too, although they say when they were written


def test_in_words(simulated: Path) -> None:
    result = gate("--policy", OLD.name, simulated)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].endswith(
        "visits judged by county-hall, version 2: none would have been treated differently"
    )
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("name", policy_names())
def test_each_plan_reproduces_its_own_decisions(name: str, tmp_path: Path) -> None:
    plan = load_policy(name)
    nothing = Evidence(at_s=FINE.at_s)
    made = [decided(number, evidence, plan) for number, evidence in enumerate((FINE, FEVER, nothing))]
    assert summed("--policy", name, written(tmp_path / "ledger.db", made))[0] == 0


@pytest.mark.parametrize(
    ("place", "value"), [("verdict", "refer"), ("disposition", "fever_clinic"), ("findings", [])]
)
def test_a_decision_that_the_same_plan_does_not_make_again_is_a_fault(
    tmp_path: Path, place: str, value: object
) -> None:
    event = decided(1, FINE)
    path = written(tmp_path / "ledger.db", [event, replace(event, data={**event.data, place: value})])
    status, differences, sums = summed("--policy", OLD.name, path)
    assert (status, sums["irreproducible"]) == (1, [2])
    assert len(differences) == (0 if place == "findings" else 1)
    result = gate("--policy", OLD.name, path)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "the same plan now judges otherwise: 1 record (2)"


# --- another plan


def test_another_plan_says_who_and_by_which_rule(ledger: Path) -> None:
    status, differences, sums = summed("--policy", "checkpoint", ledger)
    assert status == 0
    first, second = differences
    assert first == {
        "seq": 2,
        "time": "2024-02-29T00:00:00.000+00:00",
        "visit": visit(1),
        "old": {"verdict": "admit", "disposition": "none"},
        "new": {"verdict": "refer", "disposition": "none"},
        "gone": [],
        "came": ["CP-2:registration_missing"],
    }
    assert (second["seq"], second["new"]["disposition"]) == (3, "fever_clinic")
    assert second["gone"] == ["CH-2:temperature_fever"]
    assert second["came"] == ["CP-2:registration_missing", "CP-3:temperature_fever"]
    assert sums == {
        "policy": "checkpoint",
        "visits": 4,
        "different": 2,
        "gone": {"CH-2:temperature_fever": 1},
        "came": {"CP-2:registration_missing": 2, "CP-3:temperature_fever": 1},
        "unreadable": [],
        "irreproducible": [],
    }


def test_a_customer_can_read_it(ledger: Path) -> None:
    result = gate("--policy", "checkpoint", ledger)
    assert result.exit_code == 0
    assert result.stdout == CUSTOMER


CUSTOMER = """\
  record  time (UTC)           visit            was                       would be
       2  2024-02-29 00:00:00  0a1b2c3d-000001  admitted                  to staff
           + CP-2  registration incomplete
       3  2024-02-29 00:00:00  0a1b2c3d-000002  refused, call 120         refused, fever clinic
           - CH-2  temperature above the limit
           + CP-2  registration incomplete
           + CP-3  temperature above the limit

4 visits judged by checkpoint, version 1: 2 would have been treated differently
       1  - CH-2  temperature above the limit
       2  + CP-2  registration incomplete
       1  + CP-3  temperature above the limit
"""


def test_a_visit_that_was_referred_and_then_decided_counts_once(tmp_path: Path) -> None:
    unknown = replace(FINE, mask=MaskStatus.UNKNOWN, measurements=())
    seen = replace(unknown, mask=MaskStatus.MISSING)
    path = written(tmp_path / "ledger.db", [decided(1, unknown), decided(1, seen), decided(2, FINE)])
    lenient = replace(
        OLD, mask=replace(OLD.mask, required=False), temperature=replace(OLD.temperature, required=False)
    )
    judged = Replay(lenient)
    differences = list(judged.differences(entries(path)))
    assert [(found.visit, found.old.verdict, found.new.verdict) for found in differences] == [
        (visit(1), "refer", "admit"),
        (visit(1), "refuse", "admit"),
    ]
    assert (judged.visits, judged.different, judged.came) == (2, 1, {})
    assert judged.gone == {
        ("CH-1", "temperature_missing"): 1,
        ("TR-1", "mask_unknown"): 1,
        ("TR-1", "mask_missing"): 1,
    }


def test_the_plan_and_the_ledger_have_to_be_there(tmp_path: Path, ledger: Path) -> None:
    unknown = gate("--policy", "no-such-plan", ledger)
    assert (unknown.exit_code, unknown.stdout) == (78, "")
    assert "no-such-plan" in unknown.stderr
    missing = gate("--policy", OLD.name, tmp_path / "missing.db")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "no ledger at" in missing.stderr
    assert gate(ledger).exit_code == 2


def test_an_empty_ledger(tmp_path: Path) -> None:
    result = gate("--policy", OLD.name, written(tmp_path / "ledger.db", []))
    assert (result.exit_code, result.stdout) == (
        0,
        "0 visits judged by county-hall, version 2: none would have been treated differently\n",
    )


# --- damaged and hostile records


def test_damaged_records_are_counted_and_the_rest_is_judged(ledger: Path) -> None:
    damage(ledger, 2, b"\x00not JSON")
    damage(ledger, 4, b'{"type": "hg.visit.decided.v1", "data": {}}')
    status, differences, sums = summed("--policy", OLD.name, ledger)
    assert (status, differences, sums["unreadable"]) == (1, [], [2, 4])
    assert sums["visits"] == 3  # the third visit has another decision that is whole
    result = gate("--policy", OLD.name, ledger)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "not judged, because damaged: 2 records (2, 4)"


def test_a_long_row_of_damaged_records_is_cut(tmp_path: Path) -> None:
    path = written(tmp_path / "ledger.db", [events.gate_stopped()] * 25)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE records SET body = x'00'")
    said = gate("--policy", OLD.name, path).stdout.splitlines()[-1]
    assert said.startswith("not judged, because damaged: 25 records (1, 2, 3, ")
    assert said.endswith(", 20, ...)")


def test_a_record_that_is_no_bytes_ends_it_in_one_sentence(ledger: Path) -> None:
    damage(ledger, 3, "text")
    result = gate("--policy", OLD.name, ledger)
    assert result.exit_code == 1
    assert "is no ledger or is damaged" in result.stderr


def test_a_hostile_record_does_not_steer_the_terminal(tmp_path: Path) -> None:
    event = decided(1, FINE)
    finding = {"rule": "\x1b[2J", "verdict": "refuse", "reason": "\x1b]0;x\x07"}
    data = {**event.data, "visit": "\x1b[31m\n", "verdict": "\x9b", "findings": [finding]}
    out = gate("--policy", OLD.name, written(tmp_path / "ledger.db", [replace(event, data=data)])).stdout
    assert all(line.isprintable() for line in out.split("\n"))
    assert "?[31m?" in out


WHOLE = decided(
    1,
    replace(
        FEVER,
        by_hand=frozenset(HandCheck),
        appointment=Appointment(1.5, 2.5, 0.5),
        household_pass=HouseholdPass(1.5, 2.5, 1),
        test=LabTest(1.5, negative=True),
        travel=Travel.RISK_AREA,
        occupancy=3,
    ),
).data
HARD_TO_PLEASE = [OLD, load_policy("appointment-hall"), load_policy("sealed-area")]


def places(tree: Any, *above: str | int) -> list[tuple[str | int, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [above, *(place for key, value in inner for place in places(value, *above, key))]


@given(
    st.sampled_from(places(json.loads(json.dumps(WHOLE)))[1:]),
    st.sampled_from([None, -1, 10**400, 1e400, float("nan"), "?", "\ud800", [], {}, [[]], {"a": 1}, True]),
)
@example(("evidence", "at_s"), 10**400)
@example(("evidence", "temperature", 1, "low_cc"), "?")
def test_any_value_in_any_place_is_judged_or_counted_as_damaged(
    place: tuple[str | int, ...], value: object
) -> None:
    data = json.loads(json.dumps(WHOLE))
    holder = data
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    envelope = {"type": "hg.visit.decided.v1", "time": "2024-02-29T00:00:00.000+00:00"}
    full = {"clock": {"trusted": True}, **data}
    body = json.dumps({**envelope, "data": full}).encode()
    for plan in HARD_TO_PLEASE:
        judged = Replay(plan)
        list(judged.differences([Entry(1, body)]))
        assert judged.visits + len(judged.unreadable) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b"null", b'"x"', b"{}", b"[" * 100_000, b"\xff", b"1" * 5000]
)
def test_whatever_is_no_event_is_unreadable(body: bytes) -> None:
    judged = Replay(OLD)
    assert list(judged.differences([Entry(7, body)])) == []
    assert (judged.visits, judged.unreadable) == (0, [7])


# --- at a pipe that closes


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    path = written(tmp_path / "ledger.db", (decided(number, FINE) for number in range(2000)))
    command = [sys.executable, "-c", "from gate.cli import main; main()", "replay", "--policy", "checkpoint"]
    with subprocess.Popen([*command, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().split()[0] == b"record"
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 1
