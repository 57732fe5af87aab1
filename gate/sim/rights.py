"""The oracles on passes, documents and answers, checked against what the world knows of them.

10. Nobody is let in on a pass that was called back, by a list that the gate has been given, before they came.
11. A counted pass lets nobody through more often than it says, an appointment once, a step of a rotating pass
    once, and a pass just used nobody else: whatever the power does, also when it fails as somebody walks.
12. While the service is suspended, by a document or by the centre's command, or outside opening hours nobody
    enters but staff and residents.
13. Nobody enters on a token whose service has said red, or while it is being asked, unless in the latter case
    the person on duty has vouched.
14. A copied pass or an old screen lets nobody in unless the person on duty has vouched.
15. Every decision on record, judged again from its record alone, is the same.

Which time counts is for the gate's own clock to say: a gate cannot know that its clock is wrong.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gate.core.codes import Credential
from gate.core.codes.home import PassClaims
from gate.core.codes.model import Status
from gate.core.codes.rotating import STEP_S, STEPS_OFF_MAX
from gate.core.codes.service import ServiceAnswer
from gate.core.documents import Document, Kind, Revocations, Suspension
from gate.core.evidence import Direction
from gate.core.evidence import Person as Role
from gate.core.mode import Mode
from gate.core.moment import Moment
from gate.core.policy import Policy, policy_hash
from gate.core.recorded import recorded_evidence
from gate.core.rules import decide
from gate.sim.cards import Card
from gate.sim.people import Person

_VOUCHED: Final = frozenset({"code_by_attendant", "code_by_real_name"})
_STARTS_EARLY_S: Final = 300
_OF_HOUSEHOLDS: Final = frozenset({Credential.HOUSEHOLD, Credential.SUPPLY})
_MINUTES_PER_DAY: Final = 1440


@dataclass(slots=True)
class _Admission:
    """One authorisation: of whom, on which card, with which step of a rotating one; `went`: through the arm.

    `slot` is the appointment for which it was given, unless the person on duty vouched for one. `at_ms` is
    when, by the gate's clock.
    """

    person: int
    card: Card
    step: int | None
    slot: str | None
    at_ms: int
    went: bool = False


class Rights:
    """Watches who is let in on what. `clock` tells the time as the gate's computer does."""

    def __init__(
        self,
        policy: Policy,
        direction: Direction,
        clock: Callable[[], Moment],
        add: Callable[[int, str | None, str], None],
    ) -> None:
        self._policy = policy
        self._hash = policy_hash(policy)
        self._entering = direction is Direction.IN
        self._clock = clock
        self._add = add
        self._documents: dict[Kind, Document] = {}
        self._suspended_by_centre = False
        self._revoked: set[str] = set()
        self._answers: dict[str, ServiceAnswer | None] = {}
        self._admitted: dict[str, _Admission] = {}
        self._cut_off: list[_Admission] = []
        self._passages: Counter[str] = Counter()
        self._steps: set[tuple[str, int]] = set()
        self._passed_ms: dict[str, int] = {}

    # --- what the gate has been told

    def given(self, document: Document) -> None:
        """Take note of a genuine document that the gate has been handed."""
        held = self._documents.get(document.kind)
        if held is not None and held.version >= document.version:
            return
        self._documents[document.kind] = document
        if isinstance(document.content, Revocations):
            self._revoked |= document.content.pass_ids

    def commanded(self, data: dict[str, Any]) -> None:
        """Take note of a command that is on record as obeyed."""
        if data["outcome"] == "done" and data["command"] in {"suspend", "resume"}:
            self._suspended_by_centre = data["command"] == "suspend"

    def asked(self, visit: str) -> None:
        """Take note that a service is asked about the token of a visit."""
        self._answers[visit] = None

    def answered(self, visit: str, answer: ServiceAnswer) -> None:
        """Take note of what it says."""
        self._answers[visit] = answer

    def power_lost(self) -> None:
        """Visits end with the power; whoever was authorised may still walk through a freed arm."""
        self._answers.clear()
        self._cut_off = [admission for admission in self._admitted.values() if not admission.went]
        for admission in self._admitted.values():
            if admission.went:
                self._count(admission)
        self._admitted.clear()

    def went(self, person: Person) -> None:
        """Take note that somebody walks through the arm that was freed for them."""
        for admission in self._admitted.values():
            admission.went |= admission.person == person.number
        for admission in self._cut_off:
            if admission.person == person.number:
                self._count(admission)
        self._cut_off.clear()

    # --- what the gate does

    def authorised(self, visit: str, person: Person, data: dict[str, Any]) -> None:
        """Oracles 10 to 14: a person who stands at the gate is let through."""
        found = {finding["reason"] for finding in data["findings"]}
        card = _card_of(person, data["evidence"]["code"])
        if self._entering:
            self._check_closed(visit, person, found)
            self._check_answer(visit, person, found)
        if card is None:
            return
        slot = None if "appointment_by_attendant" in found else card.slot
        step = data["evidence"]["code"].get("step")
        admission = _Admission(person.number, card, step, slot, self._clock().wall_ms)
        self._cut_off.clear()
        self._admitted[visit] = admission
        self._check_counts(visit, person, admission, found)
        if self._entering:
            self._check_called_back(visit, person, card)
            self._check_used(visit, person, admission, found)
            self._check_copy(visit, person, card, found)

    def closed(self, visit: str, result: str) -> None:
        """Take note of how a visit has ended on record."""
        self._answers.pop(visit, None)
        admission = self._admitted.pop(visit, None)
        if admission is not None and result == "passed":
            self._count(admission)

    def _count(self, admission: _Admission) -> None:
        claims = admission.card.claims
        if admission.slot is not None:
            self._passages[admission.slot] += 1
        if claims is not None:
            self._passages[_counted(claims.pass_id.hex())] += 1
            self._passed_ms[claims.pass_id.hex()] = admission.at_ms
        if claims is not None and admission.step is not None:
            self._steps.add((claims.pass_id.hex(), admission.step))

    def judged(self, event: dict[str, Any]) -> None:
        """Oracle 15: a decision is on record."""
        data = event["data"]
        again = decide(self._policy, self._hash, recorded_evidence(event))
        findings = [(found["rule"], found["verdict"], found["reason"]) for found in data["findings"]]
        same = again.verdict == data["verdict"] and again.disposition == data["disposition"]
        if not same or findings != [(found.rule, found.verdict, found.reason) for found in again.findings]:
            self._add(15, data["visit"], f"on record {data['verdict']}, judged again {again.verdict}")

    # --- the oracles

    def _check_called_back(self, visit: str, person: Person, card: Card) -> None:
        if card.claims is not None and card.claims.pass_id.hex() in self._revoked:
            self._add(10, visit, f"{_who(person)} entered on a pass called back")

    def _check_counts(self, visit: str, person: Person, admission: _Admission, found: set[str]) -> None:
        """Oracle 11, pieces."""
        who = _who(person)
        claims = admission.card.claims
        booked = self._policy.appointment is not None and self._entering and admission.slot
        if booked and self._passages[booked]:
            self._add(11, visit, f"{who} entered on an appointment that was used")
        if claims is None or claims.uses_max is None or self._uncounted(claims, found):
            return
        passed = self._passages[_counted(claims.pass_id.hex())]
        if passed >= claims.uses_max:
            self._add(11, visit, f"{who} passed on a pass for {claims.uses_max} used {passed} times")

    def _uncounted(self, claims: PassClaims, found: set[str]) -> bool:
        """Who leaves is counted on a household's pass only; residents come home, if somebody sees to it."""
        if self._policy.household_pass is None or claims.credential not in _OF_HOUSEHOLDS:
            return not self._entering or bool(found & _VOUCHED)
        leaving = claims.credential is Credential.SUPPLY and not self._entering
        return leaving or "pass_by_attendant" in found

    def _check_used(self, visit: str, person: Person, admission: _Admission, found: set[str]) -> None:
        """Oracle 11, the same pass again: a step of it, or handed back over the arm."""
        claims = admission.card.claims
        if claims is None or found & _VOUCHED:
            return
        name, who = claims.pass_id.hex(), _who(person)
        if admission.step is not None and (name, admission.step) in self._steps:
            self._add(11, visit, f"{who} entered on a step that was used")
        single = self._policy.appointment is not None and claims.credential is Credential.APPOINTMENT
        since_ms = abs(self._clock().wall_ms - self._passed_ms.get(name, -(10**15)))
        if not single and since_ms < self._policy.timing.passback_s * 1000:
            self._add(11, visit, f"{who} entered on a pass used {since_ms} ms before")

    def _check_closed(self, visit: str, person: Person, found: set[str]) -> None:
        if person.role in {Role.STAFF, Role.RESIDENT}:
            return
        who, now = _who(person), self._clock()
        if self.suspended(now):
            self._add(12, visit, f"{who} entered although the service is suspended")
        if self.outside_hours(now):
            self._add(12, visit, f"{who} entered outside opening hours")
        if self._policy.hours is not None and not now.clock_trusted and "hours_by_attendant" not in found:
            self._add(12, visit, f"{who} entered although nobody knows the time")

    def _check_answer(self, visit: str, person: Person, found: set[str]) -> None:
        if visit not in self._answers:
            return
        answer = self._answers[visit]
        if answer is not None and answer.status is Status.RED:
            self._add(13, visit, f"{_who(person)} entered on a red answer")
        if answer is None and not found & _VOUCHED:
            self._add(13, visit, f"{_who(person)} entered on an open question")

    def _check_copy(self, visit: str, person: Person, card: Card, found: set[str]) -> None:
        now = self._clock()
        current = card.step is not None and abs(card.step - now.wall_s // STEP_S) <= STEPS_OFF_MAX
        if card.copied and not found & _VOUCHED and not current:
            self._add(14, visit, f"{_who(person)} entered on a copy")

    # --- the day

    def suspended(self, now: Moment) -> bool:
        """Say whether an order is in force, as far as the gate's clock tells."""
        if self._suspended_by_centre:
            return True
        document = self._documents.get(Kind.SUSPENSION)
        if document is None or not isinstance(document.content, Suspension):
            return False
        return document.content.suspended and (not now.clock_trusted or _in_time(document, now))

    def outside_hours(self, now: Moment) -> bool:
        """Say whether visitors have to wait for the doors to open, as far as the gate's clock tells."""
        hours = self._policy.hours
        if hours is None or not now.clock_trusted:
            return False
        minute = (now.wall_s // 60 + self._policy.utc_offset_min) % _MINUTES_PER_DAY
        return not hours.opens_min <= minute < hours.closes_min

    def mode(self, now: Moment) -> Mode:
        """Return the mode of a gate whose parts all work."""
        if self.suspended(now):
            return Mode.SUSPENDED
        if self.outside_hours(now):
            return Mode.CLOSED_HOURS
        stale = not all(_in_time(document, now) for document in self._documents.values())
        return Mode.DEGRADED if stale else Mode.SERVING


def _card_of(person: Person, code: dict[str, Any] | None) -> Card | None:
    """Return which of a person's cards the gate has let them through on."""
    if code is None:
        return None
    cards = (*person.cards, *person.later_cards)
    named = [card for card in cards if card.claims and card.claims.pass_id.hex() == code.get("pass_id")]
    return named[0] if named else None


def _who(person: Person) -> str:
    return f"person {person.number} ({person.kind})"


def _counted(name: str) -> str:
    return f"pass {name}"


def _in_time(document: Document, now: Moment) -> bool:
    begins_ms = (document.issued_at - _STARTS_EARLY_S) * 1000
    return now.clock_trusted and begins_ms <= now.wall_ms <= document.not_after * 1000
