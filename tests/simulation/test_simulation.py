"""The simulated gate: nothing that must always hold is violated, and each oracle speaks when it should.

Every mutant is a gate broken on purpose; it has to make exactly its own oracle speak, and the same run with
the gate as it is has to be silent.
"""

import base64
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.app.simulation import FAULT_KINDS, Report, simulate
from gate.core.actor import GateActor
from gate.core.codes import Freshness, Reason, Status
from gate.core.codes.service import Outcome, ServiceAnswer, answered
from gate.core.commands import CentreWord
from gate.core.effects import KeepDocument, Lock, Record, RenewLedger, Unlock
from gate.core.events import Kind
from gate.core.evidence import Direction, Person
from gate.core.inputs import (
    ArmTurned,
    CommandReceived,
    DocumentReceived,
    FireAlarmChanged,
    LedgerRenewed,
    PersonArrived,
    PersonLeft,
    ServiceAnswered,
    Started,
    TimePassed,
)
from gate.core.session import Asked
from gate.core.uses import Uses
from gate.perform import Brain
from gate.sim.cards import Said
from gate.sim.delivery import SimSink
from gate.sim.faults import schedule
from gate.sim.machine import Parts, SimLedger
from gate.sim.people import TELLING
from gate.sim.timeline import SAME_INSTANT_MAX, StandstillError, Timeline

SEEDS = (1, 2, 3, 4)
MUTANT_SEED = 7
# A plan is tried in the plain suite for as long as everything happens once; `make soak` has the patience.
HOURS = pytest.mark.parametrize("hours", [1, pytest.param(4, marks=pytest.mark.soak)])
NONE = frozenset()
POWER = frozenset({"power"})
POLICIES = files("gate.policies")


@cache
def run(
    seed: int,
    hours: float = 2,
    faults: frozenset[str] = NONE,
    policy: str = "county-hall",
    direction: Direction = Direction.IN,
) -> Report:
    return simulate(seed, hours, faults, policy, direction=direction)


def spoken(report: Report) -> set[int]:
    return {violation.oracle for violation in report.violations}


# --- the gate as it is


@pytest.mark.parametrize(
    ("seed", "hours"), [(SEEDS[0], 2), *(pytest.param(seed, 6, marks=pytest.mark.soak) for seed in SEEDS)]
)
def test_nothing_is_violated_whatever_goes_wrong(seed, hours):
    report = run(seed, hours, FAULT_KINDS)
    assert not report.violations, report.as_text()
    assert report.visits > 50 * hours


@pytest.mark.parametrize("seed", [11, pytest.param(12, marks=pytest.mark.soak)])
def test_nothing_is_violated_when_nothing_goes_wrong(seed):
    report = run(seed, 2, NONE, "township-routine")
    assert not report.violations, report.as_text()
    assert report.faults == {}
    assert "interrupted" not in report.results
    assert report.commands == {}
    assert report.epochs == 1


@pytest.mark.apart
@pytest.mark.parametrize("policy", [path.stem for path in sorted(POLICIES.glob("*.toml"))])
@HOURS
def test_nothing_is_violated_under_any_plan(policy, hours):
    report = run(5, hours, FAULT_KINDS, policy)
    assert not report.violations, report.as_text()
    assert report.visits > 30 * hours


@pytest.mark.apart
@pytest.mark.parametrize("policy", ["sealed-area", "checkpoint", "service-bureau"])
@HOURS
def test_nothing_is_violated_on_the_way_out(policy, hours):
    report = run(5, hours, FAULT_KINDS, policy, Direction.OUT)
    assert not report.violations, report.as_text()
    assert report.visits > 30 * hours
    assert report.replay.endswith(" --direction out")


def test_a_hall_that_is_closed_at_the_end_is_as_it_should_be():
    report = run(3, 1.2, NONE, "township-hall")  # a quarter past eight in the morning
    assert not report.violations, report.as_text()


@pytest.mark.soak
def test_people_documents_and_answers_of_all_kinds_come():
    reports = [run(seed, 6, FAULT_KINDS) for seed in SEEDS]
    reports += [run(5, 4, FAULT_KINDS, policy) for policy in ("sealed-area", "appointment-hall")]
    assert {word for report in reports for word in report.came} == TELLING
    assert {word for report in reports for word in report.asked} == set(Said)
    for report in reports:
        assert report.documents.keys() == {"accepted", "older", "refused", "stale"}


