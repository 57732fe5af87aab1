"""What the gate knows of a read code, and whose signatures it believes, in words of its own.

Every issuer numbers its colours differently (green is 0, 1, 2 or "00"), so formats map to these words at the
edge and no vendor number travels further.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, get_args

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
REGISTRATION_FIELDS: Final = get_args(RegistrationField)
"""What a counter can take down of a visitor (plan rule CP-2); a gate learns only which fields are filled."""

NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
"""Issuers and sites: plain ASCII, so that no confusable letter makes two names look alike."""


class Appearance(StrEnum):
    """The colour in which a code was drawn: recorded, and never evidence, because anybody can draw any."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    OTHER = "other"
    NONE = "none"


class Format(StrEnum):
    """The family that a payload was recognised as."""

    DCC = "dcc"
    SHC = "shc"
    HOME = "home"
    CN_HEALTH = "cn_health"
    CN_TRAVEL = "cn_travel"
    URL = "url"
    TEXT = "text"
    BINARY = "binary"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """The health status that a code states."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    UNKNOWN = "unknown"


class Travel(StrEnum):
    """Where the holder has been, as a verify service, a home pass or the person on duty says (TR-1)."""

    CLEAR = "clear"
    RISK_AREA = "risk_area"
    DECLARED = "declared"
    UNKNOWN = "unknown"


class Authenticity(StrEnum):
    """Whether the code is its issuer's: proven, disproven, or not for this gate to say."""

    VERIFIED = "verified"
    REFUSED = "refused"
    NOT_CHECKABLE = "not_checkable"
    SERVICE_UNREACHABLE = "service_unreachable"


class Assurance(StrEnum):
    """How a code was checked."""

    OFFLINE_SIGNATURE = "offline_signature"
    ONLINE_SERVICE = "online_service"
    FORMAT_ONLY = "format_only"


class Freshness(StrEnum):
    """Whether now lies in the span for which the code was signed."""

    CURRENT = "current"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REPLAYED = "replayed"
    UNKNOWN = "unknown"


class Credential(StrEnum):
    """What the code says that its holder was given: a home pass of some kind, a certificate, a status."""

    VISITOR = "visitor"
    APPOINTMENT = "appointment"
    RESIDENT = "resident"
    STAFF = "staff"
    HOUSEHOLD = "household"
    SUPPLY = "supply"
    VACCINATION = "vaccination"
    TEST = "test"
    RECOVERY = "recovery"
    STATUS = "status"
    NONE = "none"


class Reason(StrEnum):
    """The one word that says why a code was or was not accepted."""

    OK = "ok"
    UNREADABLE = "unreadable"
    MULTIPLE_CODES = "multiple_codes"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_ISSUER = "unknown_issuer"
    WRONG_PURPOSE = "wrong_purpose"
    WRONG_SITE = "wrong_site"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    CLOCK_UNTRUSTED = "clock_untrusted"
    REVOKED = "revoked"
    REPLAY = "replay"
    STATUS_YELLOW = "status_yellow"
    STATUS_RED = "status_red"
    RULES_NOT_MET = "rules_not_met"
    NOT_FOUND = "not_found"
    SERVICE_TIMEOUT = "service_timeout"
    SERVICE_ERROR = "service_error"
    NOT_CHECKABLE = "not_checkable"
    RATE_LIMITED = "rate_limited"


STATUS_REASONS: Final = {Status.YELLOW: Reason.STATUS_YELLOW, Status.RED: Reason.STATUS_RED}
"""Why a code is not accepted that states this, whatever else there is to say of it."""


def reference(data: bytes) -> str:
    """Return what stands for a person or a pass that a code names: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


class CodeError(ValueError):
    """A code that cannot be accepted, carrying the one `Reason`; never leaves `gate.core.codes`."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where and when a code is judged: a site, an instant (unix milliseconds), and how exact clocks must be.

    `site` None: for whichever site a pass is, as when it is only examined.

    A code is valid while now <= its end + `end_tolerance_s` and now >= its start - `start_tolerance_s`.
    Without a trusted clock signatures still count, times do not.
    """

    site: str | None
    now_ms: int
    clock_trusted: bool = True
    start_tolerance_s: int = 300
    end_tolerance_s: int = 0

    def freshness(self, *, start: float | None, end: float | None) -> Freshness:
        """Say whether now lies in the span from `start` to `end` (unix seconds, both included)."""
        if not self.clock_trusted:
            return Freshness.UNKNOWN
        if end is not None and self.now_ms > (end + self.end_tolerance_s) * 1000:
            return Freshness.EXPIRED
        if start is not None and self.now_ms < (start - self.start_tolerance_s) * 1000:
            return Freshness.NOT_YET_VALID
        return Freshness.CURRENT


@dataclass(frozen=True, slots=True)
class LabTest:
    """One nucleic-acid test: when the sample was taken (unix seconds) and whether nothing was found."""

    taken_s: float
    negative: bool


@dataclass(frozen=True, slots=True)
class CodeResult:
    """What one read code is worth.

    Issuer, key, subject, registration, validity, test, travel and pass id are set only when the signature
    was verified or a verify service has answered: what nobody vouches for is not passed on. `subject_ref` is
    a pseudonym, `kid` is hexadecimal, times are unix seconds. `region` (ISO 3166-2, as CN-31) and `issued_at`
    of a national token are what its text shows. `pass_id` names what may be used once or revoked; `step` is
    the time step of a rotating pass; `uses_max` is how often a pass may be used in all, None for any number.
    """

    format: Format
    reason: Reason
    status: Status = Status.UNKNOWN
    authenticity: Authenticity = Authenticity.NOT_CHECKABLE
    freshness: Freshness = Freshness.UNKNOWN
    credential: Credential = Credential.NONE
    issuer: str | None = None
    kid: str | None = None
    subject_ref: str | None = None
    registered: frozenset[str] = frozenset()
    valid_from: int | None = None
    valid_until: int | None = None
    issued_at: int | None = None
    region: str | None = None
    pass_id: str | None = None
    step: int | None = None
    uses_max: int | None = None
    travel: Travel = Travel.UNKNOWN
    test: LabTest | None = None
    assurance: Assurance = Assurance.FORMAT_ONLY
    appearance: Appearance = Appearance.NONE

    @property
    def abnormal(self) -> bool:
        """True for an authentic yellow or red, whatever else there is to say of the code."""
        return self.authenticity is Authenticity.VERIFIED and self.status in STATUS_REASONS

    @property
    def verified(self) -> bool:
        """True only for an authentic, current code with nothing against it."""
        return (
            self.authenticity is Authenticity.VERIFIED
            and self.freshness is Freshness.CURRENT
            and self.reason is Reason.OK
        )


@dataclass(frozen=True, slots=True)
class Stages:
    """How each step of reading a code went: done, failed, or None where it was not reached or has no part.

    `prefix` the family is known, `base45` the text, `zlib` the compression, `cbor` the structure, `schema`
    the content, `signature`, `key_usage` the key may sign this kind, `time` now lies in the signed span.
    """

    prefix: bool | None = None
    base45: bool | None = None
    zlib: bool | None = None
    cbor: bool | None = None
    schema: bool | None = None
    signature: bool | None = None
    key_usage: bool | None = None
    time: bool | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """What a code is worth, and how each step went that led there."""

    result: CodeResult
    stages: Stages
