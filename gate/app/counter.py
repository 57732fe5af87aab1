"""What a counter that issues passes keeps on disk and hands out: key files, pictures, the revocation list."""

import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gate.core.codes.model import CodeError, Reason
from gate.core.codes.trust import DOCUMENTS, Trust, TrustedKey, TrustError
from gate.core.documents import (
    PASS_ID,
    TEXT_BYTES_MAX,
    Document,
    Documents,
    Revocations,
    open_document,
    sign_document,
)
from gate.durable import replace, write_new

if TYPE_CHECKING:
    from segno import QRCode

_DAY_S: Final = 86_400

_KEY_BYTES_MAX: Final = 16 * 1024
_ISSUER: Final = re.compile(rb"^Issuer: ([A-Za-z0-9_-]{1,32})\r?$", re.MULTILINE)


class CounterError(Exception):
    """Something that the counter cannot do, in a sentence that says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class CounterKey:
    """A private key, and the issuer in whose name it signs."""

    issuer: str
    private_key: Ed25519PrivateKey

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that gates know."""
        return self.private_key.public_key().public_bytes_raw()


def create_key(file: Path, issuer: str, issuer_name: str, purposes: Sequence[str]) -> str:
    """Write a new private key that only its owner can read; return the trust TOML for the gates.

    The name of the issuer stands before the key, where a PEM file has room for words (RFC 7468 section 2).
    Raises CounterError, also when the file exists: a key that passes were signed with is not replaced.
    """
    key = CounterKey(issuer, Ed25519PrivateKey.generate())
    document = trust_toml(key, issuer_name, purposes)
    pem = key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        made = write_new(file, f"Issuer: {issuer}\n".encode() + pem)
    except OSError as error:
        raise CounterError(f"{file} cannot be written ({error.strerror})") from error
    if not made:
        raise CounterError(f"{file} exists and is not overwritten; name another file")
    return document


def trust_toml(key: CounterKey, issuer_name: str, purposes: Sequence[str]) -> str:
    """Return the entry by which a gate believes a key, for a file of `gate.trust_files`; or CounterError."""
    # A JSON string is a TOML string too, once nothing unprintable is in it, which the check below sees to.
    lines = [
        "[[keys]]",
        f"issuer = {json.dumps(key.issuer)}",
        f"issuer_name = {json.dumps(issuer_name, ensure_ascii=False)}",
        f'public_key = "{key.public_key.hex()}"',
        f"purposes = {json.dumps(list(purposes))}",
    ]
    text = "\n".join(lines) + "\n"
    try:
        Trust.from_documents([("key", tomllib.loads(text))])
    except (TrustError, tomllib.TOMLDecodeError) as error:
        raise CounterError(str(error)) from error
    return text


def load_key(file: Path) -> CounterKey:
    """Read a key file as `create_key` writes it. Raises CounterError."""
    text = read_bytes(file, _KEY_BYTES_MAX)
    if text is None:
        raise CounterError(f"there is no key file {file}; make one with: gate pass key --new {file}")
    words, begin, pem = text.partition(b"-----BEGIN PRIVATE KEY-----")
    try:
        key = load_pem_private_key(begin + pem, password=None)
    except (ValueError, TypeError) as error:
        raise CounterError(f"{file} holds no private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CounterError(f"{file} holds a key that is not Ed25519")
    issuer = _ISSUER.search(words)
    if issuer is None:
        raise CounterError(f"{file} does not say whose key it is; write a line 'Issuer: NAME' at its top")
    return CounterKey(issuer[1].decode(), key)


# Pictures


def save_picture(text: str, file: Path) -> None:
    """Draw a code as .png or .svg, black on white with its quiet zone. Raises CounterError."""
    code = _code(text)
    try:
        code.save(str(file), border=QUIET_ZONE, scale=8, light="white")
    except OSError as error:
        raise CounterError(f"{file} cannot be written ({error.strerror})") from error


QUIET_ZONE: Final = 4
"""Light modules on each side: ISO/IEC 18004 section 6.3.8."""

_BLACK_ON_WHITE: Final = "\x1b[38;5;16;48;5;231m"
"""Colours 16 and 231 of the 256 are the same in every theme; 0 and 15 may be anything."""

_HALVES: Final = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}


