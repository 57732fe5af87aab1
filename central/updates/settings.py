"""Rings: which gates get a version together. They stand in the configuration in the order of their turns."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final

from annotated_types import MaxLen, MinLen

_PATTERN: Final = re.compile(r"(\*|[A-Za-z0-9_-]{1,32})/(\*|[A-Za-z0-9_-]{1,32})")


@dataclass(frozen=True, slots=True)
class RingSettings:
    """One ring. `gates`: SITE/GATE, with "*" for any: "hall/north-1", "hall/*", "*/*"."""

    name: Annotated[str, MinLen(1), MaxLen(40)]
    gates: Annotated[tuple[str, ...], MinLen(1), MaxLen(1000)]

    def __post_init__(self) -> None:
        """Refuse what names no gate."""
        for pattern in self.gates:
            if _PATTERN.fullmatch(pattern) is None:
                raise ValueError(f'{pattern!r} is neither SITE/GATE nor SITE/* nor "*/*"')

    def holds(self, site: str, gate: str) -> bool:
        """Tell whether a gate is in this ring."""
        return any(
            pattern.split("/") in ([s, g] for s in (site, "*") for g in (gate, "*")) for pattern in self.gates
        )


def twice(rings: Iterable[RingSettings]) -> str:
    """Return a name that two rings have, "" when there is none."""
    seen: set[str] = set()
    for ring in rings:
        if ring.name in seen:
            return ring.name
        seen.add(ring.name)
    return ""
