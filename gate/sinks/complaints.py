"""What is wrong with delivery: kept for whoever asks, and logged without filling the log."""

import logging
from collections.abc import Callable
from typing import Final

REPEAT_S: Final = 600.0
_REMEMBERED_MAX: Final = 100

_log = logging.getLogger("gate.sinks.mqtt")


class Complaints:
    """The last thing that is wrong, and when which sentence was logged; used by one thread.

    `last` may be read by others; None when all is well.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._logged: dict[str, float] = {}
        self.last: str | None = None
        self.at = 0.0

    def complain(self, words: str) -> None:
        """Note what is wrong, with what to do."""
        self.last = words
        self.at = self._monotonic()
        self.say(logging.WARNING, words)

    def say(self, level: int, words: str, error: BaseException | None = None) -> None:
        """Log one sentence at most every ten minutes."""
        now = self._monotonic()
        if now - self._logged.get(words, -REPEAT_S) < REPEAT_S:
            return
        if len(self._logged) > _REMEMBERED_MAX:
            self._logged.clear()
        self._logged[words] = now
        _log.log(level, "MQTT: %s", words, exc_info=error)
