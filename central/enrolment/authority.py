"""The centre's certificate authority: it signs for devices, for the broker, and for the centre itself.

    <folder>/ca.key    Ed25519: whoever has it can make devices
    <folder>/ca.pem    its certificate, for devices and the broker
    <folder>/ca.crl    which certificates are revoked (RFC 5280 section 5), for the broker

Everything is Ed25519 (RFC 8410): one kind of key on the device, for checkpoints and for TLS. Certificates
and the list begin a day before they are made, for machines whose clock is behind.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from central.keys import KeysError, make_signing_key, signing_key, write_new
from gate.core.codes.trust import key_id

CA_KEY: Final = "ca.key"
CA_FILE: Final = "ca.pem"
CRL_FILE: Final = "ca.crl"

GATE_DAYS: Final = 90
SERVICE_DAYS: Final = 730
"""Of the broker and the centre: whoever copies them by hand does so once in a year."""

CRL_DAYS: Final = 90
"""A broker refuses everybody once its list is over, so that one that gets no new one has long to notice."""

_CA_DAYS: Final = 20 * 365
_EARLY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority's key and certificate."""

    key: Ed25519PrivateKey
    certificate: x509.Certificate

    def gate_certificate(
        self, name: str, public_key: bytes, now_ms: int, device: str = ""
    ) -> x509.Certificate:
        """Return a certificate for a device called `<site>/<gate>`, with which it may connect to servers.

        `device`: the serial number of its board, "" for none.
        """
        key = Ed25519PublicKey.from_public_bytes(public_key)
        begun = self._begun(named(name, device), key, now_ms, GATE_DAYS)
        return self._sign(begun, [ExtendedKeyUsageOID.CLIENT_AUTH])

    def service_certificate(
        self, name: str, key: Ed25519PublicKey, hosts: Sequence[str], now_ms: int
    ) -> x509.Certificate:
        """Return a certificate for a server with these host names or addresses; without any, for a client."""
        builder = self._begun(named(name), key, now_ms, SERVICE_DAYS)
        if not hosts:
            return self._sign(builder, [ExtendedKeyUsageOID.CLIENT_AUTH])
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
        return self._sign(builder, [ExtendedKeyUsageOID.SERVER_AUTH])

    def revocation_list(self, numbers: Iterable[tuple[int, int]], now_ms: int) -> bytes:
        """Return the list in PEM form: serial number and instant of each (unix milliseconds)."""
        now = moment(now_ms)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - _EARLY)  # or a broker whose clock is a second behind keeps everybody out
            .next_update(now + timedelta(days=CRL_DAYS))
            .add_extension(x509.CRLNumber(max(1, now_ms)), critical=False)
            .add_extension(_issuer_id(self.key.public_key()), critical=False)
        )
        for number, revoked_ms in numbers:
            entry = x509.RevokedCertificateBuilder().serial_number(number)
            builder = builder.add_revoked_certificate(entry.revocation_date(moment(revoked_ms)).build())
        return builder.sign(self.key, None).public_bytes(Encoding.PEM)

    def signed(self, certificate: x509.Certificate) -> bool:
        """Tell whether this authority has made a certificate."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def _begun(
        self, name: x509.Name, key: Ed25519PublicKey, now_ms: int, days: int
    ) -> x509.CertificateBuilder:
        return _begun(name, self.certificate.subject, key, now_ms, days).add_extension(
            _issuer_id(self.key.public_key()), critical=False
        )

    def _sign(
        self, builder: x509.CertificateBuilder, purposes: list[x509.ObjectIdentifier]
    ) -> x509.Certificate:
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .sign(self.key, None)
        )


def make_authority(folder: Path, now_ms: int) -> list[Path]:
    """Make whichever of key and certificate is missing; return those made. Raises KeysError."""
    made = [folder / CA_KEY] if make_signing_key(folder / CA_KEY) else []
    key = signing_key(folder / CA_KEY)
    name = named(f"health-gate authority {key_id(key.public_key().public_bytes_raw()).hex()}")
    certificate = (
        _begun(name, name, key.public_key(), now_ms, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .sign(key, None)
    )
    if write_new(folder / CA_FILE, certificate.public_bytes(Encoding.PEM), 0o644):
        made.append(folder / CA_FILE)
    return made


def load_authority(folder: Path) -> Authority:
    """Read key and certificate of a folder. Raises KeysError."""
    key = signing_key(folder / CA_KEY)
    certificate = read_certificate(folder / CA_FILE)
    if certificate is None or certificate.public_key() != key.public_key():
        raise KeysError(
            f"{folder / CA_FILE} is missing or belongs to another key than {CA_KEY}; "
            f"put the right one back, or take it away and run: central init {folder}"
        )
    return Authority(key, certificate)


def read_certificate(path: Path) -> x509.Certificate | None:
    """Return the certificate in a file, None where there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def made_at(revocations: x509.CertificateRevocationList) -> datetime:
    """Return when a list of ours was made."""
    return revocations.last_update_utc + _EARLY


def renewal_due(certificate: x509.Certificate, now_ms: int) -> bool:
    """Tell whether two thirds of a certificate's life are over."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return moment(now_ms) >= begin + (end - begin) * 2 / 3


def moment(ms: int) -> datetime:
    """Return unix milliseconds as an instant, in whole seconds as certificates state it."""
    return datetime.fromtimestamp(ms // 1000, UTC)


def named(name: str, device: str = "") -> x509.Name:
    """Return a subject: a common name, and the serial number of a board where there is one."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if device:
        parts.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, device))
    return x509.Name(parts)


def common_name(name: x509.Name) -> str:
    """Return the common name, "" where there is not exactly one."""
    names = [str(part.value) for part in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return names[0] if len(names) == 1 else ""


def _begun(
    name: x509.Name, issuer: x509.Name, key: Ed25519PublicKey, now_ms: int, days: int
) -> x509.CertificateBuilder:
    now = moment(now_ms)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issuer_id(key: Ed25519PublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
