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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from central.alerts.rules import GRAVITY, Alert, AlertKind, Severity
from gate.checked import did_you_mean

Name = Annotated[str, MinLen(1), MaxLen(32)]
Url = Annotated[str, MinLen(1), MaxLen(2000)]
Lang = Literal["zh", "en"]


@dataclass(frozen=True, slots=True)
class Role:
    """People who are told together, each at their own address.

    `escalate_to` is told when nobody has answered for `after_s` seconds. `lang`: of its messages, where it is
    another than that of the section. `per_minute`: messages to one address; the robots of DingTalk and WeCom
    take 20 and then none for a while.
    """

    name: Name
    urls: Annotated[tuple[Url, ...], MinLen(1), MaxLen(16)] = field(repr=False)
    escalate_to: Name | None = None
    after_s: Annotated[int, Ge(60), Le(86_400)] = 300
    lang: Lang | None = None
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

    `lang`: of messages and lists; that of the reports where the file names none.
    """

    role: Annotated[tuple[Role, ...], MaxLen(64)] = ()
    rule: Annotated[tuple[Rule, ...], MaxLen(256)] = ()
    lang: Lang | None = None

    @property
    def spoken(self) -> Lang:
        """The language of whoever has no own."""
        return self.lang or "zh"

    def named(self, name: str) -> Role | None:
        """Return the role of this name, if there is one."""
        return next((role for role in self.role if role.name == name), None)

    def told(self, alert: Alert) -> tuple[Role, ...]:
        """Return the roles that the rules name for this alert, each once, in the order of the rules."""
        names = dict.fromkeys(rule.role for rule in self.rule if rule.takes(alert))
        return tuple(role for name in names if (role := self.named(name)))


def tangles(section: object) -> Iterator[str]:
    """Yield what is wrong between the entries of the section as the file has it, with the place if it is one.

    Whatever else is wrong in it is passed over: that is said beside this.
    """
    roles, rules = _entries(section, "role"), _entries(section, "rule")
    names = [name for role in roles.values() if (name := _word(role, "name"))]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"alerts: two roles have the same name: {name}"
    for kind, key, entries in (("role", "escalate_to", roles), ("rule", "role", rules)):
        for number, entry in entries.items():
            if (asked := _word(entry, key)) and asked not in names:
                yield f"alerts.{kind}.{number}.{key}: there is no role {asked!r}{did_you_mean(asked, names)}"
    yield from _circles({_word(role, "name"): _word(role, "escalate_to") for role in roles.values()})


def _circles(calls: Mapping[str, str]) -> Iterator[str]:
    """Yield each circle in which roles call one another, once."""
    known: set[frozenset[str]] = set()
    for name in calls:
        path, step = [], name
        while step and step not in path:
            path.append(step)
            step = calls.get(step, "")
        circle = path[path.index(step) :] if step else []
        if circle and frozenset(circle) not in known:
            known.add(frozenset(circle))
            said = " -> ".join([*circle, circle[0]])
            yield f"alerts: the escalation of {circle[0]} goes in a circle: {said}"


def _entries(section: object, name: str) -> dict[int, Mapping[str, object]]:
    listed = section.get(name) if isinstance(section, dict) else None
    return {
        number: entry
        for number, entry in enumerate(listed if isinstance(listed, list) else [])
        if isinstance(entry, dict)
    }


def _word(entry: Mapping[str, object], key: str) -> str:
    said = entry.get(key)
    return said if isinstance(said, str) else ""
