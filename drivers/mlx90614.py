"""MLX90614 infrared thermometer: word reads over SMBus, and a reading made of several of them.

"DS" is the Melexis data sheet 3901090614, revision 13 (September 2019).  Temperatures are integer
centi-degrees Celsius (`_cc`); one step of the part is 0.02 K, so `word * 2 - 27315` is exact (DS 8.7.2).

The driver has no way to write: the factory calibration rests on the emissivity and on bits of the
configuration, and the maker forbids changing them without its own tools (DS 8.3.3, note).  Wrong settings
are found (`identify`) and reported; corrections are made here, by name, and kept with the reading.

What stays open: the part's flag command (0xF0) is not read, since the data sheet calls it a diagnostic
feature and wants it without the repeated start that all our transactions use.  Heat beside the can and a
person too far away for the field of view bias a reading in ways that no word on the bus shows.
"""

from __future__ import annotations

import errno
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from drivers.errors import DeviceFailed, DeviceNotAvailable, DeviceTimeout
from drivers.i2c import I2cBus, smbus2_library, smbus_pec

if TYPE_CHECKING:
    from smbus2 import i2c_msg

ADDRESS = 0x5A  # as delivered; DS table 4

# DS tables 5 and 10; EEPROM cells are read at 0x20 + cell.
AMBIENT = 0x06
OBJECT = 0x07
EMISSIVITY = 0x24
CONFIG1 = 0x25
SERIAL_CELLS = (0x3C, 0x3D, 0x3E, 0x3F)
WRITABLE_CELLS = (0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x2E, 0x2F, 0x39)

EMISSIVITY_FACTORY = 0xFFFF  # 1.0; DS 8.3.3
_ERROR_FLAG = 0x8000  # bit 15 of a temperature word; DS 8.7

# Windows include both ends.  Ambient: the room an entrance can be, and inside the accuracy tables.  Object:
# skin; the medical accuracy begins at 22 C (DS figure 24).  Result: skin as it is, or the core of one who
# walks in; a wall in a warm hall, taken for a forehead, stays below the latter.  Outside is "cannot measure".
AMBIENT_WINDOW_CC = (1000, 4000)
OBJECT_WINDOW_CC = (2200, 4300)
SKIN_WINDOW_CC = (2800, 4300)
CORE_WINDOW_CC = (3400, 4300)
# What a part that works may see and feel while nobody is measured: all that it is built for (DS 4, "E").
CHECK_WINDOW_CC = (-4000, 8500)

# Each correction term is held to its bound, so that no setting can turn a fever into a pass unseen.
SUPPLY_VOLTAGE_BOUND_CC = 36  # 0.6 C/V up to 3.6 V, the most that the part takes; DS table 4
CALIBRATION_OFFSET_BOUND_CC = 100  # a part that is further off is broken, not uncalibrated
AMBIENT_TO_CORE_BOUND_CC = 450

_NOMINAL_VDD_MV = 3000
_SUPPLY_CC_PER_V = 60  # reads high by 0.6 C/V, object and ambient alike; DS 10.1.3

SAMPLES_MIN = 3
SAMPLES_MAX = 15
_RETRIES = 2  # per reading; one knock on the wires must not cost a visitor a second measurement
_WORD_ATTEMPTS = 3  # in identify and check
# Object and ambient of a wall are the same word by chance in one look of dozens, not in several in a row.
_CHECK_LOOKS = 5
# Settling times are typical and follow the chip's own oscillator (DS table 9, note), hence the tenth on top.
_PAUSE_PER_SETTLING = 1.1
_DEADLINE_SLACK_S = 1.0
# Even 15 samples of pure noise stay within 6 standard deviations 99.8 % of the time; more is movement.
_SPREAD_PER_NOISE = 6
# The median's standard error is at most 1.2533 sigma / sqrt(n); two of them cover 95 %.
_MEDIAN_NOISE = 2 * math.sqrt(math.pi / 2)


