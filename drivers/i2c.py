"""The I2C bus, as far as our parts need it: combined transactions on a Linux adapter."""

from __future__ import annotations

import errno
import fcntl
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from drivers.errors import DeviceNotAvailable

if TYPE_CHECKING:
    from smbus2 import SMBus, i2c_msg

# linux/i2c-dev.h: how long the adapter waits for the bus, in units of 10 ms.
_I2C_TIMEOUT = 0x0702
_I2C_TIMEOUT_UNIT_MS = 10

_ENABLE_I2C = (
    "enable I2C (raspi-config nonint do_i2c 0), reboot, and check the bus number in the configuration"
)


class I2cBus(Protocol):
    """A bus that runs several messages as one transaction, with a repeated start in between."""

    def i2c_rdwr(self, *messages: i2c_msg) -> None:
        """Send and fill `messages` in order; OSError when a part does not answer or the bus hangs."""

    def close(self) -> None:
        """Release the adapter; safe to call twice."""


def smbus2_library() -> ModuleType:
    """Import smbus2, or raise DeviceNotAvailable with the package to install."""
    try:
        import smbus2  # noqa: PLC0415 - a machine without it must still start, and report what it lacks
    except ImportError as error:
        raise DeviceNotAvailable(
            "I2C", "the library smbus2 is missing", "install the package python3-smbus2"
        ) from error
    return smbus2


def open_bus(path: str, timeout_ms: int) -> I2cBus:
    """Open the adapter at `path` so that no transaction waits for the bus much longer than `timeout_ms`.

    The time is rounded up to the kernel's 10 ms.  An adapter that refuses it keeps its own (1 s is usual), so
    callers must hold a deadline as well.  Raises DeviceNotAvailable with the step that mends it, also for an
    adapter that cannot run combined transactions.  Source: Linux, Documentation/i2c/dev-interface.
    """
    library = smbus2_library()
    bus: SMBus = library.SMBus()
    try:
        bus.open(path)
    except OSError as error:
        bus.close()
        raise _not_available(path, error) from error
    if not bus.funcs & library.I2cFunc.I2C:
        bus.close()
        raise DeviceNotAvailable(
            path,
            "the adapter runs SMBus commands only",
            "use an adapter with plain I2C, such as the Pi's own",
        )
    _limit_waiting(bus, timeout_ms)
    return bus


def _limit_waiting(bus: SMBus, timeout_ms: int) -> None:
    units = max(1, -(-timeout_ms // _I2C_TIMEOUT_UNIT_MS))
    assert bus.fd is not None  # open_bus has just opened it
    try:
        fcntl.ioctl(bus.fd, _I2C_TIMEOUT, units)
    except OSError:
        # Some adapters keep a time of their own; the drivers' deadlines still hold.
        return


def _not_available(path: str, error: OSError) -> DeviceNotAvailable:
    if error.errno in {errno.ENOENT, errno.ENXIO, errno.ENODEV}:
        return DeviceNotAvailable(path, "no such I2C bus", _ENABLE_I2C)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return DeviceNotAvailable(
            path, "no permission", "add the user of the service to the group i2c and start it again"
        )
    if error.errno == errno.ENOTTY:
        return DeviceNotAvailable(
            path, "this is no I2C bus", "give the path of an adapter, such as /dev/i2c-1"
        )
    return DeviceNotAvailable(path, f"cannot be opened ({error.strerror})", _ENABLE_I2C)


def _crc8_table() -> bytes:
    table = bytearray()
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc << 1) ^ (0x107 if crc & 0x80 else 0)
        table.append(crc)
    return bytes(table)


_CRC8 = _crc8_table()


def smbus_pec(data: bytes) -> int:
    """Return the packet error code of all bytes of a transaction, address bytes included.

    CRC-8 with the polynomial x^8 + x^2 + x + 1, started at 0.  Source: SMBus 2.0 section 5.4.
    """
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc
