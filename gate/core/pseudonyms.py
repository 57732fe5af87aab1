"""Pseudonyms for what leaves the gate: nobody is followed from one day to the next without the site's key.

The gate itself goes by references that do not change (a pass is counted for as long as it is valid). In a
record each of them is a pseudonym of its day: the same person is the same all day, and at every gate with
this key; tomorrow nobody can tell, but whoever holds the key of the site. Days begin at local midnight, by
`utc_offset_min` of the plan that was followed: names change while hardly anybody is at a gate.

    key of the day = HMAC-SHA256(site key, "health gate pseudonym 1" NUL day)      day: YYYY-MM-DD, local
    pseudonym      = first 8 bytes of HMAC-SHA256(key of the day, what NUL value)   as 16 hexadecimal digits

When a member of staff was measured last is the time of another record, to the millisecond. Where that one is
of another day, and so has another name, it is not told: `last_measured_s` then says no more than the findings
beside it. It is `at_s` where the round was kept, two days before that where not: the same is decided again.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

SITE_KEY_BYTES: Final = 32
"""How many bytes a new site key has."""

SITE_KEY_BYTES_MIN: Final = 16

PSEUDONYMOUS: Final = ("subject", "pass_id")
"""What is a pseudonym in `evidence.code` of a record, by the word (`what`) that it is made with."""

UTC_OFFSETS_MIN: Final = (-720, 840)
"""The local times that a plan can have, in minutes east of UTC, both included (`gate.core.policy.Policy`)."""

DIGITS: Final = 16

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S: Final = 86_400  # also the longest that a plan can leave between two rounds
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


def day_of(wall_ms: int, utc_offset_min: int) -> str:
    """Return the local day (YYYY-MM-DD) of an instant in unix milliseconds; the offset is in minutes east.

    Raises OverflowError outside of the years 1 to 9999 in UTC; at their very ends it is the day in UTC.
    """
    at = _UNIX_EPOCH + timedelta(milliseconds=wall_ms)
    try:
        return f"{(at + timedelta(minutes=utc_offset_min)).date()}"
    except OverflowError:
        return f"{at.date()}"


@lru_cache(maxsize=4)
def day_key(site_key: bytes, day: str) -> bytes:
    """Return the key of one day (YYYY-MM-DD): all that anybody needs to follow that day, and no other."""
    return hmac.digest(site_key, _PURPOSE + day.encode(), "sha256")


def pseudonym(key: bytes, what: str, value: str) -> str:
    """Return the pseudonym of `value` by the key of a day; `what` is one of `PSEUDONYMOUS`."""
    named = f"{what}\0{value}".encode(errors="replace")
    return hmac.digest(key, named, "sha256")[:_BYTES].hex()


def pseudonymised(
    data: Mapping[str, Any], site_key: bytes, wall_ms: int, utc_offset_min: int
) -> Mapping[str, Any]:
    """Return the data of an event that states this time, with nothing that could be followed to another day.

    Pseudonyms of its local day stand in the place of references. Nothing is changed in what is given; what
    is about no person is returned as it is. Raises OverflowError like `day_of`.
    """
    evidence: Mapping[str, Any] = data.get("evidence") or {}
    code: Mapping[str, Any] = evidence.get("code") or {}
    last_s = evidence.get("last_measured_s")
    told = dict(evidence)
    named = {what: code[what] for what in PSEUDONYMOUS if code.get(what) is not None}
    if named:
        key = day_key(site_key, day_of(wall_ms, utc_offset_min))
        told["code"] = {**code, **{what: pseudonym(key, what, value) for what, value in named.items()}}
    if last_s is not None and _local_day(last_s, utc_offset_min) != _local_day(
        wall_ms / 1000, utc_offset_min
    ):
        del told["last_measured_s"]
        told |= _round(data["findings"], evidence)
    return {**data, "evidence": told} if told != evidence else data


def _round(findings: Iterable[Mapping[str, Any]], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of a measurement on another day: what the findings say in any case."""
    at_s = evidence.get("at_s")
    if at_s is None:
        return {}
    kept = any(finding["reason"] == "round_kept" for finding in findings)
    return {"last_measured_s": at_s if kept else at_s - 2 * _DAY_S}


def _local_day(at_s: float, utc_offset_min: int) -> float:
    return (at_s + utc_offset_min * 60) // _DAY_S
