"""Real time: the only module that reads a clock or sleeps."""

import ctypes
import os
import time
from collections.abc import Callable
from typing import Final

from gate.core.moment import NS_PER_MS, NS_PER_S, Moment

# How long an answer to "is the clock synchronised?" is good for.
TRUST_AGE_NS: Final = 10 * NS_PER_S
_STA_UNSYNC: Final = 0x0040  # linux/timex.h
_TIMEX_BYTES: Final = 256  # struct timex is 208 bytes on 64-bit Linux, less on 32-bit
_TIMEX_STATUS_WORD: Final = 5  # modes, offset, freq, maxerror, esterror, status: counted in longs
# systemd-timesyncd touches it whenever a server has told it the time.
_TIMESYNCD_MARK: Final = "/run/systemd/timesync/synchronized"
# After which the kernel's own word would end: 16 s of error at 500 ppm (linux/timex.h).
_MARK_AGE_MAX_S: Final = 32_000

sleep: Callable[[float], None] = time.sleep


class SystemClock:
    """The machine's clocks. `trusted` says whether wall time may be believed at this instant."""

    def __init__(self, trusted: Callable[[], bool]) -> None:
        self._ask_trusted = trusted
        self._trusted = False
        self._asked_ns: int | None = None

    def now(self) -> Moment:
        """Return this instant."""
        mono_ns = time.monotonic_ns()
        if self._asked_ns is None or mono_ns - self._asked_ns > TRUST_AGE_NS:
            self._trusted, self._asked_ns = self._ask_trusted(), mono_ns
        return Moment(mono_ns, time.time_ns() // NS_PER_MS, self._trusted)


def is_synchronised() -> bool:
    """Return whether the clock is being kept by NTP.

    The kernel knows. Where a service may not ask it (ProtectClock=), the mark of systemd-timesyncd is looked
    at, which is good for as long as the kernel would believe it.
    """
    return kernel_says_synchronised() or timesyncd_says_synchronised()


def timesyncd_says_synchronised(mark: str = _TIMESYNCD_MARK) -> bool:
    """Return whether systemd-timesyncd has been told the time by a server within the last 32,000 s."""
    try:
        age_s = time.time() - os.stat(mark).st_mtime  # noqa: PTH116 - only the time of the file is of interest
    except OSError:
        return False
    return 0 <= age_s <= _MARK_AGE_MAX_S


def kernel_says_synchronised() -> bool:
    """Return whether the kernel's clock is being kept by NTP (adjtimex(2), STA_UNSYNC not set).

    False wherever the kernel cannot be asked: a clock of unknown quality is not trusted.
    """
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.adjtimex(buffer) < 0:
            return False
    except (OSError, AttributeError):
        return False
    # `status` is an int that follows four longs and `modes`, itself padded to a long.
    offset = _TIMEX_STATUS_WORD * ctypes.sizeof(ctypes.c_long)
    status = ctypes.c_int.from_buffer(buffer, offset).value
    return not status & _STA_UNSYNC


def boot_id() -> str:
    """Return the kernel's name for this boot; monotonic times compare only within one boot."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - a proc file
            return file.read().strip()
    except OSError:
        return f"unknown-{os.getpid()}"
