"""The authority, its certificates and its list, read by OpenSSL itself; and what renews them."""

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from central.enrolment.authority import (
    CA_FILE,
    CA_KEY,
    CRL_FILE,
    Authority,
    load_authority,
    make_authority,
    renewal_due,
)
from central.enrolment.book import EnrolmentBook, Granted
from central.enrolment.keeper import Keeper, write_crl
from central.enrolment.own_certificates import certify, renew
from central.keys import KeysError
from central.store import Store
from tests.brokers import require
from tests.central.enrolment.enrolling import DAY_MS, NOW_MS, Device, a_token, an_authority
from tests.central.enrolment.test_enrol_service import FixedClock

AT = str(NOW_MS // 1000)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return an_authority(tmp_path)


@pytest.fixture
def book(store: Store) -> EnrolmentBook:
    return EnrolmentBook(store.engine)


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(
        [require("openssl", "openssl"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def verified(folder: Path, *, at: str = AT, purpose: str = "sslclient") -> str:
    wanted = ["-attime", at, "-x509_strict", "-purpose", purpose, "-crl_check", "-CRLfile", folder / CRL_FILE]
    return openssl("verify", *wanted, "-CAfile", folder / CA_FILE, folder / "one.pem")


def a_list(folder: Path, authority: Authority, *numbers: int) -> None:
    (folder / CRL_FILE).write_bytes(authority.revocation_list([(n, NOW_MS) for n in numbers], NOW_MS))


def test_openssl_takes_a_device_as_client_only_and_not_when_revoked(
    tmp_path: Path, authority: Authority
) -> None:
    made = authority.gate_certificate("north/g-1", Device().public_key, NOW_MS)
    (tmp_path / "one.pem").write_bytes(made.public_bytes(Encoding.PEM))
    a_list(tmp_path, authority, 5)
    assert "one.pem: OK" in verified(tmp_path)
    assert "one.pem: OK" in verified(tmp_path, at=str(NOW_MS // 1000 - 80_000)), "a clock that is behind"
    assert "purpose" in verified(tmp_path, purpose="sslserver")
    assert "expired" in verified(tmp_path, at=str((NOW_MS + 90 * DAY_MS) // 1000 + 1))
    a_list(tmp_path, authority, 5, made.serial_number)
    assert "revoked" in verified(tmp_path)


def test_openssl_takes_a_server_with_its_names(tmp_path: Path, authority: Authority) -> None:
    assert certify(tmp_path, authority, "broker", ("broker.example", "192.0.2.1", "2001:db8::1"), NOW_MS)
    (tmp_path / "one.pem").write_bytes((tmp_path / "tls" / "broker.pem").read_bytes())
    a_list(tmp_path, authority)
    assert "one.pem: OK" in verified(tmp_path, purpose="sslserver")
    for option, name in (("-host", "broker.example"), ("-ip", "192.0.2.1"), ("-ip", "2001:db8::1")):
        said = openssl("x509", "-in", tmp_path / "one.pem", "-noout", f"-check{option[1:]}", name)
        assert "does match" in said


def test_an_authority_cannot_make_another(tmp_path: Path, authority: Authority) -> None:
    constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)


def test_it_is_made_once_for_its_owner_only_and_mended(tmp_path: Path, authority: Authority) -> None:
    assert make_authority(tmp_path, NOW_MS) == []
    assert (tmp_path / CA_KEY).stat().st_mode & 0o777 == 0o600
    (tmp_path / CA_FILE).unlink()
    with pytest.raises(KeysError, match="central init"):
        load_authority(tmp_path)
    assert make_authority(tmp_path, NOW_MS) == [tmp_path / CA_FILE]
    made = authority.gate_certificate("north/g-1", Device().public_key, NOW_MS)
    assert load_authority(tmp_path).signed(made), "what it has signed before stays good"
    (tmp_path / CA_KEY).unlink()
    make_authority(tmp_path, NOW_MS)
    with pytest.raises(KeysError, match="another key"):
        load_authority(tmp_path)


def test_what_another_authority_has_made_is_told_apart(tmp_path: Path, authority: Authority) -> None:
    other = an_authority(tmp_path / "other")
    key = Device().public_key
    assert not authority.signed(other.gate_certificate("north/g-1", key, NOW_MS))
    posing = Authority(Ed25519PrivateKey.generate(), authority.certificate)
    assert not authority.signed(posing.gate_certificate("north/g-1", key, NOW_MS))


def test_renewal_is_due_at_two_thirds(authority: Authority) -> None:
    made = authority.gate_certificate("north/g-1", Device().public_key, NOW_MS)
    begin, end = made.not_valid_before_utc.timestamp() * 1000, made.not_valid_after_utc.timestamp() * 1000
    due = round(begin + (end - begin) * 2 / 3)
    assert not renewal_due(made, due - 1000)
    assert renewal_due(made, due)


def test_certificates_of_the_centres_own_are_renewed_as_they_are(
    tmp_path: Path, authority: Authority
) -> None:
    certify(tmp_path, authority, "broker", ("broker.example",), NOW_MS)
    certify(tmp_path, authority, "centre", (), NOW_MS)
    (tmp_path / "tls" / "foreign.pem").write_text("junk")
    keys = {path.name: path.read_bytes() for path in (tmp_path / "tls").glob("*.key")}
    assert all((tmp_path / "tls" / name).stat().st_mode & 0o777 == 0o600 for name in keys)
    assert not certify(tmp_path, authority, "centre", (), NOW_MS)
    assert renew(tmp_path, authority, NOW_MS + 400 * DAY_MS) == []
    assert renew(tmp_path, authority, NOW_MS + 490 * DAY_MS) == ["broker", "centre"]
    assert renew(tmp_path, authority, NOW_MS + 490 * DAY_MS) == []
    renewed = x509.load_pem_x509_certificate((tmp_path / "tls" / "broker.pem").read_bytes())
    names = renewed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    assert keys == {path.name: path.read_bytes() for path in (tmp_path / "tls").glob("*.key")}
    assert certify(tmp_path, authority, "broker", ("other.example",), NOW_MS), "other names: another one"
    for name in ("a/b", "", "-x", "../x"):
        with pytest.raises(KeysError, match="name"):
            certify(tmp_path, authority, name, (), NOW_MS)


def numbers(folder: Path) -> list[int]:
    here = x509.load_pem_x509_crl((folder / CRL_FILE).read_bytes())
    return [entry.serial_number for entry in here]


def test_the_list_follows_the_store_and_never_grows_old(
    tmp_path: Path, authority: Authority, book: EnrolmentBook, store: Store
) -> None:
    device, clock = Device(), FixedClock()
    came = book.ask(device.asks(a_token(book)), authority, NOW_MS)
    assert isinstance(came, Granted)
    keeper = Keeper(tmp_path, authority, book, clock)
    keeper.step()
    assert numbers(tmp_path) == []
    written = (tmp_path / CRL_FILE).read_bytes()
    keeper.step()
    assert (tmp_path / CRL_FILE).read_bytes() == written, "nothing is new"
    store.revoke_key("north", "g-1", None, NOW_MS)
    keeper.step()
    assert numbers(tmp_path) == [came.certificate.serial_number]
    written = (tmp_path / CRL_FILE).read_bytes()
    clock.wall_ms += DAY_MS - 1000
    assert not write_crl(tmp_path, authority, book, clock.wall_ms)
    clock.wall_ms += 1000
    keeper.step()
    assert (tmp_path / CRL_FILE).read_bytes() != written
    for broken in (b"", b"junk", an_authority(tmp_path / "other").revocation_list([], clock.wall_ms)):
        (tmp_path / CRL_FILE).write_bytes(broken)
        keeper.step()
        assert numbers(tmp_path) == [came.certificate.serial_number]


def test_the_keeper_says_when_the_centres_own_certificates_are_new(
    tmp_path: Path, authority: Authority, book: EnrolmentBook
) -> None:
    told: list[bool] = []
    clock = FixedClock()
    certify(tmp_path, authority, "enrolment", ("localhost",), NOW_MS)
    keeper = Keeper(tmp_path, authority, book, clock)
    keeper.on_renewed = lambda: told.append(True)
    keeper.step()
    assert told == []
    clock.wall_ms += 500 * DAY_MS
    keeper.step()
    assert told == [True]
