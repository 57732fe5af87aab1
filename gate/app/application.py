"""One running gate: every part built, wired and started in order, and taken down turnstile first."""

import fcntl
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

from drivers.i2c import I2cBus
from gate.app.hardware import CameraPart, Opened, ThermometerPart, open_pins
from gate.config import Config, MqttSection
from gate.core.actor import GateActor
from gate.core.codes import Trust
from gate.core.events import Event
from gate.core.inputs import Started, Stopped
from gate.core.moment import Moment
from gate.core.policy import Policy
from gate.core.texts import Key, screen
from gate.perform import Brain, Observer, Outputs
from gate.ports import Clock, Display, Entry, RecordFailure
from gate.shell.clock import SystemClock, boot_id, kernel_says_synchronised
from gate.shell.inbox import Inbox
from gate.shell.loop import BrainLoop
from gate.shell.reading import ReadingThread
from gate.sinks.mqtt import MqttSettings, MqttSink, TlsSettings, topic_prefix
from gate.store.ledger import Ledger, LedgerError, Outbox

log = logging.getLogger(__name__)

LEDGER_NAME = "ledger.db"
STOP_S = 5.0


class StateInUseError(Exception):
    """Another gate is running on this state folder."""


@dataclass(frozen=True, slots=True)
class World:
    """What replaces real hardware and real time; every None means the real thing."""

    pin_factory: object | None = None
    open_bus: Callable[[], I2cBus] | None = None
    clock: Clock | None = None
    display: Display | None = None
    observe: Observer | None = None
    seed: int = 0


class Application:
    """One gate, from its configuration. `run` blocks until `stop`; all errors of operation are recorded.

    Raises StateInUseError when another gate runs on the same state folder.
    """

    def __init__(self, config: Config, policy: Policy, trust: Trust, world: World | None = None) -> None:
        world = world or World()
        self._lock = _claim(config.gate.state_dir)
        self._clock = world.clock or _system_clock(config)
        self._inbox = Inbox()
        self._ledger = _ReopeningLedger(config, self._clock)
        self._thermometer = ReadingThread(
            ThermometerPart(config.thermometer, world.open_bus).measure, self._inbox.post
        )
        self._camera = CameraPart(config.camera, self._inbox.post, world.seed)
        self.actor = GateActor(policy, trust, config.gate.site, run=secrets.token_hex(4))
        self.sink = MqttSink(
            mqtt_settings(config), Outbox(config.gate.state_dir / LEDGER_NAME), state=self._state
        )
        self._opened: Opened = open_pins(config, self._inbox.post, world.pin_factory)
        outputs = Outputs(
            turnstile=self._opened.turnstile,
            lights=self._opened.lights,
            display=world.display or _LogDisplay(config.gate.lang),
            thermometer=self._thermometer,
            ledger=self._ledger,
            on_record=self._recorded,
        )
        self._loop = BrainLoop(Brain(self.actor, outputs, world.observe), self._inbox, self._clock)
        self._mode: str | None = None

    @property
    def camera_pid(self) -> int | None:
        """The process id of the camera child, None between two of them."""
        return self._camera.child_pid

    def run(self) -> None:
        """Serve until `stop` has been called; everything is safe and closed when this returns or raises."""
        try:
            self._thermometer.start()
            self._camera.start()
            self.sink.start()
            self._loop.run(Started(version("health-gate"), self._ledger.open_visits()))
        finally:
            self._close()

    def stop(self) -> None:
        """Ask the gate to stop in order; from any thread or a signal handler, returns at once."""
        self._inbox.post(Stopped())

    def _recorded(self, _entry: Entry) -> None:
        self.sink.notify()
        if self.actor.mode != self._mode:
            self._mode = self.actor.mode
            self.sink.publish_state()

    def _state(self) -> dict[str, object]:
        seq, digest = self._ledger.head
        return {
            "mode": str(self.actor.mode),
            "failed": sorted(str(device) for device in self.actor.failed_devices),
            "unwritten": self.actor.unwritten,
            "epoch": self._ledger.epoch,
            "seq": seq,
            "hash": digest.hex(),
        }

    def _close(self) -> None:
        steps: list[Callable[[], object]] = [part.close for part in self._opened.closing]
        steps += [
            self._camera.stop,
            lambda: self._thermometer.stop(STOP_S),
            lambda: self.sink.stop(STOP_S),
            self._ledger.close,
            self._lock.close,
        ]
        for step in steps:
            try:
                step()
            except Exception:  # one part that fails to close must not keep the others open
                log.exception("closing")


class _LogDisplay:
    """A gate with lamps only: what a display would show goes to the log, for whoever watches it."""

    def __init__(self, lang: str) -> None:
        self._lang = lang

    def show(self, key: Key, facts: tuple[tuple[str, str], ...]) -> None:
        shown = screen(self._lang, key, **dict(facts))
        log.info("display: %s | %s", shown.title, shown.next)


class _ReopeningLedger:
    """The ledger, or the fact that it cannot be opened; tried again at each record, nothing overwritten."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._ledger: Ledger | None = None
        try:
            self._open()
        except LedgerError as error:
            log.error("%s", error)

    @property
    def epoch(self) -> str | None:
        return self._ledger.epoch if self._ledger else None

    @property
    def head(self) -> tuple[int, bytes]:
        return self._ledger.head if self._ledger else (0, b"")

    def append(self, event: Event, now: Moment) -> Entry:
        try:
            ledger = self._ledger or self._open()
        except LedgerError as error:
            raise RecordFailure(str(error)) from error
        return ledger.append(event, now)

    def open_visits(self) -> tuple[str, ...]:
        return self._ledger.open_visits() if self._ledger else ()

    def close(self) -> None:
        if self._ledger:
            self._ledger.close()

    def _open(self) -> Ledger:
        self._ledger = Ledger(
            self._config.gate.state_dir / LEDGER_NAME,
            site=self._config.gate.site,
            gate=self._config.gate.id,
            new_epoch=secrets.token_hex(8),
            boot_id=boot_id(),
        )
        return self._ledger


def mqtt_settings(config: Config) -> MqttSettings:
    """Say the configuration's broker in the sink's words. OSError when the password cannot be read."""
    section = config.mqtt
    password = section.password_file.read_text("utf-8").strip() if section.password_file else None
    return MqttSettings(
        host=section.host,
        port=section.port,
        topic_prefix=topic_prefix(config.gate.site, config.gate.id),
        client_id=f"gate-{config.gate.site}-{config.gate.id}",
        username=section.username,
        password=password,
        protocol=section.protocol,
        keepalive_s=section.keepalive_s,
        tls=_tls(section),
    )


def _tls(section: MqttSection) -> TlsSettings | None:
    if section.ca_file is None and section.cert_file is None and section.port != TLS_PORT:
        return None
    return TlsSettings(section.ca_file, section.cert_file, section.key_file)


TLS_PORT = 8883  # IANA: secure-mqtt


def _system_clock(config: Config) -> SystemClock:
    always = config.gate.clock == "always_trusted"
    return SystemClock((lambda: True) if always else kernel_says_synchronised)


def _claim(state_dir: Path) -> IO[str]:
    """Take the state folder for this process alone; a second gate would fork the chain."""
    state_dir.mkdir(parents=True, exist_ok=True)
    lock = (state_dir / "lock").open("w", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StateInUseError(f"another gate is running on {state_dir}; stop it first") from None
    return lock
