"""A centre for a benchmark: the real one, in a process of its own, and it says when each record was stored.

`python -m bench.centre CONFIG STAMPS` is `central run --config CONFIG` that writes to the file STAMPS, when
it is told to end, a line for each record: its number, and the instant after the commit that brought it
(nanoseconds of the monotonic clock, which on Linux is one for all processes).
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import sysconf
from pathlib import Path
from typing import Final
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.broker import a_broker
from bench.floor import ROOT
from bench.visit import SITE_KEY
from central.alerts.dispatcher import Dispatcher
from central.app import serve
from central.config import load_config
from central.keys import make_keys, public_keys
from central.store import Ingested, open_store
from gate.core.events import Event
from gate.demo.broker import BrokerAddress
from gate.shell.clock import SystemClock, sleep
from gate.sinks.mqtt import Centre, MqttSettings, MqttSink, topic_prefix
from gate.store.ledger import Ledger, Outbox

SITE: Final = "bench-hall"
GATE: Final = "gate-1"
WARM_UP_GATE: Final = "gate-0"
STOP_S: Final = 60.0
PATIENCE_S: Final = 600.0
POLL_S: Final = 0.002


@dataclass(slots=True)
class Town:
    """A centre that listens, and what its gates need: `device_key` is the key of each of them."""

    folder: Path
    address: BrokerAddress
    device_key: Ed25519PrivateKey
    process: "subprocess.Popen[bytes]"

    @property
    def store(self) -> Path:
        """The centre's database, one file."""
        return self.folder / "central.db"

    def centre_cpu_s(self) -> float:
        """Return the processor time that the centre has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / sysconf("SC_CLK_TCK")

    def sink(self, outbox: Outbox, gate: str = GATE) -> MqttSink:
        """Return the sink of a gate."""
        return MqttSink(self._settings(gate), outbox, state=dict, centre=self._centre())

    def _settings(self, gate: str) -> MqttSettings:
        address = self.address
        return MqttSettings(
            host=address.host, topic_prefix=topic_prefix(SITE, gate), client_id=gate, port=address.port,
            username=address.user, password=address.password,
        )  # fmt: skip

    def _centre(self) -> Centre:
        return Centre(
            keys=public_keys(self.folder),
            device_key=self.device_key,
            boot_id="bench",
            now=SystemClock(lambda: True).now,
            keep_days=30,
            on_command=lambda _message, _retained: None,
            on_went_back=_unexpected,
            on_disagreement=_unexpected,
        )

    def stored_ns(self) -> dict[int, int]:
        """End the centre; return when each record of the gate was stored, by its number."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_S)
        assert status == 0, (self.folder / "central.log").read_text("utf-8")
        lines = (self.folder / "stamps").read_text("ascii").splitlines()
        return {int(seq): int(at_ns) for seq, at_ns in map(str.split, lines)}


def _unexpected(had: int, now: object) -> None:
    raise AssertionError(f"the centre speaks of another ledger: {had}, {now}")


@contextmanager
def a_town(folder: Path, warm_up: Event) -> Iterator[Town]:
    """Run broker and centre for as long as the `with` block lasts.

    The broker is new as well, because it keeps what gate and centre have said last. The centre has stored and
    signed for `warm_up`, of another gate, already.
    """
    folder.mkdir()
    with a_broker(folder) as (address, _), _a_centre(folder, address, warm_up) as town:
        yield town


@contextmanager
def _a_centre(folder: Path, address: BrokerAddress, warm_up: Event) -> Iterator[Town]:
    make_keys(folder)
    key, now_ms = Ed25519PrivateKey.generate(), SystemClock(lambda: True).now().wall_ms
    with open_store(f"sqlite:///{folder / 'central.db'}") as store:
        for gate in (WARM_UP_GATE, GATE):
            store.register_gate(SITE, gate, key.public_key().public_bytes_raw(), now_ms)
    command = [sys.executable, "-m", "bench.centre", str(_config(folder, address)), str(folder / "stamps")]
    with (
        (folder / "central.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT.parent, stderr=log) as process,
    ):
        try:
            town = Town(folder, address, key, process)
            _warm_up(town, warm_up)
            yield town
        finally:
            process.kill()


def _config(folder: Path, address: BrokerAddress) -> Path:
    (folder / "password").write_text(address.password or "", "utf-8")
    account = (
        [("username", address.user), ("password_file", str(folder / "password"))] if address.user else []
    )
    values = [("host", address.host), ("port", address.port), *account]
    lines = [
        "[centre]",
        f"keys_dir = {json.dumps(str(folder))}",
        f"store = {json.dumps(f'sqlite:///{folder}/central.db')}",
        "[mqtt]",
        *(f"{name} = {json.dumps(value)}" for name, value in values),
    ]
    path = folder / "central.toml"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def a_ledger(path: Path, gate: str = GATE) -> Ledger:
    """Open a new ledger of a gate."""
    epoch = f"epoch-of-{gate}"
    return Ledger(path, site=SITE, gate=gate, new_epoch=epoch, boot_id="bench", site_key=SITE_KEY)


def _warm_up(town: Town, event: Event) -> None:
    path = town.folder / "warm-up.db"
    ledger = a_ledger(path, WARM_UP_GATE)
    ledger.append(event, SystemClock(lambda: True).now())
    ledger.close()
    sink = town.sink(Outbox(path), WARM_UP_GATE)
    sink.start()
    until_done(sink, 1)
    sink.stop(1)


def until_done(sink: MqttSink, upto: int) -> None:
    """Wait until everything up to this record is done. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while sink.status().acknowledged < upto:
        if time.monotonic() > deadline:
            raise TimeoutError(f"delivery stands still: {sink.status()}")
        sleep(POLL_S)


class Stamping(Dispatcher):
    """The centre's first listener, which takes down the time as well."""

    stamps: Final[list[tuple[int, int]]] = []

    def stored(self, ingested: Ingested) -> None:
        """Note when these were stored."""
        at_ns = time.monotonic_ns()
        self.stamps.extend((record.seq, at_ns) for record in ingested.new if record.gate == GATE)
        super().stored(ingested)


def main() -> None:
    config, stamps = map(Path, sys.argv[1:3])
    with patch("central.app.Dispatcher", Stamping):
        serve(load_config(config))
    stamps.write_text("".join(f"{seq} {at_ns}\n" for seq, at_ns in Stamping.stamps), "ascii")


if __name__ == "__main__":
    main()