@pytest.mark.apart
def test_no_document_is_lost_with_the_power():
    inputs, taken = [], set()

    def observe(happened, effect, now):
        if effect is None:
            inputs.append(type(happened))
        elif isinstance(effect, Record) and effect.event.data.get("document") == "occupancy":
            taken.add(effect.event.data["version"])

    report = simulate(7, 2, POWER, "county-hall", observe=observe)
    assert sum(report.faults.values()) > 1
    assert taken >= set(range(1, 2 * 6 + 1))
    starts = [place for place, kind in enumerate(inputs) if kind is Started]
    kept = [inputs[place + 1] is DocumentReceived for place in starts[1:]]
    assert kept.count(False) <= 1  # where the power failed over the start itself


@pytest.mark.soak
def test_a_frozen_thermometer_lends_nobody_the_temperature_of_the_one_before():
    # With these seeds the part freezes on somebody, or on a warm wall, and the next person steps up.
    for seed in (5, 17, 19, 34):
        report = simulate(seed, 2, frozenset({"sensor"}), "county-hall")
        assert not report.violations, report.as_text()


@pytest.mark.soak
def test_everything_that_can_happen_does():
    reports = [run(seed, 6, FAULT_KINDS) for seed in SEEDS]
    planned = {fault.name for seed in range(20) for fault in schedule(seed, FAULT_KINDS, 10**14)}
    assert {name for report in reports for name in report.faults} == planned
    for report in reports:
        assert report.stages.keys() == {"authorised", "referred", "refused", "undecided"}
        assert report.results.keys() >= {"passed", "not_passed", "left", "interrupted"}


@pytest.mark.soak
def test_the_centre_is_obeyed_refused_and_answered():
    reports = [run(seed, 6, FAULT_KINDS) for seed in SEEDS]
    assert {word for report in reports for word in report.commands} == {"done", "refused", "failed"}
    assert all(report.epochs > 1 for report in reports)


@pytest.mark.apart
@pytest.mark.soak
def test_receipts_go_back_with_the_backup_of_the_centre_and_a_suspension_outlives_the_power():
    told, words = set(), []

    def observe(happened, effect, now):
        if isinstance(effect, Record) and "what" in effect.event.data:
            told.add(effect.event.data["what"])
        if effect is None and isinstance(happened, Started):
            words.append(happened.word)

    report = simulate(2, 6, FAULT_KINDS, "county-hall", observe=observe)
    assert not report.violations, report.as_text()
    assert {"done", "refused"} <= report.commands.keys()
    assert {"receipt_went_back", "receipt_disagreed"} <= told
    assert words[0] == CentreWord()
    assert max(word.counter for word in words) > 1


@pytest.mark.apart
def test_a_failing_disk_delays_records_and_a_returning_power_closes_visits():
    kinds = set()

    def observe(happened, effect, now):
        if isinstance(effect, Record):
            data = effect.event.data
            kinds.update([("late", data.get("late")), ("result", data.get("result"))])

    simulate(7, 2, frozenset({"ledger", "power"}), "county-hall", observe=observe)
    assert {("late", True), ("result", "interrupted"), ("result", "passed")} <= kinds


# --- the same seed, the same run


DIGEST = """
from gate.app.simulation import FAULT_KINDS, simulate
from gate.core.actor import GateActor
from gate.sim.machine import Parts
class Unstable(GateActor):
    def __init__(self, policy, trust, site, run, *more):
        super().__init__(policy, trust, site, f"{hash(run) & 0xFFFF:04x}", *more)
print(simulate(21, 0.25, FAULT_KINDS, "county-hall", PARTS).digest)
"""


