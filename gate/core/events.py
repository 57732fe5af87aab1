"""The wire event, version 1: what a record says, and the exact bytes that are stored, chained and sent.

The envelope follows CloudEvents 1.0 in structured JSON form; `gate/schemas/event-1.json` describes it.
No event holds a name, an ID number, a picture or the payload of a code (AL-2).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from gate.core.codes.model import Appearance, CodeResult, LabTest
from gate.core.commands import Command
from gate.core.delivery import PreviousEpoch
from gate.core.evidence import Appointment, Evidence, HouseholdPass, Measurement, Unmeasured
from gate.core.moment import Moment
from gate.core.policy import Decision, Disposition, Finding, Verdict
from gate.core.pseudonyms import pseudonymised
from gate.core.updates import UpdateOutcome, UpdateResult

EVENT_VERSION: Final = 1
BODY_BYTES_MAX: Final = 16_384
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Made once: encoding stands between the last evidence and the turnstile. An event is a tree, hence no check.
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, separators=(",", ":"), allow_nan=False
)


class Kind(StrEnum):
    """What an event is about."""

    VISIT_DECIDED = "visit.decided"
    VISIT_CLOSED = "visit.closed"
    PASSAGE_FORCED = "passage.forced"
    GATE_STARTED = "gate.started"
    GATE_STOPPED = "gate.stopped"
    GATE_MODE = "gate.mode"
    DEVICE_FAILED = "device.failed"
    DEVICE_RECOVERED = "device.recovered"
    DEVICE_CHECKED = "device.checked"
    FIRE_ALARM = "fire.alarm"
    DOCUMENT = "document"
    ANOMALY = "anomaly"
    COMMAND = "command"
    EPOCH_STARTED = "epoch.started"
    POLICY_ADOPTED = "policy.adopted"
    UPDATE = "update"


class Stage(StrEnum):
    """The first stage of a visit's record: what was decided."""

    AUTHORISED = "authorised"
    REFERRED = "referred"
    REFUSED = "refused"
    UNDECIDED = "undecided"


class Result(StrEnum):
    """The second stage of a visit's record: how it ended."""

    PASSED = "passed"
    NOT_PASSED = "not_passed"
    FORCED = "forced"
    LEFT = "left"
    INTERRUPTED = "interrupted"


class Outcome(StrEnum):
    """What became of a command: `refused` was not for this gate to obey now, `failed` could not be obeyed."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact to record; `abnormal` marks what the plans want reported at once (TR-2, CO-4).

    `utc_offset_min`: local time, in minutes east of UTC, by which its pseudonyms have their day.
    """

    kind: Kind
    data: dict[str, Any]
    abnormal: bool = False
    utc_offset_min: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Which ledger an event belongs to; `boot_id` tells one monotonic clock from the next."""

    site: str
    gate: str
    epoch: str
    boot_id: str


def encode(event: Event, origin: Origin, seq: int, now: Moment, site_key: bytes | None = None) -> bytes:
    """Return the bytes that are stored, chained and sent; the same arguments give the same bytes.

    With the key of the site, what refers to a person or a pass becomes the pseudonym of the local day that
    the event states, however long it has waited to be written, and times of other days are told only as far
    as a plan can ask for them (`gate.core.pseudonyms`). Without one all stands as it is: for a ledger of
    people who are not there.
    """
    time = (_UNIX_EPOCH + timedelta(milliseconds=now.wall_ms)).isoformat(timespec="milliseconds")
    data: Mapping[str, Any] = event.data
    if site_key is not None:
        data = pseudonymised(data, site_key, now.wall_ms, event.utc_offset_min)
    envelope = {
        "specversion": "1.0",
        "id": f"{origin.gate}/{origin.epoch}/{seq}",
        "source": f"hg/1/{origin.site}/{origin.gate}",
        "type": f"hg.{event.kind}.v{EVENT_VERSION}",
        "time": time,
        "datacontenttype": "application/json",
        "dataschema": f"urn:health-gate:event:{EVENT_VERSION}",
        "data": {
            "site": origin.site,
            "gate": origin.gate,
            "epoch": origin.epoch,
            "seq": seq,
            "clock": {"mono_ns": now.mono_ns, "boot_id": origin.boot_id, "trusted": now.clock_trusted},
            "abnormal": event.abnormal,
            **data,
        },
    }
    text = _ENCODER.encode(envelope)
    return text.encode(errors="replace")  # what is no text, as in a file name of stray bytes, becomes "?"


def visit_decided(
    visit: str,
    stage: Stage,
    decision: Decision,
    evidence: Evidence,
    steps: tuple[Decision, ...],
    duration_ms: int,
) -> Event:
    """Build the first stage of a visit's record; `steps` are the decisions on the way, oldest first."""
    data = {
        "visit": visit,
        "stage": str(stage),
        "verdict": str(decision.verdict),
        "disposition": str(decision.disposition),
        "findings": [_finding(finding) for finding in decision.findings],
        "policy": decision.policy,
        "policy_hash": decision.policy_hash,
        "evidence": {**_evidence(evidence), "band": str(decision.band)},
        "steps": [
            {"verdict": str(step.verdict), "findings": [_finding(finding) for finding in step.against]}
            for step in steps
        ],
        "duration_ms": duration_ms,
    }
    if decision.tasks:
        data["tasks"] = list(decision.tasks)
    # Who walks away from a raised temperature is reported like one who is turned away (BU-3).
    against = decision.verdict is Verdict.REFUSE or decision.retest_wanted
    fever = any(finding.reason in {"temperature_fever", "fever_seen_out"} for finding in decision.findings)
    abnormal = fever or (against and stage in {Stage.REFUSED, Stage.UNDECIDED})
    return Event(Kind.VISIT_DECIDED, data, abnormal, decision.utc_offset_min)


