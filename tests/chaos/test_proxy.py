"""The wire of a chaos run: what it tells a client, what it does not let pass, and that it can stand still."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.brokers import HOST, StrictBroker, free_port, wait_for
from tests.chaos.proxy import ExcessError, Talk, packets

CONNECT_5 = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x05\x00\x00\x01a"
CONNECT_3 = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x05\x00\x01a"
PINGREQ = b"\xc0\x00"
PAIR = b"\x26\x00\x01a\x00\x01b"


def publish(mid: int, qos: int = 1) -> bytes:
    body = b"\x00\x01t" + (mid.to_bytes(2) if qos else b"") + b"\x00" + b"payload"
    return bytes([0x30 | qos << 1, len(body)]) + body


def puback(mid: int) -> bytes:
    return b"\x40\x02" + mid.to_bytes(2)


def test_packets_are_split_wherever_they_are_cut() -> None:
    long = b"\x30\x80\x02" + bytes(256)
    stream = CONNECT_5 + long + PINGREQ
    for cut in range(len(stream)):
        first, left = packets(stream[:cut])
        second, rest = packets(left + stream[cut:])
        assert (first + second, rest) == ([CONNECT_5, long, PINGREQ], b"")


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        (b"", b"\x21\x00\x07"),
        (b"\x22\x00\x0a\x21\x00\x14", b"\x22\x00\x0a\x21\x00\x07"),
        (b"\x21\x00\x14\x12\x00\x02id" + PAIR, b"\x12\x00\x02id" + PAIR + b"\x21\x00\x07"),
    ],
    ids=["none", "Mosquitto's", "texts and pairs"],
)  # fmt: skip
def test_the_client_is_told_another_receive_maximum(properties: bytes, told: bytes) -> None:
    talk = Talk(7)
    assert talk.up(CONNECT_5) == CONNECT_5
    connack = bytes([0x20, 3 + len(properties), 0, 0, len(properties)]) + properties
    assert talk.down(connack) == bytes([0x20, 3 + len(told), 0, 0, len(told)]) + told


def test_a_client_of_the_older_version_and_a_link_without_one_are_told_nothing() -> None:
    for connect, most in ((CONNECT_3, 7), (CONNECT_5, 0)):
        talk = Talk(most)
        talk.up(connect)
        assert talk.down(b"\x20\x02\x00\x00") == b"\x20\x02\x00\x00"
        for mid in range(1, 100):
            talk.up(publish(mid))


def test_one_message_more_than_allowed_is_one_too_many() -> None:
    talk = Talk(2)
    talk.up(CONNECT_5)
    for mid in range(1, 50):
        talk.up(publish(mid))
        talk.up(publish(mid + 1))
        talk.up(publish(0, qos=0))
        talk.down(puback(mid))
        talk.down(puback(mid + 1))
    talk.up(publish(1))
    talk.up(publish(2))
    talk.up(publish(2))  # the same again
    with pytest.raises(ExcessError):
        talk.up(publish(3))


@contextmanager
def a_wire(broker_port: int, most: int) -> Iterator[tuple["subprocess.Popen[bytes]", socket.socket]]:
    port = free_port()
    command = [sys.executable, "-m", "tests.chaos.proxy", str(broker_port), f"g1:{port}:{most}"]
    root = Path(__file__).resolve().parents[2]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=root, bufsize=0) as process:
        try:
            yield process, wait_for(lambda: connected(port), 10, "the wire to listen")
        finally:
            process.kill()


def connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection((HOST, port), 5)
    except OSError:
        return None


def say(process: "subprocess.Popen[bytes]", words: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(words + b"\n")


def test_a_frozen_wire_passes_nothing_on_and_closes_nothing() -> None:
    with StrictBroker() as broker, a_wire(broker.port, 1) as (process, client), client:
        client.settimeout(5)
        client.sendall(CONNECT_5)
        assert client.recv(100)[:1] == b"\x20"
        say(process, b"freeze g1")
        # What was on its way may still pass: ask until no answer comes.
        client.settimeout(0.3)

        def silent() -> bool:
            client.sendall(PINGREQ)
            try:
                return not client.recv(100)
            except TimeoutError:
                return True

        wait_for(silent, 5, "the wire to be frozen")
        say(process, b"thaw g1")
        client.settimeout(5)
        assert client.recv(100)[:2] == b"\xd0\x00"


def test_whoever_sends_too_much_is_hung_up_on_and_counted() -> None:
    with StrictBroker() as broker, a_wire(broker.port, 1) as (process, client), client:
        broker.mute.set()
        client.settimeout(5)
        client.sendall(CONNECT_5)
        assert client.recv(100).endswith(b"\x21\x00\x01")
        client.sendall(publish(1) + publish(2))
        assert client.recv(100) == b""
        assert process.stdout is not None
        assert process.stdout.readline() == b"excess g1\n"