def terminal_picture(text: str) -> str:
    """Draw a code in half blocks, dark on light whatever the colours of the terminal. Raises CounterError."""
    rows = [list(map(int, row)) for row in _code(text).matrix_iter(border=QUIET_ZONE)]
    rows += [[0] * len(rows[0])] * (len(rows) % 2)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    lines = ("".join(_HALVES[halves] for halves in zip(*pair, strict=True)) for pair in pairs)
    return "\n".join(f"{_BLACK_ON_WHITE}{line}\x1b[0m" for line in lines)


def _code(text: str) -> "QRCode":
    try:
        import segno  # noqa: PLC0415 - only who draws needs it
    except ImportError as error:
        raise CounterError(
            "drawing a QR code needs segno: install python3-segno (Debian) or segno (pip)"
        ) from error
    return segno.make_qr(text, error="m")


# The revocation list


@dataclass(frozen=True, slots=True)
class RevocationList:
    """What a signed list says: its version, how many passes are revoked, its last second (unix seconds)."""

    version: int
    passes: int
    not_after: int


def revoke(
    key: CounterKey, *, site: str, file: Path, pass_ids: Iterable[str], now_s: int, days: int
) -> RevocationList:
    """Add pass ids to the signed list in a file, in its next version.

    Without any ids the list only gets a new end. Raises CounterError, and then the file is as it was.
    """
    ids = {pass_id.lower() for pass_id in pass_ids}
    if wrong := sorted(pass_id for pass_id in ids if not PASS_ID.fullmatch(pass_id)):
        raise CounterError(
            "\n".join(f"{pass_id!a} is no pass id: 8 to 32 hexadecimal digits" for pass_id in wrong)
        )
    try:
        with alone_in(file.parent):
            known, version = _read_list(key, site, file)
            content = Revocations(known | ids)
            document = Document(site, key.issuer, version + 1, now_s, now_s + days * _DAY_S, content)
            replace(file, f"{sign_document(key.private_key, document)}\n".encode())
    except ValueError as error:
        raise CounterError(f"the list cannot be signed: {error}") from error
    except OSError as error:
        raise CounterError(f"{file} cannot be written ({error.strerror})") from error
    return RevocationList(document.version, len(content.pass_ids), document.not_after)


def read_documents(files: Iterable[Path], *, trust: Trust, site: str) -> Documents:
    """Read signed documents for a site. Raises CounterError for the first that gates would not take."""
    documents = Documents()
    for file in files:
        document = read_signed(file, trust, site)
        if document is None:
            raise CounterError(f"there is no file {file}")
        documents.take(document)
    return documents


def read_signed(file: Path, trust: Trust, site: str) -> Document | None:
    """Return the document in a file if it is signed for this site, None for no file. Raises CounterError."""
    text = read_bytes(file, TEXT_BYTES_MAX + 2)
    if text is None:
        return None
    try:
        return open_document(text.strip(), trust=trust, site=site)
    except CodeError as error:
        raise CounterError(f"{file} {_DOCUMENT_FAULTS.get(error.reason, 'is no signed document')}") from error


def _read_list(key: CounterKey, site: str, file: Path) -> tuple[frozenset[str], int]:
    """Return the ids and the version of the list that a file holds; nothing and 0 without a file."""
    own = TrustedKey(key.issuer, key.issuer, key.public_key, frozenset({DOCUMENTS}))
    held = read_signed(file, Trust((own,)), site)
    if held is None:
        return frozenset(), 0
    if not isinstance(held.content, Revocations):
        raise CounterError(f"{file} is a list of {held.kind}, not of revocations; name another file")
    return held.content.pass_ids, held.version


_DOCUMENT_FAULTS: Final = {
    Reason.WRONG_SITE: "is the list of another site; name that site or another file",
    Reason.UNKNOWN_ISSUER: "is signed with another key; name that key or another file",
    Reason.WRONG_PURPOSE: "is signed with a key that may not sign documents",
    Reason.BAD_SIGNATURE: "was changed after it was signed; bring back an earlier copy",
}


# Files


def read_bytes(file: Path, size_max: int) -> bytes | None:
    """Return what a file holds, None when there is none. Raises CounterError."""
    try:
        with file.open("rb") as source:
            text = source.read(size_max + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CounterError(f"{file} cannot be read ({error.strerror})") from error
    if len(text) > size_max:
        raise CounterError(f"{file} is too large to be what it should be")
    return text


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let one command at a time work in a folder: of two lists with one version, one would be lost."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
