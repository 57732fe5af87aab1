"""The oracles: what must always be true, checked against the true state of the world.

Numbers are those of the project's list. The gate knows none of what is used here: who really stands there,
whose code and forehead were seen, how warm a person is, what the relay did, what reached the centre.

1. No unlock without an earlier durable authorisation of the same visit, and one unlock for each.
2. At most one person per unlock; for everybody else the ledger holds an alarm.
3. Nobody is authorised whose true temperature is at or above the limit plus the sensor's stated error, or on
   evidence that is stale, missing or another person's, unless the person on duty has vouched for that part.
4. Numbers without gap and a valid chain in every epoch, whose first record names the epoch before.
5. Every queue within its limit, every visit ends within 300 s (or its policy's waits), time moves on.
6. While the fire contact is open the gate is open, at the latest one second after it has opened.
8. After the faults have stopped, nothing waits for a receipt and the mode is that of the hours, the documents
   and the centre's word.

Number 9, the same digest from the same seed, takes two runs and is checked by whoever starts them; number 7
belongs to daily reports, which the centre makes. Numbers 10 to 15 are in `gate.sim.rights`, 16 to 18 in
`gate.sim.obedience`.
"""

import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Final

from gate.core.actor import GateActor
from gate.core.chain import genesis, link
from gate.core.effects import Effect
from gate.core.evidence import Direction
from gate.core.evidence import Person as Role
from gate.core.inputs import CodesRead, CommandReceived, Input, MaskSeen, RecordFailed, ServiceAnswered
from gate.core.moment import NS_PER_S, Moment
from gate.core.policy import Policy
from gate.core.unwritten import UNWRITTEN_MAX
from gate.ports import Outbox
from gate.sim.centre import Centre, CommandPost
from gate.sim.delivery import WINDOW, Broker
from gate.sim.obedience import Obedience
from gate.sim.people import Person
from gate.sim.rights import Rights
from gate.store.ledger import verify

