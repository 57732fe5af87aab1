"""The words of follow-up tasks, read from the prevention plans that come with the gate.

A gate may follow a plan of its own making, which the centre does not have: its tasks are then named by their
rule in the plans that everybody has, or by the rule alone.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

_COMMON: Final = "township-routine"  # what a plan is silent on is taken from this one


@dataclass(frozen=True, slots=True)
class Duty:
    """One task of a plan in words."""

    zh: str
    en: str


def duty(policy: str, rule: str) -> Duty:
    """Return what this rule of this plan asks people to do; the rule's id where no plan says it."""
    plans = _plans()
    for name in (policy, _COMMON, *sorted(plans)):
        if found := plans.get(name, {}).get(rule):
            return found
    return Duty(f"按预案 {rule} 执行", f"As the plan says under {rule}")


@cache
def _plans() -> Mapping[str, Mapping[str, Duty]]:
    folder = files("gate") / "policies"
    plans = (entry for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {
        plan.name.removesuffix(".toml"): _duties(tomllib.loads(plan.read_text("utf-8"))) for plan in plans
    }


def _duties(plan: Mapping[str, Any]) -> Mapping[str, Duty]:
    return {task["rule"]: Duty(task["zh"], task["en"]) for task in plan.get("tasks", ())}
