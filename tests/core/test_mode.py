"""The mode follows from the conditions: all of them, in the order of what counts most."""

from itertools import chain, combinations, product

import pytest

from gate.core.documents import Kind
from gate.core.inputs import Device
from gate.core.mode import SERVES, Conditions, Mode, mode_of
from gate.core.moment import NS_PER_MS, NS_PER_S, Moment

FAILED = [set(some) for some in chain.from_iterable(combinations(Device, n) for n in range(len(Device) + 1))]


@pytest.mark.parametrize("facts", list(product([False, True], repeat=5)))
def test_every_combination_of_conditions(facts: tuple[bool, ...]) -> None:
    fire, ledger_failed, suspended, closed, stale = facts
    kinds = frozenset({Kind.REVOCATIONS}) if stale else frozenset()
    for failed in FAILED:
        holds = {
            Mode.EVACUATING: fire,
            Mode.FAULT: ledger_failed or Device.TURNSTILE in failed,
            Mode.SUSPENDED: suspended,
            Mode.CLOSED_HOURS: closed,
            Mode.DEGRADED: bool(failed - {Device.HEALTH_SERVICE, Device.DESK} or stale),
            Mode.SERVING: True,
        }
        mode = mode_of(Conditions(fire, ledger_failed, failed, suspended, closed, kinds))
        assert mode is next(mode for mode in holds if holds[mode]), failed


def test_the_modes_stand_in_the_order_of_what_counts_most() -> None:
    assert list(Mode) == [
        Mode.EVACUATING,
        Mode.FAULT,
        Mode.SUSPENDED,
        Mode.CLOSED_HOURS,
        Mode.DEGRADED,
        Mode.SERVING,
    ]


def test_a_gate_serves_while_anybody_may_still_pass() -> None:
    assert set(SERVES) == {Mode.SERVING, Mode.DEGRADED, Mode.SUSPENDED, Mode.CLOSED_HOURS}


def test_conditions_start_out_well_and_are_nobody_elses() -> None:
    Conditions().failed.add(Device.CAMERA)
    assert mode_of(Conditions()) is Mode.SERVING


@pytest.mark.parametrize(("wall_ms", "wall_s"), [(0, 0), (999, 0), (1000, 1), (1999, 1), (-1, -1)])
def test_whole_seconds_are_rounded_down(wall_ms: int, wall_s: int) -> None:
    assert Moment(0, wall_ms, clock_trusted=True).wall_s == wall_s


def test_units() -> None:
    assert (NS_PER_S, NS_PER_MS) == (10**9, 10**6)
