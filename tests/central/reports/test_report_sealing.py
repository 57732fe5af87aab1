"""A signed report holds, and any byte that is changed in it is found, with public keys alone."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from central.reports.sealing import check, sealed, written
from central.store import Store
from gate.core.events import Stage
from tests.central.reports.town import CENTRE_KEY, CENTRE_PUBLIC, FEVER, HOT, TownGate, ms, report

Document = dict[str, Any]


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """One database is enough here."""
    return f"sqlite:///{tmp_path / 'central.db'}"


@pytest.fixture
def document(store: Store) -> Document:
    gate = TownGate(store)
    gate.register()
    gate.visit(ms("2022-04-11T12:00"), (Stage.REFUSED, FEVER), evidence=HOT)
    gate.deliver(ms("2022-04-11T16:59"))
    return sealed(report(store, "2022-04-11", "2022-04-11T17:00"), CENTRE_KEY)


def test_a_report_holds_after_a_journey(document: Document) -> None:
    assert list(check(json.loads(written(document)), CENTRE_PUBLIC)) == []


def test_the_same_report_is_the_same_bytes(store: Store, document: Document) -> None:
    again = sealed(report(store, "2022-04-11", "2022-04-11T17:00"), CENTRE_KEY)
    assert written(again) == written(document)


def test_a_changed_figure_is_found(document: Document) -> None:
    document["totals"]["day"]["visits"]["fever"] = 0
    problems = list(check(document, CENTRE_PUBLIC))
    assert any("sha256" in problem for problem in problems)
    assert any("another report" in problem for problem in problems)


def test_a_report_that_is_signed_anew_by_somebody_else_is_found(document: Document) -> None:
    document["zero"] = True
    forged = sealed(document, Ed25519PrivateKey.generate())
    assert list(check(forged, CENTRE_PUBLIC)) == ["the centre's signature: unknown_key"]


def test_a_checkpoint_of_another_ledger_or_key_is_found(store: Store, document: Document) -> None:
    other = TownGate(store, gate="g-2")
    proof = document["proofs"][0]["checkpoint"]
    proof["message"] = base64.b64encode(other.sign(5)).decode()
    assert "proof 1: checkpoint: unknown_key" in check(document, CENTRE_PUBLIC)
    proof["public_key"] = other.key.public_key().public_bytes_raw().hex()
    assert "proof 1: checkpoint: is for another ledger" in check(document, CENTRE_PUBLIC)


def test_a_ledger_cannot_be_vouched_for_without_a_checkpoint(document: Document) -> None:
    document["proofs"][0]["checkpoint"] = None
    resealed = sealed(document, CENTRE_KEY)
    assert list(check(resealed, CENTRE_PUBLIC)) == ["proof 1: vouches for a ledger without a checkpoint"]


@pytest.mark.parametrize("field", ["size", "hash"])
def test_figures_that_the_checkpoint_does_not_state_are_found(document: Document, field: str) -> None:
    document["proofs"][0]["checkpoint"][field] = 1
    problems = list(check(sealed(document, CENTRE_KEY), CENTRE_PUBLIC))
    assert problems == ["proof 1: checkpoint: states another size or hash than the report"]


def test_a_receipt_that_the_centre_did_not_sign_is_found(document: Document) -> None:
    document["proofs"][0]["receipt"] = "AAAA"
    problems = list(check(sealed(document, CENTRE_KEY), CENTRE_PUBLIC))
    assert problems == ["proof 1: receipt: malformed"]


@pytest.mark.parametrize("odd", ["NaN", "-Infinity", "[" * 900 + "]" * 900])
def test_what_no_report_can_hold_is_answered(odd: str) -> None:
    found = json.loads(f'{{"proofs": [], "signed": "", "x": {odd}}}')
    assert list(check(found, CENTRE_PUBLIC))


def test_the_keys_may_be_anything_that_can_be_walked_through_once(document: Document) -> None:
    assert list(check(document, iter(CENTRE_PUBLIC))) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
signed = st.fixed_dictionaries({"message": json_values, "public_key": json_values})
fields = ("checkpoint", "receipt", "vouched", "proved", "site")
proofs = st.fixed_dictionaries({}, optional=dict.fromkeys(fields, json_values | signed))


@settings(max_examples=60)
@given(
    st.one_of(
        json_values, st.fixed_dictionaries({"proofs": st.lists(proofs | json_values), "signed": json_values})
    )
)
def test_whatever_is_checked_is_answered(anything: object) -> None:
    assert list(check(anything, CENTRE_PUBLIC))
