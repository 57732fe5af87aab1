"""The section `[reports]` of the centre's configuration."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from annotated_types import Ge, Le, MaxLen, MinLen

Level = Literal[1, 2, 3]
Form = Literal["json", "xlsx", "html"]
TimeOfDay = Annotated[str, MinLen(5), MaxLen(5)]
UnitName = Annotated[str, MinLen(1), MaxLen(50)]
LEVELS: Final[tuple[Level, ...]] = (3, 2, 1)
"""In the order in which they report: a gate to its site, a site to the top."""

_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True, slots=True)
class Unit:
    """Several sites that report as one at level 2, such as the halls of a township."""

    name: UnitName
    sites: Annotated[tuple[str, ...], MinLen(1)]


@dataclass(frozen=True)
class ReportSettings:
    """When the reports are due (local time, every day), for whom, and where they are put.

    `folder`: where the forms are written as well; none without it (the store keeps them in any case).
    `name`: what level 1 is called. A site that is in no `unit` is a unit of its own. `late_s`: how long after
    its time a report counts as on time; the work takes some seconds. Who has to hand a report in before the
    hour lets it be due earlier.
    """

    time_zone: str = "Asia/Shanghai"
    folder: Path | None = None
    forms: tuple[Form, ...] = ("json", "xlsx", "html")
    lang: Literal["zh", "en"] = "zh"
    name: UnitName = "all"
    level3_due: TimeOfDay = "17:00"
    level2_due: TimeOfDay = "17:00"
    level1_due: TimeOfDay = "18:00"
    late_s: Annotated[int, Ge(1), Le(3600)] = 60
    unit: Annotated[tuple[Unit, ...], MaxLen(1000)] = ()

    def __post_init__(self) -> None:
        """Refuse what is no time, no zone, or counts a site twice."""
        for level in LEVELS:
            if not _TIME.fullmatch(self._due(level)) or self._due(level) == "00:00":
                raise ValueError(f"level{level}_due must be a time of day after 00:00, such as 17:00")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"time_zone: {self.time_zone!r} is no zone such as Asia/Shanghai") from error
        sites = [site for unit in self.unit for site in unit.sites]
        names = [unit.name for unit in self.unit]
        if len(set(sites)) < len(sites) or len(set(names)) < len(names):
            raise ValueError("unit: every name and every site may stand there once")

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone of the days."""
        return ZoneInfo(self.time_zone)

    def due_minute(self, level: Level) -> int:
        """Return the minute of the local day at which a level reports."""
        hour, minute = self._due(level).split(":")
        return int(hour) * 60 + int(minute)

    def due_text(self, level: Level) -> str:
        """Return the same as it is written."""
        return self._due(level)

    def unit_of(self, site: str) -> str:
        """Return the name of the unit that a site belongs to at level 2."""
        return next((unit.name for unit in self.unit if site in unit.sites), site)

    def _due(self, level: Level) -> str:
        return {3: self.level3_due, 2: self.level2_due, 1: self.level1_due}[level]
