"""Who has passed on which pass: single use, counted use, and a pass handed back over the arm.

Kept per pass and direction, by wall time, because it has to outlive a restart: the ledger stores each use in
the same transaction as the record that lets somebody pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gate.core.codes.model import Authenticity, CodeResult
from gate.core.evidence import Direction

KEPT_MAX: Final = 20_000
_MS_PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class Use:
    """The last use of a pass in one direction; `count` are all so far, 0 for one that was given back.

    `at_ms` is wall time in unix milliseconds, `until_s` the end of the pass in unix seconds where it has one,
    `step` the time step of a rotating pass.
    """

    key: str
    direction: Direction
    at_ms: int
    until_s: int | None = None
    step: int | None = None
    count: int = 1


def pass_key(code: CodeResult) -> str | None:
    """Name the pass behind a code, or its holder; None where nobody vouches for either."""
    name = code.pass_id or code.subject_ref
    if code.authenticity is not Authenticity.VERIFIED or name is None:
        return None
    return f"{code.issuer or code.region or '-'}/{name}"


class Uses:
    """The uses of all passes that are still valid. A use counts from the release of the arm.

    Whoever does not walk through gives it back; should the power fail in between, it stays used, because
    nobody can say.
    """

    def __init__(self, past: Iterable[Use] = ()) -> None:
        self._last = {(use.key, use.direction): use for use in past}
        self._before: dict[tuple[str, Direction], Use] = {}

    def add(self, code: CodeResult, direction: Direction, now_ms: int) -> Use | None:
        """Note a use; return what is to be stored of the pass, or None for a code that names no pass."""
        key = pass_key(code)
        if key is None:
            return None
        place = key, direction
        self._before = {place: self._last.get(place, Use(key, direction, 0, code.valid_until, count=0))}
        use = Use(key, direction, now_ms, code.valid_until, code.step, self._before[place].count + 1)
        self._last[place] = use
        if len(self._last) > KEPT_MAX:
            self._forget(now_ms)
        return use

    def learn(self, past: Iterable[Use]) -> None:
        """Add what is on record from earlier runs to what has been noted meanwhile."""
        for use in past:
            place = use.key, use.direction
            for held in (self._last, self._before):
                if place in held and held[place].count:
                    held[place] = replace(held[place], count=held[place].count + use.count)
                elif place in held or held is self._last:
                    held[place] = use

    def take_back(self, use: Use) -> Use:
        """Undo the last `add`; return what is to be stored instead."""
        place = use.key, use.direction
        self._last[place] = self._before.pop(place)
        return self._last[place]

    def latest(self, use: Use) -> Use:
        """Return what is known of the pass of `use` by now."""
        return self._last.get((use.key, use.direction), use)

    def count(self, code: CodeResult, direction: Direction) -> int:
        """Return how often somebody has passed on this pass in this direction."""
        use = self._of(code, direction)
        return use.count if use else 0

    def last_ms(self, code: CodeResult, direction: Direction) -> int | None:
        """Return when somebody last passed on this pass in this direction, in unix milliseconds."""
        use = self._of(code, direction)
        return use.at_ms if use else None

    def replayed(self, code: CodeResult, direction: Direction, now_ms: int, passback_s: int) -> bool:
        """Say whether this pass was used so lately that it must be somebody else's turn.

        A step of a rotating pass counts once, however long ago. Otherwise only a use near to now counts,
        before or after: one far ahead shows that the clock was set back, and nothing else.
        """
        use = self._of(code, direction)
        if use is None:
            return False
        once = code.step is not None and use.step is not None and code.step <= use.step
        return once or abs(now_ms - use.at_ms) < passback_s * _MS_PER_S

    def _of(self, code: CodeResult, direction: Direction) -> Use | None:
        key = pass_key(code)
        use = None if key is None else self._last.get((key, direction))
        return use if use is not None and use.count else None

    def _forget(self, now_ms: int) -> None:
        """Drop passes that have ended, and if that is not enough the half used longest ago."""
        now_s = now_ms // _MS_PER_S
        kept = [use for use in self._last.values() if use.until_s is None or use.until_s >= now_s]
        if len(kept) > KEPT_MAX:
            kept = sorted(kept, key=lambda use: use.at_ms)[-(KEPT_MAX // 2) :]
        self._last = {(use.key, use.direction): use for use in kept}
