"""The other end of sd_notify(3): a real datagram socket that keeps what a service says to systemd."""

import socket
import threading
import time
from pathlib import Path
from typing import Self


class ServiceManagerStandIn:
    """Listens at `address` while the `with` block lasts; what was said stays to be looked at."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self.heard: list[tuple[float, str]] = []
        self._answered = threading.Semaphore(0)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._listen)

    def environment(self, watchdog_s: float | None = None, pid: int | None = None) -> dict[str, str]:
        """What systemd puts into the environment of a service."""
        said = {"NOTIFY_SOCKET": self.address}
        if watchdog_s is not None:
            said["WATCHDOG_USEC"] = str(round(watchdog_s * 1e6))
        if pid is not None:
            said["WATCHDOG_PID"] = str(pid)
        return said

    def said(self) -> list[str]:
        """Every assignment that was sent before this call, in order."""
        self._send(b"ALL=1")
        assert self._answered.acquire(timeout=5)
        return [line for _, message in list(self.heard) for line in message.split("\n")]

    def count(self, assignment: str) -> int:
        return self.said().count(assignment)

    def status(self) -> str:
        """The newest STATUS=."""
        return next((line[7:] for line in reversed(self.said()) if line.startswith("STATUS=")), "")

    def unfed_s(self) -> float:
        """For how long the watchdog has not been fed; since the beginning of time if it never was."""
        fed = [at for at, message in list(self.heard) if "WATCHDOG=1" in message]
        return time.monotonic() - max(fed, default=float("-inf"))

    def __enter__(self) -> Self:
        self._socket.bind(self.address)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._send(b"")
        self._thread.join(5)
        self._socket.close()

    def _send(self, message: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message, self.address)

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            if message == b"ALL=1":
                self._answered.release()
            else:
                self.heard.append((time.monotonic(), message.decode()))
