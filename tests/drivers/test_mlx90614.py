"""The thermometer driver against a part simulated at the wire; the contract also runs on a real part."""

from __future__ import annotations

import ast
import errno
import inspect
import os
import time
from dataclasses import fields, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from smbus2 import i2c_msg

from drivers import mlx90614
from drivers.errors import DeviceError, DeviceFailed, DeviceNotAvailable, DeviceTimeout
from drivers.i2c import open_bus, smbus_pec
from drivers.mlx90614 import (
    AMBIENT,
    AMBIENT_TO_CORE,
    AMBIENT_WINDOW_CC,
    CONFIG1,
    CORE_WINDOW_CC,
    EMISSIVITY,
    OBJECT,
    OBJECT_WINDOW_CC,
    SKIN_WINDOW_CC,
    VARIANTS,
    AmbientToCore,
    Mlx90614,
    Outcome,
)
from drivers.sim.mlx90614 import Fault, SimMlx90614

DCC = VARIANTS["DCC"]
# How often one reading tries a word before it gives up: two retries.
ATTEMPTS = 3
BUS_VARIABLE = "MLX90614_BUS"


class VirtualTime:
    def __init__(self):
        self.now_s = 1000.0

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        assert seconds > 0
        self.now_s += seconds


class ScriptedBus:
    """Answers each command with the next of its words (the last one for ever); PEC right, no noise.

    Every second ambient word is one step off, as a living part's is, unless the part is to stand `still`.
    """

    def __init__(self, object_words, ambient_words=(14757,), *, still=False):  # 21.99 C
        self.words = {OBJECT: list(object_words), AMBIENT: list(ambient_words)}
        self.step = 0 if still else 1
        self.off = {OBJECT: 0, AMBIENT: 0}

    def i2c_rdwr(self, *messages):
        ask, answer = messages
        command = ask.buf[0][0]
        words = self.words[command]
        word = words.pop(0) if len(words) > 1 else words[0]
        data = (word ^ self.off[command]).to_bytes(2, "little")
        self.off[AMBIENT] ^= self.step if command == AMBIENT else 0
        pec = smbus_pec(bytes([ask.addr << 1, command, ask.addr << 1 | 1]) + data)
        for place, byte in enumerate([*data, pec]):
            answer.buf[place] = byte

    def close(self):
        pass


def word(cc):
    assert cc % 2 == 1, "the part knows odd centi-degrees only"
    return (cc + 27315) // 2


@pytest.fixture
def clock():
    return VirtualTime()


def make_sim(clock, variant=DCC, **settings):
    return SimMlx90614(
        variant, monotonic=clock.monotonic, sleep=clock.sleep, **{"object_cc": 3650, **settings}
    )


def make_driver(bus, clock, variant=DCC, **settings):
    return Mlx90614(bus, variant, sleep=clock.sleep, monotonic=clock.monotonic, **settings)


def measure_words(object_words, ambient_words=(14757,), **settings):
    """One reading without supply correction, so that words map to values one to one."""
    settings = {"vdd_mv": 3000, **settings}
    return make_driver(ScriptedBus(object_words, ambient_words), VirtualTime(), **settings).measure()


# --- contract: simulated part, and a real one where there is one ------------------------------------------


@pytest.fixture(params=["simulated", "real"])
def part(request, clock):
    """A driver and the variant it was told; the surface in view is between 22 and 43 C and at rest."""
    if request.param == "simulated":
        return make_driver(make_sim(clock), clock), DCC
    path = os.environ.get(BUS_VARIABLE)
    if not path:
        pytest.skip(f"no real part: set {BUS_VARIABLE} to its adapter, such as /dev/i2c-1")
    variant = VARIANTS[os.environ.get("MLX90614_VARIANT", "DCC")]
    bus = open_bus(path, 100)
    request.addfinalizer(bus.close)
    return Mlx90614(bus, variant, sleep=time.sleep), variant  # noqa: TID251 - a real part needs real time


def test_contract_identity_is_stable(part):
    driver, _ = part
    identity = driver.identify()
    assert driver.identify() == identity
    assert len(bytes.fromhex(identity.serial)) == 8
    assert len(bytes.fromhex(identity.fingerprint)) == 8
    assert identity.emissivity_is_factory


