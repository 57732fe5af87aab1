"""When checkpoints are due, in virtual time."""

from pytest import mark

from gate.core.delivery import Why
from gate.sinks.checkpoints import CheckpointClock


def a_clock(made_at: float = 100.0, size: int = 1000) -> CheckpointClock:
    """A clock after its first checkpoint, on its first connection."""
    clock = CheckpointClock()
    clock.begin()
    assert clock.due(made_at, size=size, drained=False) is Why.START
    clock.made(made_at, Why.START, size=size, drained=False)
    return clock


def test_the_first_is_due_at_once() -> None:
    assert CheckpointClock().due_in_s(5.0, size=10, drained=False) == 0.0


def test_the_heartbeat() -> None:
    clock = a_clock()
    assert clock.due(159.9, size=1000, drained=True) is None
    assert clock.due_in_s(130.0, size=1000, drained=True) == 30.0
    assert clock.due(160.0, size=1000, drained=True) is Why.INTERVAL
    assert clock.due_in_s(170.0, size=1000, drained=True) == 0.0


def test_a_hundred_that_are_new_are_stated_at_once() -> None:
    clock = a_clock()
    clock.made(100.0, Why.DRAINED, size=1000, drained=True)
    clock.sent(99)
    assert clock.due(100.0, size=1099, drained=True) is None
    clock.sent(1)
    assert clock.due(100.0, size=1100, drained=True) is Why.DRAINED
    assert clock.due(100.0, size=1101, drained=False) is Why.COUNT
    clock.made(100.0, Why.DRAINED, size=1100, drained=True)
    assert clock.due(100.0, size=1100, drained=True) is None


def test_in_a_backlog_the_first_hundred_are_stated_at_once_then_a_second_apart() -> None:
    clock = a_clock()
    clock.sent(100)
    assert clock.due(100.0, size=1000, drained=False) is Why.COUNT
    clock.made(100.0, Why.COUNT, size=1000, drained=False)
    clock.sent(500)
    assert clock.due(100.9, size=1060, drained=False) is None
    assert clock.due_in_s(100.5, size=1060, drained=False) == 0.5
    assert clock.due(101.0, size=1060, drained=False) is Why.COUNT


def test_a_connection_begins_with_the_whole_and_counts_anew() -> None:
    clock = a_clock()
    clock.sent(100)
    clock.made(100.0, Why.COUNT, size=1000, drained=False)
    clock.begin()
    assert clock.due(100.5, size=1000, drained=False) is None
    clock.sent(100)
    assert clock.due(100.5, size=1000, drained=False) is Why.COUNT
    clock.made(100.5, Why.COUNT, size=1000, drained=False)
    assert clock.due(101.0, size=1000, drained=False) is Why.DEMAND


def test_stating_what_was_sent_is_no_heartbeat() -> None:
    clock, now = a_clock(), 100.0
    found = []
    while now < 165.0:
        clock.sent(100)
        why = clock.due(now, size=100_000, drained=False)
        if why:
            found.append(why)
            clock.made(now, why, size=100_000, drained=False)
        now += 1.0
    assert found.count(Why.INTERVAL) == 1


@mark.parametrize("asked", [True, False])
def test_what_was_sent_or_asked_for_once_a_second(asked: bool) -> None:
    clock = a_clock()
    if asked:
        clock.ask()
    else:
        clock.sent(1)
    assert clock.due(100.9, size=1000, drained=True) is None
    assert clock.due_in_s(100.75, size=1000, drained=True) == 0.25
    why = Why.DEMAND if asked else Why.DRAINED
    assert clock.due(101.0, size=1000, drained=True) is why
    clock.made(101.0, why, size=1000, drained=True)
    assert clock.due(102.0, size=1000, drained=True) is None
    assert clock.due_in_s(102.0, size=1000, drained=True) == 59.0


def test_not_all_sent_is_not_drained() -> None:
    clock = a_clock()
    clock.sent(50)
    assert clock.due(110.0, size=1000, drained=False) is None
    assert clock.due_in_s(110.0, size=1000, drained=False) == 50.0