VISIT_S_MAX: Final = 300  # or as long as a policy with longer waits allows
EVACUATION_S_MAX: Final = 1
VIOLATIONS_MAX: Final = 100
# A passage belongs to its unlock for as long as the gate waits for it, and for the way of the signal.
_SIGNAL_S: Final = 1
_READ_AT_ONCE: Final = 1000
_NAMED_MAX: Final = 3
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
        commands: CommandPost,
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
        self.obedience = Obedience(commands.told, clock, self._add)
        self.documents: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.visits = 0
        self.records = 0
        self._actor: GateActor | None = None
        self._outbox: Outbox | None = None
        self._epoch = ""
        self._hash = b""
        self._past: list[bytes] = []  # the last hashes of epochs that are over
        self._seq = 0  # the newest record of this epoch that was read
        self._checked = 0
        self._authorised: set[str] = set()
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
        """The hashes of the chains over all records seen, one for each epoch."""
        return b"".join((*self._past, self._hash))

    @property
    def epochs(self) -> int:
        """How many epochs the ledger has had."""
        return len(self._past) + 1

    # --- the gate's life

    def powered(self, actor: GateActor, outbox: Outbox, epoch: str) -> None:
        """Take note of a start; `outbox` reads the ledger over a connection of its own."""
        self._actor, self._outbox = actor, outbox
        self._powered_ns = self._now_ns()
        self._begin_epoch(epoch)

    def renewed(self, epoch: str) -> None:
        """Take note that the ledger was put aside for another epoch; all of it has been read before."""
        self._past.append(self._hash)
        self._begin_epoch(epoch)

    def _begin_epoch(self, epoch: str) -> None:
        if epoch != self._epoch:
            self._epoch, self._hash = epoch, genesis(epoch)
            self._seq = self._checked = 0
        self.obedience.powered(epoch)

    def power_lost(self) -> None:
        """Take note that the process is gone; what it had only in memory goes with it."""
        self.read_ledger()
        if self._actor is not None and not self._actor.unwritten:
            self._demand_alarms()
        self._owed.clear()
        self._actor = None
        self._held = False
        self._unlocked_ns = None
        self._unused.clear()
        self._visit = None
        self._seen.clear()
        self._authorised.clear()
        self.rights.power_lost()
        self.obedience.power_lost()

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
        elif isinstance(happened, CommandReceived):
            self.obedience.happened(happened)

    def performed(self, effect: Effect) -> None:
        """Take note of what the gate has done."""
        self.obedience.performed(effect)

    def measured(self, visit: str, owners: tuple[int, ...]) -> None:
        """Take note of whose forehead each sample of a reading for `visit` has seen."""
        seen = self._seen.setdefault(visit, Seen())
        seen.forehead, seen.forehead_ns = owners, self._now_ns()

    # --- what comes out

    def unlocked(self) -> None:
        """Oracle 1: the relay has just been driven."""
        self.read_ledger()
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
        self.read_ledger()
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

    def read_ledger(self) -> None:
        """Look at every record that has been written since."""
        if self._outbox is None:
            return
        for entry in self._outbox.pending(self._seq, _READ_AT_ONCE):
            self.records += 1
            self._seq += 1
            envelope = json.loads(entry.body)
            data = envelope["data"]
            if not entry.seq == data["seq"] == self._seq:
                self._add(4, data.get("visit"), f"record {entry.seq} where {self._seq} was due")
                self._seq = entry.seq
            if entry.seq == 1:
                self._check_first(envelope["type"], data)
            self._hash = link(self._hash, entry.body)
            self._take(envelope["type"], envelope, data)

    def _check_first(self, kind: str, data: dict[str, Any]) -> None:
        """Oracle 4: a new epoch says why it has begun, and how far the one before it reached."""
        before = data.get("previous") or {"hash": ""}
        if kind != "hg.epoch.started.v1" or before["hash"] != (self._past[-1].hex() if self._past else ""):
            self._add(4, None, f"epoch {data['epoch']} begins with {kind} and {before}")

    def _take(self, kind: str, envelope: dict[str, Any], data: dict[str, Any]) -> None:
        if kind == "hg.visit.decided.v1" and data["visit"] in self._authorised:
            return  # told again in a new epoch, because the visit ends there
        if kind == "hg.visit.decided.v1":
            self.stages[data["stage"]] += 1
            self.rights.judged(envelope)
            if data["stage"] == "referred":
                self._referred = data["visit"]
            if data["stage"] == "authorised" and not data.get("late"):  # a late one is about somebody gone
                self._unused.add(data["visit"])
                self._authorised.add(data["visit"])
                self._check_evidence(data["visit"], data)
        elif kind == "hg.visit.closed.v1":
            self.results[data["result"]] += 1
            self._unused.discard(data["visit"])
            self._authorised.discard(data["visit"])
            self.rights.closed(data["visit"], data["result"])
        elif kind == "hg.command.v1":
            self._take_command(data)
        elif kind == "hg.document.v1":
            self.documents[data["outcome"]] += 1
        elif data.get("what") == "document_refused":
            self.documents["refused"] += 1
        if kind == "hg.passage.forced.v1" or data.get("result") == "forced":
            self._alarm(data["visit"], late=bool(data.get("late")))

    def _take_command(self, data: dict[str, Any]) -> None:
        self.obedience.recorded(data)
        self.rights.commanded(data)
        passage = data.get("visit")
        if passage is not None and passage not in self._authorised:
            self._unused.add(passage)
            self._authorised.add(passage)

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
            self.obedience.demand_answers()
        self._check_delivery()

    def stands_still(self, why: str) -> None:
        """Oracle 5: time has stopped moving."""
        self._add(5, self._visit, why)

    # --- oracles 4 and 8

    def _check_delivery(self) -> None:
        """Oracle 18: what is done has come, whatever the centre has lost of it since."""
        if self._outbox is None:
            return
        done = self._outbox.acknowledged()
        while self._checked < done:
            for entry in self._outbox.pending(self._checked, min(_READ_AT_ONCE, done - self._checked)):
                self._checked = entry.seq
                came = self._centre.ever.get((self._epoch, entry.seq), set())
                if came != {sha256(entry.body).digest()}:
                    self._add(18, None, f"record {entry.seq} is done and came as {len(came)} others")

    def check_convergence(self, head: int) -> None:
        """Oracle 8: everything up to `head` has been delivered and the gate is in the mode of the day."""
        now = self._clock()
        then = replace(now, wall_ms=now.wall_ms - _MODE_FOLLOWS_MS)
        due = {self.rights.mode(now), self.rights.mode(then)}
        if self._actor is None or self._actor.mode not in due:
            mode = self._actor.mode if self._actor else "off"
            self._add(8, None, f"mode {mode} after the faults, not {' or '.join(sorted(due))}")
        if self._outbox is not None and self._outbox.acknowledged() < head:
            self._add(8, None, f"{head - self._outbox.acknowledged()} records still wait for a receipt")

    def finish(self, ledger: Path) -> None:
        """Look at everything once more when all has come to rest, and at every file of the ledger."""
        self.read_ledger()
        self.audit()
        if self._actor is not None and self._actor.visit is not None:
            self._add(5, self._actor.visit.name, "still not ended when all have gone")
        if self._outbox is not None:
            self.check_convergence(self._outbox.head().seq)
            bodies = {entry.seq: entry.body for entry in self._outbox.pending(0, self._seq)}
            for seq in self._centre.missing(self._epoch, bodies)[:_NAMED_MAX]:
                self._add(18, None, f"record {seq} is not proved at the centre")
        heads = set()
        for path in chain([ledger], sorted(ledger.parent.glob(f"{ledger.stem}-*{ledger.suffix}"))):
            found = verify(path)
            heads.add(found.head_hash)
            if not found.ok:
                self._add(4, None, f"{path.name}: {found.problem}")
        if heads != {digest.hex() for digest in (*self._past, self._hash)}:
            self._add(4, None, "a chain ends in another hash")


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