def test_contract_a_reading_explains_itself(part):
    driver, variant = part
    reading = driver.measure()
    assert reading.outcome in {Outcome.OK, Outcome.UNSTEADY, Outcome.OUT_OF_WINDOW}, reading
    assert len(reading.samples_cc) == 5
    assert all(cc % 2 == 1 for cc in reading.samples_cc)
    assert reading.raw_cc == sorted(reading.samples_cc)[2]
    assert reading.spread_cc == max(reading.samples_cc) - min(reading.samples_cc)
    if reading.outcome is Outcome.OK:
        assert reading.value_cc == reading.raw_cc + sum(cc for _, cc in reading.corrections)
        assert reading.low_cc < reading.value_cc < reading.high_cc
        assert reading.high_cc - reading.value_cc >= variant.error_cc(reading.raw_cc, reading.ambient_cc)
    else:
        assert reading.value_cc is None


def test_contract_nobody_answers_at_another_address(part):
    driver, variant = part
    stranger = Mlx90614(driver._bus, variant, sleep=driver._sleep, monotonic=driver._monotonic, address=0x11)
    assert stranger.measure().outcome is Outcome.BUS_ERROR
    with pytest.raises(DeviceNotAvailable, match=r"0x11.*four wires"):
        stranger.identify()


# --- words ------------------------------------------------------------------------------------------------


@given(st.integers(0, 0xFF), st.binary(min_size=3, max_size=3))
@example(0x07, bytes.fromhex("d23a30"))
@example(0x07, b"\xff\xff\xff")
@example(0x07, b"\x00\x00\x00")
def test_any_three_bytes_give_a_word_or_an_error(command, answer):
    right = smbus_pec(bytes([0xB4, command, 0xB5]) + answer[:2]) == answer[2]
    try:
        got = mlx90614._checked_word(0x5A, command, answer)
    except mlx90614._ReadError as error:
        assert not right
        assert error.outcome is Outcome.PEC_ERROR
    else:
        assert right
        assert got == int.from_bytes(answer[:2], "little")


@given(st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=8))
@example([bytes.fromhex("d23a30")])
@example([b"\xff\xff\xff"])
def test_measure_survives_whatever_the_bus_says(answers):
    class NoisyBus(ScriptedBus):
        turn = 0

        def i2c_rdwr(self, *messages):
            for place, byte in enumerate(answers[self.turn % len(answers)]):
                messages[1].buf[place] = byte
            self.turn += 1

    reading = make_driver(NoisyBus([0]), VirtualTime()).measure()
    assert reading.outcome is not Outcome.OK
    assert reading.value_cc is None


@given(st.integers(0, 0x7FFF))
def test_conversion_is_exact_and_odd(raw):
    cc = mlx90614._centi_degrees(raw)
    assert cc == raw * 2 - 27315
    assert cc % 2 == 1


def test_the_word_of_the_data_sheet():
    # 0x3AD2 in figure 8 is 15058 steps of 0.02 K.
    reading = measure_words([0x3AD2])
    assert reading.samples_cc == (2801,) * 5
    assert reading.value_cc == 2801


def test_an_answer_that_never_came_is_not_the_last_answer(clock):
    class ForgetfulBus(ScriptedBus):
        forgets = False

        def i2c_rdwr(self, *messages):
            if not self.forgets:
                super().i2c_rdwr(*messages)

    bus = ForgetfulBus([word(3651)])
    driver = make_driver(bus, clock)
    assert driver._word(OBJECT) == word(3651)
    bus.forgets = True
    with pytest.raises(mlx90614._ReadError):
        driver._word(OBJECT)


@pytest.mark.parametrize("address", [0x5A, 0x2A])
def test_word_read_is_one_transaction_of_two_messages(clock, address):
    seen = []

    class WatchedSim(SimMlx90614):
        def i2c_rdwr(self, *messages):
            seen.append([(m.addr, m.flags, m.len) for m in messages])
            super().i2c_rdwr(*messages)

    bus = WatchedSim(DCC, monotonic=clock.monotonic, sleep=clock.sleep, object_cc=3650, address=address)
    assert make_driver(bus, clock, address=address).measure().outcome is Outcome.OK
    assert seen == [[(address, 0, 1), (address, 1, 3)]] * 10


# --- never a write ----------------------------------------------------------------------------------------


