"""The alarm about a command that became void without an answer: how it is stated, and read again."""

import json
from typing import Final

from central.orders.book import Order
from central.store import AlarmKind, Suspicion

UNANSWERED: Final = "command_unanswered"


def suspicion(order: Order) -> Suspicion:
    """Return what is said of such a command."""
    evidence = {
        "command": order.id, "name": str(order.name), "counter": order.counter, "by": order.made_by,
        "made_ms": order.made_ms, "expires_ms": order.expires_ms, "sent": order.sent,
    }  # fmt: skip
    return Suspicion(AlarmKind.MISSED, order.site, order.gate, order.epoch, UNANSWERED, evidence=evidence)


def about(evidence: str) -> tuple[str, int] | None:
    """Return which command the evidence of a row names, and how often it had been sent by then.

    None for what somebody has altered, which is found where the alarms are checked.
    """
    try:
        said = json.loads(evidence)
        command, sent = said["command"], said["sent"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (command, sent) if isinstance(command, str) and isinstance(sent, int) else None