def digest(parts: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    script = DIGEST.replace("PARTS", parts)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.apart
def test_oracle_9_the_hash_seed_changes_nothing_and_would_be_seen():
    assert digest("Parts()", "1") == digest("Parts()", "2")
    assert digest("Parts(actor=Unstable)", "1") != digest("Parts(actor=Unstable)", "2")


def test_another_seed_is_another_run():
    assert run(11, 0.5).digest != run(12, 0.5).digest


def test_the_report_is_json_and_names_its_replay():
    report = run(1, 0.5, FAULT_KINDS)
    said = json.loads(json.dumps(report.as_dict()))
    assert {"seed", "hours", "visits", "faults", "violations", "digest"} <= said.keys()
    kinds = ",".join(sorted(FAULT_KINDS))
    assert said["replay"] == f"gate simulate --seed 1 --hours 0.5 --faults {kinds} --policy county-hall"
    assert simulate(1, 0.5, FAULT_KINDS, "county-hall").digest == report.digest


def test_an_unknown_kind_of_fault_is_named():
    with pytest.raises(ValueError, match="no such faults: weather; there are broker, camera"):
        simulate(1, 1, frozenset({"weather"}), "county-hall")


# --- mutants: each oracle speaks, and only that one


class UnlocksFirst(Brain):
    """Drives the relay before the record is durable."""

    def step(self, happened, now):
        self._observe(happened, None, now)
        for effect in sorted(
            self.actor.handle(happened, now), key=lambda effect: not isinstance(effect, Unlock)
        ):
            self._perform(effect, now)
            self._observe(happened, effect, now)


class UnlocksTwice(Brain):
    """Drives the relay once more half a second later."""

    def step(self, happened, now):
        super().step(happened, now)
        visit = self.actor.visit
        if isinstance(happened, TimePassed) and visit is not None:
            self._perform(Unlock(300), now)


class RaisesNoAlarm(GateActor):
    def handle(self, happened, now):
        effects = super().handle(happened, now)
        return [e for e in effects if not (isinstance(happened, ArmTurned) and self._is_alarm(e))]

    def _is_alarm(self, effect):
        if not isinstance(effect, Record):
            return False
        return effect.event.kind is Kind.PASSAGE_FORCED or effect.event.data.get("result") == "forced"


def blind_to_fever(policy, *more):
    bands = (replace(policy.temperature.bands[-1], up_to_cc=None),)
    temperature = replace(policy.temperature, abnormal_cc=3950, bands=bands)
    return GateActor(replace(policy, temperature=temperature), *more)


def long_memory(policy, *more):
    return GateActor(replace(policy, timing=replace(policy.timing, evidence_age_max_s=60)), *more)


class KeepsEvidence(GateActor):
    """Lends the evidence of one visit to the next."""

    _lent = None

    def _forget(self, visit, now):
        super()._forget(visit, now)
        self._lent = visit

    def _begin(self, now):
        yield from super()._begin(now)
        if self._visit is not None and self._lent is not None:
            lent, self._lent = self._lent, None
            self._visit.evidence = replace(lent.evidence, mask=self._visit.evidence.mask)
            self._visit.code_ns, self._visit.measured_ns = now.mono_ns, now.mono_ns


class KeepsVisitOfWhoLeft(GateActor):
    """Takes whoever comes for the one who has just left."""

    def handle(self, happened, now):
        if isinstance(happened, PersonArrived) and self._visit is not None:
            self._visit.left_ns = None
        return super().handle(happened, now)


class HearsNobodyLeave(GateActor):
    """Collects evidence, and lets in, whether or not anybody stands there."""

    def handle(self, happened, now):
        return [] if isinstance(happened, PersonLeft) else super().handle(happened, now)


class SkipsNumber(SimLedger):
    def append(self, event, now, *with_it, **more):
        if self._seq == 50:
            self._seq += 1
        return super().append(event, now, *with_it, **more)


class RewritesRecord(SimLedger):
    """Changes a record once it has been delivered."""

    def append(self, event, now, *with_it, **more):
        if self._seq == 300:
            with self._db:
                self._db.execute("UPDATE records SET body = CAST(body || ' ' AS BLOB) WHERE seq = 10")
        return super().append(event, now, *with_it, **more)


class DropsRecord(SimSink):
    def _publish(self, entry):
        if entry.seq != 50:
            super()._publish(entry)


class ChangesBytes(SimSink):
    def _publish(self, entry):
        super()._publish(replace(entry, body=entry.body + b" ") if entry.seq == 50 else entry)


class NoWindow(SimSink):
    window = 1000


class GivesUp(SimSink):
    """Does not connect again after the broker was away."""

    def notify(self):
        if self._connection in (-1, self._broker.connection):
            super().notify()


class NeverWakes(GateActor):
    def next_wakeup(self):
        return None


class WakesForEver(GateActor):
    def next_wakeup(self):
        return 0 if self.visit else None


class IgnoresFire(GateActor):
    def handle(self, happened, now):
        return [] if isinstance(happened, FireAlarmChanged) else super().handle(happened, now)


class LocksInFire(GateActor):
    def handle(self, happened, now):
        effects = super().handle(happened, now)
        return [*effects, Lock()] if isinstance(happened, ArmTurned) else effects


def kind_of(document: bytes) -> str:
    return json.loads(base64.urlsafe_b64decode(document.removeprefix(b"HGD1:"))[68:])["kind"]


class HearsNoCallBacks(GateActor):
    """Reads no list of passes called back."""

    unread = "revocations"

    def handle(self, happened, now):
        if isinstance(happened, DocumentReceived) and kind_of(happened.text) == self.unread:
            return []
        return super().handle(happened, now)


class HearsNoOrders(HearsNoCallBacks):
    """Reads no order to suspend the service."""

    unread = "suspension"


class KeepsNoDocuments(GateActor):
    """Knows after a start only what comes anew."""

    def handle(self, happened, now):
        return [e for e in super().handle(happened, now) if not isinstance(e, KeepDocument)]


class CountsNothing(GateActor):
    """Remembers nobody who has passed."""

    def _known(self):
        return replace(super()._known(), uses=Uses())


class ForgetsUses(SimLedger):
    """Hands nothing back after a start."""

    def uses(self):
        return ()


class TakesAllForStaff(GateActor):
    def _decide(self, visit, now):
        visit.evidence = replace(visit.evidence, person=Person.STAFF)
        return super()._decide(visit, now)


class BelievesInGreen(GateActor):
    """Takes a red answer for a green one."""

    def handle(self, happened, now):
        if isinstance(happened, ServiceAnswered):
            happened = replace(happened, answer=replace(happened.answer, status=Status.GREEN))
        return super().handle(happened, now)


class WaitsForNoAnswer(GateActor):
    """Asks, and takes the answer for granted; so it does not know whose token it is."""

    def _ask_service(self, visit, payload, code):
        asked = list(super()._ask_service(visit, payload, code))
        if asked:
            green = answered(code, ServiceAnswer(Outcome.ANSWERED, Status.GREEN))
            visit.answers[payload] = Asked(green, answered=True)
            visit.evidence = replace(visit.evidence, code=green)
        return asked


class BelievesCopies(GateActor):
    """Takes a copy for the pass itself, and an old screen for the phone."""

    def _judge_code(self, visit, payload, happened, now):
        code = super()._judge_code(visit, payload, happened, now)
        if code.reason is Reason.REPLAY or (code.step and code.reason is Reason.EXPIRED):
            return replace(code, reason=Reason.OK, freshness=Freshness.CURRENT)
        return code


class Whitewashes(SimLedger):
    """Records a mask on everybody."""

    def append(self, event, now, *with_it, **more):
        if "evidence" in event.data:
            evidence = {**event.data["evidence"], "mask": "worn"}
            event = replace(event, data={**event.data, "evidence": evidence})
        return super().append(event, now, *with_it, **more)


class TrustsTheBroker(SimSink):
    """Takes a record for done once the broker has acknowledged it."""

    def _taken(self, place):
        super()._taken(place)
        if place[0] == self._epoch and not self._stopped:
            self._outbox.acknowledge(min((seq for _, seq in self._under_way), default=self._sent + 1) - 1)


class ObeysStrangers(GateActor):
    """Takes anybody's key for the centre's."""

    def __init__(self, *given):
        *others, keys = given
        stranger = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32).public_key()
        super().__init__(*others, (*keys, stranger.public_bytes_raw()))