def visit_closed(visit: str, result: Result, duration_ms: int | None) -> Event:
    """Build the second stage of a visit's record; no duration when an earlier run began it."""
    data = {"visit": visit, "result": str(result), "duration_ms": duration_ms}
    return Event(Kind.VISIT_CLOSED, data, abnormal=result is Result.FORCED)


def passage_forced(visit: str | None = None) -> Event:
    """Build the record of a passage that nobody had authorised."""
    return Event(Kind.PASSAGE_FORCED, {"visit": visit}, abnormal=True)


def gate_started(version: str, run: str, policy: str, policy_sha256: str) -> Event:
    """Build the record of a start of the service."""
    return Event(
        Kind.GATE_STARTED, {"version": version, "run": run, "policy": policy, "policy_hash": policy_sha256}
    )


def gate_stopped() -> Event:
    """Build the record of an orderly stop."""
    return Event(Kind.GATE_STOPPED, {})


def gate_mode(mode: str, previous: str) -> Event:
    """Build the record of a change of mode."""
    return Event(Kind.GATE_MODE, {"mode": mode, "previous": previous})


def device_failed(device: str, problem: str) -> Event:
    """Build the record of a part that failed."""
    return Event(Kind.DEVICE_FAILED, {"device": device, "problem": problem[:200]}, abnormal=True)


def device_recovered(device: str) -> Event:
    """Build the record of a part that works again."""
    return Event(Kind.DEVICE_RECOVERED, {"device": device})


def device_checked(device: str, facts: Mapping[str, int | str]) -> Event:
    """Build the record of a part that has looked at itself and found nothing wrong.

    `facts` are what it has found: small integers, and words of the part in hexadecimal digits.
    """
    return Event(Kind.DEVICE_CHECKED, {"device": device, "ok": True, "facts": dict(facts)})


def fire_alarm(*, active: bool, passages: int) -> Event:
    """Build the record of the fire contact opening or closing; `passages` were counted while it was open."""
    return Event(Kind.FIRE_ALARM, {"active": active, "passages": passages}, abnormal=active)


def document(kind: str, issuer: str, version: int, outcome: str) -> Event:
    """Build the record of a document of the day that was taken, refused, or has gone out of its time."""
    data = {"document": kind, "issuer": issuer, "version": version, "outcome": outcome}
    return Event(Kind.DOCUMENT, data, abnormal=outcome != "accepted")


def command(
    told: Command | None, outcome: Outcome, reason: str = "", *, visit: str = "", left_out: int = 0
) -> Event:
    """Build the answer to a command, None for a message that nobody known has signed.

    `visit` names the passage that it allows: this record is its authorisation. `left_out` are messages that
    have no record of their own.
    """
    data: dict[str, Any] = {
        "id": told and told.id,
        "command": told and str(told.name),
        "counter": told and told.counter,
        "outcome": str(outcome),
    }
    more = {"reason": reason, "visit": visit, "left_out": left_out}
    data |= {name: value for name, value in more.items() if value}
    return Event(Kind.COMMAND, data, abnormal=outcome is not Outcome.DONE)


