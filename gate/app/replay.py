"""The past judged by another plan: who would have been treated differently, and by which rule."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gate.core.events import EVENT_VERSION, Kind
from gate.core.policy import Decision, Policy, policy_hash
from gate.core.recorded import recorded_evidence
from gate.core.rules import decide
from gate.ports import Entry

_DECIDED: Final = f"hg.{Kind.VISIT_DECIDED}.v{EVENT_VERSION}"
# What reading a record leads to that is no whole event, or has values of another type or size.
_DAMAGE: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Treatment:
    """What happens to a visitor: verdict and disposition, in the words of a policy."""

    verdict: str
    disposition: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One decision that the other plan makes differently.

    `gone` and `came` are the findings against a pass that only the old or only the new plan makes, each as
    (rule, reason).
    """

    seq: int
    time: str
    visit: str
    old: Treatment
    new: Treatment
    gone: tuple[tuple[str, str], ...]
    came: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as plain JSON values, a finding as `rule:reason`."""
        return asdict(self) | {"gone": list(map(":".join, self.gone)), "came": list(map(":".join, self.came))}


@dataclass(slots=True)
class Replay:
    """Judges decided visits again; what it has counted is complete once `differences` has been exhausted.

    A visit that was referred and then decided has two decisions and counts once, and so does each finding
    against it, which only the old (`gone`) or only the new plan (`came`) makes. `unreadable` are the sequence
    numbers of records that are no whole event; `irreproducible` those of decisions that the very same plan
    does not make again, finding by finding, which must not happen.
    """

    policy: Policy
    visits: int = 0
    different: int = 0
    gone: Counter[tuple[str, str]] = field(default_factory=Counter)
    came: Counter[tuple[str, str]] = field(default_factory=Counter)
    unreadable: list[int] = field(default_factory=list)
    irreproducible: list[int] = field(default_factory=list)
    _visit: str = ""
    _told: set[object] = field(default_factory=set)

    def differences(self, entries: Iterable[Entry]) -> Iterator[Difference]:
        """Yield every decision that comes out differently, in order."""
        sha256 = policy_hash(self.policy)
        for entry in entries:
            try:
                event = json.loads(entry.body)
                if event["type"] != _DECIDED:
                    continue
                data = event["data"]
                decision = decide(self.policy, sha256, recorded_evidence(event))
                found = _compared(entry.seq, event, decision)
                same = data["policy_hash"] != sha256 or _agree(data, decision)
            except _DAMAGE:
                self.unreadable.append(entry.seq)
                continue
            self._count(found)
            if not same:
                self.irreproducible.append(entry.seq)
            if found.old != found.new:
                yield found

    def _count(self, found: Difference) -> None:
        if found.visit != self._visit:  # a gate has one visit at a time
            self.visits += 1
            self._visit = found.visit
            self._told = set()
        if found.old == found.new:
            return
        self.different += self._first("different")
        self.gone.update(named for named in found.gone if self._first(("gone", named)))
        self.came.update(named for named in found.came if self._first(("came", named)))

    def _first(self, what: object) -> bool:
        """Say whether this is new of the present visit."""
        first = what not in self._told
        self._told.add(what)
        return first


def _compared(seq: int, event: dict[str, Any], decision: Decision) -> Difference:
    data = event["data"]
    before = {(f"{f['rule']}", f"{f['reason']}") for f in data["findings"] if f["verdict"] != "admit"}
    after = {(found.rule, found.reason) for found in decision.against}
    return Difference(
        seq=seq,
        time=f"{event['time']}",
        visit=f"{data['visit']}",
        old=Treatment(f"{data['verdict']}", f"{data['disposition']}"),
        new=Treatment(str(decision.verdict), str(decision.disposition)),
        gone=tuple(sorted(before - after)),
        came=tuple(sorted(after - before)),
    )


def _agree(data: dict[str, Any], decision: Decision) -> bool:
    """Say whether the same plan has made the same decision, with every finding, in the same order."""
    before = [(f["rule"], f["verdict"], f["reason"], f.get("disposition", "none")) for f in data["findings"]]
    after = [(f.rule, f.verdict, f.reason, f.disposition) for f in decision.findings]
    treated = (data["verdict"], data["disposition"]) == (decision.verdict, decision.disposition)
    return treated and before == after
