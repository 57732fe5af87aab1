"""A gate as the centre sees it: a ledger, a device key, a client that does what receipts ask for."""

import contextlib
import json
import threading
from collections.abc import Iterable
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gate.core.batches import BATCH_RECORDS_MAX, pack
from gate.core.chain import genesis, link
from gate.core.delivery import Ask, Checkpoint, Receipt, Why
from gate.core.events import Event, Kind, Origin, encode
from gate.core.moment import Moment
from tests.brokers import HOST, wait_for

NOW_MS = 1_795_000_000_000


class FakeGate:
    """One gate of the site north. While it does not `obey` it only remembers receipts."""

    def __init__(
        self, port: int, centre_keys: tuple[bytes, ...], gate: str = "g-1", *, obey: bool = True
    ) -> None:
        self.gate = gate
        self.key = Ed25519PrivateKey.generate()
        self.bodies: list[bytes] = []
        self.receipts: list[Receipt] = []
        self.retained: list[Receipt] = []
        self.mark = 0
        self.obey = True
        self.at_ms = NOW_MS
        self._port, self._centre_keys = port, centre_keys
        self._lock = threading.RLock()
        self.begin("epoch1")
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{self._prefix}/receipt", 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_disconnect = lambda *_: self._subscribed.clear()
        self._client.on_message = lambda _c, _u, message: self._take(message.payload, retained=message.retain)

    @property
    def _prefix(self) -> str:
        return f"hg/1/north/{self.gate}"

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def identity(self) -> bytes:
        """What `gate identity` prints."""
        stated = {"site": "north", "gate": self.gate, "public_key": self.public_key.hex()}
        return json.dumps(stated).encode() + b"\n"

    def begin(self, epoch: str) -> None:
        """Begin a ledger."""
        self.epoch, self.bodies, self.mark = epoch, [], 0
        self.hashes = [genesis(epoch)]

    def roll_back(self, size: int) -> None:
        """Forget the newest records, as a ledger that was restored from a copy."""
        del self.bodies[size:], self.hashes[size + 1 :]
        self.mark = min(self.mark, size)

    def record(self, count: int = 1, **data: Any) -> None:
        """Write records into the ledger; they are not sent."""
        with self._lock:
            for _ in range(count):
                seq = len(self.bodies) + 1
                self.at_ms += 1000
                event = Event(Kind.DEVICE_RECOVERED, {"device": f"part-{seq}", **data})
                origin = Origin("north", self.gate, self.epoch, "boot")
                self.bodies.append(encode(event, origin, seq, Moment(seq, self.at_ms, True)))
                self.hashes.append(link(self.hashes[-1], self.bodies[-1]))

    def send(self, seqs: Iterable[int] | None = None) -> None:
        """Send records one by one; all that are not receipted when none are named."""
        for seq in seqs if seqs is not None else range(self.mark + 1, len(self.bodies) + 1):
            self.publish("ev", self.bodies[seq - 1])

    def send_batches(self) -> None:
        """Send all that are not receipted as a backlog."""
        for first in range(self.mark, len(self.bodies), BATCH_RECORDS_MAX):
            self.publish("ev/batch", pack(self.bodies[first : first + BATCH_RECORDS_MAX]))

    def checkpoint(self, why: Why = Why.INTERVAL, key: Ed25519PrivateKey | None = None) -> bytes:
        """Sign how far the ledger reaches, and send it."""
        with self._lock:
            self.at_ms += 1
            size = len(self.bodies)
            stated = Checkpoint(
                site="north",
                gate=self.gate,
                epoch=self.epoch,
                size=size,
                hash=self.hashes[size],
                at_ms=self.at_ms,
                clock_trusted=True,
                boot_id="boot",
                why=why,
                receipted=self.mark,
            )
        message = stated.signed(key or self.key)
        self.publish("checkpoint", message, retain=True)
        return message

    def publish(self, leaf: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(f"{self._prefix}/{leaf}", payload, qos=1, retain=retain)

    def wait_receipted(self, upto: int, within_s: float = 15) -> Receipt:
        """Wait for a receipt that reaches as far and has the hash of this ledger there."""
        wait_for(lambda: self.mark >= upto, within_s, f"a receipt up to {upto} (now {self.mark})")
        return next(receipt for receipt in reversed(self.receipts) if receipt.upto >= upto)

    def wait_subscribed(self) -> None:
        """Wait until the gate is connected, again if need be."""
        wait_for(self._subscribed.is_set, 10, "the fake gate to be subscribed")

    def _take(self, message: bytes, *, retained: bool) -> None:
        receipt = Receipt.opened(message, self._centre_keys)
        if receipt.epoch != self.epoch:
            return
        with self._lock:
            (self.retained if retained else self.receipts).append(receipt)
            ours = self.hashes[receipt.upto] if receipt.upto < len(self.hashes) else None
            if ours != receipt.hash:
                return  # not this ledger
            back = receipt.upto < self.mark
            self.mark = receipt.upto
        if self.obey and (back or receipt.ask is Ask.RECORDS):
            self.send()
            self.checkpoint(Why.DEMAND)
        elif self.obey and receipt.ask is Ask.CHECKPOINT:
            self.checkpoint(Why.DEMAND)

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            self._client.connect(HOST, self._port)
        self._client.loop_start()
        self.wait_subscribed()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