def test_no_life_of_the_driver_writes_to_the_part(clock):
    sim = make_sim(clock)
    before = list(sim.words[0x20:])
    driver = make_driver(sim, clock)
    for fault in (None, *Fault):
        if fault:
            sim.inject(fault, 4)
        driver.measure()
        sim.recover()
        driver.identify()
    assert sim.eeprom_writes == 0
    assert sim.words[0x20:] == before


def test_the_only_message_the_driver_sends_is_one_command_byte():
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(mlx90614)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and "write" in node.func.attr
    ]
    assert [ast.unparse(call) for call in calls] == ["self._message.write(self._address, bytes([command]))"]


def test_the_simulation_counts_a_write(clock):
    sim = make_sim(clock)
    sim.i2c_rdwr(i2c_msg.write(0x5A, [EMISSIVITY, 0x00, 0x00, 0x28]))
    assert sim.eeprom_writes == 1


# --- time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_bus_is_quiet_for_a_settling_time_before_each_sample(clock, variant):
    reads = []

    class TimedSim(SimMlx90614):
        def i2c_rdwr(self, *messages):
            reads.append(clock.now_s)
            super().i2c_rdwr(*messages)

    sim = TimedSim(variant, monotonic=clock.monotonic, sleep=clock.sleep, object_cc=3650)
    driver = make_driver(sim, clock, variant)
    start_s = clock.now_s
    assert driver.measure().outcome is Outcome.OK
    sample_times = sorted(set(reads))
    assert len(sample_times) == 5
    gaps = [b - a for a, b in zip([start_s, *sample_times], sample_times, strict=False)]
    assert min(gaps) >= variant.settling_ms / 1000
    assert clock.now_s - start_s <= driver.deadline_s


def test_the_first_sample_was_seen_after_the_call(clock):
    sim = make_sim(clock, object_cc=2300)
    driver = make_driver(sim, clock)
    driver.measure()
    clock.sleep(60.01)
    sim.look_at(3650)
    assert driver.measure().outcome is Outcome.OK


def test_hasty_and_frozen_reads_see_one_conversion(clock):
    sim = make_sim(clock)
    ask, answer = i2c_msg.write(0x5A, [OBJECT]), i2c_msg.read(0x5A, 3)

    def read():
        sim.i2c_rdwr(ask, answer)
        return bytes(answer.buf[0:3])

    clock.sleep(0.15)
    first = read()
    clock.sleep(0.05)
    assert read() == first
    sim.inject(Fault.FREEZE, 2)
    clock.sleep(0.14)
    assert [read(), read()] == [first, first]
    assert read() != first


def test_a_bus_that_hangs_ends_in_a_timeout(clock):
    sim = make_sim(clock, timeout_ms=100)
    sim.inject(Fault.HANG)
    reading = make_driver(sim, clock).measure()
    assert reading.outcome is Outcome.TIMEOUT
    assert clock.now_s == pytest.approx(1000 + ATTEMPTS * (0.154 + 0.1))


def test_an_adapter_that_waits_for_long_is_held_to_the_deadline(clock):
    sim = make_sim(clock, timeout_ms=1500)
    sim.inject(Fault.HANG)
    driver = make_driver(sim, clock)
    reading = driver.measure()
    assert reading.outcome is Outcome.TIMEOUT
    assert clock.now_s - 1000 <= driver.deadline_s + 1.5


def test_a_slow_sleep_is_held_to_the_deadline(clock):
    driver = Mlx90614(make_sim(clock), DCC, sleep=lambda s: clock.sleep(s + 1), monotonic=clock.monotonic)
    reading = driver.measure()
    assert reading.outcome is Outcome.TIMEOUT
    assert 0 < len(reading.samples_cc) < 5
    assert clock.now_s - 1000 <= driver.deadline_s + 1


# --- faults -----------------------------------------------------------------------------------------------

FAULT_OUTCOMES = {
    Fault.NACK: Outcome.BUS_ERROR,
    Fault.BAD_PEC: Outcome.PEC_ERROR,
    Fault.ERROR_FLAG: Outcome.SENSOR_ERROR,
    Fault.HANG: Outcome.TIMEOUT,
    Fault.DEAD_BUS: Outcome.PEC_ERROR,
    Fault.DEAD_BUS_VALID_PEC: Outcome.SENSOR_ERROR,
}


