"""A gate begins a new ledger: with a reason, without one, or while the old one goes on."""

from central.store import StreamState
from tests.central.store.ledgers import Centre, Ledger


def state(centre: Centre, epoch: str) -> StreamState:
    found = centre.store.stream("north", "g-1", epoch)
    assert found is not None
    return found


def test_a_new_ledger_that_names_the_old_one_is_no_alarm(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    new = Ledger("epoch2")
    new.follow(ledger)
    centre.prove(new)
    assert centre.standing() == []
    assert (state(centre, "epoch1").successor, state(centre, "epoch1").ended) == ("epoch2", 10)
    assert centre.problems() == []


def test_what_the_new_ledger_says_of_the_old_ones_end_proves_it(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())  # its last checkpoint never came
    new = Ledger("epoch2")
    new.follow(ledger)
    done = centre.take(new.arrived())
    assert state(centre, "epoch1").proved == 0
    centre.hear(new)
    assert (done.raised, state(centre, "epoch1").proved) == ((), 10)
    assert centre.problems() == []


def test_records_of_the_old_ledger_that_never_came_are_a_hole(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived(1, 4))
    centre.hear(ledger, ledger.checkpoint(4))
    new = Ledger("epoch2")
    new.follow(ledger)
    centre.prove(new)
    old = state(centre, "epoch1")
    assert (old.hole, old.backlog, centre.store.holes(old.id)) == (True, 6, [(5, 10)])
    centre.take(ledger.arrived(5))
    assert state(centre, "epoch1").proved == 10
    assert not state(centre, "epoch1").hole


def test_an_old_ledger_that_nobody_has_heard_of_is_missing_whole(centre: Centre, ledger: Ledger) -> None:
    new = Ledger("epoch2")
    new.follow(ledger)
    centre.prove(new)
    old = state(centre, "epoch1")
    assert (old.ended, old.linked, old.hole) == (10, 0, True)
    assert centre.problems() == []


def test_a_new_ledger_without_a_reason_is_concealed(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    new = Ledger("epoch2")
    new.write(2)
    centre.prove(new)
    assert centre.standing() == [("epoch2", "unannounced_epoch", 1, 1)]
    assert centre.store.alarms()[0].about.evidence["not_named"] == ["epoch1"]
    assert state(centre, "epoch1").successor == "epoch2"


def test_what_is_not_proved_ends_no_ledger(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    new = Ledger("epoch2", key=b"x" * 32)
    new.follow(ledger, size=3)
    centre.take(new.arrived())
    centre.hear(new)
    assert state(centre, "epoch1").successor == ""


def test_a_new_ledger_that_shortens_the_old_one_has_cut_its_tail(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    new = Ledger("epoch2")
    new.follow(ledger, size=6)
    centre.prove(new)
    assert centre.standing() == [("epoch1", "cut_tail", 7, 10)]


def test_a_new_ledger_that_tells_another_past_is_false(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    other = Ledger("epoch1")
    other.write(10, "gate.mode")
    new = Ledger("epoch2")
    new.follow(other)
    centre.prove(new)
    assert centre.standing() == [("epoch1", "checkpoint_differs", 1, 10)]


def test_an_old_ledger_that_goes_on_is_a_second_device(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    new = Ledger("epoch2")
    new.follow(ledger)
    centre.prove(new)
    ledger.write(3)
    centre.hear(ledger, ledger.checkpoint(trusted=False))  # whatever its clock says
    assert centre.standing() == [("epoch1", "old_epoch_goes_on", 11, 13)]


def test_a_clock_that_was_put_right_between_two_ledgers_accuses_nobody(
    centre: Centre, ledger: Ledger
) -> None:
    hour_ms = 3_600_000
    ledger.at_ms += 3 * hour_ms
    centre.prove(ledger)
    new = Ledger("epoch2")
    new.follow(ledger)
    new.at_ms -= 3 * hour_ms
    centre.prove(new)
    assert centre.standing() == []
    assert centre.problems() == []


def test_an_old_ledger_that_had_gone_on_before_the_new_one_came_is_a_second_device(
    centre: Centre, ledger: Ledger
) -> None:
    new = Ledger("epoch2")
    new.follow(ledger)
    centre.take(new.arrived())
    ledger.write(3)
    ledger.at_ms = new.at_ms + 60_000
    centre.prove(ledger)
    centre.hear(new)
    assert centre.standing() == [("epoch1", "old_epoch_goes_on", 11, 13)]


def test_a_heartbeat_of_the_old_ledger_after_its_end_is_a_second_device(
    centre: Centre, ledger: Ledger
) -> None:
    centre.prove(ledger)
    new = Ledger("epoch2")
    new.follow(ledger)
    centre.prove(new)
    centre.hear(ledger)  # the old retained message once more
    centre.hear(ledger, ledger.checkpoint(at_ms=ledger.at_ms + 1))  # one that came late
    assert centre.standing() == []
    centre.hear(ledger, ledger.checkpoint(at_ms=new.at_ms + 60_000, trusted=False))  # nobody knows when
    assert centre.standing() == []
    centre.hear(ledger, ledger.checkpoint(at_ms=new.at_ms + 60_000))
    assert centre.standing() == [("epoch1", "old_epoch_goes_on", None, None)]


def test_an_old_ledger_is_no_successor_of_the_new_one(centre: Centre, ledger: Ledger) -> None:
    """The old one is proved last: its records waited on the gate."""
    centre.take(ledger.arrived(1, 1))
    new = Ledger("epoch2")
    new.follow(ledger)
    centre.prove(new)
    centre.take(ledger.arrived(2))
    assert state(centre, "epoch1").proved == 10
    assert state(centre, "epoch2").successor == ""
    assert centre.standing() == []
