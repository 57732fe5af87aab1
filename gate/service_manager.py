"""The socket of the service manager that has started this process: systemd, as a rule.

Protocol: sd_notify(3), sd_watchdog_enabled(3). Without a service manager nothing is sent.
"""

import os
from collections.abc import Mapping
from typing import Final

from sdnotify import SystemdNotifier

# A service manager that takes nothing must not hold up the main loop; the board's own watchdog is for that.
_SEND_S: Final = 0.5


class ServiceManager:
    """What a process tells its service manager, if it has one.

    `period_s`: within so many seconds it wants to be fed; None where it does not watch.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.period_s = watchdog_period_s(environment)
        # Without an address the library would leave a socket open.
        self._notifier = SystemdNotifier() if environment.get("NOTIFY_SOCKET") else None
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.settimeout(_SEND_S)

    def notify(self, *assignments: str) -> None:
        """Send assignments like "READY=1" in one message; what cannot be sent is not tried again."""
        if self._notifier is not None:
            self._notifier.notify("\n".join(assignments))

    def close(self) -> None:
        """Let the socket go; nothing is sent any more."""
        notifier, self._notifier = self._notifier, None
        if notifier is not None and notifier.socket is not None:
            notifier.socket.close()


def watchdog_period_s(environment: Mapping[str, str]) -> float | None:
    """Return within how many seconds this very process is to feed the watchdog; None where it is not to."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
