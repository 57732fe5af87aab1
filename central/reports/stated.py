"""What records state, whoever stated it: nothing that is missing or strange in one stops a report.

Nothing of a record is a key, or compared for more than being the same, that has not gone through here. What
no printer prints is dropped: a terminal would obey it, and a reader would see other than what is there.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any, Final

import msgspec

WORD_MAX: Final = 64
TEXT_MAX: Final = 200
NUMBER_MAX: Final = 1_000_000_000
"""Far beyond whatever a gate counts or measures, and small enough for every form and sum."""

_UNPRINTED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def data_of(body: bytes) -> Mapping[str, Any] | None:
    """Return what a record says (the `data` of its event), or None when it cannot be read."""
    try:
        event = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    data = event.get("data") if isinstance(event, dict) else None
    return data if isinstance(data, dict) else None


def part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object in the data; an empty one where there is none."""
    found = data.get(name)
    return found if isinstance(found, dict) else {}


def parts(data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list in the data."""
    found = data.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def words(data: Mapping[str, Any], name: str) -> list[str]:
    """Return the texts of a list in the data, shortened to a word."""
    found = data.get(name)
    return [plain(item) for item in found if isinstance(item, str)] if isinstance(found, list) else []


def word(data: Mapping[str, Any], name: str, otherwise: str = "", *, longest: int = WORD_MAX) -> str:
    """Return a text in the data, shortened; `otherwise` where there is none."""
    found = data.get(name)
    return plain(found, longest) if isinstance(found, str) else otherwise


def plain(text: str, longest: int = WORD_MAX) -> str:
    """Return a text, shortened, without what is not printed: control characters, and those that turn text."""
    text = text[:longest]
    if text.isprintable():
        return text
    return "".join(letter for letter in text if unicodedata.category(letter) not in _UNPRINTED)


def number(data: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number in the data, None where there is none, or one that nothing can count."""
    found = data.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        return None
    return found if abs(found) <= NUMBER_MAX else None
