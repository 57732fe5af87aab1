"""Proxies that do to a link what networks do: slow it down, cut it, repeat and reorder what goes over it."""

import random
import socket

from tests.brokers import FreezingProxy
from tests.chaos.proxy import PUBLISH, packets


class CuttingProxy(FreezingProxy):
    """Ends every connection when so many bytes have gone up over it."""

    def __init__(self, target_port: int, bytes_max: int) -> None:
        super().__init__(target_port)
        self.cuts = 0
        self.bytes_max = bytes_max
        self._passed: dict[socket.socket, int] = {}

    def _on_the_way(self, sock: socket.socket, data: bytes) -> bytes:
        if sock.getsockname()[1] == self.port:  # from the gate
            self._passed[sock] = self._passed.get(sock, 0) + len(data)
            if self._passed[sock] > self.bytes_max:
                self.cuts += 1
                raise ConnectionResetError
        return data


class SlowProxy(FreezingProxy):
    """Passes so many bytes a second."""

    def __init__(self, target_port: int, bytes_per_s: int) -> None:
        super().__init__(target_port)
        self._bytes_per_s = bytes_per_s

    def _on_the_way(self, sock: socket.socket, data: bytes) -> bytes:
        self._end.wait(len(data) / self._bytes_per_s)
        return data


class MeddlingProxy(FreezingProxy):
    """Repeats every third PUBLISH and holds every fourth back until others have overtaken it, both ways.

    What is held back goes with the next data at the latest, if only an acknowledgement or a ping.
    """

    def __init__(self, target_port: int, seed: int) -> None:
        super().__init__(target_port)
        self.repeated = self.overtaken = 0
        self._rng = random.Random(seed)
        self._partial: dict[socket.socket, bytes] = {}
        self._held: dict[socket.socket, list[bytes]] = {}

    def _on_the_way(self, sock: socket.socket, data: bytes) -> bytes:
        whole, self._partial[sock] = packets(self._partial.get(sock, b"") + data)
        late, self._held[sock] = self._held.get(sock, []), []
        out: list[bytes] = []
        for packet in whole:
            publish = packet[0] >> 4 == PUBLISH
            if publish and self._rng.random() < 1 / 4:
                self._held[sock].append(packet)
                continue
            self.overtaken += publish and bool(late or self._held[sock])
            again = publish and self._rng.random() < 1 / 3
            self.repeated += again
            out += [packet] * (1 + again)
        return b"".join((*out, *late))
