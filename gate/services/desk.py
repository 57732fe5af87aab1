"""The thread that asks verify services, so that the brain never waits for one."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gate.core.codes.service import ServiceAnswer

WAITING_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class _Request:
    visit: str
    payload_key: bytes
    token: bytes = field(repr=False)
    region: str


class ServiceDesk:
    """Asks about the tokens of the visit that was named last; `ask` may take seconds and must not raise.

    A request for another visit drops what waits for an earlier one, whose visitor has gone; of more than
    `WAITING_MAX` for one visit the oldest are dropped. What is not dropped is answered once, by `post`.
    """

    def __init__(
        self,
        ask: Callable[[bytes, str], ServiceAnswer],
        post: Callable[[str, bytes, ServiceAnswer], None],
    ) -> None:
        self._ask = ask
        self._post = post
        self._waiting: deque[_Request] = deque(maxlen=WAITING_MAX)
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="verify-service", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def request(self, visit: str, payload_key: bytes, token: bytes, region: str) -> None:
        """Have a token asked about for `visit`; returns at once."""
        with self._changed:
            if self._waiting and self._waiting[-1].visit != visit:
                self._waiting.clear()
            self._waiting.append(_Request(visit, payload_key, token, region))
            self._changed.notify()

    def stop(self, timeout_s: float) -> None:
        """End the thread after the question under way, waiting at most `timeout_s`; what waits is dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (request := self._next()) is not None:
            self._post(request.visit, request.payload_key, self._ask(request.token, request.region))

    def _next(self) -> _Request | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            return None if self._stopping else self._waiting.popleft()
