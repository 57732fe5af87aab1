"""What may still turn in a visit: by time alone, by a code that is to be shown, by the visitor's own hand."""

from dataclasses import replace
from typing import Final

from gate.core.policy import Decision, Verdict
from gate.core.session import Visit

# Findings that time can still turn for the better: the visitor has a phone to take out, a mask to be seen.
_IMPROVABLE: Final = frozenset(
    {
        "code_missing",
        "multiple_codes",
        "not_checkable",
        "unsupported",
        "unreadable",
        "malformed",
        "too_large",
        "mask_unknown",
        "temperature_missing",
        "round_overdue",
    }
)
# Refusals that a code can still turn: until it is shown nobody knows who stands there.
_AWAITS_CODE: Final = frozenset(
    {"closed_hours", "suspended", "not_resident", "appointment_missing", "test_missing", "pass_missing"}
)


def may_improve(decision: Decision) -> bool:
    """Say whether waiting may turn what was decided."""
    return any(finding.reason in _IMPROVABLE for finding in decision.deciding)


def awaits_code(decision: Decision, visit: Visit) -> bool:
    """Say whether a refusal may turn: whoever it is has not yet shown a code that tells who they are."""
    code = visit.evidence.code
    told = code is not None and not (visit.asking or code.reason in _IMPROVABLE)
    if told or decision.verdict is not Verdict.REFUSE:
        return False
    return all(finding.curable or finding.reason in _AWAITS_CODE for finding in decision.deciding)


def to_be_cured(decision: Decision) -> Decision:
    """Leave of a refusal what the visitor can put right while a code is waited for."""
    curable = [found for found in decision.deciding if found.curable and found.reason not in _AWAITS_CODE]
    return replace(decision, findings=tuple(curable))
