"""The simulated gate: nothing that must always hold is violated, and each oracle speaks when it should.

Every mutant is a gate broken on purpose; it has to make exactly its own oracle speak, and the same run with
the gate as it is has to be silent.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from gate.app.simulation import FAULT_KINDS, Report, simulate
from gate.core.actor import GateActor
from gate.core.effects import Lock, Record, Unlock
from gate.core.events import Kind
from gate.core.inputs import ArmTurned, FireAlarmChanged, PersonArrived, PersonLeft, TimePassed
from gate.perform import Brain
from gate.sim.delivery import SimSink
from gate.sim.faults import schedule
from gate.sim.machine import Parts, SimLedger
from gate.sim.timeline import SAME_INSTANT_MAX, StandstillError, Timeline

SEEDS = (1, 2, 3, 4)
MUTANT_SEED = 7
NONE = frozenset()


@cache
def run(seed: int, hours: float = 2, faults: frozenset[str] = NONE, policy: str = "county-hall") -> Report:
    return simulate(seed, hours, faults, policy)


def spoken(report: Report) -> set[int]:
    return {violation.oracle for violation in report.violations}


# --- the gate as it is


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_violated_whatever_goes_wrong(seed):
    report = run(seed, 6, FAULT_KINDS)
    assert not report.violations, report.as_text()
    assert report.visits > 300


@pytest.mark.parametrize("seed", [11, 12])
def test_nothing_is_violated_when_nothing_goes_wrong(seed):
    report = run(seed, 2, NONE, "township-routine")
    assert not report.violations, report.as_text()
    assert report.faults == {}
    assert "interrupted" not in report.results


def test_a_frozen_thermometer_lends_nobody_the_temperature_of_the_one_before():
    # With these seeds the part freezes on somebody, or on a warm wall, and the next person steps up.
    for seed in (5, 17, 19, 34):
        report = simulate(seed, 2, frozenset({"sensor"}), "county-hall")
        assert not report.violations, report.as_text()


def test_everything_that_can_happen_does():
    reports = [run(seed, 6, FAULT_KINDS) for seed in SEEDS]
    planned = {fault.name for seed in range(20) for fault in schedule(seed, FAULT_KINDS, 10**14)}
    assert {name for report in reports for name in report.faults} == planned
    for report in reports:
        assert report.stages.keys() == {"authorised", "referred", "refused", "undecided"}
        assert report.results.keys() >= {"passed", "not_passed", "left", "interrupted"}


def test_a_failing_disk_delays_records_and_a_returning_power_closes_visits():
    kinds = set()

    def observe(happened, effect, now):
        if isinstance(effect, Record):
            data = effect.event.data
            kinds.update([("late", data.get("late")), ("result", data.get("result"))])

    simulate(7, 4, frozenset({"ledger", "power"}), "county-hall", observe=observe)
    assert {("late", True), ("result", "interrupted"), ("result", "passed")} <= kinds


def test_much_faster_than_real_time():
    report = run(1, 6, FAULT_KINDS)
    assert report.hours * 3600 / report.real_s > 3600


# --- the same seed, the same run


DIGEST = """
from gate.app.simulation import FAULT_KINDS, simulate
from gate.core.actor import GateActor
from gate.sim.machine import Parts
class Unstable(GateActor):
    def __init__(self, policy, trust, site, run):
        super().__init__(policy, trust, site, f"{hash(run) & 0xFFFF:04x}")
