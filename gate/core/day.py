"""What the day brings to a gate: opening hours, and the signed documents that change from day to day.

A document that has come once and is out of its time is not used: the gate says so on record and in its mode,
and the evidence of each visit names it. Revocations stay in force beyond their list's time, because what was
called back does not become good again.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gate.core import events
from gate.core.codes.model import Circumstances, CodeError
from gate.core.codes.trust import Trust
from gate.core.documents import Document, Documents, Kind, Taken, open_document
from gate.core.effects import KeepDocument, Record
from gate.core.moment import NS_PER_MS, NS_PER_S, Moment
from gate.core.policy import HoursRequirement, Policy

DAY_MS: Final = 86_400_000
LOOK_AGAIN_NS: Final = 60 * NS_PER_S
# Documents that were not taken are told once for each reason, and no more than this in all.
REFUSALS_TOLD_MAX: Final = 20


class Day:
    """Opening hours and documents of one gate; `look` keeps them up with the clock."""

    def __init__(self, policy: Policy, trust: Trust, site: str) -> None:
        self._policy = policy
        self._given_trust = trust
        self._site = site
        self._told: set[str] = set()
        self._look_ns = 0
        self.documents = Documents()
        self.trust = trust
        self._out_of_time: frozenset[Document] = frozenset()
        self.stale: frozenset[Kind] = frozenset()
        self.closed = False
        self.suspended = False

    @property
    def next_look_ns(self) -> int | None:
        """The monotonic instant (ns) at which the clock may change something; None for never."""
        return self._look_ns or None

    def look(self, now: Moment) -> Iterator[Record]:
        """Open and close by the hour, and see which documents have gone out of their time."""
        if now.mono_ns < self._look_ns:
            return
        at = Circumstances(self._site, now.wall_ms, now.clock_trusted)
        self.closed, change_ns = closed_at(self._policy.hours, self._policy.utc_offset_min, now)
        out_of_time = self.documents.not_current(at)
        for document in sorted(out_of_time - self._out_of_time, key=lambda one: (one.kind, one.issuer)):
            yield Record(events.document(document.kind, document.issuer, document.version, "stale"))
        self._out_of_time = out_of_time
        self.stale = self.documents.stale(at)
        self.suspended = self.documents.suspended(at)
        again_ns = now.mono_ns + LOOK_AGAIN_NS if self.documents.kinds else None
        self._look_ns = min((ns for ns in (change_ns, again_ns) if ns is not None), default=0)

    def follow(self, policy: Policy) -> None:
        """Open and close by another policy from the next look on, which is due at once."""
        self._policy = policy
        self._look_ns = 0

    def objection(self, text: bytes) -> str:
        """Say in a word why a document would not be taken, "" if it would be or already is."""
        try:
            taken = self.documents.weigh(open_document(text, trust=self._given_trust, site=self._site))
        except CodeError as fault:
            return str(fault.reason)
        return "" if taken in {Taken.ACCEPTED, Taken.SAME} else str(taken)

    def receive(self, text: bytes, now: Moment) -> Iterator[Record | KeepDocument]:
        """Take in a document, if it is signed for this site and newer than what is known."""
        try:
            document = open_document(text, trust=self._given_trust, site=self._site)
        except CodeError as fault:
            if self._untold(fault.reason):
                yield Record(events.anomaly("document_refused", f"{fault.reason}: {fault}"))
            return
        taken = self.documents.take(document)
        name = f"{document.kind}-{document.issuer}"
        told = events.document(document.kind, document.issuer, document.version, str(taken))
        if taken is Taken.ACCEPTED:
            yield KeepDocument(name, text)  # first: what follows a record that fails is not done
            yield Record(told)
            self.trust = replace(
                self._given_trust, revoked=self._given_trust.revoked | self.documents.revoked()
            )
            self._look_ns = 0
            yield from self.look(now)
        elif taken is not Taken.SAME and self._untold(f"{taken} {name}"):
            yield Record(told)

    def _untold(self, what: str) -> bool:
        """Note what would otherwise be recorded as often as somebody sends it; True the first time."""
        if what in self._told or len(self._told) >= REFUSALS_TOLD_MAX:
            return False
        self._told.add(what)
        return True


def closed_at(hours: HoursRequirement | None, utc_offset_min: int, now: Moment) -> tuple[bool, int | None]:
    """Say whether a gate is closed to visitors now, and at which monotonic instant (ns) to look again.

    Never closed without opening hours, nor without a clock to tell them by (TH-6).
    """
    if hours is None:
        return False, None
    if not now.clock_trusted:
        return False, now.mono_ns + LOOK_AGAIN_NS
    into_day_ms = (now.wall_ms + utc_offset_min * 60_000) % DAY_MS
    opens_ms, closes_ms = hours.opens_min * 60_000, hours.closes_min * 60_000
    closed = not opens_ms <= into_day_ms < closes_ms
    change_ms = min((edge - into_day_ms) % DAY_MS or DAY_MS for edge in (opens_ms, closes_ms))
    # Wall time may be set meanwhile: it is looked at again before then.
    return closed, now.mono_ns + min(change_ms * NS_PER_MS, LOOK_AGAIN_NS)
