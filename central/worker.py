"""A thread of the centre beside ingest: it does what is due, rests, and goes on whatever happens."""

import logging
import threading
from abc import ABC, abstractmethod
from typing import Final

from central.clock import Clock
from central.store import StoreError

LOG: Final = logging.getLogger(__name__)


class Worker(ABC):
    """Does `step` every `round_s` seconds, or when woken; after trouble only after `trouble_s`, woken or not.

    `name`: what the thread is called, and what the log calls its work. `farewell_s`: how long `stop` waits.
    """

    def __init__(
        self, name: str, clock: Clock, *, round_s: float, trouble_s: float, farewell_s: float
    ) -> None:
        self._name = name
        self._clock = clock
        self._round_s = round_s
        self._trouble_s = trouble_s
        self._farewell_s = farewell_s
        self._stopping = False
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def step(self) -> object:
        """Do what is due now, and wait for nothing. Raises StoreError; what is left is done next time."""

    def leave(self) -> None:  # noqa: B027 - most have nothing left to do
        """Do what is left to do at the end, within `farewell_s`."""

    def start(self) -> None:
        """Begin; what is due from before comes first."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is not done is done after the next start. Does nothing before `start`."""
        if self._thread.ident is None:
            return
        self._stopping = True
        self._stopped.set()
        self._wake.set()
        self._thread.join(self._farewell_s)

    def wake(self) -> None:
        """Have a step done soon. Never blocks; any thread may call it."""
        self._wake.set()

    def rest(self, seconds: float) -> None:
        """Wait for so long, or until woken."""
        self._clock.wait(self._wake, seconds)
        self._wake.clear()

    def _run(self) -> None:
        while not self._stopping:
            if self._went_well():
                self.rest(self._round_s)
            else:
                self._clock.wait(self._stopped, self._trouble_s)
        self.leave()

    def _went_well(self) -> bool:
        try:
            self.step()
        except StoreError as error:
            LOG.warning("%s: %s; tried again in %s s", self._name, error, self._trouble_s)
        except Exception:
            # It must not end silently, whatever a record has brought about.
            LOG.exception("%s: an error in the program; tried again in %s s", self._name, self._trouble_s)
        else:
            return True
        return False
