"""What stands behind the figures of a gate, and whether the centre can vouch for them.

A gate signs how many records its ledger has (a checkpoint). When it signed so at or after the end of the
day, and the centre holds every one of these records, followed along the chain to the very hash that was
signed, then no record of that day is missing, altered or held back. While the day is still running, a
checkpoint of the last minutes has to do (`RUNNING_MS`).

Whoever has the public keys can check all of it without the centre: the report carries the checkpoint as it
was signed, and the receipt that the centre gave for it (`central report --check`).
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from central.reports.spans import Span

RUNNING_MS: Final = 120_000
"""Gates sign every 60 s."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A checkpoint that was signed with a registered key and agrees with the records that the centre holds.

    `made_ms`: by the gate's clock where it is trusted, but no later than `came_ms`, when it came.
    """

    size: int
    hash: bytes
    made_ms: int
    came_ms: int
    message: bytes
    public_key: bytes


@dataclass(frozen=True, slots=True)
class LedgerView:
    """One ledger (site, gate, epoch) as the store knows it; see `StreamState` for the fields of that name.

    `missing`: records known to exist that are not here. `statement`: the one to vouch with, None without.
    `agrees`: the successor's word on how this ledger ended fits what is here; None while it goes on or
    nothing was said. `suspicions`: codes of alarms that speak against it. `receipt`: as it was signed.
    """

    site: str
    gate: str
    epoch: str
    linked: int
    proved: int
    top: int
    head: int
    heard_ms: int | None
    known: bool
    successor: str = ""
    agrees: bool | None = None
    conflicts: int = 0
    missing: int = 0
    suspicions: tuple[str, ...] = ()
    statement: Statement | None = None
    receipt: bytes | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """One reason why a gate cannot be vouched for; `count` and `since_ms` where they say something."""

    reason: str
    count: int | None = None
    since_ms: int | None = None
    codes: tuple[str, ...] = ()

    def stated(self, span: Span) -> dict[str, Any]:
        """Return the reason as a report states it."""
        facts = {
            "count": self.count,
            "since": None if self.since_ms is None else span.local(self.since_ms),
            "codes": list(self.codes) or None,
        }
        return {"reason": self.reason} | {name: fact for name, fact in facts.items() if fact is not None}


NEVER_HEARD: Final = Doubt("never_heard")


def doubts(ledger: LedgerView, span: Span) -> tuple[Doubt, ...]:
    """Return what stands against vouching for a ledger; nothing when it can be vouched for."""
    suspected = (Doubt("suspected", codes=ledger.suspicions),) if ledger.suspicions else ()
    if ledger.statement is not None or (ledger.agrees and not ledger.missing):
        return suspected
    # Where nothing else explains it, the gate has signed nothing since.
    return suspected + (tuple(_shortcomings(ledger, span)) or (Doubt("silent", since_ms=ledger.heard_ms),))


def _shortcomings(ledger: LedgerView, span: Span) -> Iterator[Doubt]:
    if not ledger.known:
        yield Doubt("no_key")
    if ledger.missing:
        yield Doubt("missing", count=ledger.missing)
    if ledger.successor:
        yield Doubt("end_unknown")
    elif ledger.heard_ms is None:
        yield NEVER_HEARD
    elif ledger.heard_ms < needed_ms(span):
        yield Doubt("silent", since_ms=ledger.heard_ms)
    elif not ledger.missing and max(ledger.head, ledger.top) > ledger.proved:
        yield Doubt("unproved", count=max(ledger.head, ledger.top) - ledger.proved)


def proof(
    ledger: LedgerView, first: int | None, last: int | None, records: int, span: Span
) -> dict[str, Any]:
    """Return what a report states for one ledger: the range of its records in it, and what proves them."""
    found = doubts(ledger, span)
    statement = ledger.statement
    return {
        "site": ledger.site,
        "gate": ledger.gate,
        "epoch": ledger.epoch,
        "from": first,
        "to": last,
        "records": records,
        "vouched": not found,
        "doubts": [doubt.stated(span) for doubt in found],
        "proved": ledger.proved,
        "conflicts": ledger.conflicts,
        "followed_by": ledger.successor or None,
        "checkpoint": None if statement is None else _checkpoint(statement, span),
        "receipt": None if ledger.receipt is None else base64.b64encode(ledger.receipt).decode(),
    }


def unheard(site: str, gate: str) -> dict[str, Any]:
    """Return the same for a registered gate of which nothing has ever come."""
    return {
        "site": site,
        "gate": gate,
        "epoch": None,
        "from": None,
        "to": None,
        "records": 0,
        "vouched": False,
        "doubts": [{"reason": NEVER_HEARD.reason}],
        "proved": 0,
        "conflicts": 0,
        "followed_by": None,
        "checkpoint": None,
        "receipt": None,
    }


def needed_ms(span: Span) -> int:
    """Return the instant at or after which a gate must have signed to vouch for this span."""
    return span.end_ms if span.over else span.cut_ms - RUNNING_MS


def _checkpoint(statement: Statement, span: Span) -> dict[str, Any]:
    return {
        "size": statement.size,
        "hash": statement.hash.hex(),
        "made": span.local(statement.made_ms),
        "public_key": statement.public_key.hex(),
        "message": base64.b64encode(statement.message).decode(),
    }
