"""What the service manager is told of a centre: that it is ready, alive, stopping."""

from collections.abc import Callable
from typing import Final

from gate.service_manager import ServiceManager

ALIVE_EVERY_S: Final = 1.0


class Liveness:
    """Hears at each `turn` of the centre's main loop that it goes round, the first time that it is ready."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._manager = ServiceManager()
        self._ready = False
        self._next = float("-inf")

    def turn(self) -> None:
        """Feed the watchdog, at most once a second; systemd ignores it where none is set."""
        now = self._monotonic()
        if now < self._next:
            return
        self._next = now + ALIVE_EVERY_S
        self._manager.notify(*(() if self._ready else ("READY=1",)), "WATCHDOG=1")
        self._ready = True

    def stopping(self) -> None:
        """Say that the centre stops by itself, and nothing more."""
        self._manager.notify("STOPPING=1")
        self._manager.close()
