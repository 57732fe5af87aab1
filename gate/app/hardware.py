"""The drivers, opened as the configuration says and fitted to the gate's ports.

A part that cannot be opened does not stop the service: it is reported as failed, with what to do about it,
and the actor treats every visitor accordingly.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from drivers.camera import Camera, CameraSettings, Health, SeenCode, SourceKind
from drivers.contacts import BOUNCE_MS, AttendantButtons, Button, FireContact
from drivers.errors import DeviceError
from drivers.errors import DeviceFailed as PartFailed
from drivers.i2c import I2cBus, open_bus
from drivers.lights import Lights as LampDriver
from drivers.lights import Signal
from drivers.mlx90614 import AMBIENT_TO_CORE, VARIANTS, Identity, Mlx90614, Outcome, SelfCheck
from drivers.mlx90614 import Measurement as DriverMeasurement
from drivers.pins import open_pin_factory
from drivers.presence import BEAM_BOUNCE_MS, Beam, Distance
from drivers.turnstile import Turnstile
from gate.config import SIMULATED_BUS, CameraSection, Config, PinsSection, ThermometerSection
from gate.core.codes.model import Appearance
from gate.core.effects import LightSignal
from gate.core.evidence import MaskStatus, Measurement, Reading, Unmeasured
from gate.core.inputs import (
    ArmTurned,
    AttendantConfirmed,
    AttendantRefused,
    CodesRead,
    Device,
    DeviceFailed,
    DeviceRecovered,
    FireAlarmChanged,
    Input,
    MaskSeen,
    PersonArrived,
    PersonLeft,
    SensorChecked,
)
from gate.shell.clock import sleep

log = logging.getLogger(__name__)

Post = Callable[[Input], None]

# The policy's limit on a pulse; the driver refuses anything longer, whoever asks.
UNLOCK_MS_MAX: Final = 2000
I2C_TIMEOUT_MS: Final = 100

_BUTTONS: Final[dict[Button, Input]] = {
    Button.CONFIRM: AttendantConfirmed(),
    Button.REFUSE: AttendantRefused(),
    Button.MASK_ON: MaskSeen(MaskStatus.WORN),
    Button.MASK_OFF: MaskSeen(MaskStatus.MISSING),
}


class Closing(Protocol):
    """Something that has to be closed."""

    def close(self) -> None:
        """Release it; harmless when repeated."""
        ...


class CodeSource(Protocol):
    """Whatever shows codes to the gate, as `CodesRead` inputs, between `start` and `stop`."""

    @property
    def child_pid(self) -> int | None:
        """The process id of its child, None where there is none."""
        ...

    def start(self) -> None:
        """Begin to look."""
        ...

    def stop(self) -> None:
        """End looking."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything that hangs on pins, and what has to be closed, the turnstile first."""

    turnstile: "TurnstilePart"
    lights: "Lamps"
    closing: tuple[Closing, ...]


class TurnstilePart:
    """The turnstile, or none where it could not be opened; a relay that cannot be driven is posted as failed.

    The gate is in FAULT from then on: nobody is told to pass who stands before a locked arm.
    """

    def __init__(self, driver: Turnstile | None, post: Post) -> None:
        self._driver = driver
        self._post = post

    def unlock(self, duration_ms: int) -> bool:
        """Start one pulse; False when one is running or the relay cannot be driven."""
        try:
            return self._driver is not None and self._driver.unlock(duration_ms)
        except DeviceError as error:
            _failed(self._post, Device.TURNSTILE, error)
            return False

    def lock(self) -> None:
        """End any pulse or held opening at once."""
        with _posted(self._post, Device.TURNSTILE):
            if self._driver is not None:
                self._driver.lock()

    def hold_open(self) -> None:
        """Stay open until `lock`; for evacuation only."""
        with _posted(self._post, Device.TURNSTILE):
            if self._driver is not None:
                self._driver.hold_open()


