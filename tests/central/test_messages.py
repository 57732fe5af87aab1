"""Every message between a real gate, a real centre and Mosquitto is one that the AsyncAPI document describes.

Both run as processes. Beforehand the gate's ledger is given a backlog, a sealed attachment in it; the centre
comes late, so that it has to ask; the gate is stopped, started again and killed.
"""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from central.cli import main as central
from central.keys import make_keys
from gate.cli import main as gate
from gate.core.documents import Document, RiskAreas, sign_document
from gate.core.events import Event, Kind, anomaly, visit_closed
from gate.core.events import Result as Ending
from gate.core.moment import Moment
from gate.shell.clock import SystemClock
from gate.store.ledger import Ledger
from tests.app.running_gate import a_policy
from tests.asyncapi import Description, Wire
from tests.brokers import HOST, Mosquitto, wait_for
from tests.central.running import CentreProcess, write_config

SITE, GATE, EPOCH = "hall", "g1", "e1"
PREFIX = f"hg/1/{SITE}/{GATE}"
BACKLOG = 250


class Recorder:
    """Hears everything as it was published: with its own QoS and retain flag (MQTT 5, 3.8.3.1)."""

    def __init__(self, port: int) -> None:
        self.heard: list[Wire] = []
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._take
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(HOST, port)

    def _take(self, _client: object, _userdata: object, message: MQTTMessage) -> None:
        self.heard.append(Wire(message.topic, message.payload, message.qos, message.retain))

    def bodies(self, leaf: str) -> list[bytes]:
        return [wire.payload for wire in list(self.heard) if wire.topic == f"{PREFIX}/{leaf}"]

    def first_lines(self, leaf: str) -> list[dict[str, Any]]:
        """Return what the signed messages on a topic state."""
        return [json.loads(body.split(b"\n")[0]) for body in self.bodies(leaf)]

    def wait_state(self, state: str) -> None:
        wait_for(lambda: json.loads(self.bodies("state")[-1])["state"] == state, 10, state)

    def publish(self, topic: str, body: bytes, *, retain: bool) -> None:
        self._client.publish(topic, body, qos=1, retain=retain).wait_for_publish(5)

    def __enter__(self) -> Self:
        self._client.loop_start()
        options = SubscribeOptions(qos=2, retainAsPublished=True, retainHandling=2)
        self._client.subscribe("#", options=options)
        wait_for(self._subscribed.is_set, 5, "the recorder to be subscribed")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def configure(folder: Path, port: int, centre: Path, visitors_per_minute: int) -> Path:
    """Write the configuration of a gate to which visitors come by themselves; return its path."""
    path = folder / "gate.toml"
    path.write_text(
        f"""
        [gate]
        site = "{SITE}"
        id = "{GATE}"
        policy = "{a_policy(folder)}"
        lang = "en"
        state_dir = "{folder}"
        clock = "always_trusted"
        [mqtt]
        host = "{HOST}"
        port = {port}
        [centre]
        keys_file = "{centre / "centre.json"}"
        [simulation]
        world_log = "{folder / "pulses.jsonl"}"
        visitors_per_minute = {visitors_per_minute}
        """
    )
    return path


def fill(folder: Path) -> None:
    """Give the gate a backlog of an earlier day, with a value that only the centre can read."""
    blob = b"opaque to everybody but the centre"
    sealed = visit_closed("0a1b2c3d-000001", Ending.PASSED, 1)
    sealed = Event(sealed.kind, {**sealed.data, "sealed": hashlib.sha256(blob).hexdigest()})
    now = Moment(0, SystemClock(lambda: True).now().wall_ms, clock_trusted=True)
    path = folder / "ledger.db"
    with closing(Ledger(path, site=SITE, gate=GATE, new_epoch=EPOCH, boot_id="boot")) as ledger:
        ledger.append(sealed, now, sealed=blob)
        ledger.append(anomaly("drill", "for the record"), now)
        for _ in range(BACKLOG - 2):
            ledger.append(Event(Kind.GATE_STOPPED, {}), now)


@contextmanager
def serving(config: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-c", "from gate.cli import main; main()", "run", "--config", str(config)]
    log = config.with_suffix(".log")
    with log.open("ab") as err, subprocess.Popen(command, stderr=err) as process:
        try:
            yield process
        finally:
            process.kill()


def invoked(command: Any, *arguments: str, stdin: bytes = b"") -> Result:
    done = CliRunner().invoke(command, arguments, input=stdin)
    assert done.exit_code == 0, done.output
    return done


def a_document() -> bytes:
    """Sign a document with a key that the gate does not know: it is refused, on the record."""
    now_s = SystemClock(lambda: True).now().wall_s
    said = Document(SITE, "county", 1, now_s, now_s + 60, RiskAreas(frozenset({"X"})))
    return sign_document(Ed25519PrivateKey.generate(), said).encode()


def test_every_message_is_as_described(tmp_path: Path, sqlite_template: Path) -> None:
    keys, folder = tmp_path / "centre", tmp_path / "gate"
    make_keys(keys)
    shutil.copy(sqlite_template, keys / "central.db")
    folder.mkdir()
    fill(folder)
    with Mosquitto(tmp_path / "broker") as broker, Recorder(broker.port) as recorder:
        config = configure(folder, broker.port, keys, visitors_per_minute=1)
        centre_config = write_config(keys, broker.port)
        centre = CentreProcess(centre_config)
        identity = invoked(gate, "identity", "--config", str(config)).stdout_bytes
        invoked(central, "gates", "add", "-", "--config", str(centre_config), stdin=identity)
        with serving(config) as process:
            wait_for(sent(recorder, BACKLOG), 20, "a gate that has sent everything, to nobody")
            with centre:
                wait_for(receipted(recorder, BACKLOG), 30, "receipts for all of it")
                recorder.publish(f"hg/1/{SITE}/doc/risk_areas", a_document(), retain=True)
                told = ("command", "checkpoint", SITE, GATE, "--by", "test", "--config", str(centre_config))
                invoked(central, *told)  # it waits for the answer
                wait_for(recorded(recorder, b'"document_refused"'), 10, "what became of the document")
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
                recorder.wait_state("disconnected")
                assert centre.terminate() == 0
        configure(folder, broker.port, keys, visitors_per_minute=1000)
        with serving(config) as process:
            wait_for(recorded(recorder, b'"type":"hg.visit.closed.v1"'), 20, "visitors")
            recorder.wait_state("ready")
            process.kill()
            recorder.wait_state("lost")
    described = Description()
    seen = Counter(described.operation(wire) for wire in recorder.heard)
    assert set(seen) == set(described.document["operations"]), seen


def sent(recorder: Recorder, size: int) -> Callable[[], bool]:
    """Tell whether a checkpoint has come once all of it was sent."""
    said = ("drained", "count")
    return lambda: any(c["size"] >= size and c["why"] in said for c in recorder.first_lines("checkpoint"))


def receipted(recorder: Recorder, upto: int) -> Callable[[], bool]:
    return lambda: any(receipt["upto"] >= upto for receipt in recorder.first_lines("receipt"))


def recorded(recorder: Recorder, words: bytes) -> Callable[[], bool]:
    return lambda: any(words in body for body in recorder.bodies("ev"))
