"""The rules of the plans: small functions (policy, evidence) -> Finding, and `decide`, which runs them all.

Every rule is total: whatever the evidence, it answers or stays silent, and never raises. The person on
duty may vouch for what could not be measured or verified (AL-3), never for a confirmed fever or a bad code.
"""

from collections.abc import Callable
from typing import Final

from gate.core.codes.model import CodeResult, Reason, Status
from gate.core.evidence import AttendantWord, Evidence, MaskStatus, Reading, Unmeasured
from gate.core.policy import (
    GRAVITY,
    STRICTNESS,
    Decision,
    Disposition,
    Finding,
    Policy,
    Verdict,
)

MEASUREMENTS_MAX: Final = 2

# A code that was surely not made by its issuer, or whose issuer says the person is at risk.
CODE_REFUSALS: Final = frozenset({Reason.BAD_SIGNATURE, Reason.STATUS_YELLOW, Reason.STATUS_RED})
# A code that was right once or will be: the visitor may show another one in the same visit.
CODE_CURABLE: Final = frozenset({Reason.EXPIRED, Reason.NOT_YET_VALID})


def attendant(policy: Policy, evidence: Evidence) -> Finding | None:
    """CH-6: the person on duty turns a visitor away who does not co-operate."""
    if evidence.attendant is AttendantWord.REFUSED:
        return Finding(policy.refusal_rule, Verdict.REFUSE, "refused_by_attendant")
    return None


def health_code(policy: Policy, evidence: Evidence) -> Finding | None:
    """TR-1: a code that verifies and is green; what cannot be verified goes to the person on duty."""
    requirement = policy.code
    code = evidence.code
    if code is not None and code.reason in CODE_REFUSALS:
        return Finding(requirement.rule, Verdict.REFUSE, str(code.reason))
    if not requirement.required:
        return None
    if evidence.several_codes:
        return _or_vouched(
            policy, evidence, requirement.rule, str(Reason.MULTIPLE_CODES), "code_by_attendant"
        )
    if code is not None and _is_green(code):
        return Finding(requirement.rule, Verdict.ADMIT, "code_ok")
    if code is not None and code.reason in CODE_CURABLE and evidence.attendant is not AttendantWord.CONFIRMED:
        return Finding(requirement.rule, Verdict.REFUSE, str(code.reason), curable=True)
    reason = "code_missing" if code is None else _unverified_word(code)
    return _or_vouched(policy, evidence, requirement.rule, reason, "code_by_attendant")


def temperature(policy: Policy, evidence: Evidence) -> Finding | None:
    """CH-1, CH-2, TR-2: judged on the interval; the second measurement decides."""
    if not evidence.measurements:
        if not policy.temperature.required:
            return None
        # Nobody vouches for a measurement that has not been tried: it is taken of everyone (AL-3).
        return Finding(policy.temperature.rule, Verdict.REFER, "temperature_missing")
    last = evidence.measurements[-1]
    if isinstance(last, Unmeasured):
        return _or_vouched(
            policy, evidence, policy.temperature.rule, "temperature_unmeasurable", "temperature_by_attendant"
        )
    if last.high_cc < policy.temperature.abnormal_cc:
        return Finding(policy.temperature.rule, Verdict.ADMIT, "temperature_normal")
    if len(evidence.measurements) < MEASUREMENTS_MAX:
        return Finding(policy.temperature.rule, Verdict.RETEST, "temperature_raised")
    if last.low_cc >= policy.temperature.abnormal_cc:
        return _fever(policy, last)
    return _or_vouched(
        policy, evidence, policy.temperature.rule, "temperature_uncertain", "temperature_by_attendant"
    )


def mask(policy: Policy, evidence: Evidence) -> Finding | None:
    """CO-3, TH-3: no mask, no entry; it can be put on and the visit goes on."""
    requirement = policy.mask
    if not requirement.required:
        return None
    if evidence.mask is MaskStatus.WORN:
        return Finding(requirement.rule, Verdict.ADMIT, "mask_worn")
    if evidence.mask is MaskStatus.MISSING:
        return Finding(requirement.rule, Verdict.REFUSE, "mask_missing", Disposition.WEAR_MASK, curable=True)
    return _or_vouched(policy, evidence, requirement.rule, "mask_unknown", "mask_by_attendant")


def registration(policy: Policy, evidence: Evidence) -> Finding | None:
    """TR-1: the plan's fields have been taken, by the issuer of the code or the person on duty."""
    required = set(policy.registration.fields)
    if not required:
        return None
    if required <= evidence.registered:
        return Finding(policy.registration.rule, Verdict.ADMIT, "registration_complete")
    return _or_vouched(
        policy, evidence, policy.registration.rule, "registration_missing", "registration_by_attendant"
    )


Rule = Callable[[Policy, Evidence], Finding | None]
RULES: Final[tuple[Rule, ...]] = (attendant, health_code, temperature, mask, registration)


def decide(policy: Policy, policy_sha256: str, evidence: Evidence) -> Decision:
    """Judge the evidence by every rule; the strictest finding is the verdict. Total, raises nothing.

    `policy_sha256` is `policy_hash(policy)`, handed in because it is worth computing once only.
    """
    findings = tuple(found for rule in RULES if (found := rule(policy, evidence)) is not None)
    verdict = max((found.verdict for found in findings), key=STRICTNESS.__getitem__, default=Verdict.ADMIT)
    deciding = (found.disposition for found in findings if found.verdict is verdict)
    disposition = max(deciding, key=GRAVITY.__getitem__, default=Disposition.NONE)
    return Decision(verdict, disposition, findings, policy.name, policy_sha256)


def _is_green(code: CodeResult) -> bool:
    return code.verified and code.status is Status.GREEN


def _unverified_word(code: CodeResult) -> str:
    # A verified pass that says nothing of health is as good as no statement.
    return "status_unknown" if code.verified else str(code.reason)


def _or_vouched(policy: Policy, evidence: Evidence, rule: str, reason: str, vouched: str) -> Finding:
    if evidence.attendant is AttendantWord.CONFIRMED:
        return Finding(policy.attendant_rule, Verdict.ADMIT, vouched)
    return Finding(rule, Verdict.REFER, reason)


def _fever(policy: Policy, reading: Reading) -> Finding:
    bands = policy.temperature.bands
    band = next(
        (band for band in bands if band.up_to_cc is not None and reading.value_cc <= band.up_to_cc), bands[-1]
    )
    return Finding(band.rule, Verdict.REFUSE, "temperature_fever", band.disposition)
