"""Who is told of what: the section `[alerts]` of the centre's configuration.

    [[alerts.role]]
    name = "duty"
    urls = ["dingtalk://SECRET@TOKEN", "mailtos://user:password@mail.example.org?to=duty@example.org"]
    escalate_to = "leader"            # when nobody of this role has answered
    after_s = 300

    [[alerts.role]]
    name = "leader"
    urls = ["wecombot://KEY"]

    [[alerts.rule]]                   # without `kinds` and `sites`: everything, everywhere
    role = "duty"
    at_least = "warning"

The addresses are those of Apprise (https://appriseit.com/services/). They hold secrets, so the file belongs
to the centre's user alone.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from central.alerts.rules import GRAVITY, Alert, AlertKind, Severity
from gate.checked import did_you_mean

Name = Annotated[str, MinLen(1), MaxLen(32)]
Url = Annotated[str, MinLen(1), MaxLen(2000)]


@dataclass(frozen=True, slots=True)
class Role:
    """People who are told together, each at their own address.

    `escalate_to` is told when nobody has answered for `after_s` seconds. `lang`: of the messages.
    `per_minute`: messages to one address; the robots of DingTalk and WeCom take 20 and then none for a while.
    """

    name: Name
    urls: Annotated[tuple[Url, ...], MinLen(1), MaxLen(16)] = field(repr=False)
    escalate_to: Name | None = None
    after_s: Annotated[int, Ge(60), Le(86_400)] = 300
    lang: Literal["zh", "en"] = "zh"
    per_minute: Annotated[int, Ge(1), Le(600)] = 20

    def __post_init__(self) -> None:
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("an address is named twice in urls")


@dataclass(frozen=True, slots=True)
class Rule:
    """Alerts of these kinds, from these sites, that matter at least so much, are told to this role."""

    role: Name
    kinds: tuple[AlertKind, ...] = ()
    sites: tuple[Name, ...] = ()
    at_least: Severity = Severity.NOTICE

    def takes(self, alert: Alert) -> bool:
        """Say whether this rule is about that alert; no `kinds` or `sites` means all."""
        kind = not self.kinds or alert.kind in self.kinds
        site = not self.sites or alert.site in self.sites
        return kind and site and GRAVITY[alert.severity] >= GRAVITY[self.at_least]


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The section `[alerts]`. Without a rule nobody is told, and alerts wait in `central alerts`.

    `utc_offset_min`: local time in messages, minutes east of UTC.
    """

    role: Annotated[tuple[Role, ...], MaxLen(64)] = ()
    rule: Annotated[tuple[Rule, ...], MaxLen(256)] = ()
    utc_offset_min: Annotated[int, Ge(-720), Le(840)] = 480

    def __post_init__(self) -> None:
        names = [role.name for role in self.role]
        if len(set(names)) != len(names):
            raise ValueError("two roles have the same name")
        asked = [rule.role for rule in self.rule] + [
            role.escalate_to for role in self.role if role.escalate_to
        ]
        if unknown := sorted(set(asked) - set(names)):
            told = (f"there is no role {name!r}{did_you_mean(name, names)}" for name in unknown)
            raise ValueError("; ".join(told))
        for role in self.role:
            self._check_escalation(role)

    def named(self, name: str) -> Role | None:
        """Return the role of this name, if there is one."""
        return next((role for role in self.role if role.name == name), None)

    def told(self, alert: Alert) -> tuple[Role, ...]:
        """Return the roles that the rules name for this alert, each once, in the order of the rules."""
        names = dict.fromkeys(rule.role for rule in self.rule if rule.takes(alert))
        return tuple(role for name in names if (role := self.named(name)))

    def _check_escalation(self, role: Role) -> None:
        seen: list[str] = []
        step: Role | None = role
        while step is not None:
            if step.name in seen:
                raise ValueError(
                    f"the escalation of {role.name} goes in a circle: {' -> '.join([*seen, step.name])}"
                )
            seen.append(step.name)
            step = self.named(step.escalate_to) if step.escalate_to else None
