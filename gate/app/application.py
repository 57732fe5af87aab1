"""One running gate: every part built, wired and started in order, and taken down turnstile first."""

import errno
import fcntl
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING

from drivers.i2c import I2cBus
from gate.app.adopted import PolicyUnfitError, adopt_policy, adopted_policy
from gate.app.centre import CentreKeys, load_centre_keys
from gate.app.code_services import open_services
from gate.app.documents import DOCUMENTS_NAME, DocumentFolder
from gate.app.hardware import CameraPart, CodeSource, Opened, Post, ThermometerPart, open_pins
from gate.app.identity import IdentityError, device_key
from gate.app.metrics import GateMetrics
from gate.app.records import LEDGER_NAME, OwnLedger, OwnOutbox
from gate.app.updates import Updates
from gate.config import Config, MetricsSection, MqttSection
from gate.core.actor import GateActor
from gate.core.codes import Trust
from gate.core.codes.service import ServiceAnswer
from gate.core.effects import Effect, Record
from gate.core.events import Kind
from gate.core.evidence import Direction
from gate.core.inputs import (
    CommandReceived,
    Device,
    DeviceFailed,
    DocumentReceived,
    Input,
    LedgerOpened,
    LedgerRenewed,
    PolicyReceived,
    PolicyRejected,
    ReceiptDisagreed,
    ReceiptWentBack,
    ServiceAnswered,
    Started,
    Stopped,
)
from gate.core.mode import Mode
from gate.core.moment import Moment
from gate.core.policy import Policy
from gate.core.texts import Key, screen
from gate.perform import Brain, Observer, Outputs
from gate.ports import Clock, Display
from gate.services.desk import ServiceDesk
from gate.shell.clock import SystemClock, boot_id, is_synchronised
from gate.shell.desk import SOCKET_NAME, DeskServer, DeskStatus, status_of
from gate.shell.inbox import Inbox
from gate.shell.loop import BrainLoop
from gate.shell.reading import ReadingThread
from gate.shell.registration import Seal, Sealer, no_seal
from gate.shell.watchdog import Watchdog, status_words
from gate.sinks.mqtt import Centre, MqttSettings, MqttSink, TlsSettings, topic_prefix
from gate.store.ledger import Ledger, LedgerError

if TYPE_CHECKING:
    from gate.app.exposition import MetricsServer

log = logging.getLogger(__name__)

STOP_S = 5.0
# How long one turn of a loop takes at the very most, a slow card and a hanging bus included.
THERMOMETER_TURN_S = 30.0
CAMERA_TURN_S = 30.0
SINK_TURN_S = 60.0


class StateFolderError(Exception):
    """The state folder cannot be used: another gate is running on it, or it cannot be written."""


@dataclass(frozen=True, slots=True)
class World:
    """What replaces real hardware and real time; every None means the real thing.

    `open_camera` is given the way to post what is shown. `haste`: how many times sooner than real ones the
    simulated thermometer converts and the simulated contacts settle. `simulated` is said on the record.
    """

    pin_factory: object | None = None
    open_bus: Callable[[], I2cBus] | None = None
    clock: Clock | None = None
    display: Display | None = None
    observe: Observer | None = None
    seed: int = 0
    open_camera: Callable[[Post], CodeSource] | None = None
    haste: float = 1.0
    simulated: bool = False


