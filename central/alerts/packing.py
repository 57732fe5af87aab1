"""What of that which is due goes into the next message: pure.

A storm does not become a storm of messages. Equal alerts (role, gate, kind) that come within a minute after a
message was sent about them wait for the end of that minute and go as one with a count; and when an address
has had its fill for a minute, everything left for it goes as one. None is lost by it: each delivery is
settled by itself.

An address that has failed is left alone for a while, whatever there is for it, so that a dead one costs next
to nothing. Then whatever has been tried least goes first: a message that an address does not take for what
it says must not hold up the others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Final

from central.alerts.rules import GRAVITY, AlertKind, Severity

MINUTE_MS: Final = 60_000
RETRY_MS: Final = 5_000
RETRY_MS_MAX: Final = 120_000
_DOUBLINGS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Due:
    """One alert that is to be told at one address now. `tries`: how often it has failed."""

    delivery: int
    alert: int
    role: str
    site: str
    gate: str
    kind: AlertKind
    severity: Severity
    zh: str
    en: str
    rules: tuple[str, ...]
    event_ms: int | None
    clock_trusted: bool
    noted_ms: int
    acknowledged_by: str | None
    escalated: bool
    tries: int

    @property
    def about(self) -> str:
        """What equal alerts have in common."""
        return f"{self.site}/{self.gate}/{self.kind}"


@dataclass(frozen=True, slots=True)
class Recent:
    """A message of the last minute to one address."""

    at_ms: int
    role: str
    about: str
    delivered: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with what is due to one address: `send` goes as one message now, `hold` at `until_ms`."""

    send: tuple[Due, ...] = ()
    hold: tuple[tuple[int, tuple[Due, ...]], ...] = ()


def plan(due: Iterable[Due], recent: Sequence[Recent], now_ms: int, per_minute: int) -> Plan:
    """Choose the next message for one address. Pure.

    What has been tried before is not held back again for being equal to itself.
    """
    due = tuple(due)
    rest_until_ms = _rest_until_ms(recent)
    if due and now_ms < rest_until_ms:
        return Plan((), ((rest_until_ms, due),))
    groups, hold = [], []
    for (role, about), equal in _grouped(due):
        last = max((past.at_ms for past in recent if (past.role, past.about) == (role, about)), default=None)
        if last is None or now_ms >= last + MINUTE_MS or any(one.tries for one in equal):
            groups.append(equal)
        else:
            hold.append((last + MINUTE_MS, equal))
    left = per_minute - len(recent)
    if groups and left < 1:
        hold.append((min(past.at_ms for past in recent) + MINUTE_MS, _joined(groups)))
        groups = []
    if not groups:
        return Plan((), tuple(hold))
    first = groups[0]
    if left == 1:
        # The last message of this minute speaks for all that is left, as far as it is one role's.
        first = _joined(group for group in groups if group[0].role == first[0].role)
    return Plan(first, tuple(hold))


def retry_ms(tries: int) -> int:
    """Return how long to wait after a failure that follows so many others: 5 s, 10 s ... 2 min."""
    return min(RETRY_MS_MAX, RETRY_MS << min(tries, _DOUBLINGS_MAX))


def ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers in few words: 3,7-12."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number])
    return ",".join("-".join(map(str, span)) for span in spans)


def _rest_until_ms(recent: Sequence[Recent]) -> int:
    """Return until when an address is left alone: 5 s after a failure, 10 s after the next ... a minute."""
    newest_first = sorted(recent, key=lambda past: -past.at_ms)
    failures = list(takewhile(lambda past: not past.delivered, newest_first))
    return failures[0].at_ms + min(MINUTE_MS, retry_ms(len(failures) - 1)) if failures else 0


def _grouped(due: Iterable[Due]) -> list[tuple[tuple[str, str], tuple[Due, ...]]]:
    """Put equal alerts together, oldest first; the least tried group first, of those the gravest."""
    ordered = sorted(due, key=lambda one: (one.role, one.about, one.alert))
    groups = [(key, tuple(equal)) for key, equal in groupby(ordered, lambda one: (one.role, one.about))]
    return sorted(groups, key=lambda group: _turn(group[1]))


def _turn(group: Sequence[Due]) -> tuple[int, int, int]:
    gravity = max(GRAVITY[one.severity] for one in group)
    return min(one.tries for one in group), -gravity, group[0].alert


def _joined(groups: Iterable[tuple[Due, ...]]) -> tuple[Due, ...]:
    return tuple(one for group in groups for one in group)
