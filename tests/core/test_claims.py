"""What a verified code and the documents of the day add to the evidence, each on both sides of its edge."""

from dataclasses import replace

import pytest
from evidences import evidences
from hypothesis import given
from hypothesis import strategies as st

from gate.core.claims import Knowledge, completed, used_code
from gate.core.codes.model import (
    Authenticity,
    Circumstances,
    CodeResult,
    Credential,
    Format,
    Freshness,
    LabTest,
    Reason,
    Status,
    Travel,
)
from gate.core.documents import (
    Appointment as Row,
)
from gate.core.documents import (
    Appointments,
    Content,
    Document,
    Documents,
    Kind,
    Occupancy,
    Residents,
    RiskAreas,
)
from gate.core.evidence import Appointment, Direction, Evidence, HouseholdPass, Origin, Person
from gate.core.uses import Use, Uses, pass_key

NOW_S = 1_709_164_800
AT = Circumstances("hall-east", NOW_S * 1000 + 1)
ALICE, BOB = "0123456789abcdef", "fedcba9876543210"
CODE = CodeResult(
    Format.HOME,
    Reason.OK,
    authenticity=Authenticity.VERIFIED,
    freshness=Freshness.CURRENT,
    credential=Credential.VISITOR,
    issuer="county",
    subject_ref=ALICE,
    valid_from=NOW_S - 100,
    valid_until=NOW_S + 100,
    issued_at=NOW_S - 1000,
    pass_id="cafe0001",
)
REFUSED = replace(CODE, reason=Reason.REVOKED)
GOOD, BAD = LabTest(NOW_S - 50, negative=True), LabTest(NOW_S - 90, negative=False)
ENDED = NOW_S  # the last second of a document that is over by a millisecond at `AT`


def known(
    *contents: Content,
    uses: Uses | None = None,
    stale: frozenset[Kind] = frozenset(),
    measured_s: dict[str, float] | None = None,
    direction: Direction = Direction.IN,
    by_appointment: bool = False,
    by_household: bool = False,
    end: int = 2**32 - 1,
    revoked: frozenset[tuple[str, str]] = frozenset(),
) -> Knowledge:
    documents = Documents()
    for content in contents:
        documents.take(Document("hall-east", "centre", 1, 1, end, content))
    return Knowledge(
        direction=direction,
        by_appointment=by_appointment,
        by_household=by_household,
        passback_s=60,
        uses=uses or Uses(),
        documents=documents,
        revoked=revoked,
        stale=stale,
        measured_s=measured_s or {},
    )


def of(code: CodeResult | None, knowledge: Knowledge | None = None, **said: object) -> Evidence:
    return completed(replace(Evidence(code=code), **said), knowledge or known(), AT)  # type: ignore[arg-type]  # any field


def used(
    at_ms: int,
    count: int = 1,
    direction: Direction = Direction.IN,
    name: str = "county",
    number: str = "cafe0001",
) -> Uses:
    return Uses([Use(f"{name}/{number}", direction, at_ms, count=count)])


# --- what holds of every visit


@given(evidences(), st.booleans())
def test_without_an_authentic_code_only_the_gate_and_the_day_add_something(
    evidence: Evidence, trusted: bool
) -> None:
    code = evidence.code
    if code is not None and code.authenticity is Authenticity.VERIFIED:
        code = replace(code, authenticity=Authenticity.REFUSED)
    evidence = replace(evidence, code=code)
    at = replace(AT, clock_trusted=trusted)
    assert completed(evidence, known(stale=frozenset({Kind.RESIDENTS})), at) == replace(
        evidence,
        direction=Direction.IN,
        at_s=NOW_S + 0.001 if trusted else None,
        occupancy=None,
        stale=frozenset({"residents"}),
    )


def test_the_direction_is_that_of_the_gate() -> None:
    assert of(None, known(direction=Direction.OUT)).direction is Direction.OUT


@pytest.mark.parametrize(("end", "count"), [(ENDED + 1, 42), (ENDED, None)])
def test_how_many_are_inside_counts_while_the_count_is_current(end: int, count: int | None) -> None:
    assert of(None, known(Occupancy(42, 1), end=end)).occupancy == count


