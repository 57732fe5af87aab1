"""The service in a process of its own, on simulated hardware: what bench_service starts and watches.

`python -m bench.service STATE_FOLDER PORT USER`, with the password in STATE_FOLDER/password. It says
"serving" once it has recorded its start, reached the broker and read a code from the camera; then each line
"visit" on its input lets one visitor through and is answered with "visited". It stops when its input ends.
Nothing of the demo but its visitors is loaded here.
"""

import logging
import random
import sys
import threading
import time
from pathlib import Path
from typing import Final

from gate.app.application import Application
from gate.app.simulated import SCENE_NAME, SimulatedGate, without_hardware
from gate.config import CameraSection, Config, GateSection, MqttSection, load_policy
from gate.core.effects import Effect, Record
from gate.core.events import Kind
from gate.core.inputs import CodesRead, Input
from gate.core.moment import Moment
from gate.core.texts import Key
from gate.demo.passes import Issuer
from gate.demo.script import BUS_TICKET
from gate.demo.stage import Stage
from gate.shell.clock import SystemClock, sleep

HOST: Final = "127.0.0.1"
START_S: Final = 60.0
POLL_S: Final = 0.002
BODY_CC: Final = 3620
BEAM_S: Final = 0.5  # longer than the light barrier's contact takes to settle


class Serving:
    """Notices what makes a gate serve: its start is on record, and its camera reads codes."""

    def __init__(self) -> None:
        self.started = self.reads = False

    def observe(self, happened: Input, effect: Effect | None, _now: Moment) -> None:
        """Take note; called by the brain thread."""
        self.reads = self.reads or isinstance(happened, CodesRead)
        if isinstance(effect, Record) and effect.event.kind is Kind.GATE_STARTED:
            self.started = True


def config(state: Path, port: int, user: str) -> Config:
    """Return the configuration of a gate without hardware; the broker's password lies in `state`."""
    gate = GateSection(
        site="bench-hall", id="gate-1", policy="county-hall", state_dir=state, clock="always_trusted"
    )
    mqtt = MqttSection(host=HOST, port=port, username=user, password_file=state / "password")
    camera = CameraSection(source="synthetic", path=state / SCENE_NAME)
    return without_hardware(Config(gate=gate, mqtt=mqtt, camera=camera), state)


def serve(state: Path, port: int, user: str) -> None:
    """Run one gate until the input ends."""
    rng, clock = random.Random(1), SystemClock(lambda: True)
    chosen = config(state, port, user)
    gate, stage, serving = SimulatedGate(chosen, seed=1), Stage(), Serving()
    issuer = Issuer(chosen.gate.site, rng, clock.now().wall_s)

    def observe(happened: Input, effect: Effect | None, now: Moment) -> None:
        serving.observe(happened, effect, now)
        stage.observe(happened, effect, now)

    gate.show(BUS_TICKET)
    app = Application(chosen, load_policy(chosen.gate.policy), issuer.trust(), gate.world(observe, clock))
    brain = threading.Thread(target=app.run, name="brain")
    brain.start()
    try:
        deadline = time.monotonic() + START_S
        while not (serving.started and serving.reads and app.sink.status().connected):
            if time.monotonic() > deadline:
                raise TimeoutError("the gate does not serve")
            sleep(POLL_S)
        print("serving", flush=True)
        gate.step_up()  # whoever showed the first code, and goes
        sleep(BEAM_S)
        gate.step_away()
        stage.until_closed()
        for line in sys.stdin:
            if line.strip() == "visit":
                visit(gate, stage, issuer.issue())
                print("visited", flush=True)
    finally:
        app.stop()
        brain.join()


def visit(gate: SimulatedGate, stage: Stage, code: str) -> None:
    """Let one visitor through on this code."""
    stage.clear()
    gate.body_cc(BODY_CC)
    gate.step_up()
    stage.until_begun()
    gate.press("mask_on")
    gate.show(code)
    stage.until_shown(Key.PASS_PLEASE)
    gate.step_away()
    gate.push()
    stage.until_closed()
    sleep(BEAM_S)


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])


if __name__ == "__main__":
    main()
