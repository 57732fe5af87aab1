"""Pseudonyms for what leaves the gate: nobody is followed from one day to the next without the site's key.

The gate itself goes by references that do not change (a pass is counted for as long as it is valid). In a
record each of them is a pseudonym of its day: the same person is the same all day, and at every gate with
this key; tomorrow nobody can tell, but whoever holds the key of the site.

    key of the day = HMAC-SHA256(site key, "health gate pseudonym 1" NUL day)      day: YYYY-MM-DD, UTC
    pseudonym      = first 8 bytes of HMAC-SHA256(key of the day, what NUL value)   as 16 hexadecimal digits
"""

import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

SITE_KEY_BYTES: Final = 32
"""How many bytes a new site key has."""

SITE_KEY_BYTES_MIN: Final = 16

PSEUDONYMOUS: Final = ("subject", "pass_id")
"""What is a pseudonym in `evidence.code` of a record, by the word (`what`) that it is made with."""

DIGITS: Final = 16

_PURPOSE: Final = b"health gate pseudonym 1\0"
_BYTES: Final = DIGITS // 2
_IN_DIGITS: Final = re.compile(rb"\s*([0-9a-fA-F]{64})\s*")


def site_key(content: bytes) -> bytes:
    """Return the key that a file holds: 64 hexadecimal digits are read as 32 bytes, anything else as it is.

    Raises ValueError for fewer bytes than a secret has.
    """
    digits = _IN_DIGITS.fullmatch(content)
    key = content if digits is None else bytes.fromhex(digits[1].decode())
    if len(key) < SITE_KEY_BYTES_MIN:
        raise ValueError(f"{len(key)} bytes, and a secret has {SITE_KEY_BYTES_MIN} or more")
    return key


def day_of(time: str) -> str:
    """Return the day of an event by its `time`, which is written in UTC: its first ten characters."""
    return time[:10]


@lru_cache(maxsize=4)
def day_key(site_key: bytes, day: str) -> bytes:
    """Return the key of one UTC day (YYYY-MM-DD): all that anybody needs to follow that day, and no other."""
    return hmac.digest(site_key, _PURPOSE + day.encode(), "sha256")


def pseudonym(key: bytes, what: str, value: str) -> str:
    """Return the pseudonym of `value` by the key of a day; `what` is one of `PSEUDONYMOUS`."""
    named = f"{what}\0{value}".encode(errors="replace")
    return hmac.digest(key, named, "sha256")[:_BYTES].hex()


def pseudonymised(data: Mapping[str, Any], site_key: bytes, time: str) -> Mapping[str, Any]:
    """Return the data of an event of that `time`, with pseudonyms in the place of references.

    Nothing is changed in what is given; what is about no code is returned as it is.
    """
    evidence: Mapping[str, Any] = data.get("evidence") or {}
    code: Mapping[str, Any] = evidence.get("code") or {}
    named = {what: code[what] for what in PSEUDONYMOUS if code.get(what) is not None}
    if not named:
        return data
    key = day_key(site_key, day_of(time))
    changed = {what: pseudonym(key, what, value) for what, value in named.items()}
    return {**data, "evidence": {**evidence, "code": {**code, **changed}}}
