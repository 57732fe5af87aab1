"""Whose turn a code has had: one that is still held up when its owner's visit is over begins no other."""

from collections.abc import Iterable
from typing import Final

from gate.core.codes import rotating
from gate.core.moment import NS_PER_S

# A code that was just used is still in front of the camera while its owner walks through.
SAME_CODE_NS: Final = 3 * NS_PER_S
# So is, for a moment, the code of somebody who has stepped away. Whoever comes with a phone held out ahead
# loses nothing by it: the first measurement takes as long.
AWAY_CODE_NS: Final = NS_PER_S


class Turns:
    """The codes of people who have had their turn; a rotating one is the same in each of its steps."""

    def __init__(self) -> None:
        self._over_until_ns: dict[bytes, int] = {}
        self._judged: set[bytes] = set()  # those of them that were somebody's evidence

    def judged(self, payload: bytes) -> None:
        """Take note that this code is somebody's evidence."""
        self._judged.add(rotating.without_step(payload))

    def had(self, payloads: Iterable[bytes | None], now_ns: int) -> None:
        """Take note that the visit in which these were held up is over."""
        for payload in payloads:
            if payload is not None:
                self._keep(rotating.without_step(payload), now_ns, now_ns + SAME_CODE_NS)
        self._judged &= self._over_until_ns.keys()

    def over(self, payloads: Iterable[bytes], now_ns: int, *, nobody: bool) -> bool:
        """Say whether all that the camera sees has had its turn, or `nobody` stands there to show it."""
        seen = [rotating.without_step(payload) for payload in payloads]
        if not nobody and any(now_ns >= self._over_until_ns.get(shown, 0) for shown in seen):
            return False
        for shown in seen:
            # A code that has had its turn is over for as long as it is held up. One that was merely seen
            # before may be that of the next visitor, who comes with the phone held out ahead.
            if nobody or shown in self._judged:
                self._keep(shown, now_ns, now_ns + AWAY_CODE_NS)
        return True

    def _keep(self, code: bytes, now_ns: int, until_ns: int) -> None:
        held = {other: end_ns for other, end_ns in self._over_until_ns.items() if end_ns > now_ns}
        held[code] = max(until_ns, held.get(code, 0))
        self._over_until_ns = held
