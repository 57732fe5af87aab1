"""Ledgers as gates write them: chained records and signed checkpoints, without a gate around them."""

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.store import Arrived, ArrivedSealed, Ingested, Outcome, Problem, Store, verify
from gate.core.chain import genesis, link
from gate.core.delivery import Checkpoint, Receipt, Why
from gate.core.events import Event, Kind, Origin, encode
from gate.core.moment import Moment

NOW_MS = 1_795_000_000_000
CENTRE = Ed25519PrivateKey.from_private_bytes(bytes(32))


class Ledger:
    """One ledger: records 1 to `size`, and the key of the device that writes it."""

    def __init__(
        self, epoch: str = "epoch1", *, gate: str = "g-1", site: str = "north", key: bytes = b"k" * 32
    ) -> None:
        self.site, self.gate, self.epoch = site, gate, epoch
        self.key = Ed25519PrivateKey.from_private_bytes(key)
        self.bodies: list[bytes] = []
        self.hashes: list[bytes] = [genesis(epoch)]
        self.at_ms = NOW_MS

    @property
    def size(self) -> int:
        return len(self.bodies)

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def write(
        self, count: int = 1, kind: str = "gate.stopped", *, abnormal: bool = False, **data: Any
    ) -> None:
        for _ in range(count):
            self.at_ms += 1000
            origin = Origin(self.site, self.gate, self.epoch, "boot-1")
            event = Event(Kind(kind), {"visit": f"{self.size + 1:06}", **data}, abnormal)
            body = encode(event, origin, self.size + 1, Moment(self.at_ms * 1_000_000, self.at_ms, True))
            self.bodies.append(body)
            self.hashes.append(link(self.hashes[-1], body))

    def follow(self, other: "Ledger", *, size: int | None = None, reason: str = "renewed") -> None:
        """Write the first record of a ledger that follows another one."""
        size = other.size if size is None else size
        before = {"epoch": other.epoch, "size": size, "hash": other.hashes[size].hex()}
        self.at_ms = max(self.at_ms, other.at_ms)
        self.write(1, "epoch.started", reason=reason, previous=before)

    def arrived(self, first: int = 1, last: int | None = None) -> list[Arrived]:
        return [Arrived(self.site, self.gate, body) for body in self.bodies[first - 1 : last]]

    def checkpoint(
        self,
        size: int | None = None,
        *,
        at_ms: int | None = None,
        trusted: bool = True,
        receipted: int = 0,
        why: Why = Why.INTERVAL,
    ) -> bytes:
        size = self.size if size is None else size
        return Checkpoint(
            self.site, self.gate, self.epoch, size, self.hashes[size], self.at_ms if at_ms is None else at_ms,
            trusted, "boot-1", why, receipted,
        ).signed(self.key)  # fmt: skip

    def receipt(self, upto: int, at_ms: int = NOW_MS) -> tuple[Receipt, bytes]:
        receipt = Receipt(self.site, self.gate, self.epoch, upto, self.hashes[upto], at_ms)
        return receipt, receipt.signed(CENTRE)

    def sealed(self, seq: int, blob: bytes) -> ArrivedSealed:
        text = base64.b64encode(blob).decode()
        message = json.dumps({"v": 1, "epoch": self.epoch, "seq": seq, "sealed": text}).encode()
        return ArrivedSealed(self.site, self.gate, message)


def declare(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def altered(record: Arrived) -> Arrived:
    """The same record with other bytes."""
    return Arrived(record.site, record.gate, record.body.replace(b'"abnormal":false', b'"abnormal":true'))


class Centre:
    """A store and the clock of its centre, which goes on by a second with everything that is done."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now_ms = NOW_MS

    def _tick(self) -> int:
        self.now_ms += 1000
        return self.now_ms

    def register(self, ledger: Ledger) -> None:
        self.store.register_gate(ledger.site, ledger.gate, ledger.public_key, self._tick())

    def take(self, arrived: list[Arrived]) -> Ingested:
        return self.store.ingest(arrived, self._tick())

    def attach(self, *arrived: ArrivedSealed) -> Ingested:
        return self.store.ingest_sealed(arrived, self._tick())

    def hear(self, ledger: Ledger, message: bytes | None = None) -> Outcome:
        return self.store.checkpoint(
            ledger.checkpoint() if message is None else message, ledger.site, ledger.gate, self._tick()
        )

    def prove(self, ledger: Ledger, first: int = 1) -> None:
        """Take all records from `first` on, and the checkpoint that proves them."""
        self.take(ledger.arrived(first))
        assert self.hear(ledger).advanced

    def standing(self) -> list[tuple[str, str, int | None, int | None]]:
        """The alarms that stand: epoch, code, first, last."""
        return [
            (alarm.about.epoch, alarm.about.code, alarm.about.first, alarm.about.last)
            for alarm in self.store.alarms()
        ]

    def problems(self) -> list[tuple[str, int | None]]:
        """What `verify` finds: what, and where."""
        found: list[Problem] = []
        verify(self.store, [CENTRE.public_key().public_bytes_raw()], found.append)
        return [(problem.what, problem.seq) for problem in found]
