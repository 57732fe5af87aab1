"""The machine's clocks: monotonic and wall time, and whether wall time may be believed."""

import ctypes
import os
import time
from pathlib import Path

import pytest

from gate.core.moment import NS_PER_MS
from gate.shell import clock
from gate.shell.clock import (
    TRUST_AGE_NS,
    SystemClock,
    boot_id,
    kernel_says_synchronised,
    timesyncd_says_synchronised,
)


def test_now_is_between_before_and_after() -> None:
    system = SystemClock(lambda: True)
    mono_ns, wall_ns = time.monotonic_ns(), time.time_ns()
    now = system.now()
    assert mono_ns <= now.mono_ns <= time.monotonic_ns()
    assert wall_ns // NS_PER_MS <= now.wall_ms <= time.time_ns() // NS_PER_MS
    assert now.clock_trusted


def test_trust_is_asked_for_again_when_the_answer_has_aged(monkeypatch: pytest.MonkeyPatch) -> None:
    at_ns, trusted, asked = 0, False, 0

    def ask() -> bool:
        nonlocal asked
        asked += 1
        return trusted

    monkeypatch.setattr(clock.time, "monotonic_ns", lambda: at_ns)
    system = SystemClock(ask)
    assert not system.now().clock_trusted
    trusted, at_ns = True, TRUST_AGE_NS
    assert not system.now().clock_trusted, "the answer is still good"
    at_ns += 1
    assert system.now().clock_trusted
    assert asked == 2


@pytest.mark.parametrize(
    ("status", "result", "trusted"),
    [(0x2001, 0, True), (0x0040, 5, False), (0x2041, 0, False), (0, -1, False)],
)
def test_the_kernel_is_believed_only_when_it_keeps_time(
    monkeypatch: pytest.MonkeyPatch, status: int, result: int, trusted: bool
) -> None:
    class Timex(ctypes.Structure):
        # linux/timex.h, as the C compiler lays it out
        _fields_ = (
            ("modes", ctypes.c_uint),
            ("offset", ctypes.c_long),
            ("freq", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("esterror", ctypes.c_long),
            ("status", ctypes.c_int),
        )

    class Libc:
        @staticmethod
        def adjtimex(buffer: ctypes.Array[ctypes.c_char]) -> int:
            timex = Timex.from_buffer(buffer)
            assert timex.modes == 0, "it only asks"
            timex.status = status
            return result

    monkeypatch.setattr(clock.ctypes, "CDLL", lambda *_, **__: Libc)
    assert kernel_says_synchronised() is trusted


def test_a_kernel_that_cannot_be_asked_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock.ctypes, "CDLL", lambda *_, **__: object())
    assert not kernel_says_synchronised()


def test_the_real_kernel_answers() -> None:
    assert kernel_says_synchronised() in {True, False}


@pytest.mark.parametrize(("age_s", "trusted"), [(-60, False), (0, True), (31_990, True), (32_001, False)])
def test_the_word_of_timesyncd_is_good_for_as_long_as_the_kernels(
    tmp_path: Path, age_s: int, trusted: bool
) -> None:
    mark = tmp_path / "synchronized"
    mark.touch()
    at = mark.stat().st_mtime - age_s
    os.utime(mark, (at, at))
    assert timesyncd_says_synchronised(str(mark)) is trusted


def test_without_the_word_of_timesyncd_nothing_is_believed(tmp_path: Path) -> None:
    assert not timesyncd_says_synchronised(str(tmp_path / "synchronized"))


def test_the_boot_has_one_name() -> None:
    assert boot_id() == boot_id()
    assert len(boot_id()) == 36
