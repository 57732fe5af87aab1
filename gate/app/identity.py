"""The key that this device is known by at the centre: made on the device, and it never leaves it.

    <state_dir>/device.key    Ed25519 (RFC 8032), PKCS #8 in PEM form, only the gate's user may read it

Checkpoints are signed with it. A gate whose key cannot be read goes on serving visitors and sends its
records, but the centre signs for none of them; a new key must be registered with the centre to count.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gate.durable import write_new

KEY_NAME: Final = "device.key"
_BYTES_MAX: Final = 4096


class IdentityError(Exception):
    """The device key cannot be used; the message says which file, and what to do."""


def device_key(state_dir: Path, on_made: Callable[[], None] = lambda: None) -> Ed25519PrivateKey:
    """Return the key of this device, made and made durable if there is none yet. Raises IdentityError.

    `on_made` is told when it had to be made.
    """
    path = state_dir / KEY_NAME
    with suppress(OSError):  # what cannot be looked for cannot be read either, and that is said
        if not path.exists() and _make(path):
            on_made()
    return read_key(path)


def read_key(path: Path) -> Ed25519PrivateKey:
    """Return the key in a file. Raises IdentityError."""
    try:
        with path.open("rb") as file:
            key = load_pem_private_key(file.read(_BYTES_MAX), password=None)
    except OSError as error:
        raise IdentityError(
            f"the device key {path} cannot be read ({error.strerror}); it belongs to the gate's user, "
            "and only that user (or root) can work with it"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityError(_damaged(path)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(_damaged(path))
    return key


def as_line(site: str, gate: str, key: Ed25519PrivateKey) -> str:
    """Return what `central gates add` takes: one line of JSON with the public key."""
    return json.dumps({"site": site, "gate": gate, "public_key": key.public_key().public_bytes_raw().hex()})


def _damaged(path: Path) -> str:
    return (
        f"the device key {path} is damaged; bring back a copy, or put the file aside: "
        "the gate then makes a new key, which has to be registered with the centre (gate identity)"
    )


def _make(path: Path) -> bool:
    """Make a key under its name, whole or not at all; False where one was there first, which stays."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_new(path, pem, owned_as_folder=True)  # `gate identity` may be run as root
    except OSError as error:
        raise IdentityError(
            f"the device key {path} cannot be made ({error.strerror}); "
            "the state folder must be one that the gate's user can write to"
        ) from error
