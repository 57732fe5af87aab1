"""How the gates stand, from what the store knows: for a terminal and for scripts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import groupby
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from central.absence import Absences
from central.alerts.codes import code_words
from central.clock import moment
from central.intake import READY
from central.states import Said, read_states
from central.store import Alarm, GateKey, Store, StreamState
from central.watch import ahead_ms
from gate.core.mode import Mode

ALARMS_SHOWN: Final = 20
MIDDLING: Final = 100
WIDE: Final = 120
"""Columns of a terminal in which there is room for more figures, and for those that only an expert reads."""

_IN_TIME_MS: Final = 1000
_MODES: Final = {
    Mode.EVACUATING: "evacuating", Mode.FAULT: "in fault", Mode.SUSPENDED: "suspended",
    Mode.CLOSED_HOURS: "closed hours", Mode.DEGRADED: "degraded",
}  # fmt: skip
"""How a mode that is not the usual one is shown."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An alarm that stands; see `central.store.Alarm`."""

    id: int
    kind: str
    code: str
    site: str
    gate: str
    first: int | None
    last: int | None
    since_ms: int


@dataclass(frozen=True, slots=True)
class GateStatus:
    """One gate. Times: unix milliseconds, None for never.

    identity      "registered", "revoked" (no key left) or "unknown" (never registered)
    epoch         of its newest ledger, "" while nothing has come
    seen_ms       when anything came from it
    stopped_ms    when it has said that it stops, None unless that was its last word
    stated        how many records its newest checkpoint states for that ledger
    proved        up to where the centre has them proved, and has signed for it
    receipted     up to where the gate says that it knows
    backlog       records of all its ledgers that are known to exist and not proved
    ahead_ms      by how much its clock was ahead in the newest checkpoint, None when it did not trust it
    alarms        the codes of the alarms that stand
    state, mode   what its state message said last, which nobody has signed; "" for nothing
    """

    site: str
    gate: str
    identity: str
    epoch: str
    seen_ms: int | None
    stopped_ms: int | None
    stated: int
    linked: int
    proved: int
    receipted: int
    backlog: int
    conflicts: int
    ahead_ms: int | None
    alarms: tuple[str, ...]
    state: str = ""
    mode: str = ""


def overview(store: Store, now_ms: int) -> list[GateStatus]:
    """Return every gate that is registered or has ever sent anything, by site and gate. StoreError."""
    everything = store.streams()
    streams = {names: tuple(own) for names, own in groupby(everything, lambda s: (s.site, s.gate))}
    keys = {names: tuple(own) for names, own in groupby(store.gates(), lambda k: (k.site, k.gate))}
    alarms = standing(store)
    stopped = Absences(store.engine, quiet_ms=0).stopped(everything, now_ms)
    said = read_states(store.engine)
    return [
        _gate(names, streams.get(names, ()), keys.get(names, ()), alarms, stopped.get(names), said.get(names))
        for names in sorted(streams.keys() | keys.keys())
    ]


def standing(store: Store) -> list[Standing]:
    """Return the alarms that stand, oldest first. StoreError."""
    return [_standing(alarm) for alarm in store.alarms()]


def _standing(alarm: Alarm) -> Standing:
    about = alarm.about
    return Standing(
        alarm.id,
        str(about.kind),
        about.code,
        about.site,
        about.gate,
        about.first,
        about.last,
        alarm.raised_ms,
    )


def _gate(
    names: tuple[str, str],
    streams: Sequence[StreamState],
    keys: Sequence[GateKey],
    alarms: Iterable[Standing],
    stopped_ms: int | None,
    said: Said | None,
) -> GateStatus:
    newest = streams[-1] if streams else None
    heard = [at for stream in streams for at in (stream.heard_ms, stream.record_ms) if at is not None]
    if said and said.state == READY:
        heard.append(said.since_ms)
        if stopped_ms is not None and said.since_ms > stopped_ms:
            stopped_ms = None  # it is there again, and cannot, or may not, sign
    own = (alarm.code for alarm in alarms if (alarm.site, alarm.gate) == names)
    return GateStatus(
        site=names[0],
        gate=names[1],
        identity=_identity(keys),
        epoch=newest.epoch if newest else "",
        seen_ms=max(heard, default=None),
        stopped_ms=stopped_ms,
        stated=newest.head if newest else 0,
        linked=newest.linked if newest else 0,
        proved=newest.proved if newest else 0,
        receipted=newest.receipted if newest else 0,
        backlog=sum(stream.backlog for stream in streams),
        conflicts=sum(stream.conflicts for stream in streams),
        ahead_ms=ahead_ms(newest) if newest else None,
        alarms=tuple(dict.fromkeys(own)),
        state=said.state if said else "",
        mode=said.mode if said else "",
    )


def _identity(keys: Sequence[GateKey]) -> str:
    if not keys:
        return "unknown"
    return "registered" if any(key.revoked_ms is None for key in keys) else "revoked"


# For a terminal


