"""Certificates of the centre itself, of the broker, and of its other clients: made and renewed here.

    <keys_dir>/tls/<name>.key    Ed25519, made once
    <keys_dir>/tls/<name>.pem    the certificate; <name> is its common name, and so the user at the broker

A key never changes, so that a certificate can be renewed under whoever is just reading both.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from central.enrolment.authority import Authority, common_name, read_certificate, renewal_due
from central.keys import KeysError, make_signing_key, signing_key
from gate import durable

FOLDER: Final = "tls"
CENTRE: Final = "centre"
"""What the centre is called at the broker."""

ENROLMENT: Final = "enrolment"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


def certify(folder: Path, authority: Authority, name: str, hosts: Sequence[str], now_ms: int) -> bool:
    """Make key and certificate of this name, or renew it when that is due; False when it was good.

    `hosts`: names or addresses of a server; without any it is a client. Raises KeysError.
    """
    if not _NAME.fullmatch(name):
        raise KeysError(f"{name!a} cannot be the name of a certificate: 1 to 32 of A-Z a-z 0-9 _ -")
    place = folder / FOLDER / f"{name}.pem"
    make_signing_key(place.with_suffix(".key"))
    key = signing_key(place.with_suffix(".key")).public_key()
    here = read_certificate(place)
    if (
        here is not None
        and authority.signed(here)
        and here.public_key() == key
        and _hosts(here) == list(hosts)
        and not renewal_due(here, now_ms)
    ):
        return False
    try:
        made = authority.service_certificate(name, key, hosts, now_ms)
    except ValueError as error:
        raise KeysError(f"{', '.join(hosts)}: these are no names of a server ({error})") from error
    replace_public(place, made.public_bytes(Encoding.PEM))
    return True


def renew(folder: Path, authority: Authority, now_ms: int) -> list[str]:
    """Renew all that are due, as they are; return their names. Raises KeysError."""
    renewed = []
    for place in sorted((folder / FOLDER).glob("*.pem")):
        here = read_certificate(place)
        if here is None or common_name(here.subject) != place.stem or not place.with_suffix(".key").exists():
            continue  # somebody else's
        if certify(folder, authority, place.stem, _hosts(here), now_ms):
            renewed.append(place.stem)
    return renewed


def replace_public(path: Path, content: bytes) -> None:
    """Replace a file that anybody may read. Raises KeysError."""
    try:
        durable.replace(path, content)
    except OSError as error:
        raise KeysError(f"{path} cannot be written ({error.strerror})") from error


def _hosts(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]
