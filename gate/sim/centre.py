"""The centre, as the simulated gate meets it: it stores, proves, signs receipts, and gives orders.

It keeps the centre's half of the delivery contract: everything that comes is stored, what hangs together is
linked, and a receipt states what a signed checkpoint of the gate covers with the same hash. It can go back to
an old backup, lose what a broker had acknowledged to the gate, keep silent, or take the gate's ledger for
another one. It imitates the package `central` in what it says, not in how it stores.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.chain import genesis, link
from gate.core.commands import Address, Command, Name
from gate.core.delivery import Ask, Checkpoint, Receipt
from gate.sim.cards import SITE
from gate.sim.delivery import CMD, EV, RECEIPT, Broker
from gate.sim.timeline import Timeline

GATE: Final = "gate-1"
CENTRE_KEY: Final = Ed25519PrivateKey.from_private_bytes(b"\x0c" * 32)
DEVICE_KEY: Final = Ed25519PrivateKey.from_private_bytes(b"\x0d" * 32)
_STRANGER: Final = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
CENTRE_KEYS: Final = (CENTRE_KEY.public_key().public_bytes_raw(),)
_DEVICE_KEYS: Final = (DEVICE_KEY.public_key().public_bytes_raw(),)
_BACKUP_EVERY_S: Final = 1800
_ASK_EVERY_MS: Final = 5000
_ANSWER_WITHIN_S: Final = 120


@dataclass(slots=True)
class Stream:
    """What is known of one epoch: every body that came, how far they hang together, how far it is proved."""

    epoch: str
    bodies: dict[int, bytes] = field(default_factory=dict)
    hashes: list[bytes] = field(default_factory=list)
    proved: int = 0
    asked_ms: int = 0

    def __post_init__(self) -> None:
        self.hashes = self.hashes or [genesis(self.epoch)]

    @property
    def linked(self) -> int:
        """The number of the newest record before the first hole."""
        return len(self.hashes) - 1

    def store(self, seq: int, body: bytes) -> None:
        """Take a record; one that stands in another's place counts for nothing."""
        self.bodies.setdefault(seq, body)
        while (following := self.bodies.get(self.linked + 1)) is not None:
            self.hashes.append(link(self.hashes[-1], following))

    def copy(self) -> "Stream":
        """Return it as it is now, for a backup."""
        return Stream(self.epoch, dict(self.bodies), list(self.hashes), self.proved)

    def drop_unproved(self) -> None:
        """Ask for everything anew that no checkpoint has proved."""
        self.bodies = {seq: body for seq, body in self.bodies.items() if seq <= self.proved}
        del self.hashes[self.proved + 1 :]


class Centre:
    """Takes what the broker brings. `ever` is what has come at any time, whatever was lost of it since.

    `epoch` is that of the newest checkpoint, "" before the first; `obeyed` are the ids of commands that the
    gate says to have obeyed.
    """

    def __init__(self, timeline: Timeline, broker: Broker) -> None:
        self._timeline = timeline
        self._broker = broker
        self._streams: dict[str, Stream] = {}
        self._backup: dict[str, Stream] = {}
        self._word = ""
        self._at_ms = 0
        self.epoch = ""
        self.ever: dict[tuple[str, int], set[bytes]] = {}
        self.obeyed: set[str] = set()
        broker.centre = self
        timeline.after(_BACKUP_EVERY_S, self._back_up)

    def fail(self, word: str) -> None:
        """Do what the word of a fault says until `recover`; to be restored and mistaken take no time."""
        self._word = word
        if word == "restored":
            self._streams = _copy(self._backup)
        elif word == "mistaken" and self.epoch in self._streams:
            self._mistake(self._streams[self.epoch])

    def recover(self) -> None:
        """Work as it should again."""
        self._word = ""

    @property
    def newly(self) -> int:
        """A record of the present epoch with no more than a hundred after it."""
        return max(0, self._stream(self.epoch).linked - 100)

    def missing(self, epoch: str, bodies: dict[int, bytes]) -> list[int]:
        """Return which of these records are not stored as they are, or not proved."""
        stream = self._streams.get(epoch, Stream(epoch))
        return [seq for seq, body in bodies.items() if stream.bodies.get(seq) != body or seq > stream.proved]

    # --- what comes

    def take(self, topic: str, message: bytes) -> None:
        """Take in one message."""
        if self._word == "away":
            return  # the broker has acknowledged it all the same
        if topic == EV:
            self._record(message)
        else:
            self._checkpoint(Checkpoint.opened(message, _DEVICE_KEYS))

    def _record(self, body: bytes) -> None:
        data = json.loads(body)["data"]
        epoch, seq = data["epoch"], data["seq"]
        self.ever.setdefault((epoch, seq), set()).add(sha256(body).digest())
        self._stream(epoch).store(seq, body)
        if data.get("outcome") == "done":
            self.obeyed.add(data["id"])

    def _checkpoint(self, checkpoint: Checkpoint) -> None:
        stream, size = self._stream(checkpoint.epoch), checkpoint.size
        self.epoch = checkpoint.epoch
        if stream.linked >= size and stream.hashes[size] == checkpoint.hash:
            stream.proved = max(stream.proved, size)
        elif stream.linked >= size:
            stream.drop_unproved()
        asks = stream.linked < size and self._timeline.wall_ms - stream.asked_ms >= _ASK_EVERY_MS
        if asks:
            stream.asked_ms = self._timeline.wall_ms
        if self._word != "mute":
            self._answer(stream, Ask.RECORDS if asks else Ask.NOTHING)

    def _stream(self, epoch: str) -> Stream:
        return self._streams.setdefault(epoch, Stream(epoch))

    # --- what it says

    def _answer(self, stream: Stream, ask: Ask) -> None:
        self._sign(stream.epoch, stream.proved, stream.hashes[stream.proved], ask)

    def _sign(self, epoch: str, upto: int, digest: bytes, ask: Ask) -> None:
        self._at_ms = max(self._at_ms + 1, self._timeline.wall_ms)
        receipt = Receipt(SITE, GATE, epoch, upto, digest, self._at_ms, ask)
        self._broker.send(RECEIPT, receipt.signed(CENTRE_KEY), retained=ask is Ask.NOTHING)

    def _mistake(self, stream: Stream) -> None:
        """Sign for a record that the gate has never written: its ledger is not the one that is known here."""
        self._sign(stream.epoch, stream.linked + 1000, link(stream.hashes[-1], b"another"), Ask.NOTHING)

    def _back_up(self) -> None:
        self._backup = _copy(self._streams)
        self._timeline.after(_BACKUP_EVERY_S, self._back_up)


