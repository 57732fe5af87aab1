"""A gate without hardware for the demo and for trying things out: everything is simulated at the wire.

The camera child renders phone screens and decodes them, the thermometer answers SMBus words with PEC, pins
are gpiozero's own mock pins. Nothing above the drivers knows the difference.

Where visitors come faster than pictures can be drawn and decoded (`gate run` with a section [simulation]),
`HandedIn` stands in for the camera: codes are handed in as it would have read them.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from drivers.mlx90614 import AMBIENT_TO_CORE, VARIANTS
from drivers.pins import open_pin_factory
from drivers.sim.mlx90614 import Fault, SimMlx90614
from drivers.sim.pins import SimTurnstileArm, close_contact, is_high, open_contact
from drivers.sim.pulses import PulseLog
from gate.app.application import World
from gate.app.hardware import Post
from gate.config import CameraSection, Config, PinsSection
from gate.core.inputs import CodesRead
from gate.perform import Observer
from gate.ports import Clock
from gate.shell.clock import SystemClock, sleep

AMBIENT_CC = 2200
SCENE_NAME = "scene.json"
PINS = PinsSection(
    factory="mock",
    relay=17,
    passage=27,
    fire=22,
    beam=23,
    green=9,
    yellow=10,
    red=11,
    buzzer=12,
    confirm=13,
    refuse=16,
    mask_on=19,
    mask_off=20,
)


def without_hardware(config: Config, scene_dir: Path) -> Config:
    """Return the same configuration with every device replaced by its simulation."""
    camera = CameraSection(source="synthetic", path=scene_dir / SCENE_NAME, width=640, height=480, fps=12)
    return replace(config, camera=camera, pins=PINS)


class Scene:
    """What the synthetic camera sees, in the file that its child reads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def show(self, *codes: str) -> None:
        """Hold phones with these codes before the camera; none for an empty view."""
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps({"codes": list(codes)}), "utf-8")
        os.replace(part, self._path)  # noqa: PTH105 - one atomic step


class HandedIn:
    """Stands in for the camera: a code that is held up is handed in once, as a decoder would have read it."""

    child_pid: int | None = None

    def __init__(self) -> None:
        self._post: Post | None = None
        self._looking = False

    def open(self, post: Post) -> "HandedIn":
        """Hand in to this gate from now on."""
        self._post = post
        return self

    def start(self) -> None:
        """Begin to look."""
        self._looking = True

    def stop(self) -> None:
        """End looking."""
        self._looking = False

    def show(self, *codes: str) -> None:
        """Hold these codes up, for as long as one look takes."""
        if codes and self._looking and self._post is not None:
            self._post(CodesRead(tuple(code.encode() for code in codes)))


class SimulatedGate:
    """The place in front of a gate without hardware: who stands there, what is shown, pressed and pushed.

    `haste` as in `World`. `handed_in` takes the place of the camera child and its pictures. `world_log` is
    where the turnstile itself writes down each pulse of its relay (`drivers.sim.pulses`). Raises OSError when
    that file cannot be written.
    """

    def __init__(
        self,
        config: Config,
        seed: int,
        *,
        haste: float = 1.0,
        handed_in: HandedIn | None = None,
        world_log: Path | None = None,
    ) -> None:
        assert config.camera.path is not None
        self._seed = seed
        self._haste = haste
        self._handed_in = handed_in
        self._codes = handed_in or Scene(config.camera.path)
        self._core_model = AMBIENT_TO_CORE[config.thermometer.ambient_to_core]
        variant = VARIANTS[config.thermometer.variant]
        self._factory = open_pin_factory("mock")
        self._sensor = SimMlx90614(
            variant,
            monotonic=lambda: time.monotonic() * haste,
            sleep=lambda seconds: sleep(seconds / haste),
            seed=seed,
            ambient_cc=AMBIENT_CC,
        )
        self._pulses = None if world_log is None else PulseLog(world_log, _wall_ms)
        on_pulse = None if self._pulses is None else self._pulses.append
        self._arm = SimTurnstileArm(self._factory, PINS.relay, PINS.passage, on_pulse=on_pulse)
        close_contact(self._factory, _pin(PINS.fire))
        self.body_cc(None)
        self.show()

    def world(self, observe: Observer, clock: Clock) -> World:
        """Return what an application needs to run on this hardware."""
        return World(
            pin_factory=self._factory,
            open_bus=lambda: self._sensor,
            clock=clock,
            observe=observe,
            seed=self._seed,
            open_camera=None if self._handed_in is None else self._handed_in.open,
            haste=self._haste,
        )

    def step_up(self) -> None:
        """Stand in the light barrier."""
        close_contact(self._factory, _pin(PINS.beam))

    def step_away(self) -> None:
        """Leave the light barrier and take everything along."""
        open_contact(self._factory, _pin(PINS.beam))
        self.show()
        self.body_cc(None)

    def show(self, *codes: str) -> None:
        """Hold phones with these codes before the camera; none for an empty view."""
        self._codes.show(*codes)

    def body_cc(self, core_cc: int | None) -> None:
        """Bring a forehead of this core temperature (centi-degrees) before the sensor; None: the wall."""
        surface = AMBIENT_CC if core_cc is None else core_cc - self._core_model.term_cc(AMBIENT_CC)
        self._sensor.look_at(surface)

    def break_thermometer(self) -> None:
        """Let the sensor stop answering on the bus."""
        self._sensor.inject(Fault.NACK)

    def repair_thermometer(self) -> None:
        """Let the sensor answer again."""
        self._sensor.recover()

    def press(self, button: str) -> None:
        """Press one of the attendant's buttons by its name in the pins section."""
        with self.pressed(button):
            sleep(0.1)
        sleep(0.1)

    @contextmanager
    def pressed(self, button: str) -> Iterator[None]:
        """Keep one of the attendant's buttons down inside the block."""
        with self._closed(_pin(getattr(PINS, button))):
            yield

    @contextmanager
    def turned(self) -> Iterator[None]:
        """Keep the arm turned inside the block: a visitor who stays in it until it has been noticed."""
        with self._closed(PINS.passage):
            yield

    def push(self) -> bool:
        """Push the arm as a visitor does; returns whether it turned."""
        return self._arm.push()

    def force(self) -> None:
        """Turn the arm although it is locked."""
        self._arm.force()

    def fire(self, *, active: bool) -> None:
        """Open the fire contact, or close it again."""
        (open_contact if active else close_contact)(self._factory, _pin(PINS.fire))

    @property
    def pulses(self) -> int:
        """How many pulses of the relay have been written down, those of earlier runs included."""
        return 0 if self._pulses is None else self._pulses.count

    def close(self) -> None:
        """Close the file of the pulses; there must be none any more."""
        if self._pulses is not None:
            self._pulses.close()

    @property
    def relay_on(self) -> bool:
        """Whether the turnstile is free right now."""
        return is_high(self._factory, PINS.relay)

    @contextmanager
    def _closed(self, pin: int) -> Iterator[None]:
        close_contact(self._factory, pin)
        try:
            yield
        finally:
            open_contact(self._factory, pin)


def _wall_ms() -> int:
    return SystemClock(lambda: True).now().wall_ms


def _pin(pin: int | None) -> int:
    assert pin is not None
    return pin
