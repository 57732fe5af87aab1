"""How a command stands, in words and for scripts."""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any, Final

from central.clock import moment
from central.orders.book import Order
from central.status import span
from gate.core.commands import Name, Refusal
from gate.core.events import Outcome

_ADVICE: Final[Mapping[str, str]] = {
    Refusal.REPLAYED: "the gate had obeyed a later one before; say it again",
    Refusal.EXPIRED: "it reached the gate too late; say it again, or with more --expires-s",
    Refusal.NOT_YET: "the gate's clock is behind; see to its time server",
    Refusal.CLOCK_UNSURE: "the gate does not trust its clock yet; see to its time server",
    Refusal.MISADDRESSED: "the gate has begun another ledger meanwhile; say it again",
    "busy": "somebody is passing; say it again",
    "not_recorded": "the gate could not write its ledger; see to its disk",
}
"""What to do about the reasons for which a gate does not obey, where anything can be done."""


def settled(order: Order) -> bool:
    """Tell whether nothing more will become of it."""
    answer = order.answer
    if answer is None or not answer.proved:
        return False
    return not _awaits_policy(order) or answer.followed is not None


def well_done(order: Order) -> bool:
    """Tell whether the gate has signed for having done it."""
    return settled(order) and order.answer is not None and order.answer.outcome is Outcome.DONE


def outcome(order: Order, now_ms: int, zone: tzinfo | None = None) -> str:
    """Return one line for whoever has just given the command."""
    return f"{order.site}/{order.gate}: {_state(order, now_ms, zone)}"


def in_line(order: Order, now_ms: int, zone: tzinfo | None = None) -> str:
    """Return one line of a list. `zone`: of the times, the machine's own without one."""
    what = f"{order.name} ({order.summary})" if order.summary else str(order.name)
    return (
        f"{moment(order.made_ms, zone)}  {order.site}/{order.gate}  {what}  by {order.made_by}  "
        f"{_state(order, now_ms, zone)}  [{order.id}]"
    )


def as_json(order: Order, now_ms: int) -> dict[str, Any]:
    """Return what scripts may know of it; `state`: done, refused, failed, taken, unproved, waiting, void."""
    answer = order.answer
    return {
        "id": order.id,
        "site": order.site,
        "gate": order.gate,
        "epoch": order.epoch,
        "counter": order.counter,
        "command": str(order.name),
        "summary": order.summary,
        "by": order.made_by,
        "made_ms": order.made_ms,
        "expires_ms": order.expires_ms,
        "sent": order.sent,
        "state": _word(order, now_ms),
        "outcome": answer and str(answer.outcome),
        "reason": answer and answer.reason,
        "answer_epoch": answer and answer.epoch,
        "seq": answer and answer.seq,
        "proved": answer is not None and answer.proved,
        "followed": answer and answer.followed,
    }


def _awaits_policy(order: Order) -> bool:
    done = order.answer is not None and order.answer.outcome is Outcome.DONE
    return done and order.name is Name.POLICY


def _word(order: Order, now_ms: int) -> str:
    if order.answer is None:
        return "void" if now_ms >= order.expires_ms else "waiting"
    if not order.answer.proved:
        return "unproved"
    if order.name is Name.UPDATE and order.answer.outcome is Outcome.DONE:
        return "taken"  # what came of it is for `central updates`
    return str(order.answer.outcome) if settled(order) else "taken"


def _state(order: Order, now_ms: int, zone: tzinfo | None) -> str:
    answer = order.answer
    if answer is None:
        return _without_answer(order, now_ms, zone)
    unproved = "" if answer.proved else " (the gate has not signed for that yet)"
    if answer.outcome is Outcome.DONE:
        done = "taken" if order.name is Name.UPDATE else "done"
        return f"{done} at record {answer.seq}{_later_words(order)}{unproved}"
    advice = _ADVICE.get(answer.reason, "")
    more = f" ({advice})" if advice else ""
    return f"{answer.outcome} at record {answer.seq}: {answer.reason}{more}{unproved}"


def _later_words(order: Order) -> str:
    if order.name is Name.UPDATE:
        return "; what came of it: central updates"
    if order.name is not Name.POLICY or order.answer is None:
        return ""
    if order.answer.followed is None:
        return ", but not followed yet: it is from the next visit on"
    return f", followed from record {order.answer.followed} on"


def _without_answer(order: Order, now_ms: int, zone: tzinfo | None) -> str:
    if not order.sent:
        sent = "not sent yet; is `central run` at work, and connected?"
    else:
        times = "once" if order.sent == 1 else f"{order.sent} times"
        sent = f"sent {times}, the last time {span(now_ms - (order.sent_ms or now_ms))} ago"
    if now_ms >= order.expires_ms:
        return f"no answer: {sent}; void since {moment(order.expires_ms, zone)}"
    return f"no answer yet: {sent}; void in {span(order.expires_ms - now_ms)} (see: central commands)"
