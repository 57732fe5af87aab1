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

The times of a pass, stated to the second, would name its holder as well as any reference. Those of the local
day of the record stand in it. Of any other day no more is told than the rules of a plan can ask:

    begins or ends, before at_s    the last second before the midnight with which the day of at_s begins
    begins or ends, after at_s     the midnight with which that day ends
    sample of a test               half an hour less than its age in begun hours, before at_s; 505 at most
    appointment made               by which minute of the day before its own, half a minute less; 0 to 1441

Every plan of the same local time decides the same by these. A time that no rule asks for is the least told.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
_HOUR_S: Final = 3600
_MINUTE_S: Final = 60
_TEST_AGE_MAX_H: Final = 504  # the oldest test that a plan can allow (`gate.core.policy.TestRequirement`)
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

    Pseudonyms of its local day stand in the place of references, and times of other days are told as the
    head of this module says. Nothing is changed in what is given; what
    is about no person is returned as it is. Raises OverflowError like `day_of`.
    """
    evidence: Mapping[str, Any] = data.get("evidence") or {}
    day = _Day(wall_ms / 1000, evidence.get("at_s"), utc_offset_min * 60)
    told = dict(evidence)
    if code := evidence.get("code"):
        named = {what: code[what] for what in PSEUDONYMOUS if code.get(what) is not None}
        key = day_key(site_key, day_of(wall_ms, utc_offset_min))
        named = {what: pseudonym(key, what, value) for what, value in named.items()}
        told["code"] = {**code, **named, "valid_until": day.told(code["valid_until"])}
    if held := evidence.get("household_pass"):
        told["household_pass"] = _with_hours(held, day)
    if slot := evidence.get("appointment"):
        told["appointment"] = _appointment(slot, day)
    if test := evidence.get("test"):
        told["test"] = {**test, "taken_s": _taken_s(test["taken_s"], day)}
    last_s = evidence.get("last_measured_s")
    if last_s is not None and not day.holds(last_s):
        del told["last_measured_s"]
        told |= _round(data["findings"], evidence)
    return {**data, "evidence": told} if told != evidence else data


@dataclass(frozen=True, slots=True)
class _Day:
    """The local day of a record, and when was judged what it says: None while the clock was not trusted."""

    wall_s: float
    at_s: float | None
    offset_s: int

    def holds(self, time_s: float) -> bool:
        return self.midnight_s(time_s) == self.midnight_s(self.wall_s)

    def midnight_s(self, time_s: float) -> int:
        """Return with which instant the local day of another begins."""
        return int((time_s + self.offset_s) // _DAY_S) * _DAY_S - self.offset_s

    def told(self, time_s: float | None) -> float | None:
        """Return what is told of a time that is compared with that of judging, and with nothing else."""
        if time_s is None or time_s == self.at_s or self.holds(time_s):
            return time_s
        judged_s = self.wall_s if self.at_s is None else self.at_s
        midnight_s = self.midnight_s(judged_s)
        return midnight_s - 1 if time_s < judged_s else midnight_s + _DAY_S


def _with_hours(part: Mapping[str, Any], day: _Day) -> dict[str, Any]:
    return {**part, "from_s": day.told(part["from_s"]), "until_s": day.told(part["until_s"])}


def _appointment(slot: Mapping[str, Any], day: _Day) -> dict[str, Any]:
    """Return what is told of an appointment: it was made in time for the day told if it was for its own."""
    told = _with_hours(slot, day)
    from_s, booked_s = slot["from_s"], slot["booked_s"]
    if booked_s is None or (told["from_s"] == from_s and day.holds(booked_s)):
        return told
    if from_s is None:
        return {**told, "booked_s": day.told(booked_s)}
    since_eve_s = booked_s - (day.midnight_s(from_s) - _DAY_S)
    minute = min(max(_begun(since_eve_s, _MINUTE_S), 0), _DAY_S // _MINUTE_S + 1)
    eve_s = day.midnight_s(told["from_s"]) - _DAY_S
    return {**told, "booked_s": eve_s + minute * _MINUTE_S - _MINUTE_S // 2}


def _taken_s(taken_s: float, day: _Day) -> float | None:
    """Return what is told of when a sample was taken: its age in begun hours, which plans ask for."""
    at_s = day.at_s
    if at_s is None or taken_s >= at_s or day.holds(taken_s):
        return day.told(taken_s)
    age_h = min(_begun(at_s - taken_s, _HOUR_S), _TEST_AGE_MAX_H + 1)
    return at_s - age_h * _HOUR_S + _HOUR_S // 2


def _begun(span_s: float, unit_s: int) -> int:
    return -int(-span_s // unit_s)


def _round(findings: Iterable[Mapping[str, Any]], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of a measurement on another day: what the findings say in any case."""
    at_s = evidence.get("at_s")
    if at_s is None:
        return {}
    kept = any(finding["reason"] == "round_kept" for finding in findings)
    return {"last_measured_s": at_s if kept else at_s - 2 * _DAY_S}