@contextmanager
def _posted(post: Post, device: Device) -> Iterator[None]:
    """Post what goes wrong with a device inside the block, and go on behind it."""
    try:
        yield
    except DeviceError as error:
        _failed(post, device, error)


class Lamps:
    """The lamp driver behind the gate's word for a signal; silent where no lamp could be opened.

    A lamp that cannot be driven keeps nobody from entering: it is logged once.
    """

    def __init__(self, driver: LampDriver | None) -> None:
        self._driver = driver
        self._problem: str | None = None

    def show(self, signal: LightSignal) -> None:
        """Show one signal until the next."""
        if self._driver is None:
            return
        try:
            self._driver.show(Signal(str(signal)))
        except DeviceError as error:
            if str(error) != self._problem:
                log.error("%s", error)
            self._problem = str(error)
        else:
            self._problem = None


def open_pins(config: Config, post: Post, pin_factory: object | None = None, haste: float = 1.0) -> Opened:
    """Open everything that hangs on header pins; what fails is posted as DeviceFailed.

    `pin_factory` replaces the configured one (a simulated board); `haste` as in `World`.
    """
    pins = config.pins
    try:
        factory = pin_factory or _open_factory(pins)
        turnstile = Turnstile(
            pins.relay,
            pins.passage,
            pin_factory=factory,
            unlock_ms_max=UNLOCK_MS_MAX,
            on_turned=partial(post, ArmTurned()),
            on_failed=partial(_failed, post, Device.TURNSTILE),
            on_recovered=partial(post, DeviceRecovered(Device.TURNSTILE)),
            bounce_ms=_sooner(BOUNCE_MS, haste),
        )
    except DeviceError as error:
        _failed(post, Device.TURNSTILE, error)
        return Opened(TurnstilePart(None, post), Lamps(None), ())
    lamps = _optional(
        post,
        Device.LIGHTS,
        lambda: LampDriver(pins.green, pins.yellow, pins.red, pins.buzzer, pin_factory=factory),
    )
    inputs = (
        _optional(post, Device.PRESENCE, lambda: _open_presence(config, post, factory, haste)),
        _optional(post, Device.FIRE_CONTACT, lambda: _open_fire(config, post, factory)),
        _optional(post, Device.BUTTONS, lambda: _open_buttons(config, post, factory, haste)),
    )
    closing: list[Closing] = [turnstile, *(part for part in (lamps, *inputs) if part is not None)]
    return Opened(TurnstilePart(turnstile, post), Lamps(lamps), tuple(closing))


def _sooner(bounce_ms: int, haste: float) -> int:
    """Say after how many milliseconds a contact that is so much quicker than a real one has settled."""
    return max(1, round(bounce_ms / haste))


def _open_factory(pins: PinsSection) -> object:
    factory = open_pin_factory(pins.factory)
    if pins.factory == "mock" and pins.fire is not None:
        from drivers.sim.pins import close_contact  # noqa: PLC0415 - a gate with real pins does not load it

        close_contact(factory, pins.fire)  # an intact loop; left open it would mean fire
    return factory


PartT = TypeVar("PartT", bound=Closing)


def _optional(post: Post, device: Device, open_part: Callable[[], PartT | None]) -> PartT | None:
    try:
        return open_part()
    except DeviceError as error:
        _failed(post, device, error)
        return None


def _failed(post: Post, device: Device, error: DeviceError) -> None:
    log.error("%s", error)
    post(DeviceFailed(device, f"{error.problem}; {error.advice}"))


def _open_presence(config: Config, post: Post, factory: object, haste: float) -> Beam | Distance | None:
    pins = config.pins
    arrived, left = partial(post, PersonArrived()), partial(post, PersonLeft())
    if pins.distance_trigger is not None and pins.distance_echo is not None:
        return Distance(
            pins.distance_trigger,
            pins.distance_echo,
            config.presence.near_cm,
            config.presence.far_cm,
            pin_factory=factory,
            on_arrived=arrived,
            on_left=left,
            on_online=partial(_presence_online, post),
        )
    if pins.beam is not None:
        return Beam(
            pins.beam,
            pin_factory=factory,
            on_arrived=arrived,
            on_left=left,
            bounce_ms=_sooner(BEAM_BOUNCE_MS, haste),
        )
    return None