class Outcome(StrEnum):
    """How a reading ended; only `OK` carries a value."""

    OK = "ok"
    UNSTEADY = "unsteady"
    OUT_OF_WINDOW = "out_of_window"
    FROZEN = "frozen"
    BUS_ERROR = "bus_error"
    PEC_ERROR = "pec_error"
    SENSOR_ERROR = "sensor_error"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The error limit inside a rectangle of object and ambient temperatures, ends included."""

    object_cc: tuple[int, int]
    ambient_cc: tuple[int, int]
    error_cc: int


# DS figure 22: +-0.5 C with object and ambient from 0 to 50 C.
_STANDARD = (Accuracy((0, 5000), (0, 5000), 50),)
# DS figure 24, for 3.0 V and an isothermal package: +-0.2 C around body temperature, +-0.3 C around it; the
# standard limit everywhere else (DS 10.1.2).
_MEDICAL = (
    Accuracy((3600, 3800), (1600, 4000), 20),
    Accuracy((2200, 4000), (1600, 4000), 30),
    *_STANDARD,
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One type of the family, with the data sheet's values for parts as delivered.

    `fov_deg`: full field of view at 50 % signal (DS 10.2).  `settling_ms`, `noise_cc`: DS table 8, typical,
    rms. `accuracy`: the first rectangle that holds applies (DS figures 22 and 24).
    """

    part: str
    fov_deg: int
    accuracy: tuple[Accuracy, ...]
    settling_ms: int
    noise_cc: int

    def error_cc(self, object_cc: int, ambient_cc: int) -> int:
        """Return the accuracy limit at these temperatures; LookupError where the data sheet gives none."""
        for limit in self.accuracy:
            if _inside(object_cc, limit.object_cc) and _inside(ambient_cc, limit.ambient_cc):
                return limit.error_cc
        raise LookupError(f"{self.part}: no accuracy for object {object_cc} and ambient {ambient_cc}")


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        # The usual hobby module: 90 degrees see a forehead only from 2 cm away.
        "BAA": Variant("MLX90614ESF-BAA", 90, _STANDARD, 100, 5),
        "DAA": Variant("MLX90614ESF-DAA", 90, _MEDICAL, 100, 5),
        "BCC": Variant("MLX90614ESF-BCC", 35, _STANDARD, 140, 18),
        # Recommended: medical grade, gradient compensated, a 4 cm spot from 6 cm away.
        "DCC": Variant("MLX90614ESF-DCC", 35, _MEDICAL, 140, 18),
        "DCH": Variant("MLX90614ESF-DCH", 12, _MEDICAL, 650, 10),
        "DCI": Variant("MLX90614ESF-DCI", 5, _MEDICAL, 650, 10),
    }
)


@dataclass(frozen=True, slots=True)
class AmbientToCore:
    """A straight line from ambient to the difference between body core and forehead skin.

    The term is `base_cc - slope_per_mille * ambient / 1000`, used only inside `ambient_cc` (ends included).
    `result_cc` is the window of plausible results (ends included).
    """

    name: str
    base_cc: int
    slope_per_mille: int
    ambient_cc: tuple[int, int]
    result_cc: tuple[int, int]

    def term_cc(self, ambient_cc: int) -> int:
        """Return the term for this ambient temperature, rounded to the nearest centi-degree."""
        return self.base_cc - round(self.slope_per_mille * ambient_cc / 1000)


