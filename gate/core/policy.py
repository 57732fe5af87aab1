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
RegistrationField = Literal[
    "name",
    "id_number",
    "household_place",
    "residence",
    "phone",
    "plate_number",
    "key_area_contact",
    "signature",
]


@dataclass(frozen=True, slots=True)
class CodeRequirement:
    """Health code: whether it is required (TR-1)."""

    rule: RuleId
    required: bool = True


@dataclass(frozen=True, slots=True)
class FeverBand:
    """What a confirmed temperature up to and including `up_to_cc` leads to; no limit when absent."""

    rule: RuleId
    disposition: Disposition
    up_to_cc: BodyCc | None = None


@dataclass(frozen=True, slots=True)
class TemperatureRequirement:
    """Temperature: `abnormal_cc` and above is measured again, and the second measurement decides.

    `bands` are tried in order on a second measurement that is surely abnormal; the last one has no limit.
    """

    rule: RuleId
    abnormal_cc: BodyCc
    bands: Annotated[tuple[FeverBand, ...], MinLen(1), MaxLen(4)]
    required: bool = True

    def __post_init__(self) -> None:
        """Refuse bands that overlap, go down, or leave a temperature without an answer."""
        limits = [band.up_to_cc for band in self.bands]
        finite = [limit for limit in limits[:-1] if limit is not None]
        if len(finite) != len(limits) - 1 or limits[-1] is not None:
            raise ValueError("every band but the last needs up_to_cc, and the last must have none")
        if finite != sorted(set(finite)) or (finite and finite[0] < self.abnormal_cc):
            raise ValueError("up_to_cc must rise from band to band, from abnormal_cc upwards")


@dataclass(frozen=True, slots=True)
class MaskRequirement:
    """Mask: whether it is required; a missing one can be cured within the visit (TH-3)."""

    rule: RuleId
    required: bool = True


@dataclass(frozen=True, slots=True)
class RegistrationRequirement:
    """Registration: the fields that must have been taken, by the code's issuer or the person on duty."""

    rule: RuleId
    fields: tuple[RegistrationField, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take and how long evidence is worth something, in whole seconds.

    `unlock_ms`: length of the relay pulse; the turnstile's own data sheet asks for 100 ms or more.
    Evidence outlives `collect_s` and `cure_s`; else measuring again because of age could go on for ever.
    """

    evidence_age_max_s: Seconds = 20
    collect_s: Annotated[int, Ge(3), Le(600)] = 12
    retest_wait_s: Seconds = 3
    cure_s: Seconds = 15
    staff_s: Seconds = 120
    pass_s: Seconds = 6
    farewell_s: Seconds = 5
    leave_grace_s: Seconds = 1
    unlock_ms: Annotated[int, Ge(100), Le(2000)] = 300

    def __post_init__(self) -> None:
        """Refuse evidence that is too old by the time that it is judged."""
        if self.evidence_age_max_s <= max(self.collect_s, self.cure_s):
            raise ValueError("evidence_age_max_s must be more than collect_s and cure_s")


@dataclass(frozen=True, slots=True)
class Policy:
    """One prevention plan, ready to judge with."""

    name: Annotated[str, MinLen(1), MaxLen(40)]
    version: Annotated[int, Ge(1), Le(1_000_000)]
    title_zh: Annotated[str, MinLen(1), MaxLen(80)]
    title_en: Annotated[str, MinLen(1), MaxLen(80)]
    code: CodeRequirement
    temperature: TemperatureRequirement
    mask: MaskRequirement
    registration: RegistrationRequirement
    attendant_rule: RuleId = "AL-3"
    refusal_rule: RuleId = "CH-6"
    on_ledger_failure: Literal["closed", "open"] = "closed"
    timing: Timing = field(default_factory=Timing)


def policy_hash(policy: Policy) -> str:
    """Return the SHA-256 (hex) of the policy's content, the same for every spelling of the file."""
    text = json.dumps(asdict(policy), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
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


@dataclass(frozen=True, slots=True)
class Decision:
    """The strictest of all findings, with every finding kept as a reason."""

    verdict: Verdict
    disposition: Disposition
    findings: tuple[Finding, ...]
    policy: str
    policy_hash: str

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
