"""From an alert to the addresses at which it is told, as the configuration says today."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from central.alerts.rules import Alert
from central.alerts.settings import AlertSettings, Role


@dataclass(frozen=True, slots=True)
class Routing:
    """The roles of the configuration with their addresses; `shown` names each URL without its secrets.

    Two URLs never have the same shown address. Without settings nobody is told of anything.
    """

    settings: AlertSettings = field(default_factory=AlertSettings)
    shown: Mapping[str, str] = field(default_factory=dict)

    def told(self, alert: Alert) -> tuple[Role, ...]:
        """Return the roles that are told of this alert at once."""
        return self.settings.told(alert)

    def named(self, name: str) -> Role | None:
        """Return the role of this name, if there is one today."""
        return self.settings.named(name)

    def next_after(self, name: str) -> Role | None:
        """Return the role to which this one escalates, if there is one today."""
        role = self.named(name)
        return self.named(role.escalate_to) if role and role.escalate_to else None

    def addresses(self, role: Role) -> tuple[str, ...]:
        """Return where the people of a role are reached; an address that cannot be used is left out."""
        return tuple(self.shown[url] for url in role.urls if url in self.shown)

    def all_addresses(self) -> frozenset[str]:
        """Return every address that there is today."""
        return frozenset(self.shown.values())
