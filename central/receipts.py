"""What the centre says to gates: signed receipts, and when it asks for what is missing.

A receipt states what the store has committed. Of two receipts the one with the later `at_ms` counts at the
gate, so that no two of one ledger may carry the same instant, whatever the clock does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.store import StreamState
from gate.core.delivery import Ask, Receipt

_FIRST_PAUSE_MS: Final = 5_000
_PAUSE_MS_MAX: Final = 300_000


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt, the message that carries it, and how it travels.

    It is retained for a gate that is away, unless it asks, or is about a ledger that has a successor and
    would push the successor's receipt aside.
    """

    receipt: Receipt
    message: bytes
    retain: bool

    @property
    def topic(self) -> str:
        """Where the gate listens."""
        return f"hg/1/{self.receipt.site}/{self.receipt.gate}/receipt"


class Signer:
    """Signs receipts with the centre's key; each is later than the one before for the same ledger."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._last_ms: dict[int, int] = {}

    def sign(self, state: StreamState, ask: Ask, now_ms: int) -> list[SignedReceipt]:
        """Return the receipt for what is proved, behind one that asks if something is asked for.

        In this order a gate that has to go back sends again once, not twice.
        """
        asks = (Ask.NOTHING,) if ask is Ask.NOTHING else (ask, Ask.NOTHING)
        return [self._sign(state, each, now_ms) for each in asks]

    def ask(self, state: StreamState, ask: Ask, now_ms: int) -> SignedReceipt:
        """Return a receipt that asks, and states what an earlier one has stated."""
        return self._sign(state, ask, now_ms)

    def _sign(self, state: StreamState, ask: Ask, now_ms: int) -> SignedReceipt:
        last_ms = max(self._last_ms.get(state.id, 0), state.receipt_ms or 0)
        at_ms = self._last_ms[state.id] = max(now_ms, last_ms + 1)
        receipt = Receipt(
            site=state.site,
            gate=state.gate,
            epoch=state.epoch,
            upto=state.proved,
            hash=state.proved_hash,
            at_ms=at_ms,
            ask=ask,
        )
        retain = ask is Ask.NOTHING and not state.successor
        return SignedReceipt(receipt, receipt.signed(self._key), retain)


@dataclass(slots=True)
class _Pace:
    """When a gate was last asked, how long it is left alone then, and the most that was ever linked."""

    asked_ms: int
    best: int
    pause_ms: int = _FIRST_PAUSE_MS


class Asks:
    """When to ask a gate for records that are missing, or for the checkpoint that would prove those here.

    Records: a checkpoint has stated more than has come, and for 5 s the chain has not grown; what comes
    behind a hole does not count, for a gate where visitors never cease is never quiet. Checkpoint: more has
    come than any checkpoint has stated, for 5 s. Between two asks lie at least 5 s, and twice as long after
    each that has changed nothing, up to 5 min: a gate that is away cannot answer, and one whose ledger
    contradicts its checkpoints would send the same again and again.
    """

    def __init__(self) -> None:
        self._since: dict[int, tuple[Ask, int, int]] = {}
        self._paces: dict[int, _Pace] = {}

    def due(self, states: Iterable[StreamState], now_ms: int) -> Iterator[tuple[StreamState, Ask]]:
        """Yield what is to be asked of whom at this moment; to be called with all streams, each second."""
        current = {state.id: state for state in states if state.known and not state.successor}
        self._since = {id_: since for id_, since in self._since.items() if id_ in current}
        self._paces = {
            id_: pace for id_, pace in self._paces.items() if id_ in current and not _all_proved(current[id_])
        }
        for state in current.values():
            ask, mark = _wanted(state)
            if self._lasting(state, ask, mark, now_ms) and self.allowed(state, now_ms):
                yield state, ask

    def allowed(self, state: StreamState, now_ms: int) -> bool:
        """Tell whether this gate may be asked now, and note that it is."""
        pace = self._paces.get(state.id)
        if pace is None:
            self._paces[state.id] = _Pace(now_ms, state.linked)
            return True
        if state.linked > pace.best:
            pace.best, pace.pause_ms = state.linked, _FIRST_PAUSE_MS
        if now_ms - pace.asked_ms < pace.pause_ms:
            return False
        pace.asked_ms, pace.pause_ms = now_ms, min(2 * pace.pause_ms, _PAUSE_MS_MAX)
        return True

    def _lasting(self, state: StreamState, ask: Ask, mark: int, now_ms: int) -> bool:
        """Tell whether the same has been missing for so long that it is not on its way."""
        if ask is Ask.NOTHING:
            self._since.pop(state.id, None)
            return False
        known = self._since.get(state.id)
        if known is None or known[:2] != (ask, mark):
            self._since[state.id] = (ask, mark, now_ms)
            return False
        return now_ms - known[2] >= _FIRST_PAUSE_MS


def _wanted(state: StreamState) -> tuple[Ask, int]:
    """Return what is missing, and the number that stands still as long as it is missing."""
    if state.hole:
        return Ask.RECORDS, state.linked
    return (Ask.CHECKPOINT, state.head) if state.linked > state.head else (Ask.NOTHING, 0)


def _all_proved(state: StreamState) -> bool:
    return state.backlog == 0
