"""Business rules: read as published, in force or not, for which certificates, and which way they count."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core.codes.business_rules import BusinessRule, CertificateType, RuleType, read_rule, unmet
from gate.core.codes.certlogic import parse_date_time
from gate.core.codes.model import Credential

PUBLISHED = {
    "Identifier": "VR-XX-0001",
    "Type": "Acceptance",
    "Country": "XX",
    "Version": "1.0.3",
    "SchemaVersion": "1.3.0",
    "Engine": "CERTLOGIC",
    "EngineVersion": "1.3.3",
    "CertificateType": "Vaccination",
    "Description": [{"lang": "en", "desc": "All doses"}, {"lang": "de", "desc": "Alle Dosen"}],
    "ValidFrom": "2022-01-01T00:00:00Z",
    "ValidTo": "2022-07-01T00:00:00+02:00",
    "AffectedFields": ["v.0.dn", "v.0.sd"],
    "Logic": {">=": [{"var": "payload.v.0.dn"}, {"var": "payload.v.0.sd"}]},
}
RULE = read_rule(PUBLISHED)
FROM_MS = parse_date_time("2022-01-01").ms
UNTIL_MS = parse_date_time("2022-06-30T22:00:00Z").ms
NOW_MS = parse_date_time("2022-04-11T10:00:00.250+08:00").ms
FULL = {"v": [{"dn": 2, "sd": 2}]}
HALF = {"v": [{"dn": 1, "sd": 2}]}
BROKEN = {"no-such-operation": [1]}


def against(
    *rules: BusinessRule, hcert: object = HALF, now_ms: int = NOW_MS, **more: object
) -> tuple[str, ...]:
    return unmet(rules, hcert, Credential.VACCINATION, now_ms, **more)


def rule(logic: object, **fields: object) -> BusinessRule:
    return replace(BusinessRule("GR-XX-0001", logic, country="XX"), **fields)


# Reading


def test_a_rule_as_published() -> None:
    expected = BusinessRule(
        identifier="VR-XX-0001",
        logic=PUBLISHED["Logic"],
        type=RuleType.ACCEPTANCE,
        country="XX",
        certificate_type=CertificateType.VACCINATION,
        version=(1, 0, 3),
        valid_from_ms=FROM_MS,
        valid_until_ms=UNTIL_MS,
        affected_fields=("v.0.dn", "v.0.sd"),
        description={"en": "All doses", "de": "Alle Dosen"},
    )
    assert expected == RULE


def test_what_may_be_absent() -> None:
    needed = ("Identifier", "Type", "Country", "Version", "CertificateType", "Logic")
    read = read_rule({name: PUBLISHED[name] for name in needed})
    assert (read.valid_from_ms, read.valid_until_ms) == (None, None)
    assert read.valid(0) and read.valid(2**45)
    for name in needed:
        with pytest.raises(ValueError, match=name):
            read_rule({other: PUBLISHED[other] for other in needed if other != name})


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("Identifier", 5, "Identifier must be a text"),
        ("Identifier", "VR XX", "Identifier must be 1 to 32"),
        ("Identifier", "V" * 33, "Identifier must be 1 to 32"),
        ("Type", "Acceptence", "Type must be one of Acceptance, Invalidation"),
        ("Type", ["Acceptance"], "Type must be a text"),
        ("Country", "xx", "Country must be two capital letters"),
        ("Country", "XXX", "Country must be two capital letters"),
        ("CertificateType", "vaccination", "CertificateType must be one of General"),
        ("Version", "1.0", "Version must be three numbers"),
        ("Version", "1.0.x", "Version must be three numbers"),
        ("Version", 1, "Version must be a text"),
        ("Engine", "JSONLOGIC", "Engine must be CERTLOGIC"),
        ("EngineVersion", "1.4.0", "EngineVersion is newer than 1.3"),
        ("EngineVersion", "2.0.0", "EngineVersion is newer than 1.3"),
        ("EngineVersion", "new", "EngineVersion must be three numbers"),
        ("ValidFrom", "yesterday", "ValidFrom must be a date-time"),
        ("ValidTo", "2022-06-31", "ValidTo must be a date-time"),
        ("ValidTo", 1_656_626_400, "ValidTo must be a text"),
        ("ValidTo", "2022-01-01T00:00:00Z", "ValidTo must be after ValidFrom"),
        ("AffectedFields", "v.0.dn", "AffectedFields must be a list of texts"),
        ("AffectedFields", [1], "AffectedFields must be a list of texts"),
        ("Description", {"en": "x"}, "Description must be a list"),
        ("Description", ["x"], "Description must be a list"),
        ("Description", [{"lang": "en"}], "desc must be a text"),
        ("Logic", None, "Logic must be"),
        ("Logic", "payload.v", "Logic must be"),
    ],
)
def test_what_is_wrong_is_named(field: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_rule({**PUBLISHED, field: value})
    assert field == "Identifier" or str(caught.value).startswith("rule VR-XX-0001: ")


# Judging


def test_a_rule_is_met_or_not() -> None:
    assert against(RULE, hcert=FULL) == ()
    assert against(RULE, hcert=HALF) == ("VR-XX-0001",)
    assert against(RULE, hcert={}) == ("VR-XX-0001",)


@pytest.mark.parametrize("answer", [False, None, 1, "yes", [1], BROKEN])
def test_only_true_meets_an_acceptance_rule(answer: object) -> None:
    logic = answer if answer is not None else {"var": "payload.missing"}
    assert against(rule(True)) == ()
    assert against(rule(logic)) == ("GR-XX-0001",)


@pytest.mark.parametrize(
    ("logic", "stands_against"),
    [
        (True, True),
        ({"var": "payload.v"}, True),
        (BROKEN, True),
        ({"plusTime": ["2022-01-01", 0, "day"]}, True),
        (False, False),
        ({"var": "payload.missing"}, False),
    ],
)
def test_an_invalidation_rule_counts_the_other_way_round(logic: object, *, stands_against: bool) -> None:
    taken_back = rule(logic, type=RuleType.INVALIDATION)
    assert against(taken_back) == (("GR-XX-0001",) if stands_against else ())


def test_an_invalidation_rule_concerns_the_certificates_of_its_country() -> None:
    taken_back = rule(True, type=RuleType.INVALIDATION)
    assert against(taken_back, issuer="XX") == ("GR-XX-0001",)
    assert against(taken_back, issuer="YY") == ()
    assert against(taken_back, issuer=None) == ("GR-XX-0001",), "unknown: better refused"
    assert against(rule(False), issuer="YY") == ("GR-XX-0001",), "acceptance concerns everybody"


def test_the_span_includes_its_start_and_not_its_end() -> None:
    for now_ms, in_force in ((FROM_MS - 1, False), (FROM_MS, True), (UNTIL_MS - 1, True), (UNTIL_MS, False)):
        assert RULE.valid(now_ms) is in_force
        assert against(RULE, now_ms=now_ms) == (("VR-XX-0001",) if in_force else ())


@pytest.mark.parametrize("kind", CertificateType)
@pytest.mark.parametrize("credential", Credential)
def test_a_rule_applies_to_its_kind_of_certificate(kind: CertificateType, credential: Credential) -> None:
    applies = kind is CertificateType.GENERAL or kind.value.lower() == credential.value
    found = unmet([rule(False, certificate_type=kind)], {}, credential, NOW_MS)
    assert found == (("GR-XX-0001",) if applies else ())


def test_the_highest_version_in_force_counts() -> None:
    old, new = rule(False, version=(1, 9, 0)), rule(True, version=(1, 10, 0))
    for rules in ((old, new), (new, old)):
        assert against(*rules) == ()
    later, ended = replace(new, valid_from_ms=NOW_MS + 1), replace(new, valid_until_ms=NOW_MS)
    for rules in ((old, later), (later, old), (old, ended), (ended, old)):
        assert against(*rules) == ("GR-XX-0001",)


def test_a_newer_version_for_other_certificates_takes_the_older_one_away() -> None:
    old, new = rule(False), rule(False, version=(2, 0, 0), certificate_type=CertificateType.TEST)
    assert against(old, new) == ()


def test_every_rule_is_named_once_and_in_order() -> None:
    rules = [rule(False, identifier=f"GR-XX-000{n}") for n in (3, 1, 2)]
    assert against(*rules, *rules) == ("GR-XX-0001", "GR-XX-0002", "GR-XX-0003")
    assert against() == ()


def test_what_a_rule_sees() -> None:
    seen = {
        "payload.v.0.dn": 1,
        "external.validationClock": "2022-04-11T02:00:00.250Z",
        "external.valueSets.vaccines-covid-19-names.0": "EU/1/20/1528",
        "external.countryCode": "XX",
        "external.issuerCountryCode": "YY",
    }
    sets = {"vaccines-covid-19-names": ["EU/1/20/1528"]}
    for path, value in seen.items():
        right = rule({"===": [{"var": path}, value]})
        assert against(right, value_sets=sets, issuer="YY") == (), path
    no_sets = rule({"in": ["EU/1/20/1528", {"var": "external.valueSets.vaccines-covid-19-names"}]})
    assert against(no_sets) == ("GR-XX-0001",)


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["v", "t", "r", "dob"]), TREES), st.sampled_from(Credential))
def test_any_certificate_gets_an_answer(hcert: dict[str, object], credential: Credential) -> None:
    assert set(unmet([RULE, rule(True)], hcert, credential, NOW_MS)) <= {"VR-XX-0001"}


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(PUBLISHED)), TREES)
def test_any_field_is_read_or_refused_in_words(field: str, value: object) -> None:
    try:
        assert read_rule({**PUBLISHED, field: value}).country
    except ValueError as fault:
        assert str(fault)
