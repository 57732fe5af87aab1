"""Presence: once per change, no arrival from swaying, and a silent sensor is not an empty place."""

from __future__ import annotations

import queue
import threading

import pytest

from drivers.errors import DeviceNotAvailable
from drivers.pins import open_pin_factory
from drivers.presence import Beam, Distance
from drivers.sim.pins import SimEcho, close_contact, open_contact

BEAM, TRIGGER, ECHO = 21, 10, 11
BOUND_S = 5.0
QUIET_S = 0.15


@pytest.fixture
def factory():
    return open_pin_factory("mock")


@pytest.fixture
def said():
    return queue.Queue()


def assert_quiet(said):
    with pytest.raises(queue.Empty):
        said.get(timeout=QUIET_S)


class TestBeam:
    @pytest.fixture
    def build(self, factory, said):
        built = []

        def build():
            built.append(
                Beam(
                    BEAM,
                    pin_factory=factory,
                    on_arrived=lambda: said.put("arrived"),
                    on_left=lambda: said.put("left"),
                    bounce_ms=30,
                )
            )
            return built[-1]

        yield build
        for beam in built:
            beam.close()

    def test_nobody_at_the_start_is_not_said(self, said, build):
        assert build().present is False
        assert_quiet(said)

    def test_somebody_at_the_start_has_arrived(self, factory, said, build):
        close_contact(factory, BEAM)
        assert build().present is True
        assert said.get(timeout=BOUND_S) == "arrived"
        assert_quiet(said)

    def test_arrival_and_leaving_are_said_once(self, factory, said, build):
        beam = build()
        close_contact(factory, BEAM)
        assert said.get(timeout=BOUND_S) == "arrived"
        assert beam.present
        for _ in range(10):
            open_contact(factory, BEAM)
            close_contact(factory, BEAM)
        open_contact(factory, BEAM)
        assert said.get(timeout=BOUND_S) == "left"
        assert not beam.present
        assert_quiet(said)


class TestDistance:
    NEAR_CM, FAR_CM = 60, 150

    @pytest.fixture
    def echo(self, factory):
        return SimEcho(factory, TRIGGER, ECHO, distance_cm=300)

    @pytest.fixture
    def build(self, factory, echo, said):
        built = []

        def build(near_cm=self.NEAR_CM, far_cm=self.FAR_CM):
            built.append(
                Distance(
                    TRIGGER,
                    ECHO,
                    near_cm,
                    far_cm,
                    pin_factory=factory,
                    on_arrived=lambda: said.put("arrived"),
                    on_left=lambda: said.put("left"),
                    on_online=lambda online: said.put("online" if online else "failing"),
                )
            )
            return built[-1]

        yield build
        for distance in built:
            distance.close()

    @pytest.fixture
    def judge(self, build, echo, said):
        """A sensor fed by hand: gpiozero's own thread has been stopped, so that no clock plays a part."""
        echo.silent = True
        distance = build()
        distance.close()

        def feed(*samples_cm):
            for sample_cm in samples_cm:
                distance._sampled(sample_cm)
            return list(iter(lambda: said.get_nowait() if not said.empty() else None, None))

        feed.distance = distance
        return feed

    def test_a_person_comes_and_goes_at_the_wire(self, echo, said, build):
        distance = build()
        assert said.get(timeout=BOUND_S) == "online"
        echo.distance_cm = 20
        assert said.get(timeout=BOUND_S) == "arrived"
        assert (distance.online, distance.present) == (True, True)
        echo.distance_cm = 300
        assert said.get(timeout=BOUND_S) == "left"
        assert distance.present is False

    def test_a_silent_sensor_fails_and_recovers_at_the_wire(self, echo, said, build):
        echo.distance_cm = 20
        distance = build()
        assert [said.get(timeout=BOUND_S) for _ in range(2)] == ["online", "arrived"]
        echo.silent = True
        assert said.get(timeout=BOUND_S) == "failing"
        assert (distance.online, distance.present) == (False, None)
        echo.silent = False
        assert said.get(timeout=BOUND_S) == "online"
        assert distance.present is True

    def test_silent_from_the_start_is_failing_and_not_nobody(self, echo, said, build):
        echo.silent = True
        distance = build()
        assert (distance.online, distance.present) == (None, None)
        assert said.get(timeout=BOUND_S) == "failing"
        assert_quiet(said)

    def test_hysteresis_at_its_edges(self, judge):
        assert judge(61, 61, 61) == ["online"]
        assert judge(60, 60) == ["arrived"]
        assert judge(61, 149, 149, 149) == []
        assert judge(150, 150) == ["left"]
        assert judge(149, 61, 61, 61) == []

    def test_one_stray_echo_changes_nothing(self, judge):
        assert judge(300, 300, 300, 5, 300, 300) == ["online"]
        assert judge(20, 20, 300, 20, 20) == ["arrived"]

    def test_four_missing_echoes_are_nothing_five_are_a_failure(self, judge):
        assert judge(20, 20, 20) == ["online", "arrived"]
        assert judge(None, None, None, None) == []
        assert judge(20, None, None, None, None) == []
        assert judge.distance.present is True
        assert judge(None) == ["failing"]
        assert judge(None, None) == []

    def test_what_was_measured_before_the_silence_is_forgotten(self, judge):
        assert judge(20, 20, 20) == ["online", "arrived"]
        assert judge(*[None] * 5) == ["failing"]
        assert judge(300, 300) == ["online"]
        assert judge(300) == ["left"]

    @pytest.mark.parametrize(("near_cm", "far_cm"), [(1, 50), (50, 50), (60, 50), (50, 401)])
    def test_impossible_distances_are_refused(self, build, near_cm, far_cm):
        with pytest.raises(ValueError, match="near_cm < far_cm"):
            build(near_cm, far_cm)

    @pytest.mark.parametrize(("near_cm", "far_cm"), [(2, 3), (2, 400)])
    def test_extreme_distances_pass(self, build, near_cm, far_cm):
        build(near_cm, far_cm)

    @pytest.mark.parametrize(("trigger", "echo"), [(4, 11), (10, 10)])
    def test_impossible_pins_are_refused(self, factory, trigger, echo):
        with pytest.raises(ValueError, match="distance"):
            Distance(
                trigger,
                echo,
                50,
                90,
                pin_factory=factory,
                on_arrived=print,
                on_left=print,
                on_online=print,
            )

    def test_a_pin_in_use_is_not_available(self, build):
        first = build()
        with pytest.raises(DeviceNotAvailable, match="GPIO10 and GPIO11"):
            build()
        first.close()
        first.close()
        build()

    def test_close_stops_the_thread(self, echo, build):
        before = threading.active_count()
        build().close()
        deadline = threading.Event()
        for _ in range(100):
            if threading.active_count() <= before:
                break
            deadline.wait(0.01)
        assert threading.active_count() <= before
