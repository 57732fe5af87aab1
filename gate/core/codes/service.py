"""What an issuer's own verify service says of a token, in our words, and what that makes of a code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from gate.core.codes.china import VISIBLE
from gate.core.codes.model import (
    STATUS_REASONS,
    Assurance,
    Authenticity,
    CodeResult,
    Credential,
    Format,
    Freshness,
    LabTest,
    Reason,
    Status,
    Travel,
)


class Outcome(StrEnum):
    """How asking a verify service went."""

    ANSWERED = "answered"
    NOT_FOUND = "not_found"
    EXPIRED = "expired"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """What a verify service has said of one token.

    Only an `answered` one states anything. `registered` are the fields that the issuer has of the person
    (`model.REGISTRATION_FIELDS`), `subject_ref` is a pseudonym made with the site's key: names and ID numbers
    end in the adapter. `problems` are sentences for the person who maintains the gate.
    """

    outcome: Outcome
    status: Status = Status.UNKNOWN
    travel: Travel = Travel.UNKNOWN
    subject_ref: str | None = None
    test: LabTest | None = None
    problems: tuple[str, ...] = ()
    registered: frozenset[str] = frozenset()


# What a service can add to: anything else against a token was seen in its own text, and stands.
_OPEN: Final = frozenset({Reason.NOT_CHECKABLE, Reason.CLOCK_UNTRUSTED})

_UNREACHED: Final = {
    Outcome.TIMEOUT: Reason.SERVICE_TIMEOUT,
    Outcome.UNREACHABLE: Reason.SERVICE_ERROR,
    Outcome.ERROR: Reason.SERVICE_ERROR,
}


def service_token(payload: bytes, result: CodeResult) -> bytes | None:
    """Return what to ask the service of `result.region` about, None where no service could add anything.

    The binary form of a token is for readers that hold the city's key; services take texts.
    """
    open_ = result.format is Format.CN_HEALTH and result.region is not None and result.reason in _OPEN
    return payload if open_ and VISIBLE.fullmatch(payload) else None


def answered(result: CodeResult, answer: ServiceAnswer) -> CodeResult:
    """Return the code with what the service has said of it; total.

    A status that the service does not state leaves a verified code of status unknown, which is no green one.
    While the gate's clock is not trusted, a token that carries a time is at best clock_untrusted: its age,
    the one sign of a copied picture, could not be judged. Yellow and red count all the same.
    """
    if result.format is not Format.CN_HEALTH or result.reason not in _OPEN:
        return result
    if answer.outcome in _UNREACHED:
        return replace(
            result, reason=_UNREACHED[answer.outcome], authenticity=Authenticity.SERVICE_UNREACHABLE
        )
    asked = replace(result, assurance=Assurance.ONLINE_SERVICE)
    if answer.outcome is Outcome.NOT_FOUND:
        return replace(asked, reason=Reason.NOT_FOUND, authenticity=Authenticity.REFUSED)
    verified = replace(asked, authenticity=Authenticity.VERIFIED, credential=Credential.STATUS)
    if answer.outcome is Outcome.EXPIRED:
        return replace(verified, reason=Reason.EXPIRED, freshness=Freshness.EXPIRED)
    stated = replace(
        verified,
        status=answer.status,
        travel=answer.travel,
        subject_ref=answer.subject_ref,
        registered=answer.registered,
        test=answer.test,
    )
    timed = result.reason is not Reason.CLOCK_UNTRUSTED
    unless_bad = Reason.OK if timed else Reason.CLOCK_UNTRUSTED
    return replace(
        stated,
        reason=STATUS_REASONS.get(answer.status, unless_bad),
        freshness=Freshness.CURRENT if timed else Freshness.UNKNOWN,
    )
