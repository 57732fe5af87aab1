"""A gate without hardware for the demo and for trying things out: everything is simulated at the wire.

The camera child renders phone screens and decodes them, the thermometer answers SMBus words with PEC, pins
are gpiozero's own mock pins. Nothing above the drivers knows the difference.
"""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

from drivers.mlx90614 import AMBIENT_TO_CORE, VARIANTS
from drivers.pins import open_pin_factory
from drivers.sim.mlx90614 import Fault, SimMlx90614
from drivers.sim.pins import SimTurnstileArm, close_contact, is_high, open_contact
from gate.app.application import World
from gate.config import CameraSection, Config, PinsSection
from gate.perform import Observer
from gate.ports import Clock
from gate.shell.clock import sleep

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


class SimulatedGate:
    """The place in front of a gate without hardware: who stands there, what is shown, pressed and pushed."""

    def __init__(self, config: Config, seed: int) -> None:
        assert config.camera.path is not None
        self._scene_path = config.camera.path
        self._seed = seed
        self._core_model = AMBIENT_TO_CORE[config.thermometer.ambient_to_core]
        variant = VARIANTS[config.thermometer.variant]
        self._factory = open_pin_factory("mock")
        self._sensor = SimMlx90614(
            variant, monotonic=time.monotonic, sleep=sleep, seed=seed, ambient_cc=AMBIENT_CC
        )
        self._arm = SimTurnstileArm(self._factory, PINS.relay, PINS.passage)
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
        scene = {"codes": list(codes)}
        part = self._scene_path.with_suffix(".part")
        part.write_text(json.dumps(scene), "utf-8")
        os.replace(part, self._scene_path)  # noqa: PTH105 - one atomic step

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
        self._pulse(_pin(getattr(PINS, button)))

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
    def relay_on(self) -> bool:
        """Whether the turnstile is free right now."""
        return is_high(self._factory, PINS.relay)

    def _pulse(self, pin: int) -> None:
        close_contact(self._factory, pin)
        sleep(0.1)
        open_contact(self._factory, pin)
        sleep(0.1)


def _pin(pin: int | None) -> int:
    assert pin is not None
    return pin
