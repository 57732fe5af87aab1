"""What an EU Digital COVID Certificate has to say: the payload, versions 1.0.0 to 1.3.x.

`gate/schemas/dcc-1.json` says the same in JSON Schema, and a test holds the two together. It is checked by
hand here because a library for schemas takes a tenth of a second to load on a fast machine, many times that
at a gate, and a visitor is waiting. The newest edition (1.3.3) judges all: exactly one kind with exactly one
entry, and whatever else a certificate carries is nobody's business. Values are not looked up in value sets,
which change; that is for business rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from gate.core.codes.model import Credential

KINDS: Final = {"v": Credential.VACCINATION, "t": Credential.TEST, "r": Credential.RECOVERY}
"""The groups of a payload, each a list, and what an entry in it certifies."""

NAME_LENGTH_MAX: Final = 80
"""Characters, in version 1.3; earlier ones allowed 50."""

Check = Callable[[object], bool]


def fits_schema(payload: Mapping[object, object]) -> bool:
    """Say whether a certificate payload follows the schema; total."""
    if not _has(payload, _PERSON_AND_VERSION):
        return False
    groups = [group for group in KINDS if group in payload]
    if len(groups) != 1:
        return False
    entries = payload[groups[0]]
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], Mapping):
        return False
    required, optional = _ENTRIES[groups[0]]
    return _has(entries[0], required) and _has(entries[0], optional, optional=True)


def _has(item: Mapping[object, object], checks: Mapping[str, Check], *, optional: bool = False) -> bool:
    return all(check(item[key]) if key in item else optional for key, check in checks.items())


def _like(pattern: str) -> Check:
    fits = re.compile(pattern).fullmatch
    return lambda value: isinstance(value, str) and fits(value) is not None


def _text(value: object) -> bool:
    return isinstance(value, str)


def _short_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= NAME_LENGTH_MAX


def _dose(value: object) -> bool:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and value >= 1  # type: ignore[operator]  # a number by now


_machine_name = _like(r"[A-Z<]{0,80}")
_version = _like(r"[0-9]+\.[0-9]+\.[0-9]+")
_birth = _like(r"((19|20)[0-9]{2}(-[0-9]{2}){0,2})?")

# Days, which some issuers write with a time of day, and instants, which some write without seconds or zone.
_day = _like(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([T ][0-9:.,Z+-]*)?")

# Countries, and organisations such as UNHCR.
_country = _like(r"(?s).*[A-Z].*")


def _name(value: object) -> bool:
    """Accept a name of which a part can be read by machines (ICAO 9303), as surname or as forename."""
    if not isinstance(value, Mapping) or not ("fnt" in value or "gnt" in value):
        return False
    parts = {"fn": _short_text, "gn": _short_text, "fnt": _machine_name, "gnt": _machine_name}
    return _has(value, parts, optional=True)


_PERSON_AND_VERSION: Final[Mapping[str, Check]] = {"ver": _version, "nam": _name, "dob": _birth}

_COMMON: Final[Mapping[str, Check]] = {"tg": _text, "co": _country, "is": _short_text, "ci": _short_text}

_ENTRIES: Final[Mapping[str, tuple[Mapping[str, Check], Mapping[str, Check]]]] = {
    "v": ({**_COMMON, "vp": _text, "mp": _text, "ma": _text, "dn": _dose, "sd": _dose, "dt": _day}, {}),
    "t": (
        {**_COMMON, "tt": _text, "sc": _day, "tr": _text},
        {"nm": _short_text, "ma": _text, "tc": _short_text},
    ),
    "r": ({**_COMMON, "fr": _day, "df": _day, "du": _day}, {}),
}
"""Fields that an entry must have, and those that it may have."""