class ForgetsTheWord(SimLedger):
    """Knows nothing after a start of what the centre has said."""

    def word(self):
        return CentreWord()


class ObeysInSecret(GateActor):
    """Puts no command on record."""

    def handle(self, happened, now):
        effects = super().handle(happened, now)
        return [] if isinstance(happened, CommandReceived) else effects


class ObeysTwice(GateActor):
    """Does everything once more that the centre has told it."""

    def _obey(self, order, now):
        yield from super()._obey(order, now)
        yield from super()._obey(order, now)


class DoesNotSuspend(GateActor):
    """Serves on when the centre has told it not to, and says that it does not."""

    def _decide(self, visit, now):
        word, self._orders.word = self._orders.word, CentreWord()
        decision = super()._decide(visit, now)
        self._orders.word = word
        return decision


class StaysWhatItIs(GateActor):
    """Begins no new epoch."""

    def handle(self, happened, now):
        return [e for e in super().handle(happened, now) if not isinstance(e, RenewLedger)]


class GoesOnSilently(GateActor):
    """Begins a new epoch and does not say why."""

    def handle(self, happened, now):
        effects = super().handle(happened, now)
        return [] if isinstance(happened, LedgerRenewed) else effects


FIRE = frozenset({"fire"})
COMMANDS = frozenset({"commands"})
CENTRE = frozenset({"centre"})
BROKER = frozenset({"broker"})
COUNTY, SEALED, BOOKED = "county-hall", "sealed-area", "appointment-hall"
MUTANTS = {
    "unlocks first": ({1}, Parts(brain=UnlocksFirst), 2, NONE, COUNTY),
    "unlocks twice": ({1}, Parts(brain=UnlocksTwice), 2, NONE, COUNTY),
    "raises no alarm": ({2}, Parts(actor=RaisesNoAlarm), 2, NONE, COUNTY),
    # Whoever judges by another plan than the record names is found out by it, too.
    "is blind to fever": ({3, 15}, Parts(actor=blind_to_fever), 2, NONE, COUNTY),
    "keeps evidence": ({3}, Parts(actor=KeepsEvidence), 2, NONE, COUNTY),
    "keeps the visit of who left": ({3}, Parts(actor=KeepsVisitOfWhoLeft), 4, NONE, COUNTY),
    "hears nobody leave": ({3}, Parts(actor=HearsNobodyLeave), 4, NONE, COUNTY),
    "skips a number": ({4, 8, 18}, Parts(ledger=SkipsNumber), 2, NONE, COUNTY),
    "rewrites a record": ({4, 18}, Parts(ledger=RewritesRecord), 2, NONE, COUNTY),
    # The centre never signs for these, so that they wait for ever.
    "drops a record": ({8, 18}, Parts(sink=DropsRecord), 2, NONE, COUNTY),
    "changes bytes": ({8, 18}, Parts(sink=ChangesBytes), 2, NONE, COUNTY),
    "has no window": ({5}, Parts(sink=NoWindow), 3, BROKER, COUNTY),
    # What waits for time waits for ever; whoever pushes through then has an old unlock beside them.
    "never wakes": ({2, 5}, Parts(actor=NeverWakes), 2, NONE, COUNTY),
    "wakes for ever": ({5}, Parts(actor=WakesForEver), 2, NONE, COUNTY),
    "ignores fire": ({6}, Parts(actor=IgnoresFire), 4, FIRE, COUNTY),
    "locks in a fire": ({6}, Parts(actor=LocksInFire), 4, FIRE, COUNTY),
    "gives up": ({8, 18}, Parts(sink=GivesUp), 3, BROKER, COUNTY),
    "hears no call-backs": ({10}, Parts(actor=HearsNoCallBacks), 4, NONE, COUNTY),
    # At the end the service is suspended, and these two say that they serve.
    "keeps no documents": ({8, 10, 12}, Parts(actor=KeepsNoDocuments), 6, POWER, COUNTY),
    "hears no orders": ({8, 12}, Parts(actor=HearsNoOrders), 6, NONE, COUNTY),
    "counts nothing": ({11}, Parts(actor=CountsNothing), 3, NONE, SEALED),
    "counts no appointments": ({11}, Parts(actor=CountsNothing), 3, NONE, BOOKED),
    "forgets uses": ({11}, Parts(ledger=ForgetsUses), 4, POWER, SEALED),
    "takes all for staff": ({12}, Parts(actor=TakesAllForStaff), 3, NONE, "township-hall"),
    "believes in green": ({13}, Parts(actor=BelievesInGreen), 8, NONE, COUNTY),
    "waits for no answer": ({3, 13}, Parts(actor=WaitsForNoAnswer), 4, NONE, COUNTY),
    "believes copies": ({14}, Parts(actor=BelievesCopies), 4, NONE, COUNTY),
    "whitewashes": ({15}, Parts(ledger=Whitewashes), 2, NONE, COUNTY),
    "trusts the broker": ({18}, Parts(sink=TrustsTheBroker), 4, BROKER, COUNTY),
    "obeys strangers": ({16}, Parts(actor=ObeysStrangers), 4, COMMANDS, COUNTY),
    "forgets the word": ({16}, Parts(ledger=ForgetsTheWord), 8, COMMANDS | POWER, COUNTY),
    "obeys in secret": ({1, 16, 17}, Parts(actor=ObeysInSecret), 4, COMMANDS, COUNTY),
    "obeys twice": ({17}, Parts(actor=ObeysTwice), 4, COMMANDS, COUNTY),
    "does not suspend": ({12}, Parts(actor=DoesNotSuspend), 4, COMMANDS, COUNTY),
    "stays what it is": ({8, 18}, Parts(actor=StaysWhatItIs), 6, CENTRE, COUNTY),
    "goes on silently": ({4}, Parts(actor=GoesOnSilently), 6, CENTRE, COUNTY),
}


