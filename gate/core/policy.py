"""A prevention plan as data: what is required, where the limits lie, and which plan rule says so.

A policy is read from one TOML file (`gate/policies`), checked field by field like the configuration, and
named with its hash in every decision, so that a stored event can be judged again with the same answer.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from gate.core.codes.model import RegistrationField
from gate.core.evidence import Direction, Person, Symptom


class Verdict(StrEnum):
    """What happens to the visitor, mildest first."""

    ADMIT = "admit"
    RETEST = "retest"
    REFER = "refer"
    REFUSE = "refuse"


class Disposition(StrEnum):
    """Where a refused visitor goes next, mildest first."""

    NONE = "none"
    WEAR_MASK = "wear_mask"
    OBSERVE_AT_HOME = "observe_at_home"
    FEVER_CLINIC = "fever_clinic"
    ISOLATE_AND_CALL_120 = "isolate_and_call_120"


STRICTNESS: Final = {verdict: rank for rank, verdict in enumerate(Verdict)}
GRAVITY: Final = {disposition: rank for rank, disposition in enumerate(Disposition)}

RuleId = Annotated[str, MinLen(1), MaxLen(16)]
BodyCc = Annotated[int, Ge(3500), Le(4000)]
Seconds = Annotated[int, Ge(1), Le(600)]
Persons = Annotated[tuple[Person, ...], MinLen(1), MaxLen(4)]
Directions = Annotated[tuple[Direction, ...], MinLen(1), MaxLen(2)]
MinuteOfDay = Annotated[int, Ge(0), Le(1440)]

EVERYBODY: Final = tuple(Person)
GUESTS: Final = (Person.VISITOR, Person.SUPPLY)
IN_ONLY: Final = (Direction.IN,)


@dataclass(frozen=True, slots=True)
class CodeRequirement:
    """Health code: whether it is required on the way in (TR-1), and the rule for an abnormal one (TR-2).

    `real_name` are the fields that make a person known where the code cannot be verified.
    """

    rule: RuleId
    abnormal_rule: RuleId = "TR-2"
    required: bool = True
    real_name: tuple[RegistrationField, ...] = ("name", "id_number")


@dataclass(frozen=True, slots=True)
class TravelRequirement:
    """Travel code: whether it is required on the way in (TR-1, AH-5)."""

    rule: RuleId
    required: bool = True


@dataclass(frozen=True, slots=True)
class RiskAreaRequirement:
    """Who comes from a risk area enters with a negative test no older than this (TR-3), or never (AH-6).

    Who is known to come from elsewhere is free to enter by `elsewhere_rule`.
    """

    rule: RuleId
    enters_tested: bool = True
    elsewhere_rule: RuleId = "TR-4"
    test_age_max_h: Annotated[int, Ge(1), Le(24 * 21)] = 168


@dataclass(frozen=True, slots=True)
class LabTestRequirement:
    """A negative nucleic-acid test no older than this, for these people on the way in (SA-4)."""

    rule: RuleId
    age_max_h: Annotated[int, Ge(1), Le(24 * 21)]
    persons: Persons


@dataclass(frozen=True, slots=True)
class FeverBand:
    """What a confirmed temperature up to and including `up_to_cc` leads to; no limit when absent.

    `symptom_free`: only for people without any other symptom (CH-1).
    """

    rule: RuleId
    disposition: Disposition
    up_to_cc: BodyCc | None = None
    symptom_free: bool = False


@dataclass(frozen=True, slots=True)
class TemperatureRequirement:
    """Temperature: `abnormal_cc` and above is measured again, and the second measurement decides.

    `above`: abnormal begins above `abnormal_cc`, not with it (AH-4).
    `bands` are tried in order on a second measurement that is surely abnormal; the last one has no limit.
    """

    rule: RuleId
    abnormal_cc: BodyCc
    bands: Annotated[tuple[FeverBand, ...], MinLen(1), MaxLen(4)]
    above: bool = False
    required: bool = True
    directions: Directions = IN_ONLY

    def is_normal(self, high_cc: float) -> bool:
        """Say whether a temperature that is at most this is surely normal."""
        return high_cc < self.abnormal_cc or (self.above and high_cc == self.abnormal_cc)

    def is_abnormal(self, low_cc: float) -> bool:
        """Say whether a temperature that is at least this is surely abnormal."""
        return not self.is_normal(low_cc)

    def __post_init__(self) -> None:
        """Refuse bands that overlap, go down, or leave a temperature without an answer."""
        limits = [band.up_to_cc for band in self.bands]
        finite = [limit for limit in limits[:-1] if limit is not None]
        if len(finite) != len(limits) - 1 or limits[-1] is not None or self.bands[-1].symptom_free:
            raise ValueError("every band but the last needs up_to_cc, and the last must take everything")
        if finite != sorted(set(finite)) or (finite and finite[0] < self.abnormal_cc):
            raise ValueError("up_to_cc must rise from band to band, from abnormal_cc upwards")


@dataclass(frozen=True, slots=True)
class StaffRequirement:
    """Staff are measured in these directions, and again after a time (CO-1, TH-5, SB-3)."""

    rule: RuleId
    directions: Directions = (Direction.IN, Direction.OUT)
    measured_every_s: Annotated[int, Ge(600), Le(86_400)] | None = None


@dataclass(frozen=True, slots=True)
class MaskRequirement:
    """Mask: whether it is required; a missing one can be cured within the visit (TH-3)."""

    rule: RuleId
    required: bool = True
    directions: Directions = IN_ONLY


@dataclass(frozen=True, slots=True)
class SymptomRequirement:
    """Symptoms with which nobody enters, and where those people go; any other is for staff to judge."""

    rule: RuleId
    refused: tuple[Symptom, ...] = ()
    disposition: Disposition = Disposition.NONE


@dataclass(frozen=True, slots=True)
class RegistrationRequirement:
    """Registration: the fields that must have been taken, by the code's issuer or the person on duty."""

    rule: RuleId
    fields: tuple[RegistrationField, ...] = ()
    persons: Persons = GUESTS
    directions: Directions = IN_ONLY


