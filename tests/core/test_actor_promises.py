"""What the actor promises for every sequence of inputs, whatever fails and whenever.

The inputs are drawn at random, time moves at random with every wake-up honoured, and the ledger fails and
works again in between. Hypothesis prints the shortest sequence that breaks a promise.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import pytest
from gatebox import (
    PASSES,
    PHONES,
    SITE,
    TOKEN_HOLDER,
    TOKENS,
    TRUST,
    Box,
    act,
    make_pass,
    measurement,
    pass_id,
    subject,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.config import load_policy
from gate.core.codes import rotating
from gate.core.codes.model import Status
from gate.core.documents import Documents, open_document
from gate.core.effects import Effect, HoldOpen, Lock, Record, TakeReading, Unlock
from gate.core.events import Event, Kind, Result, Stage
from gate.core.evidence import AttendantWord, Direction, MaskStatus, Reading
from gate.core.inputs import (
    NOBODY,
    ArmTurned,
    AttendantConfirmed,
    AttendantNoted,
    AttendantRefused,
    CodesRead,
    Device,
    DeviceFailed,
    DeviceRecovered,
    DocumentReceived,
    FireAlarmChanged,
    InboxOverflowed,
    Input,
    LedgerOpened,
    MaskSeen,
    PersonArrived,
    PersonLeft,
    ReadingTaken,
    RecordFailed,
    ServiceAnswered,
    Started,
    Stopped,
    TimePassed,
)
from gate.core.mode import Mode
from gate.core.moment import NS_PER_S, Moment
from gate.core.policy import Policy
from gate.core.session import Visit
from gate.core.unwritten import UNWRITTEN_MAX
from gate.core.uses import Use
from gate.ports import Entry

VISIT_S_MAX = 300
LOOK_S_MAX = 60
EARLIER_RUN = "ffffffff-000001"
USES_MAX = 2  # of the passes "household" and "twice"
PLANS = {
    name: load_policy(name)
    for name in (
        "appointment-hall",
        "bureau",
        "checkpoint",
        "clinic",
        "county-hall",
        "county-office",
        "grid",
        "sealed-area",
        "service-bureau",
        "township-hall",
        "township-routine",
    )
}

PERSONS = {person: make_pass(person) for person in range(3, 9)}
SUBJECTS = {
    **{payload: subject(name) for name, payload in PASSES.items() if payload.startswith(b"HG1:")},
    **dict.fromkeys(TOKENS.values(), TOKEN_HOLDER),
    **{payload: f"{person:016x}" for person, payload in PERSONS.items()},
}
CODES = sorted({*SUBJECTS, *PASSES.values()})


def holder_of(payload: bytes) -> str | None:
    """Return the pseudonym that a code carries, or that a service gives for it."""
    if payload.startswith(rotating.PREFIX):
        return rotating.read_shown(payload)[1].subject.hex()
    return SUBJECTS.get(payload)


# A step is an input; a phrase of the language; an answer of the thermometer; or seconds to let pass.
DISK_FULL, DISK_FREE, ANSWER = "disk fills up", "disk has room", "answer"
WORN = MaskSeen(MaskStatus.WORN)
values = st.sampled_from(["36.50", "37.29", "37.30", "37.40 +-0.20", "37.51", "39.00", "timeout", "unstable"])
answers = st.tuples(st.just(ANSWER), values)
payloads = st.lists(st.sampled_from(CODES), min_size=1, max_size=2, unique=True).map(tuple)
phones = st.builds(
    "holds up {} of {} s ago".format, st.sampled_from(sorted(PHONES)), st.sampled_from([0, 30, 60])
)
notes = st.sampled_from(
    [
        "name, phone, id_number, ID checked, travel clear",
        "household_place, residence, plate_number, key_area_contact, signature",
        "no ID, travel declared",
        "staff",
        "supply, travel risk_area",
        "resident, test negative 10 h old",
        "test positive 1 h old",
        "from key_area, test negative 100 h old",
        "cough",
        "cold, no symptoms",
    ]
).map("desk notes {}".format)
services = st.sampled_from(
    [
        "says green",
        "says yellow",
        "says red, travel risk_area",
        "says green of nobody",
        "not_found",
        "timeout",
        "expired",
        "error, complaining of a page",
    ]
).map("service {}".format)
documents = st.builds(
    "document {}{}: {}".format,
    st.integers(1, 4),
    st.sampled_from(["", " for 30", " by office"]),
    st.sampled_from(
        [
            "suspended",
            "resumed",
            "revokes green household",
            "revokes staff copy early",
            "residents friend",
            "areas CN-32",
            "counts 100",
            "counts 5",
            "books green 0-300, token 0-300",
        ]
    ),
)
named = st.builds(
    "of {}: {}".format,
    st.sampled_from(["nobody", "visit 1", "visit 2"]),
    st.one_of(notes, st.sampled_from(["staff confirms", "staff refuses", "mask on", "mask off"])),
)
clocks = st.sampled_from(
    ["clock unsure", "clock sure", "clock moves 40", "clock moves -40", "clock moves 8000"]
)
surprises = st.one_of(
    st.floats(0, 30).map(lambda seconds: round(seconds, 1)),
    st.sampled_from([0.1, 1.0, 3.0, 12.0, 60.0]),
    answers,
    st.builds(CodesRead, payloads, st.booleans()),
    phones,
    notes,
    named,
    services,
    documents,
    clocks,
    st.builds(MaskSeen, st.sampled_from(MaskStatus)),
    st.sampled_from([PersonArrived(), PersonLeft(), ArmTurned(), TimePassed()]),
    st.sampled_from([AttendantConfirmed(), AttendantRefused()]),
    st.sampled_from([DISK_FULL, DISK_FREE]),
    st.sampled_from([FireAlarmChanged(active=True), FireAlarmChanged(active=False)]),
    st.sampled_from([Started("1.0", (EARLIER_RUN,)), Stopped(), InboxOverflowed(1)]),
    st.just(LedgerOpened((EARLIER_RUN,), ())),
    st.builds(DeviceFailed, st.sampled_from(Device), st.just("no answer")),
    st.builds(DeviceRecovered, st.sampled_from(Device)),
    st.builds(ReadingTaken, st.just("0a1b2c3d-000001"), values.map(measurement)),
)
# What leads far into a visit; between its steps anything may happen.
NOTED = "desk notes name, phone, id_number, ID checked, travel clear, test negative 1 h old"
visits = st.sampled_from([*PERSONS.values(), *PASSES.values(), *TOKENS.values()]).flatmap(
    lambda code: st.sampled_from(
        [
            [PersonArrived(), WORN, (ANSWER, "36.50"), CodesRead((code,)), ArmTurned()],
            [PersonArrived(), WORN, CodesRead((code,)), (ANSWER, "38.00"), 3.0, (ANSWER, "36.50")],
            [PersonArrived(), WORN, CodesRead((code,)), (ANSWER, "38.00"), 3.0, (ANSWER, "38.00")],
            [PersonArrived(), (ANSWER, "36.50"), WORN, 12.0, AttendantConfirmed(), PersonLeft(), ArmTurned()],
            [CodesRead((code,)), MaskSeen(MaskStatus.MISSING), (ANSWER, "36.50"), 9.0, WORN],
            [NOTED, WORN, CodesRead((code,)), "service says green", (ANSWER, "36.50"), ArmTurned()],
            [CodesRead((code,)), WORN, NOTED, "service timeout", (ANSWER, "36.50"), AttendantConfirmed()],
            [PersonArrived(), NOTED, WORN, (ANSWER, "36.50"), "holds up bound", ArmTurned(), PersonLeft()],
            [PersonArrived(), CodesRead((code,)), "document 4: revokes green", WORN, (ANSWER, "36.50")],
            [PersonArrived(), CodesRead((code,)), "shows noise", CodesRead((code,)), "service says green"],
            [
                "shows token",
                WORN,
                (ANSWER, "36.50"),
                CodesRead((code,)),
                12.0,
                "service says red",
                ArmTurned(),
            ],
            ["shows token", WORN, (ANSWER, "36.50"), 12.0, AttendantConfirmed(), "service says yellow"],
            [PersonArrived(), WORN, (ANSWER, "36.50"), CodesRead((code,)), 6.0, PersonLeft(), 60.0],
            [NOTED, WORN, (ANSWER, "36.50"), "shows twice", ArmTurned(), PersonLeft(), 60.0],
            [NOTED, WORN, (ANSWER, "36.50"), "shows green", "shows red", CodesRead((code,)), ArmTurned()],
            ["of visit 1: desk notes name", WORN, (ANSWER, "36.50"), 12.0, "of visit 1: staff confirms"],
            ["shows household", WORN, ArmTurned(), 5.0, "shows household", WORN, ArmTurned(), PersonLeft()],
        ]
    )
)


def with_surprises(visit: list[object]) -> st.SearchStrategy[list[object]]:
    between = st.lists(surprises, max_size=1)
    parts = [st.tuples(st.just(step), between).map(lambda pair: [pair[0], *pair[1]]) for step in visit]
    return st.tuples(*parts).map(lambda lists: [step for steps in lists for step in steps])


sequences = st.lists(
    st.one_of(visits, visits.flatmap(with_surprises), surprises.map(lambda step: [step])), max_size=10
).map(lambda chunks: [step for chunk in chunks for step in chunk])


class Watched(Box):
    """A box that checks the promises after every step."""

    def __init__(self, policy: Policy, direction: Direction = Direction.IN) -> None:
        super().__init__(policy, direction=direction)
        self.direction = direction
        self.documents = Documents()
        self.passed: dict[str, Use] = {}
        self.asked: set[tuple[str, bytes]] = set()
        self.told: set[tuple[str, bytes]] = set()
        self.bad: set[str] = set()
        self.checked = 0
        self.unlocked: set[str] = set()
        self.began_ns: dict[str, int] = {}
        self.seen: dict[str, list[Input]] = {}
        self.answers_given = 0

    def take(self, step: object) -> None:
        if isinstance(step, float):
            self.wait(step)
        elif isinstance(step, str):
            if self.questions or not step.startswith("service"):
                act(self, step)
        elif isinstance(step, Started | LedgerOpened):
            if self.actor.visit is None:  # a run begins with nobody at the gate
                self.feed(replace(step, uses=tuple(self.passed.values())))
        elif isinstance(step, tuple):
            self.answer_uniquely(step[1])
        else:
            self.feed(step)  # type: ignore[arg-type]  # one of the inputs above

    def answer_uniquely(self, value: str) -> None:
        """Answer the newest request with a reading that can be told from all others by its ambient."""
        if self.requests:
            taken = measurement(value)
            self.answers_given += 1
            if isinstance(taken, Reading):
                taken = replace(taken, ambient_cc=self.answers_given)
            self.feed(ReadingTaken(self.requests[-1], taken))

    def feed(self, happened: Input) -> list[str]:
        if isinstance(happened, DocumentReceived):
            self.documents.take(open_document(happened.text, trust=TRUST, site=SITE))
        before, due_ns = self.actor.visit, self.actor.next_wakeup()
        evidence = None if before is None else before.evidence
        if isinstance(happened, ServiceAnswered):
            self.note_answer(happened)
        performed = super().feed(happened)
        if not self.is_meant(happened, before):
            assert self.actor.visit is before
            assert before is None or before.evidence is evidence
        if isinstance(happened, TimePassed) and due_ns is not None and due_ns <= self.now.mono_ns:
            assert performed or self.actor.next_wakeup() != due_ns, "a wake-up that changes nothing"
        for visit in (before, self.actor.visit):
            if visit is not None:
                self.seen.setdefault(visit.name, []).append(happened)
                self.began_ns.setdefault(visit.name, self.now.mono_ns)
        for answer in self.actor.answers[self.checked :]:
            for name in visits_of(answer[1]):  # which may have begun and ended within this one input
                self.seen.setdefault(name, []).append(happened)
            self.check_effects(*answer)
        self.checked = len(self.actor.answers)
        self.check_limits()
        return performed

    def note_answer(self, happened: ServiceAnswered) -> None:
        """A question has one answer: what a service says of it afterwards is nobody's."""
        question = happened.visit, happened.payload
        if question not in self.told and happened.answer.status in {Status.YELLOW, Status.RED}:
            self.bad.add(happened.visit)
        self.told.add(question)

    @staticmethod
    def is_meant(happened: Input, visit: Visit | None) -> bool:
        """Say whether a word of the person on duty names the visit that is under way, or none."""
        if not isinstance(happened, AttendantConfirmed | AttendantRefused | AttendantNoted | MaskSeen):
            return True
        return happened.visit in {None, NOBODY if visit is None else visit.name}

    def ask(self, visit: str, token: bytes, region: str) -> None:
        assert (visit, token) not in self.asked, "asked twice"
        self.asked.add((visit, token))
        super().ask(visit, token, region)

    def unlock(self, duration_ms: int) -> bool:
        visit = self.actor.visit
        assert visit is not None
        if self.direction is Direction.IN:
            assert visit.name not in self.bad, "let in on a red code"
        if visit.use is not None:
            self.check_use(visit.use, vouched=visit.evidence.attendant is AttendantWord.CONFIRMED)
        return super().unlock(duration_ms)

    def check_effects(self, happened: Input, effects: list[Effect]) -> None:
        if isinstance(happened, RecordFailed):
            assert not has(effects, Record)
            assert self.serves_on or not has(effects, Unlock)
        else:
            self.check_unlocks(effects)
        for effect in effects:
            if isinstance(effect, Record):
                self.check_record(effect)
        assert has(effects, HoldOpen) == (happened == FireAlarmChanged(active=True) and bool(effects))
        assert not has(effects[1:], HoldOpen)
        assert self.actor.mode is not Mode.EVACUATING or not has(effects, Unlock, Lock)

    @property
    def serves_on(self) -> bool:
        return self.policy.on_ledger_failure == "open" or self.direction is Direction.OUT

    def check_record(self, record: Record) -> None:
        """A pass is counted by who is let in, and given back by who did not pass; nobody passes on a red."""
        data, use = record.event.data, record.use
        if record.event.kind is Kind.VISIT_CLOSED:
            passed = data["result"] == Result.PASSED
            assert use is None or not passed
            if self.direction is Direction.IN and "late" not in data:
                assert not (passed and data["visit"] in self.bad), "passed on a red code"
            if use is not None:
                self.passed[use.key] = use
        elif use is not None:
            assert data["stage"] == Stage.AUTHORISED

    def check_unlocks(self, effects: list[Effect]) -> None:
        """Every opening stands directly behind the record of its authorisation, and each visit has one."""
        for record, unlock in pairwise([None, *effects]):
            if isinstance(unlock, Unlock):
                assert isinstance(record, Record)
                assert record.event.data["stage"] == Stage.AUTHORISED
                assert "late" not in record.event.data
                assert record.event.data["visit"] not in self.unlocked
                self.unlocked.add(record.event.data["visit"])
                self.check_admitted(record.event.data["evidence"])

    def check_admitted(self, evidence: dict[str, Any]) -> None:
        """On the way in nobody passes on a bad code, nor a visitor while the gate is closed to visitors."""
        if self.direction is Direction.OUT:
            return
        code = evidence["code"] or {}
        assert (code.get("issuer"), code.get("pass_id")) not in self.documents.revoked()
        assert code.get("authenticity") != "verified" or code.get("status") not in {"yellow", "red"}
        assert code.get("reason") not in {"bad_signature", "revoked", "status_yellow", "status_red"}
        if self.actor.mode is Mode.SUSPENDED or self.out_of_hours():
            lives_here = {"resident"} if self.policy.residents is not None else set()
            assert evidence.get("person") in {"staff"} | lives_here

    def out_of_hours(self) -> bool:
        hours, local_s = self.policy.hours, self.now.wall_s + 8 * 3600
        if hours is None or not self.now.clock_trusted:
            return False
        return not hours.opens_min * 60 <= local_s % 86_400 < hours.closes_min * 60

    def check_use(self, use: Use, *, vouched: bool) -> None:
        """Two people on one pass within a minute have been looked at; a counted pass counts so often."""
        last = self.passed.get(use.key)
        if last is not None and self.direction is Direction.IN:
            apart_ms = abs(use.at_ms - last.at_ms)
            assert apart_ms >= self.policy.timing.passback_s * 1000 or vouched
        if self.policy.household_pass is not None and self.direction is Direction.OUT:
            assert use.key != HOUSEHOLD_KEY or use.count <= USES_MAX
        if self.direction is Direction.IN:
            assert use.key != TWICE_KEY or use.count <= USES_MAX or vouched
        self.passed[use.key] = use

    def check_limits(self) -> None:
        visit = self.actor.visit
        if visit is not None:
            assert self.now.mono_ns - self.began_ns[visit.name] <= VISIT_S_MAX * NS_PER_S
            assert self.actor.next_wakeup() is not None
        assert self.actor.unwritten <= UNWRITTEN_MAX

    def append(self, event: Event, now: Moment, use: Use | None = None, **more: Any) -> Entry:
        if event.kind is Kind.VISIT_DECIDED:
            self.check_evidence(event)
        return super().append(event, now, use, **more)

    def check_evidence(self, event: Event) -> None:
        """Whatever stands in a visit's record was seen during that visit, or is being handled now."""
        inputs = [*self.seen.get(event.data["visit"], []), self.actor.answers[-1][0]]
        given = {
            i.measurement.ambient_cc
            for i in inputs
            if isinstance(i, ReadingTaken) and isinstance(i.measurement, Reading)
        }
        shown = {holder_of(payload) for i in inputs if isinstance(i, CodesRead) for payload in i.payloads}
        evidence = event.data["evidence"]
        assert {taken["ambient_cc"] for taken in evidence["temperature"] if "ambient_cc" in taken} <= given
        assert evidence["code"] is None or evidence["code"]["subject"] in {None, *shown}


