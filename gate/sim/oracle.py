"""The oracles: what must always be true, checked against the true state of the world.

Numbers are those of the project's list. The gate knows none of what is used here: who really stands there,
whose code and forehead were seen, how warm a person is, what the relay did, what reached the centre.

1. No unlock without an earlier durable authorisation of the same visit, and one unlock for each.
2. At most one person per unlock; for everybody else the ledger holds an alarm.
3. Nobody is authorised whose true temperature is at or above the limit plus the sensor's stated error, or on
   evidence that is stale, missing or another person's, unless the person on duty has vouched for that part.
4. Numbers without gap, a valid chain, each record at the centre at least once and byte for byte the same.
5. Every queue within its limit, every visit ends within 300 s (or its policy's waits), time moves on.
6. While the fire contact is open the gate is open, at the latest one second after it has opened.
8. After the faults have stopped, nothing waits to be sent and the mode is that of the hours and documents.

Number 9, the same digest from the same seed, takes two runs and is checked by whoever starts them; number 7
belongs to daily reports, which do not exist yet. Numbers 10 to 15 are in `gate.sim.rights`.
"""

import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from gate.core.actor import GateActor
from gate.core.chain import genesis, link
from gate.core.evidence import Direction
from gate.core.evidence import Person as Role
from gate.core.inputs import CodesRead, Input, MaskSeen, RecordFailed, ServiceAnswered
from gate.core.moment import NS_PER_S, Moment
from gate.core.policy import Policy
from gate.core.unwritten import UNWRITTEN_MAX
from gate.ports import Outbox
from gate.sim.delivery import WINDOW, Broker, Centre
from gate.sim.people import Person
from gate.sim.rights import Rights
from gate.store.ledger import verify

VISIT_S_MAX: Final = 300  # or as long as a policy with longer waits allows
EVACUATION_S_MAX: Final = 1
VIOLATIONS_MAX: Final = 100
# A passage belongs to its unlock for as long as the gate waits for it, and for the way of the signal.
_SIGNAL_S: Final = 1
_READ_AT_ONCE: Final = 1000
# A gate looks at the clock once a minute.
_MODE_FOLLOWS_MS: Final = 61_000


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be: which oracle, when (simulated seconds), which visit, what was seen."""

    oracle: int
    at_s: float
    visit: str | None
    seen: str


class Findings:
    """Collects violations with the time at which they were seen."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self.violations: list[Violation] = []

    def add(self, oracle: int, visit: str | None, seen: str) -> None:
        """Note a violation; of very many only the first are kept."""
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(oracle, self._now_ns() / NS_PER_S, visit, seen))


@dataclass(slots=True)
class Seen:
    """What the gate was really shown in one visit: the numbers of the persons, and when."""

    forehead: tuple[int, ...] = ()
    forehead_ns: int = 0
    mask: int | None = None


