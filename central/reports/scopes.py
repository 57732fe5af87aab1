"""Whose report it is: a gate (level 3), a site or a named unit of sites (level 2), everything (level 1)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from central.reports.settings import Level, ReportSettings
from central.store import GateKey

GateName = tuple[str, str]


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """A unit that reports: all gates of `sites` (level 1: of every site), or the one `gate` of a site.

    `begun_ms`: when the first of its gates was registered; nothing is due before. None without any.
    """

    level: Level
    name: str
    sites: tuple[str, ...] = ()
    gate: str = ""
    begun_ms: int | None = field(default=None, compare=False)

    def has(self, site: str, gate: str) -> bool:
        """Say whether a gate is part of it."""
        return (self.level == 1 or site in self.sites) and self.gate in {"", gate}


def scopes(settings: ReportSettings, gates: Mapping[GateName, int]) -> list[Scope]:
    """Return every unit that reports, in the order in which they do.

    `gates` (site, gate) with the instant of their registration. Level 1 stands there also without any gate.
    """
    units: dict[str, dict[GateName, int]] = {unit.name: {} for unit in settings.unit}
    for name, registered_ms in sorted(gates.items()):
        units.setdefault(settings.unit_of(name[0]), {})[name] = registered_ms
    of_gates = [
        Scope(3, f"{site}/{gate}", (site,), gate, begun) for (site, gate), begun in sorted(gates.items())
    ]
    of_units = [
        Scope(2, unit, _sites(settings, unit, members), begun_ms=min(members.values(), default=None))
        for unit, members in sorted(units.items())
    ]
    return [*of_gates, *of_units, Scope(1, settings.name, begun_ms=min(gates.values(), default=None))]


def registered(keys: Iterable[GateKey]) -> dict[GateName, int]:
    """Return the gates that have a key now, with the instant of their first registration."""
    gates: dict[GateName, int] = {}
    for key in keys:
        if key.revoked_ms is None:
            name = (key.site, key.gate)
            gates[name] = min(gates.get(name, key.registered_ms), key.registered_ms)
    return gates


def _sites(settings: ReportSettings, name: str, members: Iterable[GateName]) -> tuple[str, ...]:
    listed = (site for unit in settings.unit if unit.name == name for site in unit.sites)
    return tuple(sorted({*listed, *(site for site, _ in members)}))