def visits_of(effects: list[Effect]) -> set[str]:
    """Name the visits that begin or are recorded."""
    records = (effect.event.data for effect in effects if isinstance(effect, Record))
    begun = {effect.visit for effect in effects if isinstance(effect, TakeReading)}
    return begun | {data["visit"] for data in records if data.get("visit")}


def has(effects: list[Effect], *kinds: type) -> bool:
    return any(isinstance(effect, kinds) for effect in effects)


HOUSEHOLD_KEY = f"office/{pass_id('household')}"
TWICE_KEY = f"county/{pass_id('twice')}"
every_way = pytest.mark.parametrize("direction", Direction)
every_ledger = pytest.mark.parametrize("on_ledger_failure", ["closed", "open"])


@every_way
@every_ledger
@settings(max_examples=150, deadline=None)
@given(plan=st.sampled_from(sorted(PLANS)), sequence=sequences)
def test_promises_hold_for_every_sequence(
    plan: str, on_ledger_failure: Literal["closed", "open"], direction: Direction, sequence: list[object]
) -> None:
    box = Watched(replace(PLANS[plan], on_ledger_failure=on_ledger_failure), direction)
    for step in sequence:
        box.take(step)
    # Then nothing more happens, and the ledger works: every visit ends, everything is written, all is quiet.
    box.ledger_works = True
    box.wait(VISIT_S_MAX + 11)
    assert box.actor.visit is None
    assert box.actor.unwritten == 0
    check_quiet(box)
    check_ledger(box)


