"""Which of a gate's records answer a command. Pure.

A gate records every command that reaches it, so one that was sent twice has two records: one of what became
of it, and one that refuses the repetition. The answer is the former, in whatever order the two arrive: after
an outage a gate sends abnormal records first. So a record counts only when it is linked, that is when all
the records before it are here. What somebody else repeats is not answered for: a refusal because a message
was retained says nothing of ours, which never is.

A policy is answered twice: that it was taken, and later that it is followed, or that it is none.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gate.core.commands import Name, Refusal
from gate.core.events import Kind, Outcome

_REJECTED: Final = "policy_rejected"


@dataclass(frozen=True, slots=True)
class Reply:
    """One record that names a command: `id`. `linked`, `proved`: as in `central.store.StreamState`.

    `outcome` None: the record tells of the policy that the command has brought; then `reason` is why the gate
    cannot follow it, "" when it does.
    """

    id: str
    epoch: str
    seq: int
    outcome: Outcome | None
    reason: str
    linked: bool
    proved: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command, by the record `seq` of the ledger `epoch`.

    `proved`: the gate has signed for that record. `followed`: the record from which on a policy is followed.
    """

    outcome: Outcome
    reason: str
    epoch: str
    seq: int
    proved: bool
    followed: int | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """One record that may be a reply; see `Reply`."""

    epoch: str
    seq: int
    kind: str
    body: bytes
    linked: bool
    proved: bool


def replies(records: Iterable[Body]) -> Iterator[Reply]:
    """Yield what these records say of commands, whatever their bytes."""
    for record in records:
        try:
            data = json.loads(record.body)["data"]
            said = _READERS[record.kind](data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        if said is not None:
            yield Reply(said[0], record.epoch, record.seq, said[1], said[2], record.linked, record.proved)


def answer(name: Name, said: Sequence[Reply]) -> Answer | None:
    """Return the answer among the replies to one command, which are in the order of the records."""
    here = [reply for reply in said if reply.linked]
    # What is not proved anybody may have written who reaches the broker: it counts while there is no better.
    known = [reply for reply in here if reply.proved] or here
    found = next(_settling(known), None)
    if found is None or found.outcome is None:
        return None
    settled = Answer(found.outcome, found.reason, found.epoch, found.seq, found.proved)
    return _followed(settled, known) if name is Name.POLICY else settled


def _settling(said: Sequence[Reply]) -> Iterator[Reply]:
    """Yield the replies that could be the answer, the best first."""
    refused = [reply for reply in said if reply.outcome is Outcome.REFUSED]
    yield from (reply for reply in said if reply.outcome in {Outcome.DONE, Outcome.FAILED})
    yield from (reply for reply in refused if reply.reason not in {Refusal.REPLAYED, Refusal.RETAINED})
    yield from (reply for reply in refused if reply.reason == Refusal.REPLAYED)


def _followed(settled: Answer, said: Sequence[Reply]) -> Answer:
    later = next((reply for reply in said if reply.outcome is None), None)
    if settled.outcome is not Outcome.DONE or later is None:
        return settled
    if later.reason:
        return replace(settled, outcome=Outcome.FAILED, reason=later.reason, seq=later.seq)
    return replace(settled, followed=later.seq)


Said = tuple[str, Outcome | None, str]


def _command(data: Mapping[str, Any]) -> Said | None:
    reason = data.get("reason", "")
    return (data["id"], Outcome(data["outcome"]), str(reason)) if isinstance(data["id"], str) else None


def _policy_adopted(data: Mapping[str, Any]) -> Said | None:
    return (data["command"], None, "") if isinstance(data["command"], str) else None


def _anomaly(data: Mapping[str, Any]) -> Said | None:
    if data["what"] != _REJECTED:
        return None
    named, _, problem = data["detail"].partition(": ")
    return named, None, problem or _REJECTED


_READERS: Final = {
    str(Kind.COMMAND): _command,
    str(Kind.POLICY_ADOPTED): _policy_adopted,
    str(Kind.ANOMALY): _anomaly,
}