print(simulate(21, 1, FAULT_KINDS, "county-hall", PARTS).digest)
"""


def digest(parts: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    script = DIGEST.replace("PARTS", parts)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_oracle_9_the_hash_seed_changes_nothing_and_would_be_seen():
    assert digest("Parts()", "1") == digest("Parts()", "2")
    assert digest("Parts(actor=Unstable)", "1") != digest("Parts(actor=Unstable)", "2")


def test_another_seed_is_another_run():
    assert run(11).digest != run(12).digest


def test_the_report_is_json_and_names_its_replay():
    report = run(1, 2, FAULT_KINDS)
    said = json.loads(json.dumps(report.as_dict()))
    assert {"seed", "hours", "visits", "faults", "violations", "digest"} <= said.keys()
    kinds = ",".join(sorted(FAULT_KINDS))
    assert said["replay"] == f"gate simulate --seed 1 --hours 2 --faults {kinds} --policy county-hall"
    assert simulate(1, 2, FAULT_KINDS, "county-hall").digest == report.digest


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


def blind_to_fever(policy, trust, site, run):
    bands = (replace(policy.temperature.bands[-1], up_to_cc=None),)
    temperature = replace(policy.temperature, abnormal_cc=3950, bands=bands)
    return GateActor(replace(policy, temperature=temperature), trust, site, run)


def long_memory(policy, trust, site, run):
    return GateActor(replace(policy, timing=replace(policy.timing, evidence_age_max_s=60)), trust, site, run)


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
    def append(self, event, now, use=None):
        if self._seq == 50:
            self._seq += 1
        return super().append(event, now, use)


class RewritesRecord(SimLedger):
    """Changes a record once it has been delivered."""

    def append(self, event, now, use=None):
        if self._seq == 300:
            with self._db:
                self._db.execute("UPDATE records SET body = CAST(body || ' ' AS BLOB) WHERE seq = 10")
        return super().append(event, now, use)


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


FIRE = frozenset({"fire"})
BROKER = frozenset({"broker"})
MUTANTS = {
    "unlocks first": ({1}, Parts(brain=UnlocksFirst), 2, NONE),
    "unlocks twice": ({1}, Parts(brain=UnlocksTwice), 2, NONE),
    "raises no alarm": ({2}, Parts(actor=RaisesNoAlarm), 2, NONE),
    "is blind to fever": ({3}, Parts(actor=blind_to_fever), 2, NONE),
    "keeps evidence": ({3}, Parts(actor=KeepsEvidence), 2, NONE),
    "keeps the visit of who left": ({3}, Parts(actor=KeepsVisitOfWhoLeft), 4, NONE),
    "hears nobody leave": ({3}, Parts(actor=HearsNobodyLeave), 4, NONE),
    "skips a number": ({4}, Parts(ledger=SkipsNumber), 2, NONE),
    "rewrites a record": ({4}, Parts(ledger=RewritesRecord), 2, NONE),
    "drops a record": ({4}, Parts(sink=DropsRecord), 2, NONE),
    "changes bytes": ({4}, Parts(sink=ChangesBytes), 2, NONE),
    "has no window": ({5}, Parts(sink=NoWindow), 3, BROKER),
    # What waits for time waits for ever; whoever pushes through then has an old unlock beside them.
    "never wakes": ({2, 5}, Parts(actor=NeverWakes), 2, NONE),
    "wakes for ever": ({5}, Parts(actor=WakesForEver), 2, NONE),
    "ignores fire": ({6}, Parts(actor=IgnoresFire), 4, FIRE),
    "locks in a fire": ({6}, Parts(actor=LocksInFire), 4, FIRE),
    "gives up": ({8}, Parts(sink=GivesUp), 3, BROKER),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_makes_its_oracle_speak(name):
    oracles, parts, hours, faults = MUTANTS[name]
    assert not run(MUTANT_SEED, hours, faults).violations
    report = simulate(MUTANT_SEED, hours, faults, "county-hall", parts)
    assert spoken(report) == oracles, report.as_text()


def test_stale_evidence_makes_oracle_3_speak(tmp_path: Path):
    policy = tmp_path / "quick.toml"
    timing = "evidence_age_max_s = 4\ncollect_s = 3\ncure_s = 3\n"
    policy.write_text(f'extends = "county-hall"\nname = "quick"\n[timing]\n{timing}', "utf-8")
    assert not run(MUTANT_SEED, 3, NONE, str(policy)).violations
    report = simulate(MUTANT_SEED, 3, NONE, str(policy), Parts(actor=long_memory))
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
