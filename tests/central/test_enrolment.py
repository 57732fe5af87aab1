"""Making a gate known: by its own words or by a certificate, and by nothing else."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from central.enrolment.identity import TEXT_BYTES_MAX, EnrolmentError, Identity, read_identity

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
NOW = datetime(2026, 11, 22, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def certificate(*names: str, key: Any = KEY, days: int = 1) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=10))
        .not_valid_after(NOW + timedelta(days=days))
    )
    algorithm = None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


def line(**changes: Any) -> bytes:
    stated = {"site": "north", "gate": "g-1", "public_key": PUBLIC.hex()} | changes
    return json.dumps(stated).encode() + b"\n"


def test_what_a_gate_says_of_itself() -> None:
    assert read_identity(line(), NOW_MS) == Identity("north", "g-1", PUBLIC)


def test_a_certificate() -> None:
    assert read_identity(certificate("north/g-1"), NOW_MS) == Identity("north", "g-1", PUBLIC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "neither a certificate nor"),
        (b"[]", "neither"),
        (line(site=5), "neither"),
        (line(public_key="zz"), "neither"),
        (line(public_key="00"), "64 hexadecimal digits"),
        (line(site="no/rth"), "no name of a site"),
        (line(gate=""), "no name of a site"),
        (b"x" * (TEXT_BYTES_MAX + 1), "too large"),
        (b"-----BEGIN CERTIFICATE-----\njunk", "cannot be read"),
        (certificate("g-1"), "common name"),
        (certificate("north/g-1", "south/g-2"), "common name"),
        (certificate("north/g-1/x"), "common name"),
        (certificate("/"), "no name of a site"),
        (certificate("north/g-1", days=-1), "valid from 2026-11-12 until 2026-11-21 only"),
        (certificate("north/g-1", key=generate_ec_key(SECP256R1())), "not Ed25519"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",  # keys differ from process to process
)
def test_what_names_no_gate_is_refused_with_a_reason(text: bytes, words: str) -> None:
    with pytest.raises(EnrolmentError, match=words):
        read_identity(text, NOW_MS)


@given(st.binary() | st.text().map(lambda text: line(site=text)))
def test_nothing_else_comes_out_of_strangers_bytes(text: bytes) -> None:
    with contextlib.suppress(EnrolmentError):
        assert isinstance(read_identity(text, NOW_MS), Identity)
