"""The place in front of the gate: who stands there, what is shown, pressed, pushed, unplugged."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from board import BRIDGE_NAME, CAMERA, BenchError, Line, i2c_bus
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from witness import Events, KernelTrace, Relay

from drivers.mlx90614 import AMBIENT_TO_CORE
from gate.demo.passes import ISSUER, Issuer
from gate.shell.clock import SystemClock

SITE: Final = "bench"
HERE: Final = Path(__file__).parent
AMBIENT_CC: Final = 2200  # what the simulated part feels
NORMAL_CC: Final = 3615
PINS: Final = {
    "relay": 17, "passage": 27, "fire": 22, "beam": 23, "green": 24, "yellow": 25, "red": 26, "buzzer": 18,
    "confirm": 12, "refuse": 13, "mask_on": 16, "mask_off": 19,
}  # fmt: skip
KEY: Final = Ed25519PrivateKey.from_private_bytes(sha256(b"health-gate bench").digest())


class Process:
    """One part of the outside world in a process of its own, told what to do line by line."""

    def __init__(self, program: str, *arguments: str) -> None:
        self._name = program
        command = [sys.executable, "-B", str(HERE / program), *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, told: object) -> None:
        """Say it and wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "ok\n":
            raise BenchError(f"{self._name} has ended")

    def kill(self) -> None:
        """End it at once, as a pulled plug does."""
        self._process.kill()
        self._process.wait()


class Place:
    """Everything outside the gate, with hands. Its pins are those of the configuration."""

    def __init__(self, pins: Path, share: Path) -> None:
        self._lines = {name: Line(pins, number) for name, number in PINS.items()}
        self.bridge = Process("bridge.py")
        self.bus = i2c_bus(BRIDGE_NAME)
        self._camera = Process("camera.py", CAMERA)
        self._camera.tell([])
        self.fire(active=False)
        self.leave()
        self.events = Events(share / "events.jsonl")
        self.relay = Relay(self._lines["relay"], share / "pulses.jsonl")
        self.trace = KernelTrace(PINS["relay"])
        self.issuer = Issuer(SITE, random.Random(os.urandom(8)), SystemClock(lambda: True).now().wall_s, KEY)

    def trust(self) -> str:
        """Return the file by which a gate believes the counter that issues the visitors' passes."""
        public = KEY.public_key().public_bytes_raw().hex()
        return (
            f'[[keys]]\nissuer = "{ISSUER}"\nissuer_name = "Bench"\npublic_key = "{public}"\n'
            'purposes = ["visitor", "staff"]\n'
        )

    def come(self, code: str, body_cc: int = NORMAL_CC) -> None:
        """Step up with this code and this temperature, the forehead before the sensor."""
        self._look(body_cc - AMBIENT_TO_CORE["forehead_linear"].term_cc(AMBIENT_CC))
        self._lines["beam"].close_contact()
        self._camera.tell([code])

    def leave(self) -> None:
        """Step out of the light barrier and take everything along."""
        self._lines["beam"].open_contact()
        self._camera.tell([])
        self._look(AMBIENT_CC)

    def _look(self, object_cc: int) -> None:
        self.bridge.tell({"object_cc": object_cc})

    @contextmanager
    def pressed(self, name: str) -> Iterator[None]:
        """Keep a contact closed inside the block: a button, or the arm that turns ("passage")."""
        self._lines[name].close_contact()
        try:
            yield
        finally:
            self._lines[name].open_contact()

    def fire(self, *, active: bool) -> None:
        """Open the loop of the fire panel, or close it."""
        line = self._lines["fire"]
        line.open_contact() if active else line.close_contact()

    def unplug_camera(self) -> None:
        """Take the camera away."""
        self._camera.kill()

    def plug_camera(self) -> None:
        """Bring it back."""
        self._camera = Process("camera.py", CAMERA)
        self._camera.tell([])

    def sensor(self, fault: str | None) -> None:
        """Let the thermometer do something wrong, or be well again."""
        self.bridge.tell({"fault": fault})

    def tidy(self) -> None:
        """Put everything back as it was before a scenario, which may have ended anywhere."""
        self.sensor(None)
        self.fire(active=False)
        for name in ("passage", "confirm", "refuse", "mask_on", "mask_off"):
            self._lines[name].open_contact()
        self.leave()