@pytest.mark.parametrize(("fault", "outcome"), FAULT_OUTCOMES.items())
def test_a_lasting_fault_is_its_own_outcome(clock, fault, outcome):
    sim = make_sim(clock)
    driver = make_driver(sim, clock)
    sim.inject(fault)
    reading = driver.measure()
    assert reading.outcome is outcome
    assert reading.detail
    assert (reading.value_cc, reading.low_cc, reading.high_cc) == (None, None, None)
    sim.recover()
    assert driver.measure().outcome is Outcome.OK


@pytest.mark.parametrize(("fault", "outcome"), FAULT_OUTCOMES.items())
@pytest.mark.parametrize("times", [1, ATTEMPTS - 1, ATTEMPTS])
def test_a_passing_fault_costs_retries_and_then_the_reading(clock, fault, outcome, times):
    sim = make_sim(clock)
    sim.inject(fault, times)
    reading = make_driver(sim, clock).measure()
    assert reading.outcome is (Outcome.OK if times < ATTEMPTS else outcome)


def test_a_fault_in_the_middle_keeps_the_samples_before_it(clock):
    class BreakingSim(SimMlx90614):
        reads = 0

        def i2c_rdwr(self, *messages):
            self.reads += 1
            if self.reads == 5:
                self.inject(Fault.NACK)
            super().i2c_rdwr(*messages)

    bus = BreakingSim(DCC, monotonic=clock.monotonic, sleep=clock.sleep, object_cc=3650)
    reading = make_driver(bus, clock).measure()
    assert reading.outcome is Outcome.BUS_ERROR
    assert len(reading.samples_cc) == 2
    assert reading.raw_cc is None


@pytest.mark.parametrize("code", [errno.EREMOTEIO, errno.ENXIO, errno.EIO, errno.EAGAIN, errno.ENODEV])
def test_every_other_bus_failure_is_a_bus_error(clock, code):
    class FailingBus(ScriptedBus):
        def i2c_rdwr(self, *messages):
            raise OSError(code, os.strerror(code))

    reading = make_driver(FailingBus([0]), clock).measure()
    assert (reading.outcome, reading.detail) == (Outcome.BUS_ERROR, f"bus: {os.strerror(code)}")


def test_a_programming_error_is_not_swallowed(clock):
    class BrokenBus(ScriptedBus):
        def i2c_rdwr(self, *messages):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_driver(BrokenBus([0]), clock).measure()


def test_a_frozen_part_gives_nobody_the_temperature_of_the_one_before(clock):
    sim = make_sim(clock)
    driver = make_driver(sim, clock)
    assert driver.measure().outcome is Outcome.OK
    sim.inject(Fault.FREEZE)
    outcomes = []
    for object_cc in (3650, 3900, 3600):
        sim.look_at(object_cc)
        outcomes.append(driver.measure().outcome)
    assert outcomes == [Outcome.FROZEN] * 3
    sim.recover()
    assert driver.measure().outcome is Outcome.OK


STILL, OTHER = word(3651), word(3653)


@pytest.mark.parametrize(
    ("object_words", "ambient_words", "outcome"),
    [
        ([STILL] * 5, [14757], Outcome.FROZEN),
        ([STILL] * 3 + [OTHER, word(3655)], [14757], Outcome.FROZEN),  # it woke up in the middle
        ([word(3655), OTHER] + [STILL] * 3, [14757], Outcome.FROZEN),  # it stopped in the middle
        ([STILL] * 2 + [OTHER] + [STILL] * 2, [14757], Outcome.OK),
        ([STILL] * 5, [14757, 14758] * 3, Outcome.OK),  # the ambient word lives
    ],
)
def test_most_samples_in_a_row_being_one_word_is_frozen(clock, object_words, ambient_words, outcome):
    driver = make_driver(ScriptedBus(object_words, ambient_words, still=True), clock)
    assert driver.measure().outcome is outcome


def test_a_living_part_is_hardly_ever_called_unsteady_and_never_frozen(clock):
    for part, variant in VARIANTS.items():
        driver = make_driver(make_sim(clock, variant, seed=5), clock, variant)
        outcomes = [driver.measure().outcome for _ in range(300)]
        assert outcomes.count(Outcome.OK) >= 298, part
        assert Outcome.FROZEN not in outcomes