class Oracle:
    """Watches one run. `clock` tells the time as the gate's computer does.

    `at_gate` returns who stands, or was the last to stand, before the gate; `reported` returns whether the
    presence sensor says that somebody does.
    """

    def __init__(
        self,
        policy: Policy,
        error_cc: int,
        now_ns: Callable[[], int],
        at_gate: Callable[[], Person | None],
        reported: Callable[[], bool],
        centre: Centre,
        broker: Broker,
        direction: Direction,
        clock: Callable[[], Moment],
    ) -> None:
        self._policy = policy
        self._direction = direction
        # Whoever leaves is let out also when nothing can be written.
        self._serves_on = policy.on_ledger_failure == "open" or direction is Direction.OUT
        self._clock = clock
        self._visit_s_max = max(VISIT_S_MAX, 3 * sum(_waits_s(policy)))
        self._limit_cc = policy.temperature.abnormal_cc + error_cc
        self._now_ns = now_ns
        self._at_gate = at_gate
        self._reported = reported
        self._centre = centre
        self._broker = broker
        self._findings = Findings(now_ns)
        self._add = self._findings.add
        self.rights = Rights(policy, direction, clock, self._add)
        self.documents: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.visits = 0
        self.records = 0
        self._actor: GateActor | None = None
        self._outbox: Outbox | None = None
        self._hash = b""
        self._checked = 0
        self._unused: set[str] = set()
        self._unlocked_ns: int | None = None
        self._held = False
        self._fire_ns: int | None = None
        self._powered_ns = 0
        self._seen: dict[str, Seen] = {}
        self._code_ns: dict[bytes, int] = {}
        self._visit: str | None = None
        self._visit_ns = 0
        self._alarms = 0
        self._owed: deque[str | None] = deque()
        self._late_alarm: str | None = None
        self._referred: str | None = None

    @property
    def violations(self) -> list[Violation]:
        """What was found so far."""
        return self._findings.violations

    @property
    def chain(self) -> bytes:
        """The hash of the chain over all records seen."""
        return self._hash

    # --- the gate's life

    def powered(self, actor: GateActor, outbox: Outbox, epoch: str) -> None:
        """Take note of a start; `outbox` reads the ledger over a connection of its own."""
        self._actor, self._outbox = actor, outbox
        self._powered_ns = self._now_ns()
        self._hash = self._hash or genesis(epoch)

    def power_lost(self) -> None:
        """Take note that the process is gone; what it had only in memory goes with it."""
        self._read_ledger()
        if self._actor is not None and not self._actor.unwritten:
            self._demand_alarms()
        self._owed.clear()
        self._actor = None
        self._held = False
        self._unlocked_ns = None
        self._unused.clear()
        self._visit = None
        self._seen.clear()
        self.rights.power_lost()

    # --- what goes in

    def happened(self, happened: Input) -> None:
        """Take note of an input before the gate sees it."""
        if not isinstance(happened, RecordFailed):  # that one is part of the step under way
            self._alarms = 0
        if isinstance(happened, CodesRead) and len(happened.payloads) == 1:
            self._code_ns[happened.payloads[0]] = self._now_ns()
        elif isinstance(happened, MaskSeen):
            visit, person = self._actor and self._actor.visit, self._at_gate()
            if visit and person:
                self._seen.setdefault(visit.name, Seen()).mask = person.number
        elif isinstance(happened, ServiceAnswered):
            self.rights.answered(happened.visit, happened.answer)

    def measured(self, visit: str, owners: tuple[int, ...]) -> None:
        """Take note of whose forehead each sample of a reading for `visit` has seen."""
        seen = self._seen.setdefault(visit, Seen())
        seen.forehead, seen.forehead_ns = owners, self._now_ns()

    # --- what comes out

    def unlocked(self) -> None:
        """Oracle 1: the relay has just been driven."""
        self._read_ledger()
        visit = self._actor.visit if self._actor else None
        name = visit.name if visit else None
        self._unlocked_ns = self._now_ns()
        if name in self._unused:
            self._unused.discard(name)
        elif not (self._serves_on and self._actor and self._actor.unwritten):
            self._add(1, name, "unlocked without a durable authorisation of this visit")

    def held_open(self) -> None:
        """The relay is held."""
        self._held = True

    def locked(self) -> None:
        """Oracle 6: the relay was switched off."""
        if self._held and self._fire_ns is not None:
            self._add(6, None, "locked during a fire alarm")
        self._held = False

    def stepped(self) -> None:
        """Look at everything after one input has been handled."""
        self._read_ledger()
        self._watch_visit()

    # --- passages

    @property
    def evacuating(self) -> bool:
        """Whether everybody may pass."""
        return self._held or self._fire_ns is not None

    def rotated(self) -> bool:
        """Oracle 2: the gate will now hear of a passage; return whether the ledger owes an alarm for it."""
        unlocked_ns, self._unlocked_ns = self._unlocked_ns, None
        span_ns = (self._policy.timing.pass_s + _SIGNAL_S) * NS_PER_S
        return unlocked_ns is None or self._now_ns() - unlocked_ns > span_ns

    def passage_handled(self, *, alarm_owed: bool) -> None:
        """Oracle 2: the gate has heard of a rotation."""
        if alarm_owed and not self._alarms:
            self._owed.append(self._visit)

    def _demand_alarms(self) -> None:
        while self._owed:
            self._add(2, self._owed.popleft(), "a second person on one unlock, or one on none, and no alarm")

    # --- the fire

    def fire(self, *, active: bool) -> None:
        """The fire contact really opens or closes now."""
        self._fire_ns = self._now_ns() if active else None

    def check_evacuation(self) -> None:
        """Oracle 6, to be asked one second after the contact has opened or the gate has started."""
        if self._fire_ns is None or self._actor is None or self._held:
            return
        since_ns = self._now_ns() - max(self._fire_ns, self._powered_ns)
        if since_ns >= EVACUATION_S_MAX * NS_PER_S:
            self._add(6, None, "not open one second after the fire alarm")

    # --- the ledger, as another connection sees it

    def _read_ledger(self) -> None:
        if self._outbox is None:
            return
        for entry in self._outbox.pending(self.records, _READ_AT_ONCE):
            self.records += 1
            envelope = json.loads(entry.body)
            data = envelope["data"]
            if not entry.seq == data["seq"] == self.records:
                self._add(4, data.get("visit"), f"record {entry.seq} where {self.records} was due")
                self.records = entry.seq
            self._hash = link(self._hash, entry.body)
            self._take(envelope["type"], envelope, data)

    def _take(self, kind: str, envelope: dict[str, Any], data: dict[str, Any]) -> None:
        if kind == "hg.visit.decided.v1":
            self.stages[data["stage"]] += 1
            self.rights.judged(envelope)
            if data["stage"] == "referred":
                self._referred = data["visit"]
            if data["stage"] == "authorised" and not data.get("late"):  # a late one is about somebody gone
                self._unused.add(data["visit"])
                self._check_evidence(data["visit"], data)
        elif kind == "hg.visit.closed.v1":
            self.results[data["result"]] += 1
            self._unused.discard(data["visit"])
            self.rights.closed(data["visit"], data["result"])
        elif kind == "hg.document.v1":
            self.documents[data["outcome"]] += 1
        elif data.get("what") == "document_refused":
            self.documents["refused"] += 1
        if kind == "hg.passage.forced.v1" or data.get("result") == "forced":
            self._alarm(data["visit"], late=bool(data.get("late")))

    def _alarm(self, visit: str | None, *, late: bool) -> None:
        self._alarms += 1
        repeated = visit is not None and visit == self._late_alarm
        if late and self._owed and not repeated:
            self._owed.popleft()
            self._late_alarm = visit

    # --- oracle 3

    def _check_evidence(self, visit: str, data: dict[str, Any]) -> None:
        person = self._at_gate()
        if person is None or not self._reported():
            self._add(3, visit, "authorised although nobody is reported to be at the gate")
            return
        self.rights.authorised(visit, person, data)
        evidence, direction = data["evidence"], self._direction
        found = {finding["reason"] for finding in data["findings"]}
        # Who has been sent to the person on duty stands before them, and does not age there.
        vouched = evidence["attendant"] == "confirmed" or visit == self._referred
        measured = self._is_measured(evidence.get("person", Role.VISITOR))
        if measured and not found & {"temperature_by_attendant", "round_kept", "fever_seen_out"}:
            self._check_temperature(visit, person, vouched=vouched)
        coded = self._policy.code.required and direction is Direction.IN
        if coded and not found & {"code_by_attendant", "code_by_real_name"}:
            self._check_code(visit, person, evidence["code"], vouched=vouched)
        masked = self._policy.mask.required and direction in self._policy.mask.directions
        if masked and "mask_by_attendant" not in found:
            owner = self._seen.get(visit, Seen()).mask
            if owner != person.number:
                self._add(3, visit, f"person {person.number} authorised on the mask of {owner}")

    def _is_measured(self, role: str) -> bool:
        staff = self._policy.staff if role == Role.STAFF else None
        asked = self._policy.temperature if staff is None else staff
        return self._policy.temperature.required and self._direction in asked.directions

    def _check_temperature(self, visit: str, person: Person, *, vouched: bool) -> None:
        seen = self._seen.get(visit, Seen())
        own = seen.forehead.count(person.number)
        if 2 * own <= len(seen.forehead):
            self._add(3, visit, f"person {person.number} authorised on the foreheads of {seen.forehead}")
        elif person.core_cc >= self._limit_cc:
            self._add(
                3, visit, f"person {person.number} authorised with a true {person.core_cc / 100:.2f} °C"
            )
        elif not vouched:
            self._check_age(visit, "temperature", seen.forehead_ns)

    def _check_code(self, visit: str, person: Person, code: dict[str, Any] | None, *, vouched: bool) -> None:
        subject = code["subject"] if code else None
        cards = (*person.cards, *person.later_cards)
        if subject is None or subject not in {card.subject for card in cards}:
            self._add(3, visit, f"person {person.number} authorised on the code of subject {subject}")
        elif not vouched:
            shown = (self._code_ns.get(text, 0) for card in cards for text in card.texts)
            self._check_age(visit, "code", max(shown, default=0))

    def _check_age(self, visit: str, what: str, since_ns: int) -> None:
        age_ns = self._now_ns() - since_ns
        if age_ns > self._policy.timing.evidence_age_max_s * NS_PER_S:
            self._add(3, visit, f"authorised on a {what} {age_ns / NS_PER_S:.1f} s old")

    # --- oracle 5

    def _watch_visit(self) -> None:
        visit = self._actor.visit if self._actor else None
        name = visit.name if visit else None
        if name == self._visit:
            return
        self._seen.pop(self._visit or "", None)
        self._visit, self._visit_ns = name, self._now_ns()
        self.visits += name is not None

    def audit(self) -> None:
        """Look at what time alone can make wrong, and at what has been acknowledged; asked now and then."""
        if self._actor is None:
            return
        age_ns = self._now_ns() - self._visit_ns
        if self._visit is not None and age_ns > self._visit_s_max * NS_PER_S:
            self._add(5, self._visit, f"still not ended after {age_ns // NS_PER_S} s")
            self._visit_ns = self._now_ns()
        if self._broker.most_under_way > WINDOW:
            self._add(5, None, f"{self._broker.most_under_way} messages under way at one time")
            self._broker.most_under_way = 0
        if self._actor.unwritten > UNWRITTEN_MAX:
            self._add(5, None, f"{self._actor.unwritten} events wait for the ledger")
        if not self._actor.unwritten:
            self._demand_alarms()
        self._check_delivery()

    def stands_still(self, why: str) -> None:
        """Oracle 5: time has stopped moving."""
        self._add(5, self._visit, why)

    # --- oracles 4 and 8

    def _check_delivery(self) -> None:
        if self._outbox is None:
            return
        done = self._outbox.acknowledged()
        while self._checked < done:
            for entry in self._outbox.pending(self._checked, min(_READ_AT_ONCE, done - self._checked)):
                self._checked = entry.seq
                received = self._centre.received.pop(entry.seq, set())
                if received != {sha256(entry.body).digest()}:
                    self._add(4, None, f"record {entry.seq} acknowledged, received as {len(received)} others")

    def check_convergence(self, head: int) -> None:
        """Oracle 8: everything up to `head` has been delivered and the gate is in the mode of the day."""
        now = self._clock()
        then = replace(now, wall_ms=now.wall_ms - _MODE_FOLLOWS_MS)
        due = {self.rights.mode(now), self.rights.mode(then)}
        if self._actor is None or self._actor.mode not in due:
            mode = self._actor.mode if self._actor else "off"
            self._add(8, None, f"mode {mode} after the faults, not {' or '.join(sorted(due))}")
        if self._outbox is not None and self._outbox.acknowledged() < head:
            self._add(8, None, f"{head - self._outbox.acknowledged()} records still wait to be sent")

    def finish(self, ledger: Path) -> None:
        """Look at everything once more when all has come to rest, and at the whole ledger file."""
        self._read_ledger()
        self.audit()
        if self._actor is not None and self._actor.visit is not None:
            self._add(5, self._actor.visit.name, "still not ended when all have gone")
        if self._outbox is not None:
            self.check_convergence(self._outbox.head())
        found = verify(ledger)
        if not found.ok or found.head_hash != self._hash.hex():
            self._add(4, None, found.problem or "the chain ends in another hash")


def _waits_s(policy: Policy) -> tuple[int, ...]:
    timing = policy.timing
    return (
        timing.collect_s,
        timing.retest_wait_s,
        timing.cure_s,
        timing.staff_s,
        timing.pass_s,
        timing.farewell_s,
    )