def test_what_was_said_before_is_not_lost() -> None:
    said = of(
        replace(CODE, registered=frozenset({"name"})),
        person=Person.STAFF,
        registered=frozenset({"phone"}),
        travel=Travel.CLEAR,
        origin=Origin.ELSEWHERE,
        suspended=True,
    )
    assert (said.person, said.registered, said.travel, said.origin, said.suspended) == (
        Person.STAFF,
        {"name", "phone"},
        Travel.CLEAR,
        Origin.ELSEWHERE,
        True,
    )


# --- replay


@pytest.mark.parametrize(("ago_ms", "replayed"), [(59_999, True), (60_000, False)])
def test_a_pass_that_was_just_used_says_only_whose_it_is(ago_ms: int, replayed: bool) -> None:
    staff = replace(CODE, credential=Credential.STAFF, travel=Travel.CLEAR)
    said = of(staff, known(uses=used(AT.now_ms - ago_ms)))
    if replayed:
        assert said.code == replace(staff, reason=Reason.REPLAY, freshness=Freshness.REPLAYED)
        assert not said.code.verified
    else:
        assert said.code == staff
    assert said.person is Person.STAFF
    assert said.travel is (Travel.UNKNOWN if replayed else Travel.CLEAR)


def test_a_use_in_the_other_direction_is_none() -> None:
    assert of(CODE, known(uses=used(AT.now_ms), direction=Direction.OUT)).code == CODE


def test_an_appointment_and_a_code_with_something_against_it_keep_their_own_reasons() -> None:
    booked = replace(CODE, credential=Credential.APPOINTMENT)
    for code in (booked, REFUSED):
        assert of(code, known(uses=used(AT.now_ms), by_appointment=True)).code == code
    assert of(booked, known(uses=used(AT.now_ms))).code.reason is Reason.REPLAY  # type: ignore[union-attr]


# --- who it is


@pytest.mark.parametrize(
    ("credential", "person"),
    [
        (Credential.STAFF, Person.STAFF),
        (Credential.RESIDENT, Person.RESIDENT),
        (Credential.HOUSEHOLD, Person.RESIDENT),
        (Credential.SUPPLY, Person.SUPPLY),
        *(
            (word, Person.VISITOR)
            for word in Credential
            if word not in {"staff", "resident", "household", "supply"}
        ),
    ],
)
def test_the_kind_of_pass_says_who_it_is(credential: Credential, person: Person) -> None:
    assert of(replace(CODE, credential=credential)).person is person
    assert of(replace(REFUSED, credential=credential)).person is Person.VISITOR
    assert (
        of(replace(CODE, credential=credential, authenticity=Authenticity.REFUSED)).person is Person.VISITOR
    )


@pytest.mark.parametrize(
    ("subject", "end", "person"),
    [
        (ALICE, ENDED + 1, Person.RESIDENT),
        (BOB, ENDED + 1, Person.VISITOR),
        (None, ENDED + 1, Person.VISITOR),
        (ALICE, ENDED, Person.VISITOR),
    ],
)
def test_who_stands_in_the_list_lives_here(subject: str | None, end: int, person: Person) -> None:
    listed = known(Residents(frozenset({ALICE})), end=end)
    assert of(replace(CODE, subject_ref=subject), listed).person is person
    assert of(replace(CODE, credential=Credential.STAFF), listed).person is Person.STAFF


# --- where somebody has been


@pytest.mark.parametrize("said", Travel)
@pytest.mark.parametrize("coded", Travel)
def test_of_two_travel_statuses_a_risk_area_counts_then_the_code(said: Travel, coded: Travel) -> None:
    if Travel.RISK_AREA in {said, coded}:
        expected = Travel.RISK_AREA
    else:
        expected = said if coded is Travel.UNKNOWN else coded
    assert of(replace(CODE, travel=coded), travel=said).travel is expected