def test_drift_moves_readings_until_it_is_ended(clock):
    sim = make_sim(clock)
    driver = make_driver(sim, clock)
    sim.drift(60)
    clock.sleep(120)
    assert driver.measure().value_cc == pytest.approx(3650 + 120, abs=40)
    sim.recover()
    assert driver.measure().value_cc == pytest.approx(3650, abs=40)


# --- windows and spread, both sides of each edge ----------------------------------------------------------


@pytest.mark.parametrize("cc", [1001, 3999])
def test_ambient_inside_its_window(cc):
    assert measure_words([word(3651)], [word(cc)]).outcome is Outcome.OK


@pytest.mark.parametrize("cc", [999, 4001])
def test_ambient_outside_its_window(cc):
    reading = measure_words([word(3651)], [word(cc)])
    assert reading.outcome is Outcome.OUT_OF_WINDOW
    assert "ambient" in reading.detail


@pytest.mark.parametrize(
    ("vdd_mv", "ambient_cc", "outcome"),
    # The part knows odd centi-degrees; an odd supply term brings the ends of the window into reach.
    [
        (3017, 1001, Outcome.OK),
        (3017, 4001, Outcome.OK),
        (3017, 4003, Outcome.OUT_OF_WINDOW),
        (2983, 999, Outcome.OK),
        (2983, 997, Outcome.OUT_OF_WINDOW),
    ],
)
def test_ambient_window_holds_for_the_corrected_ambient_and_both_its_ends(vdd_mv, ambient_cc, outcome):
    assert measure_words([word(3651)], [word(ambient_cc)], vdd_mv=vdd_mv).outcome is outcome


@pytest.mark.parametrize(("cc", "outcome"), [(4299, Outcome.OK), (4301, Outcome.OUT_OF_WINDOW)])
def test_object_window_above(cc, outcome):
    # The offset keeps the body window out of the way.
    reading = measure_words([word(cc)], offset_cc=-100)
    assert reading.outcome is outcome
    assert ("object" in reading.detail) == (outcome is Outcome.OUT_OF_WINDOW)


@pytest.mark.parametrize(("cc", "what"), [(2199, "object"), (2201, "body")])
def test_object_window_below(cc, what):
    # No correction lifts 22 C into the body window, so the reason tells the two windows apart.
    reading = measure_words([word(cc)])
    assert reading.outcome is Outcome.OUT_OF_WINDOW
    assert reading.detail.startswith(what)


@pytest.mark.parametrize(
    ("raw_cc", "offset_cc", "outcome"),
    [
        (2801, -1, Outcome.OK),
        (2801, -2, Outcome.OUT_OF_WINDOW),
        (4299, 1, Outcome.OK),
        (4299, 2, Outcome.OUT_OF_WINDOW),
    ],
)
def test_body_window_holds_for_the_corrected_value(raw_cc, offset_cc, outcome):
    reading = measure_words([word(raw_cc)], offset_cc=offset_cc)
    assert reading.outcome is outcome
    assert dict(reading.corrections)["calibration_offset"] == offset_cc
    assert (reading.value_cc is None) == (outcome is not Outcome.OK)


def test_windows_are_the_published_ones():
    assert (AMBIENT_WINDOW_CC, OBJECT_WINDOW_CC) == ((1000, 4000), (2200, 4300))
    assert (SKIN_WINDOW_CC, CORE_WINDOW_CC) == ((2800, 4300), (3400, 4300))


@pytest.mark.parametrize(("spread_cc", "outcome"), [(108, Outcome.OK), (110, Outcome.UNSTEADY)])
def test_spread_limit_is_six_times_the_noise(spread_cc, outcome):
    reading = measure_words([word(3651), word(3651 + spread_cc), word(3651)])
    assert reading.outcome is outcome
    assert reading.spread_cc == spread_cc
    assert reading.raw_cc == 3651


def test_a_person_who_steps_in_half_way_is_unsteady(clock):
    sim = make_sim(clock, object_cc=2200)

    def sleep(seconds):
        clock.sleep(seconds)
        if clock.now_s > 1000.4:
            sim.look_at(3650)

    driver = Mlx90614(sim, DCC, sleep=sleep, monotonic=clock.monotonic)
    assert driver.measure().outcome is Outcome.UNSTEADY


# --- corrections and interval -----------------------------------------------------------------------------