def _copy(streams: dict[str, Stream]) -> dict[str, Stream]:
    return {epoch: stream.copy() for epoch, stream in streams.items()}


class CommandPost:
    """Gives orders, and plays those who would like to.

    `told` says of each message which command it is, None for one that nobody known has signed.
    """

    def __init__(self, timeline: Timeline, broker: Broker, centre: Centre, seed: int) -> None:
        self._timeline = timeline
        self._broker = broker
        self._centre = centre
        self._rng = random.Random(f"{seed}/commands")  # noqa: S311 - chance to be repeated, not a secret
        self._counter = 0
        self._last: tuple[bytes, Command] | None = None
        self._suspended = False
        self.told: dict[bytes, Command | None] = {}
        self.sent: Counter[str] = Counter()

    def begin(self, word: str) -> None:
        """Do what the word says: give an order, or try what must not work."""
        self.sent[word] += 1
        if word in _ARGUMENTS:
            self._suspended |= word == Name.SUSPEND
            self._order(Name(word))
        else:
            _ATTEMPTS[word](self)

    def end(self, word: str) -> None:
        """End a suspension, and ask for it again until the gate has obeyed."""
        if word == Name.SUSPEND:
            self._suspended = False
            self._resume()

    def _resume(self) -> None:
        if not self._suspended:
            command = self._order(Name.RESUME)
            self._timeline.after(_ANSWER_WITHIN_S, partial(self._resume_unless, command.id))

    def _resume_unless(self, obeyed: str) -> None:
        if obeyed not in self._centre.obeyed:
            self._resume()

    # --- orders

    def _make(self, name: Name, **changes: Any) -> Command:
        now_s = self._timeline.wall_ms // 1000
        self._counter += 1
        to = Address(SITE, GATE, self._centre.epoch)
        args = {"after": self._centre.newly} if name is Name.RESEND else _ARGUMENTS[name]
        command = Command(f"c{self._counter}", to, self._counter, now_s - 60, now_s + 600, name, args)
        return replace(command, **changes)

    def _order(self, name: Name, *, retained: bool = False, **changes: Any) -> Command:
        command = self._make(name, **changes)
        message = command.signed(CENTRE_KEY)
        self._last = message, command
        self._send(message, command, retained=retained)
        return command

    def _send(self, message: bytes, told: Command | None, *, retained: bool = False) -> None:
        self.told[message] = told
        (self._broker.forge_retained if retained else self._broker.send)(CMD, message)

    # --- attempts

    def _forge(self) -> None:
        message = self._make(Name.SUSPEND).signed(CENTRE_KEY)
        self._send(message.replace(b"drill", b"thief"), None)

    def _pose(self) -> None:
        self._send(self._make(Name.OPEN_ONCE).signed(_STRANGER), None)

    def _replay(self) -> None:
        if self._last is not None:
            message, command = self._last
            self._send(message, command)

    def _misaddress(self) -> None:
        others = (Address(SITE, GATE, "epoch-before"), Address(SITE, "gate-2", self._centre.epoch))
        self._order(Name.SUSPEND, to=self._rng.choice(others))

    def _send_late(self) -> None:
        now_s = self._timeline.wall_ms // 1000
        self._order(Name.SUSPEND, not_before=now_s - 7800, expires=now_s - 7201)

    def _retain(self) -> None:
        self._order(Name.OPEN_ONCE, retained=True)

    def _babble(self) -> None:
        self._send(self._rng.randbytes(200), None)


_REASON: Final[dict[str, str | int]] = {"reason": "drill"}
_ARGUMENTS: Final[dict[str, dict[str, str | int]]] = {
    Name.SUSPEND: _REASON,
    Name.RESUME: {},
    Name.OPEN_ONCE: _REASON,
    Name.POLICY: {"text": "the same again"},
    Name.RESEND: {"after": 0},
    Name.CHECKPOINT: {},
}
_ATTEMPTS: Final[dict[str, Callable[[CommandPost], None]]] = {
    "forged": CommandPost._forge,  # noqa: SLF001 - the class's own table
    "strangers": CommandPost._pose,  # noqa: SLF001
    "replayed": CommandPost._replay,  # noqa: SLF001
    "misaddressed": CommandPost._misaddress,  # noqa: SLF001
    "expired": CommandPost._send_late,  # noqa: SLF001
    "retained": CommandPost._retain,  # noqa: SLF001
    "babble": CommandPost._babble,  # noqa: SLF001
}
