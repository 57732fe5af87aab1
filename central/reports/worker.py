"""The thread that makes the reports when they are due, beside a centre at work."""

import logging
import threading
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.clock import Clock
from central.reports.keeping import ReportDesk
from central.reports.settings import ReportSettings
from central.store import Store, StoreError

LOG: Final = logging.getLogger(__name__)
ROUND_S: Final = 5.0
TROUBLE_S: Final = 60.0
FAREWELL_S: Final = 10.0


class Reporter:
    """Asks every few seconds what is due. A report may take a minute; ingest does not wait for it."""

    def __init__(
        self, store: Store, settings: ReportSettings, centre_key: Ed25519PrivateKey, clock: Clock
    ) -> None:
        self._desk = ReportDesk(store, settings, centre_key, began_ms=clock.now_ms())
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Begin; what was due while the centre was down is made after a short while."""
        self._thread.start()

    def stop(self) -> None:
        """End; a report that is being made is made anew at the next start."""
        self._stopped.set()
        self._thread.join(FAREWELL_S)

    def step(self) -> float:
        """Do what is due now; return for how many seconds to wait."""
        try:
            for line in self._desk.tick(self._clock.now_ms()):
                LOG.info("%s", line)
        except StoreError as error:
            LOG.warning("reports: %s; they are tried again in %s s", error, TROUBLE_S)
            return TROUBLE_S
        except Exception:
            # Reports must not end silently, whatever a record has brought about; the alarm is raised already.
            LOG.exception("reports: an error in the program; they are tried again in %s s", TROUBLE_S)
            return TROUBLE_S
        return ROUND_S

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._clock.wait(self._stopped, self.step())