def test_supply_voltage_is_corrected_on_object_and_ambient():
    reading = measure_words([word(3651)], vdd_mv=3300)
    assert reading.corrections == (("supply_voltage", -18), ("ambient_to_core", 0), ("calibration_offset", 0))
    assert (reading.raw_cc, reading.value_cc, reading.ambient_cc) == (3651, 3633, 2199 - 18)


def test_ambient_to_core_follows_its_line():
    model = AMBIENT_TO_CORE["forehead_linear"]
    assert [model.term_cc(cc) for cc in (1400, 2000, 3200)] == [426, 313, 87]  # 6.887 - 0.188 * Ta
    reading = measure_words([word(3401)], [word(2001)], ambient_to_core=model)
    assert dict(reading.corrections)["ambient_to_core"] == 313
    assert reading.value_cc == 3401 + 313


@pytest.mark.parametrize(
    ("ambient_cc", "outcome"),
    [
        (1399, Outcome.OUT_OF_WINDOW),
        (1401, Outcome.OK),
        (3199, Outcome.OK),
        (3201, Outcome.OUT_OF_WINDOW),
    ],
)
def test_ambient_to_core_is_used_only_where_it_was_measured(ambient_cc, outcome):
    model = AMBIENT_TO_CORE["forehead_linear"]
    assert measure_words([word(3401)], [word(ambient_cc)], ambient_to_core=model).outcome is outcome


@pytest.mark.parametrize(("object_cc", "outcome"), [(3105, Outcome.OUT_OF_WINDOW), (3107, Outcome.OK)])
def test_a_wall_is_not_taken_for_a_forehead(object_cc, outcome):
    # The term is 2.94 C, so these are 33.99 and 34.01 C.
    model = AMBIENT_TO_CORE["forehead_linear"]
    assert measure_words([word(object_cc)], [word(2101)], ambient_to_core=model).outcome is outcome


STEEP = AmbientToCore("steep", 450, 0, (1400, 3200), SKIN_WINDOW_CC)


@pytest.mark.parametrize(
    "settings",
    [
        {"offset_cc": 100},
        {"offset_cc": -100},
        {"vdd_mv": 3600},
        {"vdd_mv": 2400},
        {"ambient_to_core": STEEP},
        {"samples": 3},
        {"samples": 15},
    ],
)
def test_settings_at_their_bounds(clock, settings):
    assert make_driver(make_sim(clock), clock, **settings).measure().outcome is Outcome.OK


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"offset_cc": 101}, "calibration_offset"),
        ({"offset_cc": -101}, "calibration_offset"),
        ({"vdd_mv": 3617}, "supply_voltage"),
        ({"vdd_mv": 2383}, "supply_voltage"),
        ({"vdd_mv": 5000}, "supply_voltage"),
        ({"ambient_to_core": replace(STEEP, base_cc=451)}, "ambient_to_core"),
        ({"ambient_to_core": replace(STEEP, base_cc=0, slope_per_mille=150)}, "ambient_to_core"),
        ({"samples": 1}, "samples"),
        ({"samples": 4}, "samples"),
        ({"samples": 17}, "samples"),
    ],
)
def test_settings_beyond_their_bounds(clock, settings, name):
    with pytest.raises(ValueError, match=name):
        make_driver(make_sim(clock), clock, **settings)


@pytest.mark.parametrize(
    ("part", "object_cc", "ambient_cc", "error_cc"),
    [
        ("DCC", 3599, 2200, 30),
        ("DCC", 3600, 2200, 20),
        ("DCC", 3800, 2200, 20),
        ("DCC", 3801, 2200, 30),
        ("DCC", 4000, 2200, 30),
        ("DCC", 4001, 2200, 50),
        ("DCC", 2200, 2200, 30),
        ("DCC", 2199, 2200, 50),
        ("DCC", 3700, 1600, 20),
        ("DCC", 3700, 1599, 50),
        ("DCC", 3700, 4000, 20),
        ("DCC", 3700, 4001, 50),
        ("BCC", 3700, 2200, 50),
    ],
)
def test_accuracy_table(part, object_cc, ambient_cc, error_cc):
    assert VARIANTS[part].error_cc(object_cc, ambient_cc) == error_cc


def test_accuracy_is_known_wherever_a_value_is_given():
    for variant in VARIANTS.values():
        for object_cc in (OBJECT_WINDOW_CC[0] - 36, OBJECT_WINDOW_CC[1] + 36):
            for ambient_cc in AMBIENT_WINDOW_CC:
                assert variant.error_cc(object_cc, ambient_cc) == 50
    with pytest.raises(LookupError):
        VARIANTS["DCC"].error_cc(5001, 2200)


