"""When checkpoints are due, in virtual time."""

from pytest import mark

from gate.core.delivery import Why
from gate.sinks.checkpoints import CheckpointClock


def a_clock(made_at: float = 100.0) -> CheckpointClock:
    """A clock after its first checkpoint."""
    clock = CheckpointClock()
    assert clock.due(made_at, size=10, drained=False) is Why.START
    clock.made(made_at, 10)
    return clock


def test_the_first_is_due_at_once() -> None:
    assert CheckpointClock().due_in_s(5.0, size=10, drained=False) == 0.0


def test_the_heartbeat() -> None:
    clock = a_clock()
    assert clock.due(159.9, size=10, drained=True) is None
    assert clock.due_in_s(130.0, size=10, drained=True) == 30.0
    assert clock.due(160.0, size=10, drained=True) is Why.INTERVAL
    assert clock.due_in_s(170.0, size=10, drained=True) == 0.0


def test_after_a_hundred_records_that_are_new() -> None:
    clock = a_clock()
    clock.sent(99)
    assert clock.due(100.0, size=109, drained=False) is None
    clock.sent(1)
    assert clock.due(100.0, size=110, drained=False) is Why.COUNT
    assert clock.due_in_s(100.0, size=110, drained=False) == 0.0
    clock.made(100.0, 110)
    assert clock.due(100.0, size=110, drained=False) is None


def test_after_a_hundred_records_of_a_backlog_a_second_apart() -> None:
    clock = a_clock()
    clock.sent(5000)
    assert clock.due(100.9, size=10, drained=False) is None
    assert clock.due_in_s(100.5, size=10, drained=False) == 0.5
    assert clock.due(101.0, size=10, drained=False) is Why.COUNT


@mark.parametrize("asked", [True, False])
def test_what_was_sent_or_asked_for_once_a_second(asked: bool) -> None:
    clock = a_clock()
    if asked:
        clock.ask()
    else:
        clock.sent(1)
    assert clock.due(100.9, size=10, drained=True) is None
    assert clock.due_in_s(100.75, size=10, drained=True) == 0.25
    assert clock.due(101.0, size=10, drained=True) is (Why.DEMAND if asked else Why.DRAINED)
    clock.made(101.0, 10)
    assert clock.due(102.0, size=10, drained=True) is None
    assert clock.due_in_s(102.0, size=10, drained=True) == 59.0


def test_not_all_sent_is_not_drained() -> None:
    clock = a_clock()
    clock.sent(50)
    assert clock.due(110.0, size=10, drained=False) is None
    assert clock.due_in_s(110.0, size=10, drained=False) == 50.0
