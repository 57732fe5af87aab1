"""What the tests of enrolment share: an authority, devices with keys, and what they ask."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from central.enrolment.authority import Authority, load_authority, make_authority
from central.enrolment.book import Asked, EnrolmentBook

NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000


def an_authority(folder: Path, now_ms: int = NOW_MS) -> Authority:
    make_authority(folder, now_ms)
    return load_authority(folder)


def a_token(book: EnrolmentBook, site: str = "north", gate: str = "", **given: Any) -> str:
    said = {"days": 7, "uses": 1, "by": "Li", "now_ms": NOW_MS, **given}
    return book.make_token(site, gate, **said)


def request_for(name: str, key: Any, *, signed_with: Any = None) -> str:
    builder = x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    signer = signed_with or key
    algorithm = None if isinstance(signer, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer, algorithm).public_bytes(Encoding.PEM).decode()


@dataclass
class Device:
    """A device as the centre sees it."""

    gate: str = "g-1"
    site: str = "north"
    serial: str = ""
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def asks(self, token: str = "", **changes: Any) -> Asked:
        said: dict[str, Any] = {
            "site": self.site, "gate": self.gate, "public_key": self.public_key, "token": token,
            "device": self.serial, "at_ms": NOW_MS, "address": "192.0.2.7",
        }  # fmt: skip
        return Asked(**said | changes)

    def body(self, token: str = "", at_ms: int = NOW_MS, **changes: Any) -> bytes:
        said = {
            "v": 1, "csr": request_for(f"{self.site}/{self.gate}", self.key), "token": token,
            "device": self.serial, "at_ms": at_ms,
        }  # fmt: skip
        return json.dumps(said | changes).encode()