# "none" reports the surface as it is.
#
# "forehead_linear" is body = forehead + 6.887 C - 0.188 * ambient, the line that the yas-sim open thermometer
# project (2021) fitted to its own readings: 3.1 C at 20 C.  One site, one part, no published error: good for
# telling visitors a familiar number, not for diagnosis.  14 to 32 C is where published curves of this shape
# were measured.  How far healthy foreheads stray from the line (0.5 C is our guess) is a property of people,
# not of the instrument, and stays out of the interval: with it in, no reading would ever be normal.  The line
# takes the ambient that the part itself feels: a can 3 C warmer than the room lowers the result by 0.56 C and
# hides fevers, so a gate that uses it must keep the part at room temperature.
AMBIENT_TO_CORE: Mapping[str, AmbientToCore] = MappingProxyType(
    {
        "none": AmbientToCore("none", 0, 0, AMBIENT_WINDOW_CC, SKIN_WINDOW_CC),
        "forehead_linear": AmbientToCore("forehead_linear", 689, 188, (1400, 3200), CORE_WINDOW_CC),
    }
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the part is and how it is set.

    `serial`: 16 hex digits (DS 8.3.3, ID number).  `fingerprint`: 16 hex digits over every cell that can be
    written to; it changes when anybody changes the part.  `emissivity_is_factory` False means that readings
    are scaled by a value somebody has written: do not measure with this part.
    """

    serial: str
    fingerprint: str
    emissivity_is_factory: bool


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """What the part says of itself while nobody is measured; every word has passed its check byte.

    `config` and `emissivity` are the words of the two registers that scale a reading. `object_cc` and
    `ambient_cc` are uncorrected, `spread_cc` is that of the last reading, None before the first.
    """

    identity: Identity
    config: int
    emissivity: int
    object_cc: int
    ambient_cc: int
    spread_cc: int | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One reading: what was seen, how it was corrected, and how far it may be off.

    `value_cc` and the interval `low_cc` to `high_cc` exist only with `Outcome.OK`; the rest as far as it was
    known when the reading ended.  `samples_cc` and `raw_cc` (their median) are uncorrected.  `ambient_cc`
    carries the supply term.  `corrections` are the terms that were added to `raw_cc`.  The interval holds the
    variant's accuracy limit and 95 % of the median's noise; it cannot hold the ambient model's, a wrong
    distance, a sweaty forehead or a warm housing.
    """

    outcome: Outcome
    detail: str = ""
    samples_cc: tuple[int, ...] = ()
    value_cc: int | None = None
    low_cc: int | None = None
    high_cc: int | None = None
    raw_cc: int | None = None
    spread_cc: int | None = None
    ambient_cc: int | None = None
    corrections: tuple[tuple[str, int], ...] = ()


_Problem = tuple[Outcome, str]


class _ReadError(Exception):
    """A word could not be had; `outcome` says in which way."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Sight:
    """A complete set of samples in numbers; only `ambient_cc` carries a correction, the supply term."""

    samples_cc: tuple[int, ...]
    raw_cc: int
    spread_cc: int
    ambient_cc: int

    def report(
        self, outcome: Outcome, detail: str, corrections: tuple[tuple[str, int], ...] = ()
    ) -> Measurement:
        return Measurement(
            outcome,
            detail,
            samples_cc=self.samples_cc,
            raw_cc=self.raw_cc,
            spread_cc=self.spread_cc,
            ambient_cc=self.ambient_cc,
            corrections=corrections,
        )


class Mlx90614:
    """One MLX90614 on an I2C bus; not for use by several threads at once.

    `vdd_mv` is the part's supply (3300 on a Raspberry Pi), `offset_cc` the calibration against a known body,
    `samples` an odd number per reading.  `sleep` waits for seconds, `monotonic` reads seconds that only grow.
    ValueError for a setting outside its bound; DeviceNotAvailable without smbus2.
    """

    def __init__(
        self,
        bus: I2cBus,
        variant: Variant,
        *,
        sleep: Callable[[float], None],
        monotonic: Callable[[], float] = time.monotonic,
        address: int = ADDRESS,
        vdd_mv: int = 3300,
        offset_cc: int = 0,
        ambient_to_core: AmbientToCore = AMBIENT_TO_CORE["none"],
        samples: int = 5,
    ) -> None:
        if samples % 2 == 0 or not SAMPLES_MIN <= samples <= SAMPLES_MAX:
            raise ValueError(f"samples: {samples} is not an odd number from {SAMPLES_MIN} to {SAMPLES_MAX}")
        supply_cc = -round((vdd_mv - _NOMINAL_VDD_MV) * _SUPPLY_CC_PER_V / 1000)
        self._supply_cc = _bounded("supply_voltage", supply_cc, SUPPLY_VOLTAGE_BOUND_CC)
        self._offset_cc = _bounded("calibration_offset", offset_cc, CALIBRATION_OFFSET_BOUND_CC)
        for end_cc in ambient_to_core.ambient_cc:
            _bounded("ambient_to_core", ambient_to_core.term_cc(end_cc), AMBIENT_TO_CORE_BOUND_CC)
        self._core = ambient_to_core
        self._bus = bus
        self._variant = variant
        self._address = address
        self._samples = samples
        self._sleep = sleep
        self._monotonic = monotonic
        self._message = smbus2_library().i2c_msg
        self._commands: dict[int, i2c_msg] = {}
        self._pause_s = variant.settling_ms / 1000 * _PAUSE_PER_SETTLING
        self._spread_cc: int | None = None

    @property
    def deadline_s(self) -> float:
        """The longest that `measure` takes, give or take one transaction of a bus that hangs, in seconds."""
        return (self._samples + _RETRIES) * self._pause_s + _DEADLINE_SLACK_S

    def identify(self) -> Identity:
        """Read serial number and settings, once at start; takes about 10 ms at 100 kHz.

        Raises DeviceNotAvailable when nothing answers, DeviceTimeout when the bus hangs, DeviceFailed when
        the answers are spoiled.  A word gets three attempts.
        """
        return self._identity(self._settings())

    def check(self) -> SelfCheck:
        """Look at identity, settings and both temperatures; takes about 15 ms, under 2 s at the worst.

        Raises as `identify` does, and DeviceFailed when the part flags an error, states what it is not built
        for, or says the same word for object and ambient every time: then it does not measure at all.
        """
        settings = self._settings()
        seen, around = self._look()
        for what, word in (("object", seen), ("ambient", around)):
            if (problem := _outside(what, _centi_degrees(word), CHECK_WINDOW_CC)) is not None:
                raise DeviceFailed(self._name, problem[1], "look at what is before and around the part")
        return SelfCheck(
            identity=self._identity(settings),
            config=settings[CONFIG1],
            emissivity=settings[EMISSIVITY],
            object_cc=_centi_degrees(seen),
            ambient_cc=_centi_degrees(around),
            spread_cc=self._spread_cc,
        )

    def _look(self) -> tuple[int, int]:
        """Return the words of object and ambient, which are not the same."""
        for _ in range(_CHECK_LOOKS):
            self._sleep(self._pause_s)
            seen, around = self._patient_word(OBJECT), self._patient_word(AMBIENT)
            if (seen | around) & _ERROR_FLAG:
                flagged = f"it flags an error (words {seen:04x}, {around:04x})"
                raise DeviceFailed(self._name, flagged, "replace the part")
            if seen != around:
                return seen, around
        same = f"object and ambient are one and the same word ({seen:04x})"
        raise DeviceFailed(self._name, same, "replace the part")

    @property
    def _name(self) -> str:
        return f"MLX90614 at 0x{self._address:02x}"

    def _settings(self) -> dict[int, int]:
        return {cell: self._patient_word(cell) for cell in WRITABLE_CELLS}

    def _identity(self, settings: Mapping[int, int]) -> Identity:
        serial = "".join(f"{self._patient_word(cell):04x}" for cell in SERIAL_CELLS)
        image = b"".join(word.to_bytes(2, "big") for word in settings.values())
        return Identity(
            serial=serial,
            fingerprint=hashlib.sha256(image).hexdigest()[:16],
            emissivity_is_factory=settings[EMISSIVITY] == EMISSIVITY_FACTORY,
        )

    def measure(self) -> Measurement:
        """Take one reading and say how it ended; raises nothing for operating faults.

        Each sample is taken after the bus has been quiet for longer than a settling time, the first included:
        all of it was seen after the call, and traffic on the bus disturbs the part (DS 8.4.9).  A failed
        sample is taken again, at most twice in a reading.  Lasts samples * 1.1 settling times, at most
        `deadline_s`.
        """
        words: list[tuple[int, int]] = []
        try:
            self._take_samples(words)
        except _ReadError as error:
            seen_cc = tuple(_centi_degrees(word) for word, _ in words)
            return Measurement(error.outcome, error.detail, seen_cc)
        return self._judge(words)

    def _take_samples(self, words: list[tuple[int, int]]) -> None:
        deadline_s = self._monotonic() + self.deadline_s
        retries = _RETRIES
        while len(words) < self._samples:
            if self._monotonic() + self._pause_s > deadline_s:
                raise _ReadError(Outcome.TIMEOUT, f"no complete reading in {self.deadline_s:.1f} s")
            self._sleep(self._pause_s)
            try:
                words.append((self._temperature(OBJECT), self._temperature(AMBIENT)))
            except _ReadError:
                if retries == 0:
                    raise
                retries -= 1

    def _judge(self, words: list[tuple[int, int]]) -> Measurement:
        samples_cc = tuple(_centi_degrees(word) for word, _ in words)
        sight = _Sight(
            samples_cc=samples_cc,
            raw_cc=_median(samples_cc),
            spread_cc=max(samples_cc) - min(samples_cc),
            ambient_cc=_median([_centi_degrees(word) for _, word in words]) + self._supply_cc,
        )
        self._spread_cc = sight.spread_cc
        problem = _frozen(words) or self._problem(sight)
        return self._correct(sight) if problem is None else sight.report(*problem)

    def _problem(self, sight: _Sight) -> _Problem | None:
        limit_cc = _SPREAD_PER_NOISE * self._variant.noise_cc
        if sight.spread_cc > limit_cc:
            spread = f"samples spread over {_celsius(sight.spread_cc)}, limit {_celsius(limit_cc)}"
            return Outcome.UNSTEADY, spread
        return (
            _outside("ambient", sight.ambient_cc, AMBIENT_WINDOW_CC)
            or _outside(f"ambient for {self._core.name}", sight.ambient_cc, self._core.ambient_cc)
            or _outside("object", sight.raw_cc, OBJECT_WINDOW_CC)
        )

    def _correct(self, sight: _Sight) -> Measurement:
        terms = (
            ("supply_voltage", self._supply_cc),
            ("ambient_to_core", self._core.term_cc(sight.ambient_cc)),
            ("calibration_offset", self._offset_cc),
        )
        value_cc = sight.raw_cc + sum(cc for _, cc in terms)
        problem = _outside("body", value_cc, self._core.result_cc)
        if problem is not None:
            return sight.report(*problem, terms)
        margin_cc = self._margin_cc(sight)
        return replace(
            sight.report(Outcome.OK, "", terms),
            value_cc=value_cc,
            low_cc=value_cc - margin_cc,
            high_cc=value_cc + margin_cc,
        )

    def _margin_cc(self, sight: _Sight) -> int:
        noise_cc = math.ceil(_MEDIAN_NOISE * self._variant.noise_cc / math.sqrt(self._samples))
        accuracy_cc = self._variant.error_cc(sight.raw_cc + self._supply_cc, sight.ambient_cc)
        return accuracy_cc + noise_cc

    def _temperature(self, command: int) -> int:
        word = self._word(command)
        if word & _ERROR_FLAG:
            raise _ReadError(Outcome.SENSOR_ERROR, f"the part flags an error (word {word:04x})")
        return word

    def _word(self, command: int) -> int:
        ask = self._commands.get(command)
        if ask is None:
            ask = self._commands[command] = self._message.write(self._address, bytes([command]))
        # Always a new message to read into: an adapter that fills nothing must not leave the last answer
        # there.
        answer = self._message.read(self._address, 3)
        try:
            self._bus.i2c_rdwr(ask, answer)
        except OSError as error:
            outcome = Outcome.TIMEOUT if error.errno == errno.ETIMEDOUT else Outcome.BUS_ERROR
            raise _ReadError(outcome, f"bus: {error.strerror or error}") from error
        return _checked_word(self._address, command, answer.buf[0:3])

    def _patient_word(self, command: int) -> int:
        for _ in range(_WORD_ATTEMPTS - 1):
            try:
                return self._word(command)
            except _ReadError:
                self._sleep(self._pause_s)
        try:
            return self._word(command)
        except _ReadError as error:
            self._raise_device_error(error)

    def _raise_device_error(self, error: _ReadError) -> NoReturn:
        device = self._name
        if error.outcome == Outcome.BUS_ERROR:
            advice = "check its four wires, its power and the address in the configuration"
            raise DeviceNotAvailable(device, f"does not answer ({error.detail})", advice) from error
        if error.outcome == Outcome.TIMEOUT:
            advice = (
                "unplug the part and plug it in again; if the bus stays stuck, check SDA and SCL for shorts"
            )
            raise DeviceTimeout(device, "the bus hangs", advice) from error
        advice = "shorten the wires, keep them off motors and relays, and set the bus to 100 kHz"
        raise DeviceFailed(device, f"answers are spoiled ({error.detail})", advice) from error


def _frozen(words: Sequence[tuple[int, int]]) -> _Problem | None:
    """Find a part that stands still: it would give one visitor the temperature of the one before.

    When most of the samples in a row are one and the same pair of words, the median is theirs.  Noise alone
    does that to the quietest part (0.05 C rms is 2.5 steps) once in some hundred readings at most, at the
    price of a second one; waiting for a second such reading would let a visitor through on the first.
    """
    longest = run = 1
    for before, after in pairwise(words):
        run = run + 1 if after == before else 1
        longest = max(longest, run)
    if 2 * longest <= len(words):
        return None
    return Outcome.FROZEN, f"{longest} samples in a row are one and the same word"


def _checked_word(address: int, command: int, answer: bytes) -> int:
    """Return the word of an answer (low, high, PEC); _ReadError when the check fails (DS 8.4.3.1)."""
    sent = bytes([address << 1, command, address << 1 | 1])
    if smbus_pec(sent + answer) != 0:  # a CRC over data and its own CRC is 0
        raise _ReadError(
            Outcome.PEC_ERROR, f"answer {answer.hex()} to command 0x{command:02x} fails its check"
        )
    return answer[0] | answer[1] << 8


def _centi_degrees(word: int) -> int:
    return word * 2 - 27315


def _celsius(centi_degrees: int) -> str:
    return f"{centi_degrees / 100:.2f} C"


def _inside(value: int, window: tuple[int, int]) -> bool:
    return window[0] <= value <= window[1]


def _median(odd_many: Sequence[int]) -> int:
    return sorted(odd_many)[len(odd_many) // 2]


def _outside(what: str, cc: int, window: tuple[int, int]) -> _Problem | None:
    if _inside(cc, window):
        return None
    low, high = (_celsius(end) for end in window)
    return Outcome.OUT_OF_WINDOW, f"{what} {_celsius(cc)} is outside {low} to {high}"


def _bounded(name: str, cc: int, bound_cc: int) -> int:
    if abs(cc) > bound_cc:
        raise ValueError(f"{name}: a correction of {_celsius(cc)} is beyond +-{_celsius(bound_cc)}")
    return cc
