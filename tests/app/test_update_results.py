"""The service's half of an update: the order goes out, the result comes in and on record, once."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gate.app.updates import TOLD_NAME, Updates
from gate.config import Config
from gate.core.commands import Name
from gate.core.events import Kind
from gate.core.inputs import UpdateReported
from gate.core.updates import ORDER_NAME, RESULT_NAME, UpdateOrder, UpdateOutcome, UpdateResult, read_order
from tests.app.running_gate import RunningGate
from tests.app.test_application_centre import Commander, a_centre, with_centre
from tests.brokers import Mosquitto, wait_for

NOW_MS = 1_700_000_000_000
RESULT = UpdateResult("0.2.0", "0.1.0", UpdateOutcome.DONE, "", "c1", NOW_MS)


@pytest.fixture
def posted() -> list[UpdateReported]:
    return []


@pytest.fixture
def updates(tmp_path: Path, posted: list[UpdateReported]) -> Updates:
    return Updates(tmp_path, lambda: NOW_MS, posted.append)


def test_an_order_is_what_root_reads(updates: Updates, tmp_path: Path) -> None:
    updates.request("0.2.0", "c1")
    updates.request("0.3.0", "c2")
    assert read_order((tmp_path / ORDER_NAME).read_bytes()) == UpdateOrder("0.3.0", "c2", NOW_MS)


def test_an_order_that_cannot_be_written_is_answered(posted: list[UpdateReported], tmp_path: Path) -> None:
    Updates(tmp_path / "gone", lambda: NOW_MS, posted.append).request("0.2.0", "c1")
    (report,) = posted
    assert report.result.outcome is UpdateOutcome.REFUSED
    assert "No such file" in report.result.detail


def test_a_result_is_told_once(updates: Updates, posted: list[UpdateReported], tmp_path: Path) -> None:
    updates.look()
    assert posted == []
    (tmp_path / RESULT_NAME).write_bytes(RESULT.encoded())
    updates.look()
    updates.look()
    assert posted == [UpdateReported(RESULT)]


def test_a_result_that_is_on_record_is_not_told_again_after_a_restart(
    updates: Updates, posted: list[UpdateReported], tmp_path: Path
) -> None:
    (tmp_path / RESULT_NAME).write_bytes(RESULT.encoded())
    updates.look()
    updates.recorded()
    again = Updates(tmp_path, lambda: NOW_MS, posted.append)
    again.look()
    assert len(posted) == 1
    (tmp_path / TOLD_NAME).unlink()  # the power went before it was noted
    again.look()
    assert len(posted) == 2


def test_what_is_noted_is_what_was_recorded(
    updates: Updates, posted: list[UpdateReported], tmp_path: Path
) -> None:
    """A newer result has come in before the first was on record, and then the power goes."""
    waiting = replace(RESULT, outcome=UpdateOutcome.WAITING)
    for result in (waiting, RESULT):
        (tmp_path / RESULT_NAME).write_bytes(result.encoded())
        updates.look()
    updates.recorded()
    assert (tmp_path / TOLD_NAME).read_bytes() == waiting.encoded()
    Updates(tmp_path, lambda: NOW_MS, posted.append).look()
    assert posted[2:] == [UpdateReported(RESULT)]
    updates.recorded()
    assert (tmp_path / TOLD_NAME).read_bytes() == RESULT.encoded()


def test_an_answer_of_its_own_is_not_taken_for_roots_result(
    updates: Updates, posted: list[UpdateReported], tmp_path: Path
) -> None:
    (tmp_path / ORDER_NAME).mkdir()
    updates.request("0.2.0", "c1")
    (tmp_path / RESULT_NAME).write_bytes(RESULT.encoded())
    updates.look()
    assert len(posted) == 2
    updates.recorded()
    assert not (tmp_path / TOLD_NAME).exists()
    updates.recorded()
    assert (tmp_path / TOLD_NAME).read_bytes() == RESULT.encoded()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"x" * 5000, b'{"outcome": "done"}'])
def test_nonsense_is_left_alone(
    updates: Updates, posted: list[UpdateReported], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / RESULT_NAME).write_bytes(content)
    updates.look()
    assert posted == []


def test_what_cannot_be_noted_stops_nobody(updates: Updates, tmp_path: Path) -> None:
    updates.recorded()
    assert not (tmp_path / TOLD_NAME).exists(), "nothing was posted"
    (tmp_path / TOLD_NAME).mkdir()
    (tmp_path / RESULT_NAME).write_bytes(RESULT.encoded())
    updates.look()
    updates.recorded()


def test_it_stops_before_it_has_begun(updates: Updates) -> None:
    updates.stop(1)


def test_a_command_of_the_centre_becomes_an_order_and_its_result_a_record(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        _from_order_to_record(with_centre(tmp_path, broker.port))


def _from_order_to_record(config: Config) -> None:
    state_dir = config.gate.state_dir
    with a_centre(config) as client, RunningGate(config) as gate:
        wait_for(lambda: gate.app.sink.status().connected, 5, "a connection")
        centre = Commander(client, gate)
        centre.tell(Name.UPDATE, version="0.2.0")
        centre.answer(1, outcome="done")
        wait_for((state_dir / ORDER_NAME).exists, 5, "the order")
        order = read_order((state_dir / ORDER_NAME).read_bytes())
        assert order.version == "0.2.0"
        waiting = UpdateResult(
            "0.2.0", "0.1.0", UpdateOutcome.WAITING, "for the night", order.command, NOW_MS
        )
        (state_dir / RESULT_NAME).write_bytes(waiting.encoded())
        gate.app._updates.look()
        assert gate.wait_recorded(Kind.UPDATE, outcome="waiting")["command"] == order.command
    # The package is exchanged, and its own script starts the gate again.
    done = UpdateResult("0.2.0", "0.1.0", UpdateOutcome.DONE, "", order.command, NOW_MS)
    (state_dir / RESULT_NAME).write_bytes(done.encoded())
    with RunningGate(config) as gate:
        assert gate.wait_recorded(Kind.UPDATE, outcome="done")["previous"] == "0.1.0"
        wait_for(lambda: (state_dir / TOLD_NAME).read_bytes() == done.encoded(), 5, "the note of that")
    with RunningGate(config) as gate:
        gate.app._updates.look()
    bodies = [json.loads(body) for body in gate.bodies()]
    told = [body["data"]["outcome"] for body in bodies if body["type"] == "hg.update.v1"]
    assert told == ["waiting", "done"]
