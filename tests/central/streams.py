"""How streams stand, for what is judged in virtual time."""

from typing import Any

from central.store import Alarm, AlarmKind, GateKey, StreamState, Suspicion

S = 1000


def stream(**changes: Any) -> StreamState:
    """A ledger of the gate north/g-1 of which nothing is known yet."""
    fields: dict[str, Any] = {
        "id": 1, "site": "north", "gate": "g-1", "epoch": "e1", "first_ms": 0, "linked": 0,
        "linked_hash": b"l" * 32, "proved": 0, "proved_hash": b"p" * 32, "top": 0, "head": 0,
        "head_at_ms": None, "head_clock_trusted": True, "heard_ms": None, "record_ms": None,
        "receipted": 0, "receipt_ms": None,
        "ended": None, "successor": "", "conflicts": 0, "known": True,
    }  # fmt: skip
    changes.setdefault("top", changes.get("linked", 0))
    return StreamState(**(fields | changes))


def key(
    site: str = "north", gate: str = "g-1", *, registered_ms: int = 0, revoked_ms: int | None = None
) -> GateKey:
    return GateKey(site, gate, "00000000", b"k" * 32, "", registered_ms, revoked_ms)


def alarm(kind: AlarmKind, code: str, *, raised_ms: int, epoch: str = "e1", last: int | None = None) -> Alarm:
    return Alarm(1, Suspicion(kind, "north", "g-1", epoch, code, 1 if last else None, last), raised_ms)
