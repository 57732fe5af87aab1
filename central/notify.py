"""What the service manager is told of a centre: that it is ready, alive, stopping.

Protocol: sd_notify(3). Without a service manager nothing is sent.
"""

import os
from collections.abc import Callable
from typing import Final

from sdnotify import SystemdNotifier

ALIVE_EVERY_S: Final = 1.0
# A service manager that takes nothing must not hold up the store.
_SEND_S: Final = 0.5


class ServiceManager:
    """Hears at each `turn` of the centre's main loop that it goes round, the first time that it is ready."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        # Without an address the library would leave a socket open.
        self._notifier = SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.settimeout(_SEND_S)
        self._ready = False
        self._next = float("-inf")

    def turn(self) -> None:
        """Feed the watchdog, at most once a second; systemd ignores it where none is set."""
        now = self._monotonic()
        if self._notifier is None or now < self._next:
            return
        self._next = now + ALIVE_EVERY_S
        self._notifier.notify("WATCHDOG=1" if self._ready else "READY=1\nWATCHDOG=1")
        self._ready = True

    def stopping(self) -> None:
        """Say that the centre stops by itself, and nothing more."""
        notifier, self._notifier = self._notifier, None
        if notifier is not None and notifier.socket is not None:
            notifier.notify("STOPPING=1")
            notifier.socket.close()
