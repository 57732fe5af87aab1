"""What records state, whoever stated it: nothing that is missing or strange in one stops a report."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

WORD_MAX: Final = 64
TEXT_MAX: Final = 200


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
    return [item[:WORD_MAX] for item in found if isinstance(item, str)] if isinstance(found, list) else []


def word(data: Mapping[str, Any], name: str, otherwise: str = "", *, longest: int = WORD_MAX) -> str:
    """Return a text in the data, shortened; `otherwise` where there is none."""
    found = data.get(name)
    return found[:longest] if isinstance(found, str) else otherwise


def number(data: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number in the data, None where there is none."""
    found = data.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else None
