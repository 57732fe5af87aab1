"""The gate's own ledger and outbox, which may be out of reach for a while without stopping the service."""

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gate.config import Config
from gate.core.events import Event
from gate.core.moment import Moment
from gate.core.uses import Use
from gate.ports import Entry, RecordFailure
from gate.shell.clock import boot_id
from gate.store.ledger import Ledger, LedgerError, Outbox

log = logging.getLogger(__name__)

LEDGER_NAME: Final = "ledger.db"


class OwnLedger:
    """The ledger, or the fact that it cannot be opened; tried again at each record, nothing overwritten.

    `opened_late` is told when that has worked at last: what was on record before is to be taken up.
    """

    def __init__(self, config: Config, opened_late: Callable[[Ledger], None]) -> None:
        self._config = config
        self._opened_late = opened_late
        self._ledger: Ledger | None = None
        try:
            self._open()
        except LedgerError as error:
            log.error("%s", error)

    @property
    def epoch(self) -> str | None:
        """The name of the chain; None while the ledger is not open."""
        return self._ledger.epoch if self._ledger else None

    @property
    def head(self) -> tuple[int, bytes]:
        """Sequence number and hash of the newest record; (0, b"") while the ledger is not open."""
        return self._ledger.head if self._ledger else (0, b"")

    def append(self, event: Event, now: Moment, use: Use | None = None) -> Entry:
        """Commit one event; RecordFailure also while the ledger cannot be opened."""
        try:
            ledger = self._ledger or self._open_late()
        except LedgerError as error:
            raise RecordFailure(str(error)) from error
        return ledger.append(event, now, use)

    def open_visits(self) -> tuple[str, ...]:
        """Return visits that an earlier run left open; none while the ledger is not open."""
        return self._ledger.open_visits() if self._ledger else ()

    def uses(self, now_ms: int | None = None) -> tuple[Use, ...]:
        """Return the uses of passes on record; none while the ledger is not open."""
        return self._ledger.uses(now_ms) if self._ledger else ()

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._ledger:
            self._ledger.close()

    def _open_late(self) -> Ledger:
        ledger = self._open()
        self._opened_late(ledger)
        return ledger

    def _open(self) -> Ledger:
        self._ledger = Ledger(
            self._config.gate.state_dir / LEDGER_NAME,
            site=self._config.gate.site,
            gate=self._config.gate.id,
            new_epoch=secrets.token_hex(8),
            boot_id=boot_id(),
        )
        return self._ledger


class OwnOutbox:
    """What this gate has to send: nothing until its ledger has been opened.

    A file that is damaged or belongs to another gate is neither sent nor marked, and the state is told all
    the same.
    """

    def __init__(self, ledger: OwnLedger, path: Path) -> None:
        self._ledger = ledger
        self._outbox = Outbox(path)

    def pending(self, after: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries with sequence numbers above `after`, in order."""
        if self._ledger.epoch is None:
            return []
        # The sink may have asked for the mark before there was one.
        return self._outbox.pending(max(after, self._outbox.acknowledged()), limit)

    def acknowledged(self) -> int:
        """Return the sequence number up to which all is acknowledged."""
        return 0 if self._ledger.epoch is None else self._outbox.acknowledged()

    def acknowledge(self, upto: int) -> None:
        """Move the acknowledged mark forward."""
        if self._ledger.epoch is not None:
            self._outbox.acknowledge(upto)

    def head(self) -> int:
        """Return the newest sequence number."""
        return 0 if self._ledger.epoch is None else self._outbox.head()

    def close(self) -> None:
        """Close the sending thread's connection."""
        self._outbox.close()