@pytest.mark.parametrize(
    ("region", "end", "origin"),
    [
        ("CN-22", ENDED + 1, Origin.KEY_AREA),
        ("CN-31", ENDED + 1, Origin.UNKNOWN),
        (None, ENDED + 1, Origin.UNKNOWN),
        ("CN-22", ENDED, Origin.UNKNOWN),
    ],
)
def test_a_code_from_a_key_area_says_so(region: str | None, end: int, origin: Origin) -> None:
    listed = known(RiskAreas(frozenset({"CN-22"})), end=end)
    assert of(replace(CODE, region=region), listed).origin is origin
    expected = origin if origin is Origin.KEY_AREA else Origin.ELSEWHERE
    assert of(replace(CODE, region=region), listed, origin=Origin.ELSEWHERE).origin is expected


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.OK])
def test_what_speaks_against_somebody_counts_however_the_authentic_code_stands(reason: Reason) -> None:
    against = replace(CODE, reason=reason, region="CN-22", travel=Travel.RISK_AREA, test=BAD)
    listed = known(RiskAreas(frozenset({"CN-22"})))
    said = {"travel": Travel.CLEAR, "origin": Origin.ELSEWHERE, "test": GOOD}
    found = of(against, listed, **said)
    assert (found.travel, found.origin, found.test) == (Travel.RISK_AREA, Origin.KEY_AREA, BAD)
    for word in Authenticity:
        if word is not Authenticity.VERIFIED:  # nobody vouches for it
            found = of(replace(against, authenticity=word), listed, **said)
            assert (found.travel, found.origin, found.test) == (Travel.CLEAR, Origin.ELSEWHERE, GOOD)
    # What speaks for somebody is not taken from a code that does not count.
    found = of(replace(against, region="CN-31", travel=Travel.CLEAR, test=GOOD), listed)
    assert (found.travel, found.origin, found.test) == (Travel.UNKNOWN, Origin.UNKNOWN, None)


def test_what_speaks_against_somebody_counts_also_from_a_pass_that_is_called_back_or_used() -> None:
    against = replace(CODE, region="CN-22", travel=Travel.RISK_AREA, test=BAD)
    areas = RiskAreas(frozenset({"CN-22"}))
    for knowledge in (
        known(areas, revoked=frozenset({("county", "cafe0001")})),
        known(areas, uses=used(AT.now_ms)),
    ):
        found = of(against, knowledge)
        assert (found.travel, found.origin, found.test) == (Travel.RISK_AREA, Origin.KEY_AREA, BAD)


@pytest.mark.parametrize(
    ("one", "other", "counts"),
    [
        ((1, True), (2, True), (2, True)),
        ((1, False), (2, True), (1, False)),  # a positive one before all, however old
        ((2, False), (1, True), (2, False)),
        ((1, False), (2, False), (2, False)),
        ((1, True), (1, True), (1, True)),
        ((1, True), None, (1, True)),
        ((1, False), None, (1, False)),
        (None, None, None),
    ],
)
def test_the_newer_of_two_tests_counts_and_a_positive_one_before_all(
    one: tuple[float, bool] | None, other: tuple[float, bool] | None, counts: tuple[float, bool] | None
) -> None:
    first, second, expected = (
        None if test is None else LabTest(test[0], negative=test[1]) for test in (one, other, counts)
    )
    for noted, coded in ((first, second), (second, first)):
        if not (noted and coded and not noted.negative and not coded.negative):
            assert of(replace(CODE, test=coded), test=noted).test == expected


def test_of_two_positive_tests_one_counts() -> None:
    noted, coded = LabTest(2, negative=False), LabTest(1, negative=False)
    found = of(replace(CODE, test=coded), test=noted).test
    assert found is not None
    assert not found.negative


@pytest.mark.parametrize(("subject", "measured"), [(ALICE, 7.5), (BOB, None), (None, None)])
def test_when_staff_were_measured(subject: str | None, measured: float | None) -> None:
    assert of(replace(CODE, subject_ref=subject), known(measured_s={ALICE: 7.5})).last_measured_s == measured


# --- appointments


def test_an_appointment_on_the_pass_itself() -> None:
    booked = replace(CODE, credential=Credential.APPOINTMENT)
    slot = Appointment(NOW_S - 100, NOW_S + 100, NOW_S - 1000)
    assert of(booked).appointment == slot
    assert of(
        booked, known(uses=used(1, name="appointment", number=f"cafe0001@{NOW_S - 100}"))
    ).appointment == replace(slot, used=True)
    assert (
        of(
            booked, known(uses=used(1, 1, Direction.OUT, "appointment", f"cafe0001@{NOW_S - 100}"))
        ).appointment
        == slot
    )
    assert of(replace(booked, issued_at=None)).appointment == replace(slot, booked_s=None)
    assert of(replace(booked, valid_from=None)).appointment == replace(slot, from_s=None)


def row(start_s: int, end_s: int, number: int = 1, subject: str = ALICE) -> Row:
    return Row(subject, NOW_S + start_s, NOW_S + end_s, NOW_S - 90_000, f"{number:08x}")


