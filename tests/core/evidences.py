"""Random evidence as a gate can have it, for every property that must hold of all of it."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from gate.config import load_policy, policy_names
from gate.core.codes.model import (
    REGISTRATION_FIELDS,
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
from gate.core.documents import Kind as DocumentKind
from gate.core.evidence import (
    Appointment,
    AttendantWord,
    Direction,
    Evidence,
    HandCheck,
    HouseholdPass,
    MaskStatus,
    Origin,
    Person,
    Reading,
    Symptom,
    Unmeasured,
)
from gate.core.policy import policy_hash

PLANS = {plan: policy_hash(plan) for plan in map(load_policy, policy_names())}
"""All plans that come with the gate, with their hashes."""

# From before any visit to beyond the year 2100, with edges close together so that limits are met.
WALL_MS = st.one_of(
    st.integers(1, 2**32 * 1000 - 1), st.integers(1_709_164_800_000, 1_709_164_800_000 + 90_000_000)
)
_seconds = st.one_of(
    st.integers(1, 2**32 - 1), st.integers(1_709_164_800, 1_709_254_800), st.floats(0, 2**32, width=32)
)
_maybe = st.none() | _seconds
_times = st.integers(1, 2**32 - 1)
_cc = st.one_of(st.integers(-7000, 38_219), st.integers(3600, 3900))
_ref = st.text("0123456789abcdef", min_size=1, max_size=64)
_anything = st.text(st.characters(exclude_categories=()), max_size=300)


def _some(kind: Any) -> st.SearchStrategy[frozenset[Any]]:
    return st.frozensets(st.sampled_from(kind))


readings = st.builds(
    lambda low, mid, high, *rest: Reading(sorted((low, mid, high))[1], *sorted((low, mid, high))[::2], *rest),
    _cc,
    _cc,
    _cc,
    st.lists(_cc, max_size=32).map(tuple),
    st.integers(0, 45_000),
    st.none() | _cc,
    st.dictionaries(st.text(max_size=24), _cc, max_size=8).map(lambda terms: tuple(terms.items())),
)
unmeasured = st.builds(
    Unmeasured, st.sampled_from(["timeout", "frozen", "ambient_out_of_range", "x" * 64]), _anything
)
lab_tests = st.builds(LabTest, _seconds, st.booleans())
_codes = st.builds(
    CodeResult,
    format=st.sampled_from(Format),
    reason=st.sampled_from(Reason),
    status=st.sampled_from(Status),
    authenticity=st.sampled_from(Authenticity),
    freshness=st.sampled_from(Freshness),
    credential=st.sampled_from(Credential),
    issuer=st.none() | st.from_regex(r"[A-Za-z0-9_-]{1,32}|https://[a-z0-9./]{1,192}", fullmatch=True),
    kid=st.none() | _ref,
    subject_ref=st.none() | _ref,
    registered=_some(REGISTRATION_FIELDS),
    valid_from=st.none() | _times,
    valid_until=st.none() | _times,
    issued_at=st.none() | _times,
    region=st.none() | st.from_regex(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", fullmatch=True),
    pass_id=st.none() | _ref,
    step=st.none() | st.integers(0, 2**32 - 1),
    uses_max=st.none() | st.integers(1, 255),
    travel=st.sampled_from(Travel),
    test=st.none() | lab_tests,
    assurance=st.sampled_from(Assurance),
)
# Most random words contradict each other; a code that is in order must come often too.
_good_codes = _codes.map(
    lambda code: CodeResult(
        code.format,
        Reason.OK,
        code.status,
        Authenticity.VERIFIED,
        Freshness.CURRENT,
        code.credential,
        code.issuer,
        code.kid,
        code.subject_ref,
    )
)
# An authentic code whatever else stands against it or speaks for it: what it says of its holder must count.
_authentic_codes = _codes.map(lambda code: replace(code, authenticity=Authenticity.VERIFIED))
codes = _codes | _good_codes | _authentic_codes


def evidences(at_s: st.SearchStrategy[float | None] | None = None) -> st.SearchStrategy[Evidence]:
    """Return evidence of all kinds, judged at `at_s` or at any time."""
    return st.builds(
        Evidence,
        measurements=st.lists(readings | unmeasured, max_size=2).map(tuple),
        code=st.none() | codes,
        several_codes=st.booleans(),
        mask=st.sampled_from(MaskStatus),
        registered=_some(REGISTRATION_FIELDS) | st.just(frozenset(REGISTRATION_FIELDS)),
        attendant=st.sampled_from(AttendantWord),
        by_hand=_some(HandCheck),
        person=st.sampled_from(Person),
        direction=st.sampled_from(Direction),
        at_s=(st.none() | WALL_MS.map(lambda ms: ms / 1000)) if at_s is None else at_s,
        travel=st.sampled_from(Travel),
        symptoms=_some(Symptom),
        id_checked=st.none() | st.booleans(),
        appointment=st.none() | st.builds(Appointment, _maybe, _maybe, _maybe, st.booleans()),
        test=st.none() | lab_tests,
        origin=st.sampled_from(Origin),
        household_pass=st.none() | st.builds(HouseholdPass, _maybe, _maybe, st.none() | st.integers(-3, 255)),
        occupancy=st.none() | st.integers(0, 1_000_000),
        suspended=st.booleans(),
        last_measured_s=st.none() | _seconds,
        stale=_some([str(kind) for kind in DocumentKind]),
    )
