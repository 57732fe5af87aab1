"""Tokens of Chinese health codes: told apart by the place they name, which is never opened.

Such a code states no health: its text is an opaque token, and the colour lies at the issuer's service (see
`gate.core.codes.service`). Alone a gate can say whose token it is and, where the text carries a time, how old
it is. Anybody can write such a text, so nothing here ever proves a code, and a fresh time is no proof either.

A token belongs to a family only by the exact host of its https address. Whatever makes two readers of an
address see different hosts (user names, ports, backslashes, percent signs, final dots, other alphabets) makes
it a stranger's address. Upper case in scheme and host is normal: it makes smaller codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from gate.core.codes.model import (
    Authenticity,
    Circumstances,
    CodeResult,
    Examination,
    Format,
    Freshness,
    Reason,
    Stages,
)
from gate.core.codes.token_families import BUILT_IN, TokenFamily, pattern_of
from gate.core.codes.trust import Trust

CHINA_TIME: Final = timezone(timedelta(hours=8))
"""The one legal time of China; times without a zone in Chinese documents are meant in it."""

VISIBLE: Final = re.compile(rb"[!-\[\]-~]*")
"""Visible ASCII without the backslash, which some readers of addresses take for a slash."""

_START = re.compile(rb"https://([a-z0-9.-]+)(?=[/?#]|\Z)", re.IGNORECASE)


TRAVEL_HOST: Final = "xc.caict.ac.cn"
"""The travel card, whose service closed on 2022-12-13."""


@dataclass(frozen=True, slots=True)
class Token:
    """What the text of one token shows.

    `fault` is malformed or unsupported where it is no usable token of its family. Times are unix seconds.
    """

    format: Format
    family: str
    region: str
    issued_at: int | None = None
    valid_until: int | None = None
    fault: Reason | None = None


def recognise(payload: bytes, families: Iterable[TokenFamily] = ()) -> Token | None:
    """Say whose token this is, None when it is no known issuer's; total, and nothing is ever opened.

    `families` are looked at before the built-in ones; of several with the same host the first that fits.
    """
    start = _START.match(payload)
    if start is None:
        return None
    host, rest = start[1].decode("ascii").lower(), payload[start.end() :]
    if host == TRAVEL_HOST:
        return Token(Format.CN_TRAVEL, "travel_card", "CN", fault=Reason.UNSUPPORTED)
    candidates = [family for family in (*families, *BUILT_IN) if host in family.hosts]
    if VISIBLE.fullmatch(rest):
        fitting = (_read_address(rest.decode("ascii"), family) for family in candidates)
        token = next((token for token in fitting if token), None)
    else:
        token = _read_shanghai_binary(rest) if host in _SHANGHAI.hosts else None
    return token or (_malformed(candidates[0]) if candidates else None)


def verify(payload: bytes, *, trust: Trust, at: Circumstances) -> Examination:
    """Say what a token is worth by its text alone: at best not_checkable, with its region; total.

    Without a trusted clock a token that carries a time is clock_untrusted.
    """
    token = recognise(payload, trust.token_families)
    if token is None:
        return Examination(CodeResult(Format.UNKNOWN, Reason.UNSUPPORTED), Stages(prefix=False))
    if token.fault is not None:
        malformed = token.fault is Reason.MALFORMED
        authenticity = Authenticity.REFUSED if malformed else Authenticity.NOT_CHECKABLE
        refused = CodeResult(token.format, token.fault, authenticity=authenticity, region=token.region)
        return Examination(refused, Stages(prefix=True))
    timeless = token.issued_at is None and token.valid_until is None
    freshness = Freshness.UNKNOWN if timeless else at.freshness(start=token.issued_at, end=token.valid_until)
    result = CodeResult(
        token.format,
        Reason.NOT_CHECKABLE if timeless else _REASONS[freshness],
        freshness=freshness,
        issued_at=token.issued_at,
        region=token.region,
    )
    in_time = None if freshness is Freshness.UNKNOWN else freshness is Freshness.CURRENT
    return Examination(result, Stages(prefix=True, time=in_time))


_REASONS: Final = {
    Freshness.CURRENT: Reason.NOT_CHECKABLE,
    Freshness.EXPIRED: Reason.EXPIRED,
    Freshness.NOT_YET_VALID: Reason.NOT_YET_VALID,
    Freshness.UNKNOWN: Reason.CLOCK_UNTRUSTED,
}


def _read_address(rest: str, family: TokenFamily) -> Token | None:
    found = pattern_of(family.path).fullmatch(rest)
    if found is None:
        return None
    unix_ms = found.groupdict().get("unix_ms")
    issued_at = None if unix_ms is None else int(unix_ms) // 1000
    if issued_at is None or family.age_s_max is None:
        return Token(Format.CN_HEALTH, family.name, family.region, issued_at)
    valid_until = issued_at + family.age_s_max
    return Token(Format.CN_HEALTH, family.name, family.region, issued_at, valid_until)


def _malformed(family: TokenFamily) -> Token:
    return Token(Format.CN_HEALTH, family.name, family.region, fault=Reason.MALFORMED)


_SHANGHAI: Final = BUILT_IN[0]

# The industry form after the host, as one public description of it has it: a slash, length 4, signature 64,
# UUID 32, flag 2, client type 2, expiry YYYYMMDDhhmmss 14, key index 1, transport block 32, "##". No sample
# was at hand, and it is not told where a second signature lies: so only the expiry and the end are read.
_EXPIRY: Final = slice(1 + 4 + 64 + 32 + 2 + 2, 1 + 4 + 64 + 32 + 2 + 2 + 14)
_BINARY_BYTES_MIN: Final = _EXPIRY.stop + 1 + 32 + 2
_DIGITS: Final = re.compile(rb"[0-9]{14}")


def _read_shanghai_binary(rest: bytes) -> Token | None:
    """Read the expiry of the binary form; its SM2 signature is for holders of the city's key."""
    expiry = rest[_EXPIRY]
    framed = rest.startswith(b"/") and rest.endswith(b"##") and len(rest) >= _BINARY_BYTES_MIN
    if not framed or not _DIGITS.fullmatch(expiry):
        return None
    try:
        until = datetime.strptime(expiry.decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=CHINA_TIME)
    except ValueError:
        return None
    return Token(Format.CN_HEALTH, _SHANGHAI.name, _SHANGHAI.region, valid_until=int(until.timestamp()))
