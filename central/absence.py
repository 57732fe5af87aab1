"""Which gates have stopped in order, and until when that is no reason for an alarm.

A gate that is switched off says so in its last checkpoint, which nobody else can sign. It may be off at
night; but it has to report every day, so that one that has not come back by the time at which reports are due
is as silent as any other.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine, select

from central.reports.settings import ReportSettings
from central.reports.spans import day_of, instant
from central.store import StreamState, Trust
from central.store.engine import reading
from central.store.tables import checkpoints
from gate.core.delivery import Checkpoint, Why
from gate.core.signed import SignedError, read_unproved

Names = tuple[str, str]
_GATE_LEVEL: Final = 3
_CROSSED_MS: Final = 5_000
"""Of several centres one may store the last records after another has stored the last checkpoint."""


class Absences:
    """Reads what the gates have signed last; one that is at work signs every minute and is not looked up."""

    def __init__(self, engine: Engine, *, quiet_ms: int = 75_000) -> None:
        self._engine = engine
        self._quiet_ms = quiet_ms
        self._known: dict[int, tuple[int, bool]] = {}

    def stopped(self, states: Iterable[StreamState], now_ms: int) -> dict[Names, int]:
        """Return the gates whose last word it is that they stop, and when that was heard. StoreError.

        Whoever sends a record or begins a ledger behind that is at work, whoever signs for it.
        """
        newest: dict[Names, StreamState] = {}
        sent: dict[Names, int] = {}
        for state in states:
            names = state.site, state.gate
            sent[names] = max(sent.get(names, 0), state.first_ms, state.record_ms or 0)
            if state.heard_ms is not None and state.heard_ms >= _heard_ms(newest.get(names)):
                newest[names] = state
        return {
            names: _heard_ms(state)
            for names, state in newest.items()
            if now_ms - _heard_ms(state) >= self._quiet_ms
            and sent[names] <= _heard_ms(state) + _CROSSED_MS
            and self._has_stopped(state)
        }

    def _has_stopped(self, state: StreamState) -> bool:
        known = self._known.get(state.id)
        if known is None or known[0] != state.heard_ms:
            known = self._known[state.id] = _heard_ms(state), self._look_up(state)
        return known[1]

    def _look_up(self, state: StreamState) -> bool:
        # Of each size only the first and the last checkpoint are kept, so that these are few.
        newest = (
            select(checkpoints.c.message)
            .where(
                checkpoints.c.stream == state.id,
                checkpoints.c.size == state.head,
                checkpoints.c.trust == str(Trust.TRUSTED),
            )
            .order_by(checkpoints.c.came_ms.desc(), checkpoints.c.at_ms.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            message = connection.scalar(newest)
        try:
            return message is not None and Checkpoint.read(read_unproved(bytes(message))).why is Why.STOP
        except SignedError:
            return False  # altered in the store, which `central verify` says


def owed_ms(settings: ReportSettings, stopped_ms: int) -> int:
    """Return the first instant behind this one at which a gate has to report."""
    day = day_of(stopped_ms, settings.zone)
    due_ms = instant(day, settings.due_minute(_GATE_LEVEL), settings.zone)
    if due_ms > stopped_ms:
        return due_ms
    return instant(day + timedelta(days=1), settings.due_minute(_GATE_LEVEL), settings.zone)


def _heard_ms(state: StreamState | None) -> int:
    return -1 if state is None or state.heard_ms is None else state.heard_ms
