"""Opening a bus: what a maintenance person is told, and the time limit that reaches the kernel."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import sys
from pathlib import Path

import pytest
import smbus2.smbus2
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DeviceFailed, DeviceNotAvailable
from drivers.i2c import open_bus, smbus_pec


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    """A file that answers the two ioctls of an adapter; returns its path and what it was asked."""
    path = tmp_path / "i2c-9"
    path.touch()
    seen = {"funcs": smbus2.I2cFunc.I2C, "ioctls": [], "timeout_error": None}

    def functions(fd, request, target):
        assert request == smbus2.smbus2.I2C_FUNCS
        target.value = seen["funcs"]

    def ioctl(fd, request, argument):
        if seen["timeout_error"]:
            raise OSError(seen["timeout_error"], "refused")
        seen["ioctls"].append((request, argument))

    monkeypatch.setattr(smbus2.smbus2, "ioctl", functions)
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return str(path), seen


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(("timeout_ms", "units"), [(1, 1), (10, 1), (11, 2), (100, 10)])
def test_time_limit_reaches_the_adapter_in_units_of_10_ms(adapter, timeout_ms, units):
    path, seen = adapter
    open_bus(path, timeout_ms).close()
    assert seen["ioctls"] == [(0x0702, units)]


def test_an_adapter_that_refuses_the_time_limit_is_used_all_the_same(adapter):
    path, seen = adapter
    seen["timeout_error"] = errno.ENOTTY
    bus = open_bus(path, 100)
    bus.close()
    bus.close()


def test_an_adapter_without_combined_transactions_is_refused(adapter):
    path, seen = adapter
    seen["funcs"] = smbus2.I2cFunc.SMBUS_WORD_DATA
    before = open_descriptors()
    with pytest.raises(DeviceNotAvailable, match="SMBus commands only"):
        open_bus(path, 100)
    assert open_descriptors() == before


def test_no_such_bus(tmp_path):
    with pytest.raises(DeviceNotAvailable) as caught:
        open_bus(str(tmp_path / "i2c-1"), 100)
    assert caught.value.problem == "no such I2C bus"
    assert "raspi-config" in caught.value.advice
    assert caught.value.device.endswith("i2c-1")


def test_a_file_that_is_no_bus_leaks_no_descriptor(tmp_path):
    path = tmp_path / "notes.txt"
    path.touch()
    before = open_descriptors()
    with pytest.raises(DeviceNotAvailable, match="no I2C bus"):
        open_bus(str(path), 100)
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "group i2c"),
        (errno.EPERM, "group i2c"),
        (errno.ENXIO, "raspi-config"),
        (errno.ENODEV, "raspi-config"),
        (errno.EIO, "cannot be opened"),
    ],
)
def test_every_refusal_says_what_to_do(monkeypatch, code, words):
    # The kernel gives these refusals to no test that runs as root without an adapter.
    def refuse(self, path):
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(smbus2.SMBus, "open", refuse)
    with pytest.raises(DeviceNotAvailable, match=words):
        open_bus("/dev/i2c-1", 100)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "smbus2", None)
    with pytest.raises(DeviceNotAvailable, match="python3-smbus2"):
        open_bus("/dev/i2c-1", 100)


def test_device_errors_keep_their_parts_across_processes():
    error = pickle.loads(pickle.dumps(DeviceFailed("camera", "no frame", "clean the lens")))
    assert isinstance(error, DeviceFailed)
    assert (error.device, error.problem, error.advice) == ("camera", "no frame", "clean the lens")
    assert str(error) == "camera: no frame; clean the lens"


@pytest.mark.parametrize(
    ("transaction", "pec"),
    [
        ("b407b5d23a", 0x30),  # data sheet figure 8
        ("b406b5df3a", 0xCF),  # from a logic analyser on a part
        ("b42207c8", 0x48),  # data sheet figure 9
        ("b4ff", 0xE8),  # data sheet figure 11
        ("", 0x00),
    ],
)
def test_pec_golden(transaction, pec):
    assert smbus_pec(bytes.fromhex(transaction)) == pec


@given(st.binary(min_size=1, max_size=8), st.integers(0, 63))
def test_pec_finds_every_flipped_bit(data, bit):
    bit %= len(data) * 8
    spoiled = bytearray(data)
    spoiled[bit // 8] ^= 1 << bit % 8
    assert smbus_pec(bytes(spoiled)) != smbus_pec(data)
