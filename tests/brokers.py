"""What delivery is tested against: real Mosquitto, real amqtt, a strict fake broker, a freezing proxy."""

import asyncio
import contextlib
import os
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gate.core.chain import genesis, link
from gate.ports import Entry, Head, Held

HOST = "127.0.0.1"


def wait_for(condition: Callable[[], Any], within_s: float, what: str) -> Any:
    """Wait until `condition` holds and return its value; fail with `what` was awaited when it never does."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {within_s} s in vain for {what}")
        pause.wait(0.005)
    return value


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def require(program: str, package: str) -> str:
    """Return the path of a program; without it skip with the reason, or fail where nothing may be skipped."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if path:
        return path
    reason = f"{program} is missing: install the package {package}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Mosquitto:
    """A real Mosquitto on a free port of the loopback, with its files in a folder of its own."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._program = require("mosquitto", "mosquitto")
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        anonymous = [] if any(line.startswith(("password_file", "cafile")) for line in lines) else ["true"]
        config = [
            f"listener {self.port} {HOST}",
            *(f"allow_anonymous {word}" for word in anonymous),
            "persistence false",
            "max_queued_messages 0",
            *(["user root"] if os.geteuid() == 0 else []),  # or it could not read the folder of the test
            *lines,
        ]
        (folder / "mosquitto.conf").write_text("\n".join(config) + "\n")

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            command = [self._program, "-c", str(self._folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._listens, 5, "Mosquitto to listen")

    def _listens(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            pytest.fail("Mosquitto ended at once: " + (self._folder / "log").read_text())
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1):
            return True
        return False

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        assert self._process
        self._process.kill()
        self._process.wait(5)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.poll() is None:
            self.kill()


def password_file(folder: Path, user: str, password: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "passwords"
    subprocess.run(
        [require("mosquitto_passwd", "mosquitto"), "-b", "-c", str(path), user, password],
        check=True,
        capture_output=True,
    )
    return path


class Subscriber:
    """An independent client that collects what arrives, in order, and notices its connections."""

    def __init__(
        self, port: int, topics: str = "hg/1/#", *, qos: int = 0, login: tuple[str, str] | None = None
    ) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.on_count: Callable[[int], None] = lambda _: None
        self._port, self._topics, self._qos = port, topics, qos
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.reconnect_delay_set(1, 1)
        if login:
            self._client.username_pw_set(*login)
        self._client.on_connect = lambda client, *_: client.subscribe(self._topics, self._qos)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_disconnect = lambda *_: self._subscribed.clear()
        self._client.on_message = lambda _c, _u, message: self._take(message.topic, message.payload)

    def _take(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))
        self.on_count(len(self.messages))

    def bodies(self, leaf: str = "ev") -> list[bytes]:
        return [body for topic, body in list(self.messages) if topic.endswith("/" + leaf)]

    def wait_subscribed(self) -> None:
        wait_for(self._subscribed.is_set, 8, "the subscriber to be subscribed")

    def __enter__(self) -> Self:
        self._client.connect(HOST, self._port)
        self._client.loop_start()
        self.wait_subscribed()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class AmqttBroker:
    """A real amqtt, which speaks MQTT 3.1.1 only, with one user and no anonymous clients."""

    def __init__(self, folder: Path, user: str, password: str) -> None:
        from pwdlib.hashers.argon2 import Argon2Hasher

        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "passwords"
        path.write_text(f"{user}:{Argon2Hasher(time_cost=1, memory_cost=64).hash(password)}\n")
        self._config = {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self.port}"}},
            "plugins": {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(path)}},
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        from amqtt.broker import Broker

        self._thread.start()

        async def start() -> Any:
            broker = Broker(self._config)
            await broker.start()
            return broker

        self._broker = asyncio.run_coroutine_threadsafe(start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._broker.shutdown(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


CONNECT, CONNACK, PUBLISH, PUBACK, PINGREQ, DISCONNECT = 1, 2, 3, 4, 12, 14


class StrictBroker:
    """A broker of our own that keeps to the letter of MQTT 5 and punishes what real ones may let pass.

    It enforces Receive Maximum (0x93 on excess), can acknowledge in shuffled order (`order`), put a reason
    code into a PUBACK, withhold acknowledgements (`mute`), and refuse MQTT 5 in the ways seen in the field:
    `version_reply` "0x84" (a v5 CONNACK), "1" (a v3 CONNACK), "hang up", "mute" (no answer, socket open).
    """

    def __init__(
        self,
        *,
        receive_maximum: int = 65535,
        order: Callable[[list[int]], list[int]] = list,
        version_reply: str = "",
        puback_reason: Callable[[bytes], int] = lambda _: 0,
    ) -> None:
        self.receive_maximum = receive_maximum
        self.mute = threading.Event()
        self.order = order
        self.version_reply = version_reply
        self.puback_reason = puback_reason
        self.received: list[tuple[str, bytes]] = []
        self.connects: list[int] = []
        self.excess = 0
        self.most_open = 0
        self.farewells: list[bytes] = []
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def bodies(self, leaf: str = "ev") -> list[bytes]:
        return [body for topic, body in list(self.received) if topic.endswith("/" + leaf)]

    def hang_up(self) -> None:
        """Break all connections without a word."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def dismiss(self, reason: int) -> None:
        """Send DISCONNECT with a reason code to everybody."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                # With a reason string: paho 2.1 overlooks the reason of a DISCONNECT that has no properties.
                sock.sendall(b"\xe0\x06" + bytes([reason]) + b"\x04\x1f\x00\x01-")

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(5)
        self.hang_up()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._sockets.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        client = _StrictSession(self, sock)
        with sock, contextlib.suppress(OSError, _HangUpError):
            client.run()


class _HangUpError(Exception):
    pass


class _StrictSession:
    def __init__(self, broker: StrictBroker, sock: socket.socket) -> None:
        self._broker, self._sock = broker, sock
        self._version = 0
        self._open: dict[int, int] = {}

    def run(self) -> None:
        data = b""
        while True:
            # Whatever the client sends before it is answered counts against Receive Maximum: wait a moment.
            self._sock.settimeout(0.003 if self._open and not self._broker.mute.is_set() else None)
            try:
                chunk = self._sock.recv(65536)
            except TimeoutError:
                self._acknowledge()
                continue
            if not chunk:
                raise _HangUpError
            data += chunk
            while (packet := _packet(data)) is not None:
                kind, flags, body, data = packet
                self._handle(kind, flags, body)

    def _handle(self, kind: int, flags: int, body: bytes) -> None:
        if not self._version and (kind, flags) != (CONNECT, 0):
            raise _HangUpError  # no MQTT at all, perhaps the beginning of TLS
        if kind == CONNECT:
            self._greet(body)
        elif kind == PUBLISH:
            self._take(flags, body)
        elif kind == PINGREQ and not self._broker.mute.is_set():
            self._sock.sendall(b"\xd0\x00")
        elif kind == DISCONNECT:
            self._broker.farewells.append(body)
            raise _HangUpError

    def _greet(self, body: bytes) -> None:
        self._version = body[6]
        self._broker.connects.append(self._version)
        reply = self._broker.version_reply if self._version == 5 else ""
        if reply == "mute":
            return
        if reply:
            self._sock.sendall(
                {"0x84": b"\x20\x03\x00\x84\x00", "1": b"\x20\x02\x00\x01", "hang up": b""}[reply]
            )
            raise _HangUpError
        if self._version == 5:
            properties = b"\x21" + struct.pack("!H", self._broker.receive_maximum)
            self._sock.sendall(b"\x20\x06\x00\x00\x03" + properties)
        else:
            self._sock.sendall(b"\x20\x02\x00\x00")

    def _take(self, flags: int, body: bytes) -> None:
        length = struct.unpack_from("!H", body)[0]
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        mid = struct.unpack_from("!H", rest)[0]
        assert flags & 6 == 2, "QoS 1 is expected"
        payload = rest[3:] if self._version == 5 else rest[2:]
        reason = self._broker.puback_reason(payload)
        self._open[mid] = reason
        self._broker.most_open = max(self._broker.most_open, len(self._open))
        if len(self._open) > self._broker.receive_maximum:
            self._broker.excess += 1
            self._sock.sendall(b"\xe0\x02\x93\x00")
            raise _HangUpError
        if reason < 0x80:
            self._broker.received.append((topic, payload))

    def _acknowledge(self) -> None:
        for mid in self._broker.order(list(self._open)):
            reason = self._open.pop(mid)
            if reason and self._version == 5:
                self._sock.sendall(b"\x40\x03" + struct.pack("!HB", mid, reason))
            else:
                self._sock.sendall(b"\x40\x02" + struct.pack("!H", mid))


def _packet(data: bytes) -> tuple[int, int, bytes, bytes] | None:
    """Split the first complete MQTT packet off (MQTT 5.0, 2.1); None while it is incomplete."""
    length, shift, at = 0, 0, 1
    while True:
        if at >= len(data):
            return None
        length |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            break
    if len(data) < at + length:
        return None
    return data[0] >> 4, data[0] & 15, data[at : at + length], data[at + length :]


class FreezingProxy:
    """A TCP proxy that can stop passing bytes on without closing anything: half-open TCP, at will."""

    def __init__(self, target_port: int) -> None:
        self._target = (HOST, target_port)
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._moving = threading.Event()
        self._moving.set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def freeze(self) -> None:
        self._moving.clear()

    def thaw(self) -> None:
        self._moving.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._moving.set()
        self._thread.join(5)
        self._listener.close()
        for sock in self._pairs:
            sock.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._end.is_set():
                ready = selector.select(0.02)
                self._moving.wait()
                for key, _ in ready:
                    self._step(selector, key.fileobj)

    def _step(self, selector: selectors.BaseSelector, sock: Any) -> None:
        if sock is self._listener:
            near, _ = self._listener.accept()
            try:
                far = socket.create_connection(self._target, 5)
            except OSError:
                near.close()
                return
            for one, other in ((near, far), (far, near)):
                self._pairs[one] = other
                selector.register(one, selectors.EVENT_READ)
        elif sock in self._pairs:
            self._pass_on(selector, sock)

    def _pass_on(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        other = self._pairs[sock]
        with contextlib.suppress(OSError):
            if data := sock.recv(65536):
                other.sendall(self._on_the_way(sock, data))
                return
        for end in (sock, other):
            selector.unregister(end)
            del self._pairs[end]
            end.close()

    def _on_the_way(self, sock: socket.socket, data: bytes) -> bytes:
        """Return what is passed on of what has come from a socket; OSError to end the connection."""
        return data


class MemoryOutbox:
    """An outbox without a disk; it counts what a real one would have to flush.

    `receipts` and `pruned_before_ms` are for tests to look at, `base`, `abnormal_seqs` and `sealed_bytes` for
    them to set.
    """

    def __init__(self, records: int = 0, acknowledged: int = 0, epoch: str = "e0") -> None:
        self.saves: list[int] = []
        self.reads = 0
        self.abnormal_seqs: set[int] = set()
        self.sealed_bytes: dict[int, bytes] = {}
        self.receipts: list[Held] = []
        self.base = 0
        self.pruned_before_ms: list[int] = []
        self._bodies = [_body(seq) for seq in range(1, records + 1)]
        self._acknowledged = acknowledged
        self._epoch = epoch
        self._hashes = [genesis(epoch)]
        self._lock = threading.RLock()

    def add(self, records: int = 1) -> None:
        with self._lock:
            first = len(self._bodies) + 1
            self._bodies.extend(_body(seq) for seq in range(first, first + records))

    def renew(self, epoch: str, records: int = 1) -> None:
        """Begin another ledger."""
        with self._lock:
            self._bodies, self._acknowledged, self.base = [], 0, 0
            self._epoch, self._hashes = epoch, [genesis(epoch)]
            self.receipts.clear()
            self.add(records)

    def bodies(self) -> list[bytes]:
        with self._lock:
            return list(self._bodies)

    def pending(self, after: int, limit: int) -> list[Entry]:
        self.reads += 1
        with self._lock:
            first = max(after, self.base)
            found = enumerate(self._bodies[first : first + limit], start=first + 1)
            return [Entry(seq, body, self.sealed_bytes.get(seq)) for seq, body in found]

    def abnormal(self, after: int, limit: int) -> list[Entry]:
        with self._lock:
            found = [entry for entry in self.pending(after, 10**6) if entry.seq in self.abnormal_seqs]
            return found[:limit]

    def acknowledged(self) -> int:
        return self._acknowledged

    def acknowledge(self, upto: int) -> None:
        self.saves.append(upto)
        self._acknowledged = max(self._acknowledged, upto)

    def receipt(self) -> Held | None:
        return self.receipts[-1] if self.receipts else None

    def receive(self, receipt: Held) -> None:
        assert receipt.hash == self.hash_at(receipt.upto)
        self.receipts.append(receipt)
        self._acknowledged = receipt.upto

    def hash_at(self, seq: int) -> bytes | None:
        with self._lock:
            for body in self._bodies[len(self._hashes) - 1 :]:
                self._hashes.append(link(self._hashes[-1], body))
            return self._hashes[seq] if seq == 0 or self.base <= seq < len(self._hashes) else None

    def prune(self, before_ms: int, limit: int = 1000) -> int:
        self.pruned_before_ms.append(before_ms)
        return 0

    def head(self) -> Head:
        with self._lock:
            seq = len(self._bodies)
            digest = self.hash_at(seq)
            assert digest is not None
            return Head(self._epoch, seq, digest)

    def close(self) -> None:
        """Nothing to let go of: a test may look at the outbox after its sink has ended."""


def _body(seq: int) -> bytes:
    return b'{"seq":%d,"filler":"%s"}' % (seq, b"x" * 270)


@contextlib.contextmanager
def running(sink: Any, stop_s: float = 2.0) -> Iterator[Any]:
    """Run a sink for the length of a block."""
    sink.start()
    try:
        yield sink
    finally:
        sink.stop(stop_s)
