"""What every clock promises (gate.ports.Clock): the machine's, and those that tests move by hand."""

from collections.abc import Callable

import pytest

from gate.ports import Clock
from gate.shell.clock import SystemClock
from tests.shell.test_loop import HandClock

CLOCKS: list[Callable[[], Clock]] = [lambda: SystemClock(lambda: True), HandClock]


@pytest.fixture(params=CLOCKS, ids=["system", "by hand"])
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


def test_monotonic_time_never_goes_back(clock: Clock) -> None:
    instants = [clock.now().mono_ns for _ in range(1000)]
    assert instants == sorted(instants)
    assert instants[0] > 0


def test_wall_time_is_whole_milliseconds_since_1970_and_trust_is_a_fact(clock: Clock) -> None:
    now = clock.now()
    assert isinstance(now.wall_ms, int)
    assert now.wall_ms > 0
    assert now.wall_s == now.wall_ms // 1000
    assert now.clock_trusted in {True, False}