@dataclass(frozen=True, slots=True)
class IdRequirement:
    """The original ID card is checked, by a reader or the person on duty (AH-2)."""

    rule: RuleId
    persons: Persons = GUESTS


@dataclass(frozen=True, slots=True)
class AppointmentRequirement:
    """No appointment, no entry: inside its slot, used once, booked in time (AH-1).

    `booked_by_min`: the latest minute of the day before, local time.
    """

    rule: RuleId
    booked_by_min: MinuteOfDay = 1440


@dataclass(frozen=True, slots=True)
class ResidentsRequirement:
    """Residents only; others as an exception that the person on duty makes, with all of this (SA-2)."""

    rule: RuleId
    fields: tuple[RegistrationField, ...] = ("name", "id_number")


@dataclass(frozen=True, slots=True)
class PassRequirement:
    """Household passes count in their hours and as often as they say; suppliers need one to enter (SA-5)."""

    rule: RuleId


@dataclass(frozen=True, slots=True)
class HoursRequirement:
    """Opening hours for visitors in minutes of the local day, the last one excluded (TH-6)."""

    rule: RuleId
    opens_min: MinuteOfDay
    closes_min: MinuteOfDay

    def __post_init__(self) -> None:
        """Refuse hours that never are."""
        if self.opens_min >= self.closes_min:
            raise ValueError("closes_min must be later than opens_min")


@dataclass(frozen=True, slots=True)
class OccupancyRequirement:
    """With this many people inside, one more needs approval (TR-5)."""

    rule: RuleId
    people_max: Annotated[int, Ge(1), Le(100_000)]