def drawn(
    gates: Sequence[GateStatus],
    alarms: Sequence[Standing],
    now_ms: int,
    width: int,
    zone: tzinfo | None = None,
) -> RenderableType:
    """Draw the overview, what stands in words below it, for a terminal of so many columns.

    `zone`: of the times, the machine's own without one; they say their offset.
    """
    parts: list[RenderableType] = [_table(gates, now_ms, width), "", _summary(gates, alarms)]
    parts += [Padding(_alarm_line(alarm, now_ms, zone), (0, 0, 0, 2)) for alarm in alarms[:ALARMS_SHOWN]]
    if len(alarms) > ALARMS_SHOWN:
        parts.append(Text(f"  ... and {len(alarms) - ALARMS_SHOWN} more; see: central alarms"))
    return Group(*parts)


def _state(gate: GateStatus, now_ms: int) -> str:
    """Say in a word or two how it is with a gate."""
    identity = {"unknown": "not registered", "revoked": "key revoked"}.get(gate.identity, "")
    if gate.seen_ms is None:
        heard = "never heard"
    elif gate.stopped_ms is not None:
        heard = f"stopped {span(now_ms - gate.stopped_ms)} ago"
    else:
        heard = f"heard {span(now_ms - gate.seen_ms)} ago"
    return ", ".join(word for word in (identity, _mode(gate), heard) if word)


def _mode(gate: GateStatus) -> str:
    """Say a mode that is not the usual one; of a gate that is off only that it was in fault."""
    if not gate.mode or (gate.stopped_ms is not None and gate.mode != Mode.FAULT):
        return ""
    return _MODES.get(Mode(gate.mode), "")


def _clock(ahead: int | None) -> str:
    """Say by how much a clock is wrong: "?" when nobody knows."""
    if ahead is None:
        return "?"
    if abs(ahead) < _IN_TIME_MS:
        return "right"
    return f"{'+' if ahead > 0 else '-'}{span(abs(ahead))}"


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the table, shown in terminals of at least so many columns and less than so many."""

    heading: str
    cell: Callable[[GateStatus, int], str]
    number: bool = False
    from_width: int = 0
    below_width: int = 10_000


_COLUMNS: Final = (
    _Column("gate", lambda gate, _: f"{gate.site}/{gate.gate}"),
    _Column("state", _state),
    _Column("stated", lambda gate, _: f"{gate.stated:,}", number=True, from_width=MIDDLING),
    _Column("proved", lambda gate, _: f"{gate.proved:,}", number=True),
    _Column("receipted", lambda gate, _: f"{gate.receipted:,}", number=True, from_width=WIDE),
    _Column("backlog", lambda gate, _: f"{gate.backlog:,}", number=True),
    _Column("clock", lambda gate, _: _clock(gate.ahead_ms), number=True, from_width=MIDDLING),
    _Column("ledger", lambda gate, _: gate.epoch[:8], from_width=WIDE),
    _Column("alarms", lambda gate, _: ", ".join(gate.alarms), from_width=MIDDLING),
    _Column("alarms", lambda gate, _: str(len(gate.alarms) or ""), number=True, below_width=MIDDLING),
)


def _table(gates: Iterable[GateStatus], now_ms: int, width: int) -> Table:
    shown = [column for column in _COLUMNS if column.from_width <= width < column.below_width]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in shown:
        # Where there is too little room, words go on in the next line; figures stay whole.
        wraps = column.heading in {"state", "alarms"}
        table.add_column(column.heading, justify="right" if column.number else "left", no_wrap=not wraps)
    for gate in gates:
        cells = (column.cell(gate, now_ms) for column in shown)
        table.add_row(*cells, style="red" if gate.alarms else None)
    return table


def _summary(gates: Sequence[GateStatus], alarms: Sequence[Standing]) -> Text:
    stopped = sum(gate.stopped_ms is not None for gate in gates)
    backlog = sum(gate.backlog for gate in gates)
    fault = sum(gate.mode == Mode.FAULT for gate in gates)
    words = [
        _count(len(gates), "gate"),
        *([f"{fault} in fault"] if fault else []),
        *([f"{stopped} stopped"] if stopped else []),
        f"{_count(backlog, 'record')} outstanding" if backlog else "nothing outstanding",
        f"{_count(len(alarms), 'alarm')}:" if alarms else "no alarms",
    ]
    return Text(", ".join(words), style="bold red" if alarms else "bold")


def _alarm_line(alarm: Standing, now_ms: int, zone: tzinfo | None) -> Text:
    where = "/".join(part for part in (alarm.site, alarm.gate) if part)
    words = code_words(alarm.code).en
    ends = [f"{end:,}" for end in dict.fromkeys((alarm.first, alarm.last)) if end is not None]
    records = f" ({'-'.join(ends)})" if ends else ""
    raised = f"raised {moment(alarm.since_ms, zone)}, {span(now_ms - alarm.since_ms)} ago"
    return Text(f"{alarm.id}  {where}  {alarm.kind}: {words}{records}, {raised}", style="red")


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def span(ms: int) -> str:
    """Return a length of time in the largest unit of which there are two or more."""
    seconds = max(0, ms) // 1000
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
