"""The past judged by another plan: who would have been treated differently, and by which rule."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gate.core.events import EVENT_VERSION, Kind
from gate.core.policy import Policy, policy_hash
from gate.core.recorded import recorded_evidence
from gate.core.rules import decide
from gate.ports import Entry

_DECIDED = f"hg.{Kind.VISIT_DECIDED}.v{EVENT_VERSION}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One visit that the other plan treats differently.

    `gone` and `came` are the findings against a pass that only the old or only the new plan makes, each as
    `rule:reason`.
    """

    seq: int
    time: str
    visit: str
    old: str
    new: str
    gone: tuple[str, ...]
    came: tuple[str, ...]

    def __str__(self) -> str:
        changes = [*(f"-{word}" for word in self.gone), *(f"+{word}" for word in self.came)]
        return f"{self.seq:>7}  {self.time}  {self.visit}  {self.old} -> {self.new}  {' '.join(changes)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as plain JSON values."""
        return {
            "seq": self.seq,
            "time": self.time,
            "visit": self.visit,
            "old": self.old,
            "new": self.new,
            "gone": list(self.gone),
            "came": list(self.came),
        }


@dataclass(slots=True)
class Replay:
    """Judges decided visits again; what it has counted is complete once `differences` has been exhausted.

    `unreadable` are the sequence numbers of records that are no whole event; `irreproducible` those of visits
    that the very same plan now judges differently, which must not happen.
    """

    policy: Policy
    visits: int = 0
    different: int = 0
    by_rule: Counter[str] = field(default_factory=Counter)
    unreadable: list[int] = field(default_factory=list)
    irreproducible: list[int] = field(default_factory=list)

    def differences(self, entries: Iterable[Entry]) -> Iterator[Difference]:
        """Yield every visit that is treated differently, in order."""
        sha256 = policy_hash(self.policy)
        for entry in entries:
            try:
                event = json.loads(entry.body)
                if event["type"] != _DECIDED:
                    continue
                found = self._compared(entry.seq, event, sha256)
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
                self.unreadable.append(entry.seq)
                continue
            if found is not None:
                yield found

    def _compared(self, seq: int, event: dict[str, Any], sha256: str) -> Difference | None:
        data = event["data"]
        decision = decide(self.policy, sha256, recorded_evidence(event))
        old = _treatment(data["verdict"], data["disposition"])
        new = _treatment(decision.verdict, decision.disposition)
        self.visits += 1
        if old == new:
            return None
        before = {_named(found["rule"], found["reason"]) for found in data["findings"] if _against(found)}
        after = {_named(found.rule, found.reason) for found in decision.against}
        self.different += 1
        self.by_rule.update(sorted(before ^ after))
        if data["policy_hash"] == sha256:
            self.irreproducible.append(seq)
        gone, came = tuple(sorted(before - after)), tuple(sorted(after - before))
        return Difference(seq, event["time"], data["visit"], old, new, gone, came)


def _treatment(verdict: str, disposition: str) -> str:
    return str(verdict) if disposition == "none" else f"{verdict}/{disposition}"


def _against(found: dict[str, Any]) -> bool:
    return bool(found["verdict"] != "admit")


def _named(rule: str, reason: str) -> str:
    return f"{rule}:{reason}"
