"""The alarm about a command that became void without an answer: how it is stated, and read again."""

import json
from typing import Any, Final, NamedTuple

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


class Unanswered(NamedTuple):
    """What such an alarm says of its command: how often it had been sent by then, and who had made it."""

    command: str
    sent: int
    by: object


def about(evidence: Any) -> Unanswered | None:
    """Return what the evidence of a row says.

    None for what somebody has altered, which is found where the alarms are checked.
    """
    try:
        said = json.loads(evidence)
        found = Unanswered(said["command"], said["sent"], said.get("by"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if isinstance(found.command, str) and isinstance(found.sent, int) else None
