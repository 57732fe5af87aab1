"""The mode follows from the conditions: all of them, in the order of what counts most."""

from itertools import chain, combinations

import pytest

from gate.core.inputs import Device
from gate.core.mode import SERVES, Conditions, Mode, mode_of
from gate.core.moment import NS_PER_MS, NS_PER_S, Moment

FAILED = [set(some) for some in chain.from_iterable(combinations(Device, n) for n in range(len(Device) + 1))]


@pytest.mark.parametrize("failed", FAILED, ids=lambda failed: "+".join(sorted(failed)) or "none")
@pytest.mark.parametrize("ledger_failed", [False, True])
@pytest.mark.parametrize("fire", [False, True])
def test_every_combination_of_conditions(fire: bool, ledger_failed: bool, failed: set[Device]) -> None:
    mode = mode_of(Conditions(fire, ledger_failed, failed))
    assert (mode is Mode.EVACUATING) == fire
    assert (mode is Mode.FAULT) == (not fire and (ledger_failed or Device.TURNSTILE in failed))
    assert (mode is Mode.SERVING) == (not fire and not ledger_failed and not failed)
    assert (mode is Mode.DEGRADED) == (
        not fire and not ledger_failed and bool(failed) and Device.TURNSTILE not in failed
    )


def test_a_gate_serves_while_a_person_on_duty_can_stand_in_for_what_fails() -> None:
    assert set(SERVES) == {Mode.SERVING, Mode.DEGRADED}


def test_conditions_start_out_well_and_are_nobody_elses() -> None:
    Conditions().failed.add(Device.CAMERA)
    assert mode_of(Conditions()) is Mode.SERVING


@pytest.mark.parametrize(("wall_ms", "wall_s"), [(0, 0), (999, 0), (1000, 1), (1999, 1), (-1, -1)])
def test_whole_seconds_are_rounded_down(wall_ms: int, wall_s: int) -> None:
    assert Moment(0, wall_ms, clock_trusted=True).wall_s == wall_s


def test_units() -> None:
    assert (NS_PER_S, NS_PER_MS) == (10**9, 10**6)
