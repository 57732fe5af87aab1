"""The thread that makes the reports when they are due, beside a centre at work."""

import logging
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.clock import Clock
from central.reports.keeping import ReportDesk
from central.reports.settings import ReportSettings
from central.store import Store
from central.worker import Worker

LOG: Final = logging.getLogger(__name__)
ROUND_S: Final = 5.0
TROUBLE_S: Final = 60.0
FAREWELL_S: Final = 10.0


class Reporter(Worker):
    """Asks every few seconds what is due. A report may take a minute; ingest does not wait for it."""

    def __init__(
        self, store: Store, settings: ReportSettings, centre_key: Ed25519PrivateKey, clock: Clock
    ) -> None:
        super().__init__("reports", clock, round_s=ROUND_S, trouble_s=TROUBLE_S, farewell_s=FAREWELL_S)
        self._desk = ReportDesk(store, settings, centre_key, began_ms=clock.now_ms())

    def step(self) -> None:
        """Make what is due now; the alarm about one that is absent is raised before. Raises StoreError."""
        for line in self._desk.tick(self._clock.now_ms()):
            LOG.info("%s", line)