def slot(start_s: int, end_s: int, *, used: bool = False) -> Appointment:
    return Appointment(NOW_S + start_s, NOW_S + end_s, NOW_S - 90_000, used)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], None),
        ([row(0, 9, subject=BOB)], None),
        ([row(-9, 9)], slot(-9, 9)),
        ([row(-9, 0)], slot(-9, 0)),  # over, by a millisecond: the only one all the same
        ([row(-9, 0, 1), row(50, 60, 2)], slot(50, 60)),
        ([row(-9, 1, 1), row(50, 60, 2)], slot(-9, 1)),
        ([row(-90, -80, 1), row(-50, -40, 2)], slot(-50, -40)),
        ([row(70, 80, 1), row(50, 60, 2)], slot(50, 60)),
    ],
)
def test_the_next_appointment_in_the_list_counts_else_the_last(
    rows: list[Row], found: Appointment | None
) -> None:
    listed = known(Appointments(frozenset(rows)))
    assert of(CODE, listed).appointment == found
    assert of(replace(CODE, subject_ref=None), listed).appointment is None
    outdated = known(Appointments(frozenset(rows)), end=ENDED)
    assert of(CODE, outdated).appointment is None


def test_an_appointment_that_ends_this_very_millisecond_is_the_next_one() -> None:
    listed = known(Appointments(frozenset({row(-9, 0, 1), row(50, 60, 2)})))
    at = replace(AT, now_ms=NOW_S * 1000)
    assert completed(Evidence(code=CODE), listed, at).appointment == slot(-9, 0)


def test_an_appointment_is_used_once_whichever_pass_it_is_used_with() -> None:
    booking = Appointments(frozenset({row(-9, 9)}))
    taken = known(
        booking, uses=used(1, name="appointment", number=f"00000001@{NOW_S - 9}"), by_appointment=True
    )
    assert of(CODE, taken).appointment == slot(-9, 9, used=True)
    assert of(replace(CODE, pass_id="cafe0002"), taken).appointment == slot(-9, 9, used=True)
    assert of(CODE, replace(taken, uses=Uses())).appointment == slot(-9, 9)


@pytest.mark.parametrize(
    ("taken", "found"),
    [
        ((), slot(-9, 9)),
        ((1,), slot(50, 60)),
        ((2,), slot(-9, 9)),
        ((1, 2), slot(-9, 9, used=True)),  # all are used: the next one says so
    ],
)
def test_a_slot_not_yet_used_comes_before_one_that_is(
    taken: tuple[int, ...], found: Appointment | None
) -> None:
    starts = {1: NOW_S - 9, 2: NOW_S + 50}
    listed = known(
        Appointments(frozenset({row(-9, 9, 1), row(50, 60, 2), row(-90, -80, 3)})),
        uses=Uses([Use(f"appointment/{n:08x}@{starts[n]}", Direction.IN, 1) for n in taken]),
        by_appointment=True,
    )
    assert of(CODE, listed).appointment == found
    number = 2 if found == slot(50, 60) else 1
    assert pass_key(used_code(CODE, listed, AT)) == f"appointment/{number:08x}@{starts[number]}"


def test_slots_of_one_pass_are_used_each_for_itself() -> None:
    """Both rows have one pass id: a use of the first is none of the second; leaving is none at all."""
    rows = Appointments(frozenset({row(-9, 9), row(50, 60)}))
    first = f"00000001@{NOW_S - 9}"
    entered = known(rows, uses=used(1, name="appointment", number=first), by_appointment=True)
    assert of(CODE, entered).appointment == slot(50, 60)
    left = known(rows, uses=used(1, 1, Direction.OUT, "appointment", first), by_appointment=True)
    assert of(CODE, left).appointment == slot(-9, 9)


def test_a_slot_that_was_given_back_is_unused() -> None:
    listed = known(Appointments(frozenset({row(-9, 9)})), by_appointment=True)
    use = listed.uses.add(used_code(CODE, listed, AT), Direction.IN, AT.now_ms)
    assert use is not None
    assert of(CODE, listed).appointment == slot(-9, 9, used=True)
    listed.uses.take_back(use)
    assert of(CODE, listed).appointment == slot(-9, 9)


