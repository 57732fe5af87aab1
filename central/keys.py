"""The centre's own keys on disk, and what gates have to know of them.

    <folder>/centre.key    Ed25519: signs receipts and commands
    <folder>/seal.key      X25519: opens what gates seal to the centre (registration values)
    <folder>/centre.json   {"sign": ["<64 hex>", ...], "seal": "<64 hex>"}: the public halves, for the gates
    <folder>/ca.key        Ed25519: signs certificates, see central.enrolment.authority

Private keys are PKCS8 in PEM form, readable by their owner only. None is ever overwritten: gates believe
these keys, and a receipt or a sealed value is worth nothing without them. `sign` may list several keys, so
that a successor can be made known to the gates before it is used; `verify` believes receipts of each.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from nacl.public import PrivateKey

from gate import durable

SIGN_KEY: Final = "centre.key"
SEAL_KEY: Final = "seal.key"
FOR_GATES: Final = "centre.json"
_FILE_BYTES_MAX: Final = 64 * 1024
_HEX_KEY: Final = re.compile(r"[0-9a-f]{64}")
_OTHERS_MAY: Final = 0o077


class KeysError(Exception):
    """Key files that cannot be made or used, in a sentence that says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class CentreKeys:
    """What the centre signs with, opens with, and is known by: `public` are 32 bytes each, its own first."""

    sign: Ed25519PrivateKey
    seal: PrivateKey
    public: tuple[bytes, ...]


def load_keys(folder: Path) -> CentreKeys:
    """Read the key files of a folder. Raises KeysError."""
    sign = signing_key(folder / SIGN_KEY)
    seal = _private(folder / SEAL_KEY)
    if not isinstance(seal, X25519PrivateKey):
        raise KeysError(f"{folder / SEAL_KEY} holds a key that is not X25519")
    own = sign.public_key().public_bytes_raw()
    known = public_keys(folder)
    if own not in known:
        raise KeysError(f"{folder / FOR_GATES} does not list the key of {SIGN_KEY}: no gate would believe it")
    others = tuple(key for key in known if key != own)
    return CentreKeys(sign, PrivateKey(seal.private_bytes_raw()), (own, *others))


def public_keys(place: Path) -> tuple[bytes, ...]:
    """Return the keys by which gates know this centre's signatures. Raises KeysError.

    `place`: the folder that `central init` has made, or the file `centre.json` itself.
    """
    path = place / FOR_GATES if place.is_dir() else place
    try:
        return tuple(_public(key) for key in json.loads(_read(path))["sign"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise KeysError(f'{path} is not of the form {{"sign": ["<64 hex>"], "seal": "<64 hex>"}}') from error


def _public(text: str) -> bytes:
    if not _HEX_KEY.fullmatch(text):
        raise ValueError("no key")
    return bytes.fromhex(text)


def make_keys(folder: Path) -> list[Path]:
    """Make whichever of the three files are missing; return those made. Raises KeysError."""
    made = []
    seal = X25519PrivateKey.from_private_bytes(bytes(PrivateKey.generate())).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    if make_signing_key(folder / SIGN_KEY):
        made.append(folder / SIGN_KEY)
    if write_new(folder / SEAL_KEY, seal, 0o600):
        made.append(folder / SEAL_KEY)
    if write_new(folder / FOR_GATES, _for_gates(folder), 0o644):
        made.append(folder / FOR_GATES)
    return made


def make_signing_key(path: Path) -> bool:
    """Make an Ed25519 key, for its owner only; False where there is one already. Raises KeysError."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return write_new(path, pem, 0o600)


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 key. Raises KeysError."""
    key = _private(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysError(f"{path} holds a key that is not Ed25519")
    return key


def write_new(path: Path, content: bytes, mode: int) -> bool:
    """Write a file whole and to the disk, or not at all; False when there is one already. KeysError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return durable.write_new(path, content, mode, owned_as_folder=True)
    except OSError as error:
        raise KeysError(f"{path} cannot be written ({error.strerror})") from error


def _for_gates(folder: Path) -> bytes:
    sign, seal = _private(folder / SIGN_KEY), _private(folder / SEAL_KEY)
    public = {
        "sign": [sign.public_key().public_bytes_raw().hex()],
        "seal": seal.public_key().public_bytes_raw().hex(),
    }
    return json.dumps(public, indent=2).encode() + b"\n"


def _private(path: Path) -> Ed25519PrivateKey | X25519PrivateKey:
    pem = _read(path)
    if path.stat().st_mode & _OTHERS_MAY:
        raise KeysError(f"{path} can be read by others than its owner; chmod 600 it")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise KeysError(f"{path} holds no private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey | X25519PrivateKey):
        raise KeysError(f"{path} holds a key of another kind")
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise KeysError(
            f"there is no {path}; make the centre's keys with: central init {path.parent}"
        ) from error
    except OSError as error:
        raise KeysError(f"{path} cannot be read ({error.strerror})") from error
    if len(content) > _FILE_BYTES_MAX:
        raise KeysError(f"{path} is too large for a key")
    return content
