"""What the actor promises for every sequence of inputs, whatever fails and whenever.

The inputs are drawn at random, time moves at random with every wake-up honoured, and the ledger fails and
works again in between. Hypothesis prints the shortest sequence that breaks a promise.
"""

from dataclasses import replace
from itertools import pairwise

import pytest
from gatebox import PASSES, Box, make_pass, measurement
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.config import load_policy
from gate.core.effects import Effect, HoldOpen, Lock, Record, Unlock
from gate.core.events import Event, Kind, Stage
from gate.core.evidence import MaskStatus, Reading
from gate.core.inputs import (
    ArmTurned,
    AttendantConfirmed,
    AttendantRefused,
    CodesRead,
    Device,
    DeviceFailed,
    DeviceRecovered,
    FireAlarmChanged,
    InboxOverflowed,
    Input,
    MaskSeen,
    PersonArrived,
    PersonLeft,
    ReadingTaken,
    RecordFailed,
    Started,
    Stopped,
    TimePassed,
)
from gate.core.mode import Mode
from gate.core.moment import NS_PER_S, Moment
from gate.core.policy import Policy
from gate.core.unwritten import UNWRITTEN_MAX
from gate.core.uses import Use
from gate.ports import Entry

VISIT_S_MAX = 300
EARLIER_RUN = "ffffffff-000001"
CLOSED = [load_policy(name) for name in ("county-hall", "township-routine")]
POLICIES = [*CLOSED, *(replace(policy, on_ledger_failure="open") for policy in CLOSED)]

PERSONS = {person: make_pass(person) for person in range(3, 9)}
SUBJECTS = {
    **{payload: 2 if name == "friend" else 1 for name, payload in PASSES.items()},
    **{payload: person for person, payload in PERSONS.items()},
}