def check_quiet(box: Box) -> None:
    """Nothing is waited for but the hour and the documents of the day."""
    wakeup_ns = box.actor.next_wakeup()
    if wakeup_ns is not None:
        assert box.policy.hours is not None or box.kept
        assert 0 < wakeup_ns - box.now.mono_ns <= LOOK_S_MAX * NS_PER_S


def check_ledger(box: Box) -> None:
    """Every visit is decided and then closed, once, whatever of it was late."""
    closed = [data["visit"] for data in box.data(Kind.VISIT_CLOSED) if data["visit"] != EARLIER_RUN]
    assert len(closed) == len(set(closed))
    assert {data["visit"] for data in box.data(Kind.VISIT_DECIDED)} == set(closed)


@pytest.mark.parametrize("plan", ["county-hall", "township-routine"])
@every_ledger
def test_the_promises_are_checked_on_real_visits(
    plan: str, on_ledger_failure: Literal["closed", "open"]
) -> None:
    box = Watched(replace(PLANS[plan], on_ledger_failure=on_ledger_failure))
    comes = [PersonArrived(), (ANSWER, "36.50"), WORN]
    for step in [
        *(*comes, CodesRead((PASSES["green"],)), ArmTurned()),
        *(PersonArrived(), (ANSWER, "39.00"), 3.0, (ANSWER, "39.00"), 5.0),
        *(DISK_FULL, *comes, CodesRead((PASSES["friend"],)), 3.0, DISK_FREE, 20.0),
    ]:
        box.take(step)
    assert len(box.unlocked) == 2
    assert [data["stage"] for data in box.data(Kind.VISIT_DECIDED)[:2]] == ["authorised", "refused"]
    check_ledger(box)