class Application:
    """One gate, from its configuration. `run` blocks until `stop`; all errors of operation are recorded.

    Raises OSError when the broker's password and ConfigError when the centre's keys cannot be read, before
    anything is touched, and StateFolderError when another gate runs on the same state folder or the folder
    cannot be written.
    """

    def __init__(self, config: Config, policy: Policy, trust: Trust, world: World | None = None) -> None:
        world = world or World()
        broker = mqtt_settings(config)
        keys = load_centre_keys(config.centre.keys_file) if config.centre else None
        self._lock = claim(config.gate.state_dir)
        self._clock = world.clock or _system_clock(config)
        self._inbox = Inbox()
        self._watchdog = Watchdog(self._in_words)
        self._ledger = OwnLedger(config, self._ledger_opened)
        part = ThermometerPart(config.thermometer, self._inbox.post, world.open_bus, world.haste)
        turn = self._watchdog.loop("thermometer", THERMOMETER_TURN_S)
        self._thermometer = ReadingThread(part.measure, self._inbox.post, part.prepare, part.check, turn=turn)
        self._camera = (world.open_camera or partial(self._open_camera, config, world.seed))(self._inbox.post)
        self._services = open_services(config, self._clock)
        self._service_desk = ServiceDesk(self._services.ask, self._answered)
        self._state_dir = config.gate.state_dir
        self._updates = Updates(self._state_dir, lambda: self._clock.now().wall_ms, self._inbox.post)
        self._direction = config.gate.direction
        self.actor = GateActor(
            adopted_policy(config.gate.state_dir, policy),
            trust,
            config.gate.site,
            run=secrets.token_hex(4),
            direction=config.gate.direction,
            services=self._services.regions,
            gate=config.gate.id,
            centre_keys=keys.sign if keys else (),
        )
        self._documents = DocumentFolder(
            config.gate.state_dir / DOCUMENTS_NAME, partial(self._part_failed, Device.DOCUMENTS)
        )
        self._outbox = OwnOutbox(self._ledger, config.gate.state_dir / LEDGER_NAME)
        self._has_centre = keys is not None
        self.sink = MqttSink(
            broker,
            self._outbox,
            state=self._state,
            on_document=self._document_came,
            centre=self._centre(config, keys) if keys else None,
            turn=self._watchdog.loop("mqtt-sink", SINK_TURN_S),
        )
        self._opened: Opened = open_pins(config, self._inbox.post, world.pin_factory, world.haste)
        outputs = Outputs(
            turnstile=self._opened.turnstile,
            lights=self._opened.lights,
            display=world.display or _LogDisplay(config.gate.lang),
            thermometer=self._thermometer,
            ledger=self._ledger,
            on_record=lambda _entry: self.sink.notify(),
            ask_service=lambda visit, token, region: self._service_desk.request(visit, token, token, region),
            keep_document=self._documents.keep,
            renew_ledger=self._renew_ledger,
            send_again=self.sink.send_again,
            make_checkpoint=self.sink.make_checkpoint,
            adopt_policy=self._adopt_policy,
            request_update=self._updates.request,
        )
        self._observe = world.observe
        self._version = version("health-gate") + ("+simulated" if world.simulated else "")
        self._metrics = GateMetrics(
            config.gate,
            self._version,
            actor=self.actor,
            clock=self._clock,
            ledger_size=lambda: self._ledger.head[0],
            delivery=self.sink.status,
            certificate=config.mqtt.cert_file,
        )
        self._metrics_server = serve_metrics(config.metrics, self._metrics)
        self._told: object = None
        self._mode = self.actor.mode
        self._desk_status = DeskStatus()
        self._desk = self._open_desk(config, keys)
        brain = Brain(self.actor, outputs, self._performed)
        self._loop = BrainLoop(brain, self._inbox, self._clock, self._tell_desk, self._watchdog.turn)

    @property
    def camera_pid(self) -> int | None:
        """The process id of the camera child, None between two of them."""
        return self._camera.child_pid

    def run(self) -> None:
        """Serve until `stop` has been called; everything is safe and closed when this returns or raises.

        A programming error in any thread of the process ends the gate and is raised here: half a gate is
        worse than one that starts again.
        """
        excepthook, threading.excepthook = threading.excepthook, self._thread_failed
        if self._ledger.epoch is None:
            log.error("%s: the ledger cannot be opened, which is tried again", self._without_ledger())
        else:
            seq, _ = self._ledger.head
            log.info("serving; ledger of %d records, epoch %s", seq, self._ledger.epoch)
        try:
            self._thermometer.start()
            self._camera.start()
            self._service_desk.start()
            self._updates.start()
            if self._desk is not None:
                self._desk.start()
            self.sink.start()
            self._loop.run(self._started(), map(DocumentReceived, self._documents.texts()))
        finally:
            self._close()
            threading.excepthook = excepthook
            log.info("stopped")

    def stop(self) -> None:
        """Ask the gate to stop in order; from any thread or a signal handler, returns at once."""
        self._inbox.post(Stopped())

    def _started(self) -> Started:
        ledger = self._ledger
        return Started(
            self._version,
            ledger.open_visits(),
            ledger.uses(self._trusted_ms()),
            epoch=ledger.epoch or "",
            word=ledger.word(),
            new_epoch=ledger.new_epoch,
        )

    def _without_ledger(self) -> str:
        spare = self.actor.policy.on_ledger_failure == "open" or self._direction is Direction.OUT
        return "in fault, but serving: what happens is written late" if spare else "in fault, not serving"

    def _open_camera(self, config: Config, seed: int, post: Post) -> CodeSource:
        turn = self._watchdog.loop("camera-reader", CAMERA_TURN_S)
        return CameraPart(config.camera, post, seed, turn)

    def _in_words(self) -> str:
        return status_words(
            self.actor.mode,
            failed=self.actor.failed_devices,
            stale=self.actor.stale_documents,
            unwritten=self.actor.unwritten,
            connected=self.sink.status().connected,
        )

    def _tell_desk(self) -> None:
        self._desk_status = status_of(self.actor, self.actor.policy)

    def _open_desk(self, config: Config, keys: CentreKeys | None) -> DeskServer | None:
        """Open the desk; without one the buttons are left, and everybody else is served as ever."""
        path, gate = config.gate.state_dir / SOCKET_NAME, config.gate
        seal: Seal = no_seal
        if keys is not None:
            seal = Sealer(gate.site, gate.id, keys.seal, lambda: self._clock.now().wall_ms)
        try:
            return DeskServer(path, self._inbox.post, lambda: self._desk_status, seal)
        except OSError as error:
            log.error("the desk cannot be opened: %s", error)
            self._part_failed(Device.DESK, str(error))
            return None

    def _part_failed(self, device: Device, problem: str) -> None:
        self._inbox.post(DeviceFailed(device, problem))

    def _ledger_opened(self, ledger: Ledger) -> None:
        self._inbox.post(
            LedgerOpened(
                ledger.open_visits(),
                ledger.uses(self._trusted_ms()),
                epoch=ledger.epoch,
                word=ledger.word(),
                new_epoch=self._ledger.new_epoch,
            )
        )

    def _centre(self, config: Config, keys: CentreKeys) -> Centre:
        assert config.centre is not None
        try:
            key = device_key(config.gate.state_dir, self._key_made)
        except IdentityError as error:
            log.error("%s; until then the centre signs for nothing of this gate", error)
            self._part_failed(Device.IDENTITY, str(error))
            key = None
        return Centre(
            keys=keys.sign,
            device_key=key,
            boot_id=boot_id(),
            now=self._clock.now,
            keep_days=config.centre.keep_days,
            on_command=lambda message, retained: self._inbox.post(CommandReceived(message, retained)),
            on_went_back=lambda had, now: self._inbox.post(ReceiptWentBack(had, now)),
            on_disagreement=lambda upto, reason: self._inbox.post(ReceiptDisagreed(upto, reason)),
        )

    def _key_made(self) -> None:
        """Say that the key is another one than the centre knows; a gate's first one is made known anyway."""
        seq, _ = self._ledger.head
        if seq > 0:
            log.warning(
                "new device key for an existing ledger of %d records: register it at the centre with "
                "`gate identity` here and `central gates add` there, or it signs for nothing of this gate",
                seq,
            )

    def _renew_ledger(self, reason: str) -> LedgerRenewed | None:
        """Begin a new epoch; None when that is not possible now, which is tried again."""
        try:
            with self._outbox.put_away():
                previous = self._ledger.renew(reason)
        except LedgerError as error:
            log.error("the ledger cannot be renewed: %s", error)
            return None
        log.warning("epoch %s is over after %d records: %s", previous.epoch, previous.size, reason)
        return LedgerRenewed(self._ledger.epoch or "", previous)

    def _adopt_policy(self, text: str, command_id: str) -> None:
        try:
            policy = adopt_policy(self._state_dir, text)
        except PolicyUnfitError as error:
            log.error("the plan of command %s is not followed: %s", command_id, error)
            self._inbox.post(PolicyRejected(str(error), command_id))
        else:
            self._inbox.post(PolicyReceived(policy, command_id))

    def _trusted_ms(self) -> int | None:
        now = self._clock.now()
        return now.wall_ms if now.clock_trusted else None

    def _document_came(self, text: bytes) -> None:
        self._inbox.post(DocumentReceived(text.strip()))

    def _answered(self, visit: str, payload: bytes, answer: ServiceAnswer) -> None:
        self._inbox.post(ServiceAnswered(visit, payload, answer))

    def _thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        name = failed.thread.name if failed.thread else "unknown"
        log.critical("thread %s failed; the gate ends", name, exc_info=failed.exc_value)
        self._inbox.crash(failed.exc_value or failed.exc_type())

    def _performed(self, happened: Input, effect: Effect | None, now: Moment) -> None:
        """Count, and publish the state whenever it has become another, also where no record can say so."""
        self._metrics.observe(happened, effect, now)
        if isinstance(effect, Record) and effect.event.kind is Kind.UPDATE:
            self._updates.recorded()
        if self._observe is not None:
            self._observe(happened, effect, now)
        actor = self.actor
        if actor.mode is not self._mode:
            fault = actor.mode is Mode.FAULT
            log.log(logging.ERROR if fault else logging.INFO, "mode %s, before %s", actor.mode, self._mode)
            self._mode = actor.mode
        state = (
            self._ledger.epoch,
            actor.mode,
            actor.failed_devices,
            actor.stale_documents,
            actor.unwritten > 0,
        )
        if state != self._told:
            self._told = state
            self.sink.publish_state()

    def _state(self) -> dict[str, object]:
        seq, digest = self._ledger.head
        return {
            "mode": str(self.actor.mode),
            "failed": sorted(str(device) for device in self.actor.failed_devices),
            "stale": sorted(self.actor.stale_documents),
            "unwritten": self.actor.unwritten,
            "epoch": self._ledger.epoch,
            "seq": seq,
            "hash": digest.hex(),
            **({"receipted": self.sink.status().acknowledged} if self._has_centre else {}),
        }

    def _close(self) -> None:
        steps: list[Callable[[], object]] = [part.close for part in self._opened.closing]
        steps += [
            self._watchdog.stopping,
            self._camera.stop,
            lambda: self._thermometer.stop(STOP_S),
            lambda: self._service_desk.stop(STOP_S),
            lambda: self._updates.stop(STOP_S),
            lambda: None if self._desk is None else self._desk.stop(STOP_S),
            lambda: self.sink.stop(STOP_S),
            lambda: None if self._metrics_server is None else self._metrics_server.close(),
            self._outbox.close,
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


def serve_metrics(section: MetricsSection, metrics: GateMetrics) -> "MetricsServer | None":
    """Answer Prometheus from now on, until the result is closed.

    None where nobody is to ask, or nobody can, which is logged: visitors are served all the same.
    """
    if section.port is None:
        return None
    try:
        from gate.app.exposition import MetricsServer  # noqa: PLC0415 - a gate that nobody asks does not load it

        return MetricsServer(metrics, section.port, section.address)
    except ImportError:
        log.error("no metrics: the package prometheus-client is missing; install python3-prometheus-client")
    except OSError as error:
        where = f"{section.address}:{section.port}"
        log.error("no metrics: cannot listen at %s (%s); see [metrics]", where, error.strerror or error)
    return None


def mqtt_settings(config: Config) -> MqttSettings:
    """Say the configuration's broker in the sink's words. OSError when the password cannot be read."""
    section = config.mqtt
    return MqttSettings(
        host=section.host,
        port=section.port,
        topic_prefix=topic_prefix(config.gate.site, config.gate.id),
        client_id=f"gate-{config.gate.site}-{config.gate.id}",
        username=section.username,
        password=_password(section.password_file) if section.password_file else None,
        protocol=section.protocol,
        keepalive_s=section.keepalive_s,
        tls=_tls(section),
    )


def _password(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except UnicodeDecodeError as error:
        raise OSError(errno.EINVAL, "not a text file", str(path)) from error


def _tls(section: MqttSection) -> TlsSettings | None:
    if section.ca_file is None and section.cert_file is None and section.port != TLS_PORT:
        return None
    return TlsSettings(section.ca_file, section.cert_file, section.key_file)


TLS_PORT = 8883  # IANA: secure-mqtt


def _system_clock(config: Config) -> SystemClock:
    always = config.gate.clock == "always_trusted"
    return SystemClock((lambda: True) if always else is_synchronised)


def claim(state_dir: Path) -> IO[str]:
    """Take the state folder for this process alone, until the result is closed. Raises StateFolderError.

    A second gate would fork the chain.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / "lock").open("w", encoding="ascii")
    except OSError as error:
        raise StateFolderError(
            f"the state folder {state_dir} cannot be written ({error.strerror}); "
            "give it to the user of the service, or name another one in gate.state_dir"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StateFolderError(f"another gate is running on {state_dir}; stop it first") from None
    return lock