def _presence_online(post: Post, online: bool) -> None:
    post(DeviceRecovered(Device.PRESENCE) if online else DeviceFailed(Device.PRESENCE, "no echo"))


def _open_fire(config: Config, post: Post, factory: object) -> FireContact | None:
    if config.pins.fire is None:
        return None
    return FireContact(
        config.pins.fire, lambda alarm: post(FireAlarmChanged(active=alarm)), pin_factory=factory
    )


def _open_buttons(config: Config, post: Post, factory: object, haste: float) -> AttendantButtons:
    pins = config.pins
    return AttendantButtons(
        pins.confirm,
        pins.refuse,
        pins.mask_on,
        pins.mask_off,
        pin_factory=factory,
        on_button=lambda button: post(_BUTTONS[button]),
        bounce_ms=_sooner(BOUNCE_MS, haste),
    )


class ThermometerPart:
    """The thermometer, opened at the start, and tried again at each request while it cannot be opened.

    `open_part` gives the bus; a simulated one in demo and tests, where `haste` is as in `World`.
    """

    def __init__(
        self,
        section: ThermometerSection,
        post: Post,
        open_part: Callable[[], I2cBus] | None = None,
        haste: float = 1.0,
    ) -> None:
        self._section = section
        self._post = post
        self._open_part = open_part or partial(open_thermometer_bus, section)
        self._haste = haste
        self._bus: I2cBus | None = None
        self._driver: Mlx90614 | None = None

    def prepare(self) -> None:
        """Open the part before the first visitor comes; one that cannot be opened is posted as failed."""
        with _posted(self._post, Device.THERMOMETER):
            self._open()

    def measure(self) -> Measurement:
        """Take one reading; every fault is an outcome, nothing is raised for one."""
        try:
            driver = self._driver or self._open()
        except DeviceError as error:
            return Unmeasured("not_available", f"{error.problem}; {error.advice}")
        return as_measurement(driver.measure())

    def check(self) -> SensorChecked | DeviceFailed:
        """Let the part look at itself; one that fails is opened anew, and identified, before it measures."""
        try:
            driver = self._driver or self._open()
            found = driver.check()
            _require_factory(found.identity)
        except DeviceError as error:
            self._close()
            return DeviceFailed(Device.THERMOMETER, f"{error.problem}; {error.advice}")
        return SensorChecked(Device.THERMOMETER, tuple(_facts(found)))

    def _close(self) -> None:
        if self._bus is not None:
            self._bus.close()
        self._bus = self._driver = None

    def _open(self) -> Mlx90614:
        bus = self._open_part()
        driver = thermometer_driver(self._section, bus, self._haste)
        try:
            identity = driver.identify()
            _require_factory(identity)
        except DeviceError:
            bus.close()  # it is opened anew at the next request
            raise
        log.info("thermometer %s, fingerprint %s", identity.serial, identity.fingerprint)
        self._bus, self._driver = bus, driver
        return driver


def _require_factory(identity: Identity) -> None:
    if not identity.emissivity_is_factory:
        # Its readings are scaled by a value that somebody has written: a fever could pass for normal.
        raise PartFailed(
            f"thermometer {identity.serial}", "its emissivity has been changed", "replace the part"
        )


def _facts(found: SelfCheck) -> Iterator[tuple[str, int | str]]:
    """Say what a part has found out about itself, in small integers and hexadecimal words."""
    yield "serial", found.identity.serial
    yield "fingerprint", found.identity.fingerprint
    yield "config", f"{found.config:04x}"
    yield "emissivity", f"{found.emissivity:04x}"
    yield "object_cc", found.object_cc
    yield "ambient_cc", found.ambient_cc
    if found.spread_cc is not None:
        yield "spread_cc", found.spread_cc


