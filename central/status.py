"""How the gates stand, from what the store knows: for a terminal and for scripts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from rich.table import Table

from central.store import Alarm, GateKey, Store, StreamState
from central.watch import ahead_ms


@dataclass(frozen=True, slots=True)
class GateStatus:
    """One gate. Times: unix milliseconds, None for never.

    identity      "registered", "revoked" (no key left) or "unknown" (never registered)
    epoch         of its newest ledger, "" while nothing has come
    seen_ms       when anything came from it
    stated        how many records its newest checkpoint states for that ledger
    proved        up to where the centre has them proved, and has signed for it
    receipted     up to where the gate says that it knows
    backlog       records of all its ledgers that are known to exist and not proved
    ahead_ms      by how much its clock was ahead in the newest checkpoint, None when it did not trust it
    alarms        the codes of the alarms that stand
    """

    site: str
    gate: str
    identity: str
    epoch: str
    seen_ms: int | None
    stated: int
    linked: int
    proved: int
    receipted: int
    backlog: int
    conflicts: int
    ahead_ms: int | None
    alarms: tuple[str, ...]


def overview(store: Store) -> list[GateStatus]:
    """Return every gate that is registered or has ever sent anything, by site and gate."""
    streams = {names: tuple(own) for names, own in groupby(store.streams(), lambda s: (s.site, s.gate))}
    keys = {names: tuple(own) for names, own in groupby(store.gates(), lambda k: (k.site, k.gate))}
    alarms = store.alarms()
    return [
        _gate(names, streams.get(names, ()), keys.get(names, ()), alarms)
        for names in sorted(streams.keys() | keys.keys())
    ]


def _gate(
    names: tuple[str, str], streams: Sequence[StreamState], keys: Sequence[GateKey], alarms: Iterable[Alarm]
) -> GateStatus:
    newest = streams[-1] if streams else None
    heard = [at for stream in streams for at in (stream.heard_ms, stream.record_ms) if at is not None]
    own = (alarm.about.code for alarm in alarms if (alarm.about.site, alarm.about.gate) == names)
    return GateStatus(
        site=names[0],
        gate=names[1],
        identity=_identity(keys),
        epoch=newest.epoch if newest else "",
        seen_ms=max(heard, default=None),
        stated=newest.head if newest else 0,
        linked=newest.linked if newest else 0,
        proved=newest.proved if newest else 0,
        receipted=newest.receipted if newest else 0,
        backlog=sum(stream.backlog for stream in streams),
        conflicts=sum(stream.conflicts for stream in streams),
        ahead_ms=ahead_ms(newest) if newest else None,
        alarms=tuple(dict.fromkeys(own)),
    )


def _identity(keys: Sequence[GateKey]) -> str:
    if not keys:
        return "unknown"
    return "registered" if any(key.revoked_ms is None for key in keys) else "revoked"


def table(gates: Iterable[GateStatus], now_ms: int) -> Table:
    """Draw the overview for a terminal."""
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    drawn.add_column("gate", no_wrap=True)
    for heading in ("identity", "seen", "epoch"):
        drawn.add_column(heading)
    for heading in ("stated", "proved", "receipted", "backlog", "clock"):
        drawn.add_column(heading, justify="right")
    drawn.add_column("alarms")
    for gate in gates:
        drawn.add_row(*_cells(gate, now_ms), style="red" if gate.alarms else None)
    return drawn


def _cells(gate: GateStatus, now_ms: int) -> Iterator[str]:
    yield f"{gate.site}/{gate.gate}"
    yield gate.identity
    yield "never" if gate.seen_ms is None else f"{span(now_ms - gate.seen_ms)} ago"
    yield gate.epoch[:8]
    yield from (f"{count:,}" for count in (gate.stated, gate.proved, gate.receipted, gate.backlog))
    yield "" if gate.ahead_ms is None else f"{gate.ahead_ms / 1000:+.1f} s"
    yield ", ".join(gate.alarms)


def span(ms: int) -> str:
    """Return a length of time in the largest unit of which there are two or more."""
    seconds = max(0, ms) // 1000
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def moment(ms: int | None) -> str:
    """Return unix milliseconds as local time with its offset; nothing for None."""
    if ms is None:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().isoformat(timespec="seconds")