def epoch_started(previous: PreviousEpoch) -> Event:
    """Build the first record of a new epoch: why it has begun, and how far the one before it reached."""
    before = {"epoch": previous.epoch, "size": previous.size, "hash": previous.hash}
    data = {"reason": previous.reason[:200], "previous": before if previous.epoch else None}
    return Event(Kind.EPOCH_STARTED, data, abnormal=True)


def policy_adopted(policy: str, policy_sha256: str, command_id: str) -> Event:
    """Build the record of a policy that is followed from now on because the centre has sent it."""
    data = {"policy": policy, "policy_hash": policy_sha256, "command": command_id}
    return Event(Kind.POLICY_ADOPTED, data)


def update(result: UpdateResult) -> Event:
    """Build the record of what has become of an update that the centre has asked for."""
    data = {
        "command": result.command,
        "version": result.version,
        "previous": result.previous,
        "outcome": str(result.outcome),
        "detail": result.detail[:200],
    }
    unwelcome = result.outcome in {UpdateOutcome.ROLLED_BACK, UpdateOutcome.REFUSED}
    return Event(Kind.UPDATE, data, abnormal=unwelcome)


def anomaly(what: str, detail: str) -> Event:
    """Build the record of something that should not have happened."""
    return Event(Kind.ANOMALY, {"what": what, "detail": detail[:200]}, abnormal=True)


def with_sealed(event: Event, sealed: bytes | None) -> Event:
    """Return the event as it declares what is kept beside it, sealed for the centre; None: nothing is."""
    if sealed is None:
        return event
    return replace(event, data={**event.data, "sealed": sha256(sealed).hexdigest()})


def _finding(finding: Finding) -> dict[str, str]:
    found = {"rule": finding.rule, "verdict": str(finding.verdict), "reason": finding.reason}
    if finding.disposition is not Disposition.NONE:
        found["disposition"] = str(finding.disposition)
    return found


def _evidence(evidence: Evidence) -> dict[str, Any]:
    known = {
        "temperature": [_measurement(measurement) for measurement in evidence.measurements],
        "code": None if evidence.code is None else _code(evidence.code),
        "several_codes": evidence.several_codes,
        "mask": str(evidence.mask),
        "registered": sorted(evidence.registered),
        "attendant": str(evidence.attendant),
    }
    return known | {name: value for name, value in _more(evidence).items() if value not in _NOTHING}


# What most visits have nothing of is left out. False is said: an ID card that was not there is a fact.
_NOTHING: Final[tuple[object, ...]] = (None, [], "unknown", "visitor", "in")


def _more(evidence: Evidence) -> dict[str, Any]:
    slot, held, test = evidence.appointment, evidence.household_pass, evidence.test
    return {
        "by_hand": sorted(evidence.by_hand),
        "person": str(evidence.person),
        "direction": str(evidence.direction),
        "at_s": evidence.at_s,  # the event's own time is that of the writing, which may be later
        "travel": str(evidence.travel),
        "symptoms": sorted(evidence.symptoms),
        "id_checked": evidence.id_checked,
        "appointment": slot and _plain(slot),
        "test": test and _plain(test),
        "origin": str(evidence.origin),
        "household_pass": held and _plain(held),
        "occupancy": evidence.occupancy,
        "suspended": evidence.suspended or None,
        "last_measured_s": evidence.last_measured_s,
        "stale": sorted(evidence.stale),
    }


def _plain(part: Appointment | HouseholdPass | LabTest) -> dict[str, Any]:
    return {name.name: getattr(part, name.name) for name in fields(part)}


def _measurement(measurement: Measurement) -> dict[str, Any]:
    if isinstance(measurement, Unmeasured):
        return {"unmeasured": measurement.reason, "detail": measurement.detail[:200]}
    return {
        "value_cc": measurement.value_cc,
        "low_cc": measurement.low_cc,
        "high_cc": measurement.high_cc,
        "samples_cc": measurement.samples_cc,
        "spread_cc": measurement.spread_cc,
        "ambient_cc": measurement.ambient_cc,
        "corrections": dict(measurement.corrections),
    }


def _code(code: CodeResult) -> dict[str, Any]:
    seen = None if code.appearance is Appearance.NONE else str(code.appearance)
    more = {"region": code.region, "pass_id": code.pass_id, "step": code.step, "appearance": seen}
    return {name: value for name, value in more.items() if value is not None} | {
        "format": str(code.format),
        "reason": str(code.reason),
        "status": str(code.status),
        "authenticity": str(code.authenticity),
        "freshness": str(code.freshness),
        "credential": str(code.credential),
        "issuer": code.issuer,
        "kid": code.kid,
        "subject": code.subject_ref,
        "valid_until": code.valid_until,
    }
