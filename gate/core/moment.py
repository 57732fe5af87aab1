"""A point in time as the gate knows it: handed in by the shell or the simulation, never read by the core."""

from dataclasses import dataclass
from typing import Final

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """Monotonic and wall time of one instant.

    `mono_ns`: nanoseconds of a clock that never steps; all durations come from it.
    `wall_ms`: milliseconds since 1970-01-01 UTC, right only as far as `clock_trusted` says.
    """

    mono_ns: int
    wall_ms: int
    clock_trusted: bool

    @property
    def wall_s(self) -> int:
        """Whole seconds since 1970-01-01 UTC, rounded down."""
        return self.wall_ms // 1000
