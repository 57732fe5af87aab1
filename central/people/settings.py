"""The sections `[people]`, `[retention]` and `[[site]]` of the centre's configuration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from annotated_types import Ge, Le, MaxLen, MinLen

DAY_MS: Final = 86_400_000

RECORDS_DAYS_MIN: Final = 9
"""A command is valid for a day, and for a week longer the centre asks, when it starts, whether its gate has
answered. The answer is a record: were it retired by then, the centre would raise a false alarm."""

Days = Annotated[int, Ge(1), Le(3650)]


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """The key from which the gates of a site make their pseudonyms; with it the centre knows a person again.

    A site may stand there several times: with the key before this one, or with one key for each of its gates.
    """

    name: Annotated[str, MinLen(1), MaxLen(32)]
    key_file: Path


@dataclass(frozen=True, slots=True)
class PeopleSettings:
    """How long things last, as far as no record says it.

    `round_min`: staff are measured at least so often during work, in minutes (SB-3). `max_stay_h`: somebody
    whose leaving no gate has seen is taken to have stayed so long, or until the local day was over.
    """

    round_min: Annotated[int, Ge(10), Le(1440)] = 120
    max_stay_h: Annotated[int, Ge(1), Le(24)] = 12


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long what is about persons is kept, in days by the centre's clock from when it came.

    `sealed_days`: registration values. `records_days`: what records say, `RECORDS_DAYS_MIN` at least; without
    it for good.
    """

    sealed_days: Days = 30
    records_days: Days | None = None

    def __post_init__(self) -> None:
        """Refuse to keep somebody's values after the record that says whose they are, or to lose answers."""
        if self.records_days is None:
            return
        if self.records_days < RECORDS_DAYS_MIN:
            why = "so long the centre looks for a gate's answer to a command"
            raise ValueError(f"records_days must be {RECORDS_DAYS_MIN} or more: {why}")
        if self.records_days < self.sealed_days:
            raise ValueError("records_days must not be less than sealed_days")