# A step is an input; the next of these words; an answer of the thermometer; or seconds to let pass.
DISK_FULL, DISK_FREE, ANSWER = "disk full", "disk has room", "answer"
WORN = MaskSeen(MaskStatus.WORN)
values = st.sampled_from(["36.50", "37.29", "37.30", "37.40 +-0.20", "37.51", "39.00", "timeout", "unstable"])
answers = st.tuples(st.just(ANSWER), values)
payloads = st.lists(st.sampled_from(sorted(SUBJECTS)), min_size=1, max_size=2, unique=True).map(tuple)
surprises = st.one_of(
    st.floats(0, 30).map(lambda seconds: round(seconds, 1)),
    st.sampled_from([0.1, 1.0, 3.0, 12.0]),
    answers,
    st.builds(CodesRead, payloads, st.booleans()),
    st.builds(MaskSeen, st.sampled_from(MaskStatus)),
    st.sampled_from([PersonArrived(), PersonLeft(), ArmTurned(), TimePassed()]),
    st.sampled_from([AttendantConfirmed(), AttendantRefused()]),
    st.sampled_from([DISK_FULL, DISK_FREE]),
    st.sampled_from([FireAlarmChanged(active=True), FireAlarmChanged(active=False)]),
    st.sampled_from([Started("1.0", (EARLIER_RUN,)), Stopped(), InboxOverflowed(1)]),
    st.builds(DeviceFailed, st.sampled_from(Device), st.just("no answer")),
    st.builds(DeviceRecovered, st.sampled_from(Device)),
    st.builds(ReadingTaken, st.just("0a1b2c3d-000001"), values.map(measurement)),
)
# What leads far into a visit; between its steps anything may happen.
visits = st.sampled_from(sorted(PERSONS)).flatmap(
    lambda person: st.sampled_from(
        [
            [PersonArrived(), WORN, (ANSWER, "36.50"), CodesRead((PERSONS[person],)), ArmTurned()],
            [PersonArrived(), WORN, CodesRead((PERSONS[person],)), (ANSWER, "38.00"), 3.0, (ANSWER, "36.50")],
            [PersonArrived(), WORN, CodesRead((PERSONS[person],)), (ANSWER, "38.00"), 3.0, (ANSWER, "38.00")],
            [PersonArrived(), (ANSWER, "36.50"), WORN, 12.0, AttendantConfirmed(), PersonLeft(), ArmTurned()],
            [CodesRead((PERSONS[person],)), MaskSeen(MaskStatus.MISSING), (ANSWER, "36.50"), 9.0, WORN],
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

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.checked = 0
        self.unlocked: set[str] = set()
        self.began_ns: dict[str, int] = {}
        self.seen: dict[str, list[Input]] = {}
        self.answers_given = 0

    def take(self, step: object) -> None:
        if isinstance(step, float):
            self.wait(step)
        elif step in (DISK_FULL, DISK_FREE):
            self.ledger_works = step == DISK_FREE
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
        before, due_ns = self.actor.visit, self.actor.next_wakeup()
        performed = super().feed(happened)
        if isinstance(happened, TimePassed) and due_ns is not None and due_ns <= self.now.mono_ns:
            assert performed or self.actor.next_wakeup() != due_ns, "a wake-up that changes nothing"
        for visit in (before, self.actor.visit):
            if visit is not None:
                self.seen.setdefault(visit.name, []).append(happened)
                self.began_ns.setdefault(visit.name, self.now.mono_ns)
        for answer in self.actor.answers[self.checked :]:
            self.check_effects(*answer)
        self.checked = len(self.actor.answers)
        self.check_limits()
        return performed

    def check_effects(self, happened: Input, effects: list[Effect]) -> None:
        if isinstance(happened, RecordFailed):
            assert not has(effects, Record)
            assert self.policy.on_ledger_failure == "open" or not has(effects, Unlock)
        else:
            self.check_unlocks(effects)
        assert has(effects, HoldOpen) == (happened == FireAlarmChanged(active=True) and bool(effects))
        assert not has(effects[1:], HoldOpen)
        assert self.actor.mode is not Mode.EVACUATING or not has(effects, Unlock, Lock)

    def check_unlocks(self, effects: list[Effect]) -> None:
        """Every opening stands directly behind the record of its authorisation, and each visit has one."""
        for record, unlock in pairwise([None, *effects]):
            if isinstance(unlock, Unlock):
                assert isinstance(record, Record)
                assert record.event.data["stage"] == Stage.AUTHORISED
                assert "late" not in record.event.data
                assert record.event.data["visit"] not in self.unlocked
                self.unlocked.add(record.event.data["visit"])

    def check_limits(self) -> None:
        visit = self.actor.visit
        if visit is not None:
            assert self.now.mono_ns - self.began_ns[visit.name] <= VISIT_S_MAX * NS_PER_S
            assert self.actor.next_wakeup() is not None
        assert self.actor.unwritten <= UNWRITTEN_MAX

    def append(self, event: Event, now: Moment, use: Use | None = None) -> Entry:
        if event.kind is Kind.VISIT_DECIDED:
            self.check_evidence(event)
        return super().append(event, now, use)

    def check_evidence(self, event: Event) -> None:
        """Whatever stands in a visit's record was seen during that visit, or is being handled now."""
        inputs = [*self.seen.get(event.data["visit"], []), self.actor.answers[-1][0]]
        given = {
            i.measurement.ambient_cc
            for i in inputs
            if isinstance(i, ReadingTaken) and isinstance(i.measurement, Reading)
        }
        shown = {SUBJECTS[payload] for i in inputs if isinstance(i, CodesRead) for payload in i.payloads}
        evidence = event.data["evidence"]
        assert {taken["ambient_cc"] for taken in evidence["temperature"] if "ambient_cc" in taken} <= given
        assert evidence["code"] is None or int(evidence["code"]["subject"] or "1", 16) in {1, *shown}


def has(effects: list[Effect], *kinds: type) -> bool:
    return any(isinstance(effect, kinds) for effect in effects)


every_policy = pytest.mark.parametrize(
    "policy", POLICIES, ids=lambda policy: f"{policy.name}-{policy.on_ledger_failure}"
)


@every_policy
@settings(max_examples=100, deadline=None)
@given(sequences)
def test_promises_hold_for_every_sequence(policy: Policy, sequence: list[object]) -> None:
    box = Watched(policy)
    for step in sequence:
        box.take(step)
    # Then nothing more happens, and the ledger works: every visit ends, everything is written, all is quiet.
    box.ledger_works = True
    box.wait(VISIT_S_MAX + 11)
    assert box.actor.visit is None
    assert (box.actor.unwritten, box.actor.next_wakeup()) == (0, None)
    check_ledger(box)


def check_ledger(box: Box) -> None:
    """Every visit is decided and then closed, once, whatever of it was late."""
    closed = [data["visit"] for data in box.data(Kind.VISIT_CLOSED) if data["visit"] != EARLIER_RUN]
    assert len(closed) == len(set(closed))
    assert {data["visit"] for data in box.data(Kind.VISIT_DECIDED)} == set(closed)


@every_policy
def test_the_promises_are_checked_on_real_visits(policy: Policy) -> None:
    box = Watched(policy)
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
