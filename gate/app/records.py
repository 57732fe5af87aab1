"""The gate's own ledger and outbox, which may be out of reach for a while without stopping the service."""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from gate.app.site_key import site_key
from gate.config import Config
from gate.core.commands import NOTHING_SAID, CentreWord
from gate.core.delivery import PreviousEpoch
from gate.core.events import Event
from gate.core.moment import Moment
from gate.core.uses import Use
from gate.ports import Entry, Head, Held, RecordFailure
from gate.shell.clock import boot_id
from gate.store.ledger import Ledger, LedgerError, Outbox

log = logging.getLogger(__name__)

LEDGER_NAME: Final = "ledger.db"
FIRST_START: Final = PreviousEpoch("", 0, "", "first start")
NOT_OPEN: Final = Head("", 0, b"")

R = TypeVar("R")


class OwnLedger:
    """The ledger, or the fact that it cannot be opened; tried again at each record, nothing overwritten.

    `opened_late` is told when that has worked at last: what was on record before is to be taken up. Raises
    OSError when there is no key to make pseudonyms with: nothing is recorded without.
    """

    def __init__(self, config: Config, opened_late: Callable[[Ledger], None]) -> None:
        self._config = config
        self._opened_late = opened_late
        self._site_key = site_key(config)
        self._ledger: Ledger | None = None
        try:
            self._open()
        except LedgerError as error:
            log.error("%s", error)

    @property
    def epoch(self) -> str | None:
        """The name of the chain; None while the ledger is not open."""
        ledger = self._ledger  # the sending thread asks too
        return ledger.epoch if ledger else None

    @property
    def head(self) -> tuple[int, bytes]:
        """Sequence number and hash of the newest record; (0, b"") while the ledger is not open."""
        ledger = self._ledger
        return ledger.head if ledger else (0, b"")

    @property
    def new_epoch(self) -> PreviousEpoch | None:
        """What came before this epoch, as long as nothing is written in it.

        A gate that has no centre does not say that its first ledger is its first.
        """
        if self._ledger is None or self._ledger.head[0] > 0:
            return None
        return self._ledger.previous or (FIRST_START if self._config.centre else None)

    def append(
        self,
        event: Event,
        now: Moment,
        use: Use | None = None,
        word: CentreWord | None = None,
        sealed: bytes | None = None,
    ) -> Entry:
        """Commit one event; RecordFailure also while the ledger cannot be opened."""
        try:
            ledger = self._ledger or self._open_late()
        except LedgerError as error:
            raise RecordFailure(str(error)) from error
        return ledger.append(event, now, use, word, sealed)

    def open_visits(self) -> tuple[str, ...]:
        """Return visits that an earlier run left open; none while the ledger is not open."""
        return self._ledger.open_visits() if self._ledger else ()

    def uses(self, now_ms: int | None = None) -> tuple[Use, ...]:
        """Return the uses of passes on record; none while the ledger is not open."""
        return self._ledger.uses(now_ms) if self._ledger else ()

    def word(self) -> CentreWord:
        """Return what the centre has said last; nothing while the ledger is not open."""
        return self._ledger.word() if self._ledger else NOTHING_SAID

    def renew(self, reason: str) -> PreviousEpoch:
        """Put the ledger aside and begin a new epoch; return what came before it.

        No other connection may be open. LedgerError when the old ledger is still the one that is written to,
        or when none can be opened for now: then whoever opens it late is told what came before.
        """
        if self._ledger is None:
            raise LedgerError("the ledger is not open")
        left, self._ledger = self._ledger, None
        try:
            previous = left.renew(secrets.token_hex(8), reason)
        except LedgerError:
            # The old file and the new one are each whole, and one of them is in its place.
            left.close()
            found = self._open().previous
            if found is None or found.epoch != left.epoch or self.head[0] > 0:
                raise
            return found
        self._ledger = left
        return previous

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
            site_key=self._site_key,
        )
        return self._ledger


class OwnOutbox:
    """What this gate has to send: nothing until its ledger has been opened.

    A file that is damaged or belongs to another gate is neither sent nor marked, and the state is told all
    the same. While the ledger is put aside nobody else has it open (`put_away`).
    """

    def __init__(self, ledger: OwnLedger, path: Path) -> None:
        self._ledger = ledger
        self._outbox = Outbox(path)
        self._lock = threading.Lock()

    @contextmanager
    def put_away(self) -> Iterator[None]:
        """Keep the file closed, and the sending thread waiting, for the length of a block."""
        with self._lock:
            self._outbox.close()
            yield

    def pending(self, after: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries with sequence numbers above `after`, in order."""
        return self._ask(lambda: self._outbox.pending(after, limit), [])

    def abnormal(self, after: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries above `after` whose event is abnormal, in order."""
        return self._ask(lambda: self._outbox.abnormal(after, limit), [])

    def head(self) -> Head:
        """Return how far the ledger reaches; an epoch without a name while it is not open."""
        return self._ask(self._outbox.head, NOT_OPEN)

    def hash_at(self, seq: int) -> bytes | None:
        """Return the hash of this record."""
        return self._ask(lambda: self._outbox.hash_at(seq), None)

    def acknowledged(self) -> int:
        """Return the mark."""
        return self._ask(self._outbox.acknowledged, 0)

    def acknowledge(self, upto: int) -> None:
        """Move the mark forward."""
        self._ask(lambda: self._outbox.acknowledge(upto), None)

    def receipt(self) -> Held | None:
        """Return the newest receipt."""
        return self._ask(self._outbox.receipt, None)

    def receive(self, receipt: Held) -> None:
        """Keep a receipt that was checked, and set the mark to it."""
        self._ask(lambda: self._outbox.receive(receipt), None)

    def prune(self, before_ms: int, limit: int = 1000) -> int:
        """Delete old records that are receipted; return how many."""
        return self._ask(lambda: self._outbox.prune(before_ms, limit), 0)

    def close(self) -> None:
        """Close the sending thread's connection."""
        with self._lock:
            self._outbox.close()

    def _ask(self, question: Callable[[], R], otherwise: R) -> R:
        with self._lock:
            return otherwise if self._ledger.epoch is None else question()