@pytest.mark.parametrize(
    ("credential", "by_appointment", "key"),
    [
        (Credential.APPOINTMENT, True, f"appointment/cafe0001@{NOW_S - 100}"),
        (Credential.APPOINTMENT, False, "county/cafe0001"),
        (Credential.VISITOR, True, f"appointment/00000001@{NOW_S - 9}"),
        (Credential.VISITOR, False, "county/cafe0001"),
    ],
)
def test_under_whose_name_a_passage_counts(credential: Credential, by_appointment: bool, key: str) -> None:
    listed = known(Appointments(frozenset({row(-9, 9)})), by_appointment=by_appointment)
    assert pass_key(used_code(replace(CODE, credential=credential), listed, AT)) == key
    nobody = known(by_appointment=by_appointment)
    assert pass_key(used_code(replace(CODE, credential=Credential.VISITOR), nobody, AT)) == "county/cafe0001"


@pytest.mark.parametrize("reason", Reason)
def test_a_pass_that_is_called_back_is_so_however_it_stands(reason: Reason) -> None:
    called_back = known(revoked=frozenset({("county", "cafe0001")}))
    staff = replace(CODE, reason=reason, credential=Credential.STAFF)
    found = of(staff, called_back)
    assert found.code == replace(staff, reason=Reason.REVOKED)
    assert found.person is Person.VISITOR  # it tells of nobody
    forged = replace(staff, authenticity=Authenticity.REFUSED)
    assert of(forged, called_back).code == forged


@pytest.mark.parametrize("past_ms", [0, 1])
@pytest.mark.parametrize("clock_trusted", [True, False])
def test_a_code_that_runs_out_during_the_visit(past_ms: int, clock_trusted: bool) -> None:
    staff = replace(CODE, credential=Credential.STAFF, travel=Travel.CLEAR, registered=frozenset({"name"}))
    at = replace(AT, now_ms=(NOW_S + 100) * 1000 + past_ms, clock_trusted=clock_trusted)
    found = completed(Evidence(code=staff), known(), at)
    over = past_ms > 0 and clock_trusted
    expired = replace(staff, reason=Reason.EXPIRED, freshness=Freshness.EXPIRED)
    assert found.code == (expired if over else staff)
    assert found.person is Person.STAFF
    assert found.travel is (Travel.UNKNOWN if over else Travel.CLEAR)
    assert found.registered == (frozenset() if over else {"name"})


def test_a_code_without_an_end_does_not_run_out() -> None:
    endless = replace(CODE, valid_until=None)
    far = replace(AT, now_ms=2**32 * 1000)
    assert completed(Evidence(code=endless), known(), far).code == endless


def test_a_code_with_another_reason_keeps_it_when_it_runs_out_or_is_used() -> None:
    at = replace(AT, now_ms=(NOW_S + 101) * 1000)
    for reason in (Reason.STATUS_RED, Reason.WRONG_SITE, Reason.CLOCK_UNTRUSTED):
        code = replace(CODE, reason=reason, uses_max=1)
        assert completed(Evidence(code=code), known(uses=used(at.now_ms)), at).code == code


def test_a_pass_that_is_called_back_in_the_middle_of_a_visit() -> None:
    called_back = known(revoked=frozenset({("county", "cafe0001")}))
    assert of(CODE, called_back).code == replace(CODE, reason=Reason.REVOKED)
    assert of(CODE, called_back).registered == frozenset()
    assert of(replace(CODE, issuer="other"), called_back).code == replace(CODE, issuer="other")
    assert of(replace(CODE, issuer=None, pass_id=None), called_back).code.reason is Reason.OK  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "reason",
    [
        Reason.EXPIRED,
        Reason.NOT_YET_VALID,
        Reason.CLOCK_UNTRUSTED,
        Reason.STATUS_YELLOW,
        Reason.STATUS_RED,
    ],
)
def test_an_authentic_code_out_of_its_time_says_whose_it_is_and_no_more(reason: Reason) -> None:
    late = replace(
        CODE,
        credential=Credential.HOUSEHOLD,
        reason=reason,
        freshness=Freshness.EXPIRED,
        registered=frozenset({"name"}),
        travel=Travel.CLEAR,
        test=LabTest(1, negative=True),
    )
    found = of(late)
    assert (found.person, found.household_pass) == (Person.RESIDENT, HouseholdPass(NOW_S - 100, NOW_S + 100))
    assert (found.registered, found.travel, found.test) == (frozenset(), Travel.UNKNOWN, None)


