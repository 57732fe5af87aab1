"""A centre just large enough to sign receipts: what a gate sends goes in, what it is answered comes out."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.batches import unpack
from gate.core.chain import genesis, link
from gate.core.delivery import Ask, Checkpoint, Receipt
from gate.core.moment import Moment
from gate.sinks.mqtt import Centre

SITE, GATE = "county", "north-1"
CENTRE_KEY = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
DEVICE_KEY = Ed25519PrivateKey.from_private_bytes(b"d" * 32)


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


@dataclass
class Stream:
    """What has come of one epoch."""

    epoch: str
    bodies: dict[int, bytes] = field(default_factory=dict)
    sealed: dict[int, bytes] = field(default_factory=dict)
    hashes: list[bytes] = field(default_factory=list)
    proved: int = 0

    def __post_init__(self) -> None:
        self.hashes.append(genesis(self.epoch))

    def follow(self) -> None:
        """Link what has no hole before it."""
        while (body := self.bodies.get(len(self.hashes))) is not None:
            self.hashes.append(link(self.hashes[-1], body))

    @property
    def linked(self) -> int:
        return len(self.hashes) - 1


class SmallCentre:
    """Follows one gate's ledger. Every answer is later than the one before, by a millisecond.

    The bodies of tests hold their number as `seq` and belong to the epoch `e0`, unless they say another.
    """

    def __init__(self, site: str = SITE, gate: str = GATE, device: bytes = public(DEVICE_KEY)) -> None:
        self.site, self.gate = site, gate
        self.streams: dict[str, Stream] = {}
        self.checkpoints: list[Checkpoint] = []
        self.batches = self.singles = 0
        self.clock_ms = 1_700_000_000_000
        self._device = device

    def stream(self, epoch: str = "e0") -> Stream:
        return self.streams.setdefault(epoch, Stream(epoch))

    def bodies(self, epoch: str = "e0") -> list[bytes]:
        stream = self.stream(epoch)
        return [stream.bodies[seq] for seq in range(1, stream.linked + 1)]

    def take(self, leaf: str, payload: bytes) -> Iterator[bytes]:
        """Take one message in, and yield the receipts that answer it."""
        if leaf == "checkpoint":
            yield from self._check(Checkpoint.opened(payload, (self._device,)))
        elif leaf == "sealed":
            line = json.loads(payload)
            self.stream(line["epoch"]).sealed[line["seq"]] = base64.b64decode(line["sealed"])
        elif leaf == "ev/batch":
            self.batches += 1
            for body in unpack(payload):
                self._keep(body)
        elif leaf == "ev":
            self.singles += 1
            self._keep(payload)

    def _keep(self, body: bytes) -> None:
        event = json.loads(body)
        data = event.get("data", event)
        stream = self.stream(data.get("epoch", "e0"))
        stream.bodies.setdefault(data["seq"], body)  # what came first stays
        stream.follow()

    def _check(self, checkpoint: Checkpoint) -> Iterator[bytes]:
        self.checkpoints.append(checkpoint)
        stream = self.stream(checkpoint.epoch)
        if checkpoint.size <= stream.linked:
            same = stream.hashes[checkpoint.size] == checkpoint.hash
            stream.proved = max(stream.proved, checkpoint.size if same else 0)
        yield self.receipt(checkpoint.epoch)

    def receipt(self, epoch: str = "e0", upto: int | None = None, ask: Ask = Ask.NOTHING) -> bytes:
        """Sign for what is proved, or for a part of it."""
        stream = self.stream(epoch)
        upto = stream.proved if upto is None else upto
        return self.signed(upto, stream.hashes[upto], epoch, ask)

    def signed(self, upto: int, digest: bytes, epoch: str = "e0", ask: Ask = Ask.NOTHING) -> bytes:
        self.clock_ms += 1
        receipt = Receipt(self.site, self.gate, epoch, upto, digest, self.clock_ms, ask)
        return receipt.signed(CENTRE_KEY)

    def lose(self, after: int, epoch: str = "e0") -> None:
        """Be what it was when it had less: restored from a backup."""
        stream = self.stream(epoch)
        for kept in (stream.bodies, stream.sealed):
            for seq in [seq for seq in kept if seq > after]:
                del kept[seq]
        del stream.hashes[after + 1 :]
        stream.proved = min(stream.proved, after)


@dataclass
class Heard:
    """What a sink has told of its centre, and how it is wired to this."""

    commands: list[tuple[bytes, bool]] = field(default_factory=list)
    went_back: list[tuple[int, int]] = field(default_factory=list)
    disagreed: list[tuple[int, str]] = field(default_factory=list)
    wall_ms: int = 1_700_000_000_000
    trusted: bool = True

    def centre(
        self,
        device_key: Ed25519PrivateKey | None = DEVICE_KEY,
        keys: tuple[bytes, ...] = (public(CENTRE_KEY),),
    ) -> Centre:
        return Centre(
            keys=keys,
            device_key=device_key,
            boot_id="boot",
            now=lambda: Moment(0, self.wall_ms, self.trusted),
            keep_days=30,
            on_command=lambda message, retained: self.commands.append((message, retained)),
            on_went_back=lambda had, now: self.went_back.append((had, now)),
            on_disagreement=lambda upto, reason: self.disagreed.append((upto, reason)),
        )