@pytest.mark.parametrize(
    ("settings", "margin_cc"),
    [
        ({}, 20 + 21),  # 2 * 1.2533 * 18 / sqrt(5) = 20.2
        ({"samples": 15}, 20 + 12),
        ({"offset_cc": -100}, 20 + 21),  # the accuracy is looked up where the part measured
        ({"ambient_to_core": AMBIENT_TO_CORE["forehead_linear"], "offset_cc": 0}, 20 + 21),
    ],
)
def test_interval(settings, margin_cc):
    reading = measure_words([word(3601)], **settings)
    assert reading.value_cc - reading.low_cc == reading.high_cc - reading.value_cc == margin_cc


def test_supply_counts_when_the_accuracy_is_looked_up():
    # 36.01 C on the wire is 35.83 C at 3.0 V, outside the best band.
    reading = measure_words([word(3601)], vdd_mv=3300)
    assert reading.high_cc - reading.value_cc == 30 + 21


def test_the_interval_holds_the_truth_as_often_as_it_says(clock):
    sim = make_sim(clock, object_cc=3700, seed=11)
    driver = make_driver(sim, clock)
    readings = [driver.measure() for _ in range(400)]
    noise_only = [r for r in readings if abs(r.value_cc - 3700) <= 21]
    assert len(noise_only) / len(readings) >= 0.93, "seed 11"
    assert all(r.low_cc <= 3700 <= r.high_cc for r in readings)


# --- identity ---------------------------------------------------------------------------------------------


def test_fingerprint_changes_with_every_cell_that_can_be_written(clock):
    # Data sheet table 5, column "Write access", at 0x20 + address.
    cells = (0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x2E, 0x2F, 0x39)
    prints = {make_driver(make_sim(clock), clock).identify().fingerprint}
    for cell in cells:
        sim = make_sim(clock)
        sim.words[cell] ^= 1
        prints.add(make_driver(sim, clock).identify().fingerprint)
    assert len(prints) == 1 + len(cells)


def test_fingerprint_is_of_the_settings_and_the_serial_number_of_the_part(clock):
    one, other = (make_driver(make_sim(clock, seed=seed), clock).identify() for seed in (1, 2))
    assert one.serial != other.serial
    assert one.fingerprint == other.fingerprint


def test_a_changed_emissivity_is_reported(clock):
    sim = make_sim(clock)
    sim.words[EMISSIVITY] = 0xFAE0  # 0.98, as some guides write it
    assert not make_driver(sim, clock).identify().emissivity_is_factory


@pytest.mark.parametrize("fault", [Fault.NACK, Fault.BAD_PEC, Fault.HANG])
def test_identify_forgives_two_faults(clock, fault):
    sim = make_sim(clock)
    driver = make_driver(sim, clock)
    identity = driver.identify()
    sim.inject(fault, 2)
    assert driver.identify() == identity


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.NACK, DeviceNotAvailable),
        (Fault.HANG, DeviceTimeout),
        (Fault.BAD_PEC, DeviceFailed),
        (Fault.DEAD_BUS, DeviceFailed),
    ],
)
def test_identify_says_what_is_wrong_and_what_to_do(clock, fault, error):
    sim = make_sim(clock)
    sim.inject(fault)
    with pytest.raises(DeviceError) as caught:
        make_driver(sim, clock).identify()
    assert type(caught.value) is error
    assert caught.value.device == "MLX90614 at 0x5a"
    assert caught.value.advice


# --- the check of itself ----------------------------------------------------------------------------------


def test_contract_it_finds_itself_in_order(part):
    driver, _ = part
    found = driver.check()
    assert found.identity == driver.identify()
    assert found.emissivity == 0xFFFF
    assert found.object_cc % 2 == found.ambient_cc % 2 == 1
    assert found.spread_cc is None
    reading = driver.measure()
    assert driver.check().spread_cc == reading.spread_cc


def test_a_check_states_the_registers_as_they_are(clock):
    sim = make_sim(clock)
    sim.words[CONFIG1] = 0x1234
    sim.words[EMISSIVITY] = 0xFAE0
    found = make_driver(sim, clock).check()
    assert (found.config, found.emissivity) == (0x1234, 0xFAE0)
    assert not found.identity.emissivity_is_factory