@pytest.mark.parametrize(
    "reason",
    [Reason.REPLAY, Reason.REVOKED, Reason.WRONG_SITE, Reason.WRONG_PURPOSE, Reason.NOT_CHECKABLE],
)
def test_a_copy_or_a_pass_for_something_else_tells_of_nobody(reason: Reason) -> None:
    listed = known(
        Residents(frozenset({ALICE})), Appointments(frozenset({row(-9, 9)})), measured_s={ALICE: 7.5}
    )
    for credential in Credential:
        found = of(replace(CODE, credential=credential, reason=reason), listed)
        assert (found.person, found.appointment, found.household_pass) == (Person.VISITOR, None, None)
        assert (found.last_measured_s, found.registered) == (None, frozenset())


@pytest.mark.parametrize(
    ("reason", "status"), [(Reason.STATUS_RED, Status.RED), (Reason.STATUS_YELLOW, Status.YELLOW)]
)
def test_a_bad_status_is_left_as_it_is(reason: Reason, status: Status) -> None:
    bad = replace(CODE, reason=reason, status=status)
    assert of(bad, known(uses=used(AT.now_ms))).code == bad


# --- household and supply


@pytest.mark.parametrize("credential", Credential)
@pytest.mark.parametrize("by_household", [False, True])
@pytest.mark.parametrize(("count", "spent"), [(1, False), (2, True), (3, True)])
def test_a_pass_that_is_used_up_is_a_replay_unless_a_rule_of_its_own_says_so(
    credential: Credential, by_household: bool, count: int, spent: bool
) -> None:
    code = replace(CODE, credential=credential, uses_max=2)
    long_ago = used(AT.now_ms - 60_000, count)
    own_rule = by_household and credential in {Credential.HOUSEHOLD, Credential.SUPPLY}
    replayed = replace(code, reason=Reason.REPLAY, freshness=Freshness.REPLAYED)
    found = of(code, known(uses=long_ago, by_household=by_household))
    assert found.code == (replayed if spent and not own_rule else code)
    other_way = known(uses=long_ago, direction=Direction.OUT, by_household=by_household)
    assert of(code, other_way).code == code
    endless = replace(code, uses_max=None)
    assert of(endless, known(uses=long_ago, by_household=by_household)).code == endless


@pytest.mark.parametrize("credential", [Credential.HOUSEHOLD, Credential.SUPPLY])
def test_a_household_pass_handed_back_over_the_arm_is_a_replay_under_every_plan(
    credential: Credential,
) -> None:
    for by_household in (False, True):
        knowledge = known(uses=used(AT.now_ms - 59_999), by_household=by_household)
        found = of(replace(CODE, credential=credential, uses_max=9), knowledge)
        assert found.code is not None
        assert found.code.reason is Reason.REPLAY
        # It has been read as good, so it still says whose it is.
        assert found.household_pass == HouseholdPass(NOW_S - 100, NOW_S + 100, 8)


def test_the_use_of_a_spent_appointment_is_for_its_own_rule() -> None:
    booked = replace(CODE, credential=Credential.APPOINTMENT, uses_max=1)
    knowledge = known(uses=used(AT.now_ms), by_appointment=True)
    assert of(booked, knowledge).code == booked


@pytest.mark.parametrize("credential", [Credential.HOUSEHOLD, Credential.SUPPLY])
def test_a_household_pass_has_its_hours_and_what_is_left_of_it(credential: Credential) -> None:
    code = replace(CODE, credential=credential)
    held = HouseholdPass(NOW_S - 100, NOW_S + 100)
    assert of(code).household_pass == held
    for count, left in ((0, 2), (1, 1), (2, 0), (3, -1)):
        limited = replace(code, uses_max=2)
        assert of(limited, known(uses=used(1, count))).household_pass == replace(held, uses_left=left)
    other_way = known(uses=used(1, 2), direction=Direction.OUT)
    assert of(replace(code, uses_max=2), other_way).household_pass == replace(held, uses_left=2)
    assert of(replace(code, valid_from=None)).household_pass == replace(held, from_s=None)


@pytest.mark.parametrize("credential", sorted(set(Credential) - {Credential.HOUSEHOLD, Credential.SUPPLY}))
def test_no_other_pass_is_a_household_pass(credential: Credential) -> None:
    assert of(replace(CODE, credential=credential)).household_pass is None
