"""The thermometer's thread: one request, one answer."""

import queue
import threading
from collections.abc import Callable

from gate.core.evidence import Measurement
from gate.core.inputs import Input, ReadingTaken


class ReadingThread:
    """Takes a reading for the newest request; `measure` may take seconds and must not raise.

    `prepare` is called once in the thread, before the first request is looked at.
    """

    def __init__(
        self,
        measure: Callable[[], Measurement],
        post: Callable[[Input], None],
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._prepare = prepare
        self._measure = measure
        self._post = post
        self._requests: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="thermometer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def request(self, visit: str) -> None:
        """Ask for one reading for `visit`; returns at once."""
        self._requests.put(visit)

    def stop(self, timeout_s: float) -> None:
        """End the thread after the reading under way, waiting at most `timeout_s`."""
        self._requests.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        self._prepare()
        while (visit := self._newest()) is not None:
            self._post(ReadingTaken(visit, self._measure()))

    def _newest(self) -> str | None:
        """Wait for a request; of several only the newest still has its visitor at the gate."""
        visit = self._requests.get()
        while not self._requests.empty():
            visit = self._requests.get()
        return visit
