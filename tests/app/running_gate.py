"""The whole application on simulated hardware, in a thread of the test, with hands to play the visitor."""

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from drivers.camera import Health
from gate.app.application import Application, World
from gate.app.hardware import CameraPart, CodeSource
from gate.app.records import LEDGER_NAME
from gate.app.simulated import SimulatedGate, without_hardware
from gate.config import CameraSection, Config, GateSection, MqttSection, load_policy
from gate.core.effects import Effect, Record, Show, TakeReading, Unlock
from gate.core.events import Kind
from gate.core.inputs import DeviceFailed, Input, PersonLeft, SensorChecked, Started
from gate.core.moment import Moment
from gate.core.texts import Key
from gate.demo.passes import Issuer
from gate.shell.clock import SystemClock
from gate.store.ledger import entries
from tests.brokers import HOST, free_port, wait_for

SITE, GATE = "hall", "north-1"
SEED = 7
NORMAL_CC = 3640
# A quick county hall: nobody waits for people who are not there.
POLICY = """
extends = "county-hall"
name = "quick-hall"
[timing]
collect_s = 3
retest_wait_s = 1
cure_s = 3
pass_s = 2
farewell_s = 1
"""


def a_policy(folder: Path, *more: str) -> Path:
    path = folder / "quick-hall.toml"
    path.write_text("\n".join((POLICY, *more)), "utf-8")
    return path


def a_config(folder: Path, mqtt: MqttSection | int | None = None) -> Config:
    """A gate without hardware; without a broker nothing listens where it looks for one."""
    if not isinstance(mqtt, MqttSection):
        mqtt = MqttSection(host=HOST, port=mqtt or free_port())
    section = GateSection(
        site=SITE,
        id=GATE,
        policy=str(a_policy(folder)),
        lang="en",
        state_dir=folder / "state",
        clock="always_trusted",
    )
    camera = CameraSection(source="synthetic", path=folder / "scene.json")
    return without_hardware(Config(gate=section, mqtt=mqtt, camera=camera), folder)


class RunningGate:
    """One gate for the length of a `with` block; an error that ends it is raised at the end of the block.

    `before` prepares the place, `world_of` puts real parts in the place of simulated ones. `meddle` is called
    in the brain's thread with every input (effect None) and every effect performed.
    """

    def __init__(
        self,
        config: Config,
        *,
        trusted: bool = True,
        before: Callable[[SimulatedGate], None] = lambda _: None,
        world_of: Callable[[World], World] = lambda world: world,
    ) -> None:
        self.config = config
        self.place = SimulatedGate(config, SEED)
        before(self.place)
        clock = SystemClock(lambda: trusted)
        self.issuer = Issuer(SITE, random.Random(SEED), clock.now().wall_s)
        self.steps: list[tuple[Input, Effect | None, Moment]] = []
        self.meddle: Callable[[Input, Effect | None], None] = lambda _happened, _effect: None
        world = world_of(self.place.world(self._observe, clock))
        self.app = Application(config, load_policy(config.gate.policy), self.issuer.trust(), world)
        self._camera_sees = threading.Event()
        self._listen_to(self.app._camera)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="brain", daemon=True)

    def _listen_to(self, camera: CodeSource) -> None:
        """Note when the camera child sees: where much else is going on it is slow to start."""
        if not isinstance(camera, CameraPart):
            self._camera_sees.set()
            return
        hand_on = camera._camera._on_health

        def on_health(health: Health) -> None:
            if health.frames:
                self._camera_sees.set()
            hand_on(health)

        camera._camera._on_health = on_health

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for(lambda: self.handled(Started), 5, "the start to be handled")
        wait_for(
            lambda: self.handled(SensorChecked) or self.handled(DeviceFailed), 8, "the first check, or none"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.app.stop()
        self.wait_ended()
        if self.error is not None:
            raise self.error

    def wait_ended(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive(), "the gate does not end"

    def take_error(self) -> BaseException | None:
        """Wait until an error has ended the gate; return it instead of raising it later."""
        self.wait_ended()
        error, self.error = self.error, None
        return error

    def _run(self) -> None:
        try:
            self.app.run()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the end
            self.error = error

    def _observe(self, happened: Input, effect: Effect | None, now: Moment) -> None:
        self.steps.append((happened, effect, now))
        self.meddle(happened, effect)

    # --- what the gate has done

    def handled(self, kind: type[Input]) -> bool:
        return self.count(kind) > 0

    def count(self, kind: type[Input]) -> int:
        return sum(isinstance(happened, kind) for happened, effect, _ in list(self.steps) if effect is None)

    def effects(self, kind: type[Any]) -> list[Any]:
        return [effect for _, effect, _ in list(self.steps) if isinstance(effect, kind)]

    def unlocks(self) -> int:
        return len(self.effects(Unlock))

    def shown(self) -> list[Key]:
        return [show.key for show in self.effects(Show)]

    def wait_shown(self, *keys: Key, within_s: float = 12, times: int = 1) -> None:
        wait_for(
            lambda: sum(key in keys for key in self.shown()) >= times,
            within_s,
            f"the gate to show {' or '.join(keys)}; it showed {[str(key) for key in self.shown()]}",
        )

    def recorded(self, kind: Kind) -> list[dict[str, Any]]:
        return [effect.event.data for effect in self.effects(Record) if effect.event.kind is kind]

    def wait_recorded(
        self, kind: Kind, within_s: float = 12, times: int = 1, **facts: object
    ) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            wanted = facts.items()
            return [data for data in self.recorded(kind) if all(data.get(k) == v for k, v in wanted)]

        wait_for(lambda: len(found()) >= times, within_s, f"{times} records of {kind} with {facts}")
        return found()[times - 1]

    @property
    def ledger(self) -> Path:
        return self.config.gate.state_dir / LEDGER_NAME

    def bodies(self) -> list[bytes]:
        return [entry.body for entry in entries(self.ledger)]

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies()]

    # --- what a visitor does

    def come(self, *codes: str, body_cc: int = NORMAL_CC, mask: bool = True) -> None:
        if codes:
            wait_for(self._camera_sees.is_set, 20, "the camera to see")
        readings = len(self.effects(TakeReading))
        self.place.body_cc(body_cc)
        self.place.step_up()
        wait_for(lambda: len(self.effects(TakeReading)) > readings, 5, "the visit to begin")
        if mask:
            self.place.press("mask_on")
        self.place.show(*codes)

    def leave(self) -> None:
        """Go, and wait until the gate has seen it: the light barrier takes its time."""
        left = self.count(PersonLeft)
        self.place.step_away()
        wait_for(lambda: self.count(PersonLeft) > left, 3, "the light barrier to be free")
        wait_for(lambda: self.app.actor.visit is None, 5, "the visit to be over")

    def visit(self) -> None:
        """Come with everything in order and walk through."""
        passes = self.shown().count(Key.PASS_PLEASE)
        closed = len(self.recorded(Kind.VISIT_CLOSED))
        self.come(self.issuer.issue())
        self.wait_shown(Key.PASS_PLEASE, times=passes + 1)
        self.place.step_away()
        assert self.place.push(), "the arm is locked"
        self.wait_recorded(Kind.VISIT_CLOSED, times=closed + 1)
