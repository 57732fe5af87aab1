"""The synthetic phone screen is only worth something if real decoders see what it shows."""

import numpy as np
import pytest
import zxingcpp

from drivers.sim.phone import Condition, empty, render

PAYLOAD = "HG1:" + "A1B2C3" * 35
SIZES = [(640, 480), (1280, 720)]


def texts(frame):
    found = zxingcpp.read_barcodes(np.ascontiguousarray(frame[..., 0]), formats=zxingcpp.BarcodeFormat.QRCode)
    return {code.text for code in found}


@pytest.mark.parametrize("condition", Condition)
def test_an_everyday_frame_is_readable(condition):
    # The blue plane, because a yellow code is dark in no other.
    assert PAYLOAD in texts(render(PAYLOAD, condition, 0.5, seed=3))


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_has_the_size_asked_for(size):
    for frame in (render(PAYLOAD, size=size), empty(size=size)):
        assert frame.shape == (size[1], size[0], 3)
        assert frame.dtype == np.uint8


def test_the_same_seed_draws_the_same_frame_and_another_does_not():
    first, again, other = (render(PAYLOAD, Condition.MOIRE, 1.5, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_two_phones_show_two_codes():
    assert texts(render(PAYLOAD, Condition.TWO_PHONES, other="another")) == {PAYLOAD, "another"}


@pytest.mark.parametrize("seed", range(5))
def test_the_empty_hall_holds_no_code(seed):
    assert not texts(empty(seed))


@pytest.mark.parametrize(
    "condition",
    [
        c
        for c in Condition
        if c not in {Condition.PLAIN, Condition.INVERTED, Condition.TWO_PHONES, Condition.COLOURED}
    ],
)
def test_severity_changes_the_frame(condition):
    mild, harsh = (render(PAYLOAD, condition, severity, seed=1) for severity in (0.5, 3.0))
    assert not np.array_equal(mild, harsh)


@pytest.mark.parametrize(
    "condition", [Condition.SMALL, Condition.MOTION_BLUR, Condition.DEFOCUS, Condition.DARK]
)
def test_the_worst_severity_is_beyond_a_plain_pass(condition):
    assert not texts(render(PAYLOAD, condition, 3.0, seed=2))
