"""The names of one person, day by day.

A gate writes of a person only a pseudonym, made of the reference that the person's pass carries, with a key
of its site and of the day (`gate.core.pseudonyms`). Who has the site's key can make the same pseudonyms for a
reference that he knows; nobody can get from a pseudonym to the reference, or from one day's to the next.

A day is that of the local time of the plan that the gate followed, which a record does not state: two or
three days are tried, all that it may have been somewhere on earth. So nothing has to be agreed, and a gate
whose plan has changed loses nobody; pseudonyms of 64 bits do not meet by chance.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

from central.people.settings import DAY_MS, SiteSettings
from gate.core.pseudonyms import DIGITS, PSEUDONYMOUS, UTC_OFFSETS_MIN, day_key, pseudonym, site_key

_WHAT: Final = PSEUDONYMOUS[0]
_SUBJECT: Final = re.compile(rf"[0-9a-f]{{{DIGITS}}}")
_WEST_MS, _EAST_MS = (minutes * 60_000 for minutes in UTC_OFFSETS_MIN)
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEY_BYTES_MAX: Final = 1024
_OTHERS_MAY: Final = 0o077

Keys = Mapping[str, tuple[bytes, ...]]
"""The keys of the sites, by name of the site."""


class SubjectError(ValueError):
    """A subject or a key that is none, in a sentence that says what to do."""


class Subject:
    """One person: by the reference of a pass, or by a pseudonym as it stands in a record (then of its day).

    Both are 16 hexadecimal digits, small or capital. Raises SubjectError for what is neither.
    """

    def __init__(self, reference: str, keys: Keys) -> None:
        self.reference = reference.lower()
        if not _SUBJECT.fullmatch(self.reference):
            raise SubjectError(f"a subject is {DIGITS} hexadecimal digits, from a pass or from a record")
        self._keys = keys
        self._names: dict[tuple[str, range], frozenset[str]] = {}

    def names(self, site: str, at_ms: int | None) -> frozenset[str]:
        """Return what this person may be called in a record of a site that states this time."""
        days = range(0) if at_ms is None else _days(at_ms)
        known = self._names.get((site, days))
        if known is None:
            known = self._names[site, days] = self._made(site, days)
        return known

    def spell(self, site: str, from_ms: int, end_ms: int) -> tuple[int, frozenset[str]]:
        """Return until when (excluded, `end_ms` at most) this person has the same names, and which."""
        until_ms = end_ms
        if site in self._keys:
            days = _days(from_ms)
            until_ms = min(end_ms, (days[0] + 1) * DAY_MS - _WEST_MS, days.stop * DAY_MS - _EAST_MS)
        return until_ms, self.names(site, from_ms)

    def _made(self, site: str, days: range) -> frozenset[str]:
        found = {self.reference}
        for day in days:
            try:
                date = f"{(_UNIX_EPOCH + timedelta(days=day)).date()}"
            except OverflowError:  # a gate may state any time
                continue
            keys = self._keys.get(site, ())
            found.update(pseudonym(_day_key(key, date), _WHAT, self.reference) for key in keys)
        return frozenset(found)


def _days(at_ms: int) -> range:
    """Return the local days, counted from 1970, that it may be somewhere at this instant."""
    return range((at_ms + _WEST_MS) // DAY_MS, (at_ms + _EAST_MS) // DAY_MS + 1)


@lru_cache(maxsize=4096)
def _day_key(key: bytes, date: str) -> bytes:
    return day_key(key, date)


def site_keys(sites: Iterable[SiteSettings]) -> Keys:
    """Read the keys of the sites. Raises SubjectError."""
    found: dict[str, tuple[bytes, ...]] = {}
    for site in sites:
        found[site.name] = (*found.get(site.name, ()), _key(site.key_file))
    return found


def _key(path: Path) -> bytes:
    try:
        if path.stat().st_mode & _OTHERS_MAY:
            raise SubjectError(f"{path} can be read by others than its owner; chmod 600 it")
        with path.open("rb") as file:
            return site_key(file.read(_KEY_BYTES_MAX))
    except OSError as error:
        raise SubjectError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SubjectError(f"{path} holds no key of a site ({error})") from error
