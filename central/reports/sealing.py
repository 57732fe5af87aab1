"""A report as a document that can be handed on: with its hash, and the centre's signature over it.

    {...report..., "sha256": "<64 hex>", "signed": "<base64>"}

`sha256` is that of the report's canonical JSON: without these two fields, keys in order, no spaces, UTF-8.
`signed` is a message of `gate.core.signed` with the purpose "report" that states this hash, so that whoever
has the centre's public key can check it; the checkpoints in the proofs are checked with the gates' keys,
which the report names and the centre has signed for.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.delivery import Checkpoint, Receipt
from gate.core.signed import SignedError, open_signed, sign

_PURPOSE: Final = "report"
_SEAL: Final = ("sha256", "signed")
_NAMED: Final = ("date", "level", "unit", "cut_off_ms")


def sealed(report: Mapping[str, Any], centre_key: Ed25519PrivateKey) -> dict[str, Any]:
    """Return the report with its hash and the centre's signature; the same report, the same bytes."""
    digest = hashlib.sha256(canonical(report)).hexdigest()
    statement = {"v": 1, **{name: report[name] for name in _NAMED}, "sha256": digest}
    message = sign(centre_key, _PURPOSE, statement)
    return {**report, "sha256": digest, "signed": base64.b64encode(message).decode()}


def canonical(report: Mapping[str, Any]) -> bytes:
    """Return the bytes that the hash of a report is made of."""
    bare = {name: part for name, part in report.items() if name not in _SEAL}
    text = json.dumps(bare, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode(errors="surrogatepass")


def written(document: Mapping[str, Any]) -> bytes:
    """Return the bytes in which a signed report is kept and handed on: one line of JSON."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def check(document: object, centre_keys: Iterable[bytes]) -> Iterator[str]:
    """Yield, in a sentence each, everything that is wrong with a document, whatever it is.

    `centre_keys`: public keys (32 bytes) that a report may be signed with. Nothing is yielded for a report
    that is as the centre signed it, whose proofs are signed by the keys that it names.
    """
    keys = tuple(centre_keys)
    digest = _digest(document) if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(document.get("proofs"), list) or digest is None:
        yield "this is no report"
        return
    yield from _check_seal(document, digest, keys)
    for number, shown in enumerate(document["proofs"], 1):
        yield from (f"proof {number}: {problem}" for problem in _check_proof(shown, keys))


def _digest(document: dict[str, Any]) -> str | None:
    try:
        return hashlib.sha256(canonical(document)).hexdigest()
    except (ValueError, TypeError, RecursionError):  # NaN, or nested too deep: nothing that was ever signed
        return None


def _check_seal(document: dict[str, Any], digest: str, centre_keys: tuple[bytes, ...]) -> Iterator[str]:
    if document.get("sha256") != digest:
        yield f"sha256 is not that of the report, which is {digest}"
    try:
        stated = open_signed(_decoded(document.get("signed")), _PURPOSE, centre_keys)
    except SignedError as error:
        yield f"the centre's signature: {error.reason}"
        return
    if stated.get("sha256") != digest:
        yield "the centre has signed another report"
    if any(stated.get(name) != document.get(name) for name in _NAMED):
        yield "the centre has signed the report of another day or unit"


def _check_proof(shown: object, centre_keys: tuple[bytes, ...]) -> Iterator[str]:
    if not isinstance(shown, dict):
        yield "is none"
        return
    if shown.get("checkpoint") is not None:
        yield from _check_checkpoint(shown, shown["checkpoint"])
    elif shown.get("vouched") and shown.get("followed_by") is None:
        yield "vouches for a ledger without a checkpoint"
    if shown.get("receipt") is not None:
        try:
            receipt = Receipt.opened(_decoded(shown["receipt"]), centre_keys)
        except SignedError as error:
            yield f"receipt: {error.reason}"
            return
        if (receipt.site, receipt.gate, receipt.epoch) != _ledger(shown):
            yield "receipt: is for another ledger"


def _check_checkpoint(shown: dict[str, Any], stated: object) -> Iterator[str]:
    if not isinstance(stated, dict):
        yield "checkpoint: is none"
        return
    try:
        key = bytes.fromhex(str(stated.get("public_key")))
        checkpoint = Checkpoint.opened(_decoded(stated.get("message")), (key,))
    except (SignedError, ValueError) as error:
        yield f"checkpoint: {error}"
        return
    if (checkpoint.site, checkpoint.gate, checkpoint.epoch) != _ledger(shown):
        yield "checkpoint: is for another ledger"
    if checkpoint.size != stated.get("size") or checkpoint.hash.hex() != stated.get("hash"):
        yield "checkpoint: states another size or hash than the report"
    if shown.get("vouched") and not checkpoint.size <= _number(shown.get("proved")):
        yield "checkpoint: states more records than are proved"


def _ledger(shown: dict[str, Any]) -> tuple[object, object, object]:
    return shown.get("site"), shown.get("gate"), shown.get("epoch")


def _number(found: object) -> int:
    return found if isinstance(found, int) else -1


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignedError("malformed") from error