@pytest.mark.soak
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_makes_its_oracle_speak(name):
    oracles, parts, hours, faults, policy = MUTANTS[name]
    assert not run(MUTANT_SEED, hours, faults, policy).violations
    report = simulate(MUTANT_SEED, hours, faults, policy, parts)
    assert spoken(report) == oracles, report.as_text()


@pytest.mark.soak
def test_stale_evidence_makes_oracle_3_speak(tmp_path: Path):
    policy = tmp_path / "quick.toml"
    timing = "evidence_age_max_s = 5\ncollect_s = 4\ncure_s = 4\n"
    policy.write_text(f'extends = "county-hall"\nname = "quick"\n[timing]\n{timing}', "utf-8")
    assert not run(MUTANT_SEED, 6, NONE, str(policy)).violations
    report = simulate(MUTANT_SEED, 6, NONE, str(policy), Parts(actor=long_memory))
    assert spoken(report) == {3}
    assert all("s old" in violation.seen for violation in report.violations)


# --- virtual time and faults


def test_time_jumps_in_order_and_a_sleep_lets_the_world_go_on():
    timeline, seen = Timeline(), []

    def reading():
        seen.append(("asks", timeline.monotonic()))
        timeline.sleep(2)
        seen.append(("answers", timeline.monotonic()))

    timeline.after(1, reading)
    timeline.after(2, lambda: seen.append(("walks away", timeline.monotonic())))
    timeline.after(2, lambda: seen.append(("waves", timeline.monotonic())))
    timeline.after(9, lambda: seen.append(("too late", timeline.monotonic())))
    timeline.run_until(5 * 10**9)
    assert seen == [("asks", 1), ("walks away", 2), ("waves", 2), ("answers", 3)]
    assert timeline.monotonic() == 5


def test_time_that_does_not_move_is_found():
    timeline = Timeline()

    def again():
        timeline.after(0, again)

    again()
    with pytest.raises(StandstillError, match=f"{SAME_INSTANT_MAX} actions at 0 ns"):
        timeline.run_until(1)


@pytest.mark.parametrize("kind", sorted(FAULT_KINDS))
def test_faults_of_one_kind_follow_each_other_and_end_in_time(kind):
    until_ns = 20 * 3600 * 10**9
    faults = schedule(7, frozenset({kind}), until_ns)
    assert len(faults) > 3
    assert all(fault.kind == kind and fault.begins_ns < fault.ends_ns <= until_ns for fault in faults)
    assert all(a.ends_ns <= b.begins_ns for a, b in pairwise(faults))
    assert schedule(7, FAULT_KINDS, until_ns) == sorted(
        (fault for each in FAULT_KINDS for fault in schedule(7, frozenset({each}), until_ns)),
        key=lambda fault: fault.begins_ns,
    )
