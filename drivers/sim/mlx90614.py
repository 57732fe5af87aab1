"""An MLX90614 that answers at the wire: combined transactions in, three bytes with PEC out.

Imitated: word reads of RAM and EEPROM with a right PEC; a new conversion only once per settling time, so that
hasty reads see the same word and a look away shows up only later; noise of the variant on every conversion;
the rise of 0.06 C per 0.1 V of supply; readings that are odd centi-degrees, as the scale makes them; the
faults of `Fault`, and drift.

Not imitated: the filter's tail (a conversion sees one moment, not a mixture), the field of view, distance and
gradients (`look_at` is what fills the view), disturbance by bus traffic, sleep and its 0.25 s wake-up, PWM,
the flag command, clock speed limits.  EEPROM writes are counted and change nothing.  The noise of the ambient
word is a guess, the data sheet gives none.  Configuration words are plausible, not read from a part.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

from drivers.i2c import smbus_pec
from drivers.mlx90614 import ADDRESS, AMBIENT, CONFIG1, EMISSIVITY_FACTORY, OBJECT, SERIAL_CELLS, Variant

if TYPE_CHECKING:
    from smbus2 import i2c_msg

_READ = 0x0001  # I2C_M_RD in linux/i2c.h
_WORDS = 0x40  # RAM 0x00-0x1F, EEPROM 0x20-0x3F; anything above is no cell
_EEPROM = 0x20
_AMBIENT_NOISE_CC = 2
_NOMINAL_VDD_MV = 3000
_SUPPLY_CC_PER_MV = 0.06  # data sheet 10.1.3


class Fault(StrEnum):
    """What the simulated part can be told to do wrong."""

    NACK = "nack"
    BAD_PEC = "bad_pec"
    ERROR_FLAG = "error_flag"
    FREEZE = "freeze"
    HANG = "hang"
    DEAD_BUS = "dead_bus"  # every byte 0xFF, as with SDA left open
    DEAD_BUS_VALID_PEC = "dead_bus_valid_pec"  # 0xFFFF with a right check byte


class SimMlx90614:
    """A simulated part that stands in for the bus (`I2cBus`) it is alone on.

    `monotonic` reads virtual seconds; `sleep` spends them, used by `Fault.HANG` for `timeout_ms` before
    OSError(ETIMEDOUT), as an adapter does.  `vdd_mv` is the true supply.  The same seed and the same calls
    give the same words and the same serial number.  `eeprom_writes` counts what no driver of ours may ever
    try; `words` is the register map, for tests to spoil.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        seed: int = 0,
        object_cc: int = 3400,
        ambient_cc: int = 2200,
        address: int = ADDRESS,
        vdd_mv: int = 3300,
        timeout_ms: int = 100,
    ) -> None:
        self.eeprom_writes = 0
        self.words = [0] * _WORDS
        self._monotonic = monotonic
        self._sleep = sleep
        self._random = random.Random(seed)  # noqa: S311 - noise, not a secret
        self._noise_cc = variant.noise_cc
        self._settling_s = variant.settling_ms / 1000
        self._supply_cc = (vdd_mv - _NOMINAL_VDD_MV) * _SUPPLY_CC_PER_MV
        self._timeout_s = timeout_ms / 1000
        self._address = address
        self._object_cc = float(object_cc)
        self._ambient_cc = float(ambient_cc)
        self._drift_cc_per_s = 0.0
        self._drift_since_s = 0.0
        self._fault: Fault | None = None
        self._fault_left: int | None = None
        self._command = 0
        # The PEC of an answer starts from the three bytes before it, which a command fixes.
        self._pec_start = [smbus_pec(bytes([address << 1, cell, address << 1 | 1])) for cell in range(_WORDS)]
        self._load_factory_words(variant)
        self._converted_s = monotonic()
        self._convert(self._converted_s)

    def _load_factory_words(self, variant: Variant) -> None:
        gradient_compensated = variant.part[-2] == "C"
        self.words[0x20:0x26] = [0x9993, 0x62E3, 0x0201, 0xF71C, EMISSIVITY_FACTORY, 0x9FB4]
        self.words[CONFIG1] |= 0x0040 if gradient_compensated else 0  # two sensors inside; data sheet table 7
        self.words[0x2E] = 0xBE00 | self._address
        for cell in SERIAL_CELLS:
            self.words[cell] = self._random.getrandbits(16)

    def look_at(self, object_cc: int) -> None:
        """Fill the view with a surface of `object_cc`; conversions that have ended keep what they saw."""
        self._catch_up()
        self._object_cc = float(object_cc)

    def set_ambient(self, ambient_cc: int) -> None:
        """Bring the part itself to `ambient_cc`."""
        self._catch_up()
        self._ambient_cc = float(ambient_cc)

    def drift(self, cc_per_minute: float) -> None:
        """Let object readings wander from now on; 0 stops the wandering and its effect."""
        self._catch_up()
        self._drift_cc_per_s = cc_per_minute / 60
        self._drift_since_s = self._monotonic()

    def inject(self, fault: Fault, times: int | None = None) -> None:
        """Do `fault` in the next `times` word reads, or until `recover`; replaces the fault before it."""
        self._catch_up()
        self._fault = fault if times != 0 else None
        self._fault_left = times

    def recover(self) -> None:
        """End the fault and the drift."""
        self.drift(0)
        self._fault = None

    def i2c_rdwr(self, *messages: i2c_msg) -> None:
        """Run the messages as one transaction, as smbus2.SMBus does; OSError for NACK and for a hung bus."""
        for message in messages:
            if message.addr != self._address:
                _nack()
            if message.flags & _READ:
                self._answer(message)
            else:
                self._hear(message)

    def close(self) -> None:
        """Do nothing: there is no adapter to release."""

    def _hear(self, message: i2c_msg) -> None:
        length = message.len
        if length == 0:  # somebody asks whether there is a part at this address
            return
        command = message.buf[0][0]
        if command >= _WORDS:
            _nack()
        if length > 1 and command >= _EEPROM:
            self.eeprom_writes += 1
        self._command = command

    def _answer(self, message: i2c_msg) -> None:
        command = self._command
        fault = self._take_fault()
        if fault is Fault.NACK:
            _nack()
        if fault is Fault.HANG:
            self._sleep(self._timeout_s)
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        if fault is not Fault.FREEZE:
            self._catch_up()
        answer = self._bytes(command, fault)
        buffer = message.buf
        for place in range(message.len):
            buffer[place] = answer[place] if place < 3 else 0xFF

    def _take_fault(self) -> Fault | None:
        fault = self._fault
        if fault is not None and self._fault_left is not None:
            self._fault_left -= 1
            if self._fault_left == 0:
                self._fault = None
        return fault

    def _bytes(self, command: int, fault: Fault | None) -> bytes:
        word = self.words[command]
        if fault is Fault.ERROR_FLAG and command in {AMBIENT, OBJECT}:
            word |= 0x8000
        elif fault is Fault.DEAD_BUS_VALID_PEC:
            word = 0xFFFF
        low, high = word & 0xFF, word >> 8
        pec = smbus_pec(bytes((self._pec_start[command] ^ low, high)))
        if fault is Fault.BAD_PEC:
            pec ^= 0x01
        elif fault is Fault.DEAD_BUS:
            return b"\xff\xff\xff"
        return bytes((low, high, pec))

    def _catch_up(self) -> None:
        """Finish the conversion that the clock says has ended, with the scene as it is until now."""
        now_s = self._monotonic()
        elapsed_s = now_s - self._converted_s
        if elapsed_s >= self._settling_s and self._fault is not Fault.FREEZE:
            # By whole conversions, so that a read late in one does not put off the next.
            self._converted_s += elapsed_s // self._settling_s * self._settling_s
            self._convert(now_s)

    def _convert(self, now_s: float) -> None:
        object_cc = self._object_cc + self._drift_cc_per_s * (now_s - self._drift_since_s)
        noise = self._random.gauss
        self.words[OBJECT] = _word(object_cc + self._supply_cc + noise(0.0, self._noise_cc))
        self.words[AMBIENT] = _word(self._ambient_cc + self._supply_cc + noise(0.0, _AMBIENT_NOISE_CC))


def _word(cc: float) -> int:
    # The part's own limits for a linearised temperature: -70 to 382.2 C; data sheet 8.7.2.
    return min(max(round((cc + 27315) / 2), 0x27AD), 0x7FFF)


def _nack() -> NoReturn:
    raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))
