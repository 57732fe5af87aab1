"""Ledgers that are not what the centre knows: re-flashed, rolled back, in two gates at once."""

import shutil

import pytest

from tests.integration.fault_town import (
    QUIET,
    Town,
    TownGate,
    as_identity,
    copy_state,
    put_back,
    until,
)

pytestmark = pytest.mark.soak


def anomalies(gate: TownGate) -> list[str]:
    return [data["what"] for data in gate.events("anomaly")]


def test_a_gate_that_was_flashed_anew(town: Town) -> None:
    gate = town.gate()
    town.start(town.centre(), gate)
    town.wait_proved(gate, 20)
    town.settle(gate)
    gone, (old_epoch, _) = list(gate.ledgers()), gate.head()
    shutil.rmtree(gate.state)  # the ledger, and the device's key

    gate.start()
    town.wait_alarm("false/unknown_key g1")
    gate.wait_records(20)
    assert gate.mark() == 0, "the centre signs for nothing of a device that it does not know"
    added = town.central("gates", "add", "-", given=as_identity(gate))
    assert added.exit_code == 0, added.output
    town.wait_receipted(gate)
    assert gate.head()[0] != old_epoch
    assert town.alarms(standing=True) == ["concealed/unannounced_epoch g1"]
    town.settle(gate, gone=gone)
    (started,) = gate.events("epoch.started")
    assert (started["reason"], started["previous"]) == ("first start", None)


def test_a_ledger_that_was_rolled_back(town: Town) -> None:
    gate = town.gate()
    town.start(town.centre(), gate)
    town.wait_proved(gate, 20)
    gate.stop()
    kept = town.folder / "kept"
    copy_state(gate, kept)
    gate.start()
    town.wait_proved(gate, 40)
    town.settle(gate)
    gone, (old_epoch, _) = list(gate.ledgers()), gate.head()
    put_back(kept, gate)
    _, rolled_back_to = gate.head()

    gate.configure(QUIET)
    gate.start()
    until(
        lambda: gate.records() and gate.head()[0] not in {old_epoch, ""},
        lambda: f"a new epoch; {town.told(gate)}",
    )
    town.wait_receipted(gate)
    town.settle(gate, gone=gone)
    assert {"concealed/went_back g1", "concealed/cut_tail g1"} & set(town.alarms(standing=True))
    assert "receipt_disagreed" in anomalies(gate)
    (_, renewed) = gate.events("epoch.started")
    assert renewed["reason"] == "the centre holds more records than this ledger has"
    assert renewed["previous"]["epoch"] == old_epoch
    assert rolled_back_to < renewed["previous"]["size"] < len(gone)
    assert (gate.state / f"ledger-{old_epoch}.db").exists(), "what happened in between stays there"


def test_two_gates_with_one_identity(town: Town) -> None:
    gate = town.gate()
    centre = town.centre()
    town.start(centre, gate)
    town.wait_proved(gate, 20)
    town.settle(gate)
    epoch, _ = gate.head()
    (town.folder / "elsewhere").mkdir()
    twin = town.twin(gate, town.folder / "elsewhere")
    copy_state(gate, twin.state)

    gate.start()
    twin.start()
    both = (gate, twin)
    until(
        lambda: any(one.records() and one.head()[0] not in {epoch, ""} for one in both),
        lambda: f"one of them to begin anew; {town.told(gate)}",
    )
    town.wait_alarm("concealed/old_epoch_goes_on g1")
    # A person takes one of them away, and then nothing of either is missing.
    anew, same = sorted(both, key=lambda one: one.head()[0] == epoch)
    anew.stop()
    same.stop()
    for one in (same, anew):
        one.configure(QUIET)
        one.start()
        one.wait_records(1)
        town.wait_receipted(one)
        one.stop()
        town.wait_all_proved(one)
    town.compare(same, anew, gone=list(same.ledgers()))
    assert "receipt_disagreed" in anomalies(anew)
    assert "receipt_disagreed" not in anomalies(same)
