"""Trust documents: what is believed, and every fault of a document named at once."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.codes.model import Credential
from gate.core.codes.trust import DOCUMENTS, PASSES, Trust, TrustedKey, TrustError, key_id

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()


def row(**changes: object) -> dict[str, object]:
    good = {
        "issuer": "county-hall",
        "issuer_name": "County hall 县政务大厅",
        "public_key": KEY.hex(),
        "purposes": ["visitor", "staff"],
    }
    return {**good, **changes}


def problems_of(*documents: tuple[str, object]) -> tuple[str, ...]:
    with pytest.raises(TrustError) as caught:
        Trust.from_documents(documents)
    assert str(caught.value) == "; ".join(caught.value.problems)
    return caught.value.problems


def test_keys_of_several_documents_are_found_by_issuer_and_kid() -> None:
    trust = Trust.from_documents(
        [
            ("a.toml", {"keys": [row(), row(public_key=OTHER.hex())]}),
            ("b.toml", {"keys": [row(issuer="B_2")]}),
        ]
    )
    assert trust.find("county-hall", key_id(KEY)) == TrustedKey(
        "county-hall", "County hall 县政务大厅", KEY, frozenset({Credential.VISITOR, Credential.STAFF})
    )
    found = trust.find("B_2", key_id(KEY))
    assert found is not None
    assert found.issuer == "B_2"
    assert trust.find("B_2", key_id(OTHER)) is None
    assert trust.find("county-hall", b"") is None
    assert key_id(KEY) != key_id(OTHER)
    assert len(key_id(KEY)) == 4


def test_a_key_may_sign_passes_or_documents_or_both() -> None:
    for purposes in (["documents"], ["visitor"], [*PASSES, "documents"]):
        (key,) = Trust.from_documents([("a.toml", {"keys": [row(purposes=purposes)]})]).keys
        assert key.purposes == frozenset(purposes)
        assert (DOCUMENTS in key.purposes) == ("documents" in purposes)
        assert all(isinstance(purpose, Credential) for purpose in key.purposes - {DOCUMENTS})


def test_no_documents_trust_nobody() -> None:
    assert Trust.from_documents([]) == Trust()
    assert Trust.from_documents([("empty.toml", {"keys": []})]) == Trust()
    assert Trust().find("county-hall", key_id(KEY)) is None


@pytest.mark.parametrize("data", [None, [], "keys", {}, {"keys": {}}, {"keys": [], "more": 1}])
def test_a_document_of_another_shape(data: object) -> None:
    assert problems_of(("x.toml", data)) == ("x.toml: must hold a list named 'keys' and nothing else",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer": None}, "issuer: must be a text"),
        ({"issuer": ""}, "issuer: must be 1 to 32"),
        ({"issuer": "a" * 33}, "issuer: must be 1 to 32"),
        ({"issuer": "соunty"}, "issuer: must be 1 to 32"),  # Cyrillic letters
        ({"issuer": "hall\n"}, "issuer: must be 1 to 32"),
        ({"issuer_name": 5}, "issuer_name: must be a text"),
        ({"issuer_name": ""}, "issuer_name: must be 1 to 64"),
        ({"issuer_name": "x" * 65}, "issuer_name: must be 1 to 64"),
        ({"issuer_name": "a\u202eb"}, "issuer_name: must be 1 to 64"),
        ({"public_key": KEY.hex()[:-1]}, "public_key: must be 64 hex"),
        ({"public_key": KEY.hex() + "\n"}, "public_key: must be 64 hex"),
        ({"public_key": "g" * 64}, "public_key: must be 64 hex"),
        ({"public_key": KEY}, "public_key: must be a text"),
        ({"purposes": []}, f"purposes: must be a list of one or more of {', '.join(PASSES)}, documents"),
        ({"purposes": ["vaccination"]}, "purposes: must be a list"),  # nothing that a counter issues
        ({"purposes": ["none"]}, "purposes: must be a list"),
        ({"purposes": ["visitor", 1]}, "purposes: must be a list"),
        ({"purposes": [["visitor"]]}, "purposes: must be a list"),
        ({"purposes": "visitor"}, "purposes: must be a list"),
        ({"isuer": "x"}, "unknown field 'isuer'"),
    ],
)
def test_each_fault_of_a_key(changes: dict[str, object], words: str) -> None:
    problems = problems_of(("x.toml", {"keys": [row(**changes)]}))
    assert len(problems) == 1
    assert problems[0].startswith(f"x.toml: keys[0]: {words}")


@pytest.mark.parametrize(
    "weak",
    [
        "00" * 32,
        "00" * 31 + "80",
        "01" + "00" * 31,
        "01" + "00" * 30 + "80",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",  # the prime itself, which is 0 again
        "EE" + "ff" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ],
)
def test_keys_for_which_anybody_can_sign(weak: str) -> None:
    assert "anybody could sign" in problems_of(("x.toml", {"keys": [row(public_key=weak)]}))[0]


def test_all_faults_are_told_at_once() -> None:
    problems = problems_of(
        ("a.toml", []),
        ("b.toml", {"keys": ["text", row(), {}, row(), row(issuer="", purposes=[])]}),
    )
    assert [problem.split(": must")[0] for problem in problems] == [
        "a.toml",
        "b.toml: keys[0]",
        "b.toml: keys[2]: issuer",
        "b.toml: keys[2]: issuer_name",
        "b.toml: keys[2]: public_key",
        "b.toml: keys[2]: purposes",
        "b.toml: keys[4]: issuer",
        "b.toml: keys[4]: purposes",
        f"issuer county-hall: key {key_id(KEY).hex()} is listed 2 times",
    ]