@pytest.mark.parametrize("fault", [Fault.NACK, Fault.BAD_PEC, Fault.HANG])
def test_a_check_forgives_two_faults(clock, fault):
    sim = make_sim(clock)
    driver = make_driver(sim, clock)
    sim.inject(fault, 2)
    assert driver.check().emissivity == 0xFFFF


@pytest.mark.parametrize(
    ("fault", "error", "problem"),
    [
        (Fault.NACK, DeviceNotAvailable, "does not answer"),
        (Fault.HANG, DeviceTimeout, "the bus hangs"),
        (Fault.BAD_PEC, DeviceFailed, "answers are spoiled"),
        (Fault.DEAD_BUS, DeviceFailed, "answers are spoiled"),
        (Fault.ERROR_FLAG, DeviceFailed, "flags an error"),
        (Fault.DEAD_BUS_VALID_PEC, DeviceFailed, "flags an error"),
    ],
)
def test_a_check_says_what_is_wrong_and_what_to_do(clock, fault, error, problem):
    sim = make_sim(clock)
    sim.inject(fault)
    began_s = clock.now_s
    with pytest.raises(DeviceError) as caught:
        make_driver(sim, clock).check()
    assert type(caught.value) is error
    assert problem in caught.value.problem
    assert caught.value.advice
    assert clock.now_s - began_s < 2


@pytest.mark.parametrize("cell", [OBJECT, AMBIENT])
@pytest.mark.parametrize(("cc", "well"), [(-4001, False), (-3999, True), (8499, True), (8501, False)])
def test_a_check_believes_what_the_part_is_built_for(clock, cell, cc, well):
    sim = make_sim(clock)
    sim.inject(Fault.FREEZE)
    sim.words[cell] = word(cc)
    driver = make_driver(sim, clock)
    if well:
        assert driver.check()
        return
    with pytest.raises(DeviceFailed, match=r"is outside -40\.00 C to 85\.00 C"):
        driver.check()


def test_object_and_ambient_may_be_the_same_by_chance_and_not_for_ever(clock):
    sim = make_sim(clock, object_cc=2200)
    driver = make_driver(sim, clock)
    for _ in range(200):  # a wall as warm as the room
        assert driver.check()
        clock.sleep(1)
    sim.inject(Fault.FREEZE)
    sim.words[OBJECT] = sim.words[AMBIENT]
    with pytest.raises(DeviceFailed, match="one and the same word"):
        driver.check()


# --- the simulation itself --------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_morning():
    def morning(seed):
        clock = VirtualTime()
        sim = make_sim(clock, seed=seed)
        driver = make_driver(sim, clock)
        return [driver.identify(), *(driver.measure() for _ in range(20))]

    assert morning(3) == morning(3)
    assert morning(3) != morning(4)


def test_a_conversion_keeps_what_it_saw(clock):
    sim = make_sim(clock, object_cc=2000)
    clock.sleep(5)
    sim.look_at(3650)
    assert mlx90614._centi_degrees(sim.words[OBJECT]) < 2200
    ask, answer = i2c_msg.write(0x5A, [OBJECT]), i2c_msg.read(0x5A, 3)
    sim.i2c_rdwr(ask, answer)
    assert mlx90614._centi_degrees(int.from_bytes(answer.buf[0:2], "little")) < 2200
    clock.sleep(0.154)
    sim.i2c_rdwr(ask, answer)
    assert mlx90614._centi_degrees(int.from_bytes(answer.buf[0:2], "little")) > 3500


@pytest.mark.parametrize("object_cc", [-20000, 60000])
def test_the_part_ends_where_its_scale_ends(clock, object_cc):
    sim = make_sim(clock, object_cc=object_cc)
    assert make_driver(sim, clock).measure().outcome is Outcome.OUT_OF_WINDOW


def test_ambient_reaches_the_reading(clock):
    sim = make_sim(clock)
    sim.set_ambient(3000)
    assert make_driver(sim, clock).measure().ambient_cc == pytest.approx(3000, abs=6)


def test_only_ok_carries_a_value():
    assert {f.name for f in fields(mlx90614.Measurement)} >= {"outcome", "value_cc", "corrections", "detail"}
    assert mlx90614.Measurement(Outcome.BUS_ERROR).value_cc is None
