"""What gates say of themselves is kept as it is news, on every database, and shown."""

import pytest

from central.states import GateStates, Said, read_states
from central.status import GateStatus, drawn, overview
from central.store import Store
from gate.core.delivery import Why
from tests.central.store.ledgers import Centre, Ledger

GATE = ("north", "g-1")


def test_what_is_said_last_is_kept_with_when_it_was_first_said(store: Store) -> None:
    one, other = GateStates(store.engine), GateStates(store.engine)
    one.keep({GATE: ("ready", "serving"), ("north", "g-2"): ("lost", "")}, 1000)
    other.keep({GATE: ("ready", "serving")}, 2000)
    one.keep({GATE: ("ready", "serving")}, 3000)
    assert read_states(store.engine)[GATE] == Said("ready", "serving", 1000)
    other.keep({GATE: ("ready", "fault")}, 4000)
    one.keep({GATE: ("ready", "fault")}, 5000)
    assert read_states(store.engine) == {
        GATE: Said("ready", "fault", 4000), ("north", "g-2"): Said("lost", "", 1000),
    }  # fmt: skip


def test_what_is_not_news_costs_no_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    states = GateStates(store.engine)
    states.keep({GATE: ("ready", "serving")}, 1000)
    monkeypatch.delattr("central.states.writing")
    states.keep({GATE: ("ready", "serving")}, 2000)


def seen(store: Store, now_ms: int) -> GateStatus:
    (found,) = overview(store, now_ms)
    assert drawn([found], [], now_ms, 200)
    return found


def test_a_gate_that_is_back_without_a_signature_is_not_shown_as_stopped(store: Store) -> None:
    centre, ledger, states = Centre(store), Ledger(), GateStates(store.engine)
    centre.register(ledger)
    ledger.write(3)
    centre.prove(ledger)
    centre.hear(ledger, ledger.checkpoint(at_ms=ledger.at_ms + 1, why=Why.STOP))
    states.keep({GATE: ("disconnected", "serving")}, centre.now_ms + 1)
    stopped = seen(store, centre.now_ms + 11_000)
    assert (stopped.stopped_ms, stopped.state, stopped.mode) == (centre.now_ms, "disconnected", "serving")
    states.keep({GATE: ("ready", "fault")}, centre.now_ms + 12_000)  # its ledger was cut meanwhile
    back = seen(store, centre.now_ms + 20_000)
    assert (back.stopped_ms, back.state, back.mode) == (None, "ready", "fault")
    assert back.seen_ms == centre.now_ms + 12_000
