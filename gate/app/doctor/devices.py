"""Checks of the devices: pins, thermometer, camera. None of them may be made beside a running gate."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields
from queue import Empty, SimpleQueue
from typing import Any, Final

from drivers.camera import BURNT_ABOVE, DARK_BELOW, Camera, Health
from drivers.errors import DeviceError
from drivers.i2c import I2cBus
from drivers.mlx90614 import (
    AMBIENT_TO_CORE,
    AMBIENT_WINDOW_CC,
    Identity,
    Measurement,
    Mlx90614,
    Outcome,
)
from drivers.pins import open_pin_factory
from gate.app.doctor.check import Check, Status
from gate.app.hardware import camera_settings, thermometer_driver
from gate.config import CameraSection, PinsSection, ThermometerSection

PINS: Final = ("pins",)
THERMOMETER: Final = ("thermometer", "temperature")
CAMERA: Final = ("camera",)
NAMES: Final = (*PINS, *THERMOMETER, *CAMERA)

FIRST_FRAME_S: Final = 11.0  # Python and OpenCV from a slow card, then a camera that adjusts itself
REPORTS: Final = 2  # the first report with a frame covers the opening, too, and a camera still adjusting
FPS_SHARE: Final = 0.5
SHARPNESS_MIN: Final = 1.0  # grey levels; the noise of a sensor alone gives about 2


def pins(section: PinsSection, simulated: Any = None) -> Iterator[Check]:
    """Check that pins can be had. None is taken or driven: the relay stays as it is."""
    try:
        factory = simulated or open_pin_factory(section.factory)
    except DeviceError as error:
        yield _failed("pins", error)
        return
    if simulated is None:
        factory.close()
    wired = {f.name: getattr(section, f.name) for f in fields(section) if f.name != "factory"}
    words = ", ".join(f"{name} {pin}" for name, pin in wired.items() if pin is not None)
    yield Check("pins", Status.OK, f"wired (BCM): {words}")


def thermometer(section: ThermometerSection, open_bus: Callable[[], I2cBus]) -> Iterator[Check]:
    """Check who the part is, and take one reading."""
    try:
        bus = open_bus()
    except DeviceError as error:
        yield _failed("thermometer", error)
        return
    with closing(bus):
        yield from _examined(thermometer_driver(section, bus), section)


def _examined(driver: Mlx90614, section: ThermometerSection) -> Iterator[Check]:
    try:
        identity = driver.identify()
    except DeviceError as error:
        yield _failed("thermometer", error)
        return
    yield _identified(identity)
    yield _measured(driver.measure(), section)


def _identified(identity: Identity) -> Check:
    # Every word came with a right check byte, or identify would have failed.
    value = f"serial {identity.serial}, settings {identity.fingerprint}, PEC right"
    if identity.emissivity_is_factory:
        return Check("thermometer", Status.OK, value)
    advice = "somebody has changed its emissivity; replace it"
    return Check("thermometer", Status.FAILED, value, "the factory's emissivity", advice)


def _measured(measured: Measurement, section: ThermometerSection) -> Check:
    models = (AMBIENT_WINDOW_CC, AMBIENT_TO_CORE[section.ambient_to_core].ambient_cc)
    low_cc, high_cc = max(low for low, _ in models), min(high for _, high in models)
    limit = f"room {low_cc / 100:g} to {high_cc / 100:g} C"
    if measured.raw_cc is None or measured.ambient_cc is None:
        value = f"{measured.outcome}: {measured.detail}"
        advice = "check and shorten its wires, keep them off motors and relays; if it stays, replace the part"
        return Check("temperature", Status.FAILED, value, limit, advice)
    room = f"room {measured.ambient_cc / 100:.1f} C"
    if not low_cc <= measured.ambient_cc <= high_cc:
        advice = "bring the part to the temperature of a room: until then nobody's temperature can be taken"
        return Check("temperature", Status.FAILED, room, limit, advice)
    if measured.outcome is Outcome.UNSTEADY:
        advice = "something moves before it: have nobody near, and run the doctor again"
        return Check("temperature", Status.WARNING, f"{measured.detail}; {room}", limit, advice)
    seen = f"{measured.raw_cc / 100:.1f} C seen"
    if measured.value_cc is None:
        seen += ", nobody before it"  # outside the window for skin, which is as it should be now
    return Check("temperature", Status.OK, f"{seen}, {room}", limit)


# What keeps a camera from seeing a code while it works (drivers.camera.Health.problem).
_VIEW_ADVICE: Final = {
    "dark": "take the cap off the lens, and give the place some light",
    "overexposed": "turn the camera away from sun and lamps, or shade it",
    "frozen": "unplug the camera and plug it in again",
}


def camera(section: CameraSection, seed: int) -> Iterator[Check]:
    """Run the camera child until it has seen frames for a second or said what is wrong."""
    news: SimpleQueue[Health | tuple[str, str]] = SimpleQueue()
    part = Camera(
        camera_settings(section, seed),
        on_reads=lambda _codes, _mono_ns: None,  # whose code it is does not matter here, and is not kept
        on_health=news.put,
        on_fault=lambda problem, advice: news.put((problem, advice)),
    )
    part.start()
    try:
        heard = _listen(news)
    finally:
        part.stop()
    if isinstance(heard, Health):
        yield _seen(heard, section)
    elif heard is not None:
        problem, advice = heard
        yield Check("camera", Status.FAILED, problem, "frames", advice)
    else:
        advice = "check its cable and its power supply"
        yield Check("camera", Status.FAILED, "no frame", f"within {FIRST_FRAME_S:g} s", advice)


def _listen(news: "SimpleQueue[Health | tuple[str, str]]") -> Health | tuple[str, str] | None:
    """Return the report to judge by, a fault with advice, or None when there was no frame in time."""
    until, reports = time.monotonic() + FIRST_FRAME_S, 0
    last: Health | None = None
    while reports < REPORTS and (left_s := until - time.monotonic()) > 0:
        try:
            heard = news.get(timeout=left_s)
        except Empty:
            break
        if not isinstance(heard, Health):
            return heard
        if heard.brightness is not None:
            last, reports = heard, reports + 1
    return last


def _seen(health: Health, section: CameraSection) -> Check:
    assert health.brightness is not None
    assert health.sharpness is not None
    value = f"{health.fps:g} fps, brightness {health.brightness:.0f}, sharpness {health.sharpness:.1f}"
    fps_min = section.fps * FPS_SHARE
    limit = f"{fps_min:g} fps, {DARK_BELOW:g} to {BURNT_ABOVE:g}, {SHARPNESS_MIN:g}"
    if problem := health.problem():
        return Check("camera", Status.FAILED, f"{problem}: {value}", limit, _VIEW_ADVICE.get(problem, ""))
    advice = []
    if health.fps < fps_min:
        advice.append("too few frames: give the place more light, or ask for a smaller picture")
    if health.sharpness < SHARPNESS_MIN:
        advice.append(
            "hardly any detail: clean the lens, focus it on a phone at arm's length, run the doctor again"
        )
    return Check("camera", Status.WARNING if advice else Status.OK, value, limit, "\n".join(advice))


def _failed(name: str, error: DeviceError) -> Check:
    return Check(name, Status.FAILED, f"{error.device}: {error.problem}", advice=error.advice)