def thermometer_driver(section: ThermometerSection, bus: I2cBus, haste: float = 1.0) -> Mlx90614:
    """Fit the driver to the part that the configuration describes; `haste` as in `World`."""
    return Mlx90614(
        bus,
        VARIANTS[section.variant],
        sleep=lambda seconds: sleep(seconds / haste),
        address=section.address,
        vdd_mv=section.vdd_mv,
        offset_cc=section.offset_cc,
        ambient_to_core=AMBIENT_TO_CORE[section.ambient_to_core],
    )


def open_thermometer_bus(section: ThermometerSection) -> I2cBus:
    """Open the bus that the thermometer hangs on, real or simulated. Raises DeviceNotAvailable."""
    if section.bus != SIMULATED_BUS:
        return open_bus(section.bus, I2C_TIMEOUT_MS)
    from drivers.sim.mlx90614 import SimMlx90614  # noqa: PLC0415 - a gate with a real part does not load it

    return SimMlx90614(VARIANTS[section.variant], monotonic=time.monotonic, sleep=sleep)


def as_measurement(measured: DriverMeasurement) -> Measurement:
    """Say a driver's measurement in the gate's words."""
    if measured.outcome is not Outcome.OK:
        return Unmeasured(str(measured.outcome), measured.detail)
    assert measured.value_cc is not None
    assert measured.low_cc is not None
    assert measured.high_cc is not None
    return Reading(
        value_cc=measured.value_cc,
        low_cc=measured.low_cc,
        high_cc=measured.high_cc,
        samples_cc=measured.samples_cc,
        spread_cc=measured.spread_cc or 0,
        ambient_cc=measured.ambient_cc,
        corrections=measured.corrections,
    )


class CameraPart:
    """The camera child, whose news become inputs; a change of its health is posted once.

    `turn` is called at each turn of the thread that listens to it.
    """

    def __init__(
        self, section: CameraSection, post: Post, seed: int = 0, turn: Callable[[], None] = lambda: None
    ) -> None:
        self._post = post
        self._problem: str | None = None
        self._camera = Camera(
            camera_settings(section, seed),
            on_reads=self._reads,
            on_health=self._health,
            on_fault=self._fault,
            on_turn=turn,
        )
        self.start, self.stop = self._camera.start, self._camera.stop

    @property
    def child_pid(self) -> int | None:
        """The process id of the camera child, None between two of them."""
        return self._camera.child_pid

    def _reads(self, codes: tuple[SeenCode, ...], _mono_ns: int) -> None:
        seen = codes[0].appearance if len(codes) == 1 else ""
        self._post(
            CodesRead(
                tuple(code.payload for code in codes),
                any(code.fragment for code in codes),
                Appearance(seen) if seen in set(Appearance) else Appearance.NONE,
            )
        )

    def _health(self, health: Health) -> None:
        problem = health.problem()
        if problem != "no frame yet":
            self._set_problem(problem)

    def _fault(self, problem: str, advice: str) -> None:
        if self._problem is None:
            log.error("camera %s; %s", problem, advice)  # once, not at each try to bring it back
        self._set_problem(f"{problem}; {advice}")

    def _set_problem(self, problem: str | None) -> None:
        if (problem is None) != (self._problem is None):
            self._post(
                DeviceRecovered(Device.CAMERA) if problem is None else DeviceFailed(Device.CAMERA, problem)
            )
        self._problem = problem


def camera_settings(section: CameraSection, seed: int = 0) -> CameraSettings:
    """Say the configuration's camera in the driver's words."""
    return CameraSettings(
        kind=SourceKind(section.source),
        path=section.device if section.source in {"v4l2", "picamera2"} else str(section.path),
        width=section.width,
        height=section.height,
        fps=section.fps,
        seed=seed,
        memory_mb_max=section.memory_mb_max,
    )