@dataclass(frozen=True, slots=True)
class Task:
    """What a plan asks of people and not of the gate: said on the record of a visit, or a standing duty.

    `after`: reasons of findings that call for it; none for a standing duty.
    """

    rule: RuleId
    zh: Annotated[str, MinLen(1), MaxLen(120)]
    en: Annotated[str, MinLen(1), MaxLen(200)]
    after: tuple[Annotated[str, MinLen(1), MaxLen(40)], ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take and how long evidence is worth something, in whole seconds.

    `unlock_ms`: length of the relay pulse; the turnstile's own data sheet asks for 100 ms or more.
    Evidence outlives `collect_s` and `cure_s`; else measuring again because of age could go on for ever.
    `passback_s`: who shows a pass on which somebody has just gone through is looked at by the person on duty.
    """

    evidence_age_max_s: Seconds = 20
    collect_s: Annotated[int, Ge(3), Le(600)] = 12
    retest_wait_s: Seconds = 3
    cure_s: Seconds = 15
    staff_s: Seconds = 120
    pass_s: Seconds = 6
    farewell_s: Seconds = 5
    leave_grace_s: Seconds = 1
    passback_s: Annotated[int, Ge(0), Le(86_400)] = 60
    unlock_ms: Annotated[int, Ge(100), Le(2000)] = 300

    def __post_init__(self) -> None:
        """Refuse evidence that is too old by the time that it is judged."""
        if self.evidence_age_max_s <= max(self.collect_s, self.cure_s):
            raise ValueError("evidence_age_max_s must be more than collect_s and cure_s")


@dataclass(frozen=True, slots=True)
class UpdateWindow:
    """The quiet hours, in minutes of the local day, the last one excluded; they may go past midnight.

    Only then another version of the software is installed: the gate is away for some seconds.
    """

    begins_min: MinuteOfDay = 120
    ends_min: MinuteOfDay = 240

    def __post_init__(self) -> None:
        """Refuse hours that never are."""
        if self.begins_min == self.ends_min:
            raise ValueError("ends_min must be another than begins_min")

    def contains(self, minute: int) -> bool:
        """Tell whether this minute of the local day (0 to 1439) is one of them."""
        if self.begins_min < self.ends_min:
            return self.begins_min <= minute < self.ends_min
        return minute >= self.begins_min or minute < self.ends_min

    def __str__(self) -> str:
        return " to ".join(f"{at // 60:02d}:{at % 60:02d}" for at in (self.begins_min, self.ends_min))


@dataclass(frozen=True, slots=True)
class Policy:
    """One prevention plan, ready to judge with."""

    name: Annotated[str, MinLen(1), MaxLen(40)]
    version: Annotated[int, Ge(1), Le(1_000_000)]
    title_zh: Annotated[str, MinLen(1), MaxLen(80)]
    title_en: Annotated[str, MinLen(1), MaxLen(80)]
    code: CodeRequirement
    travel: TravelRequirement
    risk_area: RiskAreaRequirement
    temperature: TemperatureRequirement
    mask: MaskRequirement
    symptoms: SymptomRequirement
    registration: RegistrationRequirement
    occupancy: OccupancyRequirement
    test: LabTestRequirement | None = None
    staff: StaffRequirement | None = None
    id_check: IdRequirement | None = None
    appointment: AppointmentRequirement | None = None
    residents: ResidentsRequirement | None = None
    household_pass: PassRequirement | None = None
    hours: HoursRequirement | None = None
    tasks: Annotated[tuple[Task, ...], MaxLen(32)] = ()
    attendant_rule: RuleId = "AL-3"
    refusal_rule: RuleId = "CH-6"
    suspension_rule: RuleId = "CO-7"
    utc_offset_min: Annotated[int, Ge(-720), Le(840)] = 480
    on_ledger_failure: Literal["closed", "open"] = "closed"
    timing: Timing = field(default_factory=Timing)
    update_window: UpdateWindow = field(default_factory=UpdateWindow)


def policy_hash(policy: Policy) -> str:
    """Return the SHA-256 (hex) of the policy's content, the same for every spelling of the file.

    And the same in every version of the software: what came later counts where a plan says it.
    """
    content = asdict(policy)
    if policy.update_window == UpdateWindow():
        del content["update_window"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of the evidence; `rule` is the plan's rule id, `reason` one closed word.

    `curable`: the visitor can put it right now and go on in the same visit.
    """

    rule: str
    verdict: Verdict
    reason: str
    disposition: Disposition = Disposition.NONE
    curable: bool = False


class Band(StrEnum):
    """What the plan's limits make of a temperature, for whoever does not know them."""

    NORMAL = "normal"
    RAISED = "raised"
    FEVER = "fever"
    UNMEASURED = "unmeasured"


@dataclass(frozen=True, slots=True)
class Decision:
    """The strictest of all findings, with every finding kept as a reason.

    `tasks` are the rules of the plan's tasks that these findings call for; `band` is that of the temperature;
    `utc_offset_min` is the plan's local time.
    """

    verdict: Verdict
    disposition: Disposition
    findings: tuple[Finding, ...]
    policy: str
    policy_hash: str
    tasks: tuple[str, ...] = ()
    band: Band = Band.UNMEASURED
    utc_offset_min: int = 0

    @property
    def deciding(self) -> tuple[Finding, ...]:
        """The findings that are as strict as the verdict."""
        return tuple(finding for finding in self.findings if finding.verdict is self.verdict)

    @property
    def against(self) -> tuple[Finding, ...]:
        """The findings that stand against a pass."""
        return tuple(finding for finding in self.findings if finding.verdict is not Verdict.ADMIT)

    @property
    def curable(self) -> bool:
        """True when everything that stands against a pass can be put right in this visit."""
        return self.verdict is Verdict.REFUSE and all(finding.curable for finding in self.deciding)

    @property
    def retest_wanted(self) -> bool:
        """True when a second measurement has to be made before anything else is settled."""
        return any(finding.verdict is Verdict.RETEST for finding in self.findings)
