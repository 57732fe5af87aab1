"""The wire between gates and broker, as a process of its own: it can freeze, and it is strict.

    python -m tests.chaos.proxy BROKER_PORT NAME:PORT:RECEIVE_MAXIMUM ...

Each link has a port. On standard input, a line each: `freeze NAME`, `thaw NAME`; the end of the input ends
the process. A frozen link passes nothing on, in either direction, and closes nothing: half-open TCP.

A link with a Receive Maximum other than 0 tells an MQTT 5 client that number in CONNACK, whatever the broker
said, and hangs up on one that has more messages under way (`excess NAME` on standard output): it keeps to the
letter of MQTT 5.0 (3.3.4) where brokers let it pass.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

HOST: Final = "127.0.0.1"
CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
_RECEIVE_MAXIMUM: Final = 0x21
# MQTT 5.0, 2.2.2.2: how many bytes the value of a property of CONNACK has; those that are not here are text.
_SIZES: Final = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
_USER_PROPERTY: Final = 0x26


class ExcessError(Exception):
    """A client has more messages under way than it was told it may."""


@dataclass(slots=True)
class Link:
    """One port, and whether it passes anything on."""

    name: str
    port: int
    receive_maximum: int
    moving: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Talk:
    """What is known of one connection: its version, and which messages are not acknowledged."""

    receive_maximum: int
    version: int = 0
    under_way: set[bytes] = field(default_factory=set)

    def up(self, packet: bytes) -> bytes:
        """Look at a packet of the client. ExcessError."""
        kind, body = packet[0] >> 4, _body(packet)
        if kind == CONNECT:
            self.version = body[2 + int.from_bytes(body[:2])]
        elif kind == PUBLISH and packet[0] & 6:
            topic = int.from_bytes(body[:2])
            self.under_way.add(body[2 + topic : 4 + topic])
            if self.version == 5 and 0 < self.receive_maximum < len(self.under_way):
                raise ExcessError
        return packet

    def down(self, packet: bytes) -> bytes:
        """Look at a packet of the broker, and return it as the client is to see it."""
        kind, body = packet[0] >> 4, _body(packet)
        if kind == PUBACK:
            self.under_way.discard(body[:2])
        elif kind == CONNACK and self.version == 5 and self.receive_maximum:
            return _with_receive_maximum(packet[:1], body, self.receive_maximum)
        return packet


def packets(data: bytes) -> tuple[list[bytes], bytes]:
    """Split off every complete packet; return what is left as well."""
    whole: list[bytes] = []
    while (size := _size(data)) is not None and len(data) >= size:
        whole.append(data[:size])
        data = data[size:]
    return whole, data


def _size(data: bytes) -> int | None:
    length = shift = 0
    for at, byte in enumerate(data[1:5], 1):
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return at + 1 + length
    return None


def _body(packet: bytes) -> bytes:
    return packet[next(at for at in range(1, 5) if packet[at] < 128) + 1 :]


def _with_receive_maximum(first: bytes, body: bytes, most: int) -> bytes:
    kept = b"".join(prop for prop in _properties(body[3:]) if prop[0] != _RECEIVE_MAXIMUM)
    told = kept + bytes([_RECEIVE_MAXIMUM]) + most.to_bytes(2)
    assert len(told) < 124, "the lengths would need two bytes"
    return first + bytes([3 + len(told)]) + body[:2] + bytes([len(told)]) + told


def _properties(data: bytes) -> Iterator[bytes]:
    while data:
        size = 1 + _SIZES.get(data[0], 2 + int.from_bytes(data[1:3]))
        if data[0] == _USER_PROPERTY:
            size += 2 + int.from_bytes(data[size : size + 2])
        yield data[:size]
        data = data[size:]


async def serve(link: Link, broker_port: int) -> None:
    """Pass on what comes to a link, for ever."""

    async def carry(near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        with contextlib.ExitStack() as both:
            both.callback(near_out.close)
            with contextlib.suppress(OSError):
                await link.moving.wait()  # nor does a frozen link connect
                far_in, far_out = await asyncio.open_connection(HOST, broker_port)
                both.callback(far_out.close)
                talk = Talk(link.receive_maximum)
                await _until_one_ends(
                    _pass_on(link, near_in, far_out, talk.up), _pass_on(link, far_in, near_out, talk.down)
                )

    server = await asyncio.start_server(carry, HOST, link.port)
    await server.serve_forever()


async def _until_one_ends(*ways: Coroutine[Any, Any, None]) -> None:
    running = {asyncio.create_task(way) for way in ways}
    _, others = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _pass_on(
    link: Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, look: Callable[[bytes], bytes]
) -> None:
    left = b""
    with contextlib.suppress(OSError, ExcessError):
        while data := await source.read(65_536):
            whole, left = packets(left + data)
            await link.moving.wait()
            try:
                sink.write(b"".join(map(look, whole)))
            except ExcessError:
                sys.stdout.write(f"excess {link.name}\n")
                sys.stdout.flush()
                raise
            await sink.drain()
        await link.moving.wait()


async def obey(links: dict[str, Link]) -> None:
    """Do what standard input says until it ends."""
    loop = asyncio.get_running_loop()
    said = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(said), sys.stdin)
    while line := await said.readline():
        word, name = line.decode("ascii").split()
        moving = links[name].moving
        (moving.clear if word == "freeze" else moving.set)()


async def main(broker_port: str, *described: str) -> None:
    links = {}
    for words in described:
        name, port, most = words.split(":")
        links[name] = Link(name, int(port), int(most))
    for link in links.values():
        link.moving.set()
    serving = [asyncio.create_task(serve(link, int(broker_port))) for link in links.values()]
    await obey(links)
    for task in serving:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
