"""Dataclasses checked against TOML or JSON: every error at once, nothing ignored, with "did you mean".

What a file says is read by pydantic in its strict mode; annotations of plain dataclasses state the bounds.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_type_hints

EX_CONFIG: Final = 78  # sysexits.h: the configuration is in error; a supervisor need not try again

_DOTS_MAX: Final = 100
"""tomllib's memory grows with the square of the parts of a key: one of 60,000 takes gigabytes."""

T = TypeVar("T")
Place = tuple[str | int, ...]


class ConfigError(Exception):
    """A file that cannot be used; `problems` has one line for each thing to put right.

    `sound` is the configuration without its faulty keys, where there is one: only to look at what it names.
    """

    def __init__(self, path: str, problems: Iterable[str], sound: Any = None) -> None:
        self.path = path
        self.sound = sound
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{path}: {problem}" for problem in self.problems))


def read_toml(path: Path, advice: str) -> dict[str, Any]:
    """Return what a TOML file holds. Raises ConfigError; `advice` is what to do when there is none."""
    try:
        text = path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except FileNotFoundError:
        raise ConfigError(str(path), [f"no such file; {advice}"]) from None
    except (OSError, ValueError) as error:  # a path may hold what no path can
        raise ConfigError(ascii(str(path)).strip("'"), [f"cannot be read: {error}"]) from error
    return parse_toml(str(path), text)


def parse_toml(name: str, text: str) -> dict[str, Any]:
    """Return what a text in TOML holds. Raises ConfigError, in which `name` stands for the text."""
    try:
        if any(line.count(".") > _DOTS_MAX for line in text.splitlines()):
            raise ValueError(f"more than {_DOTS_MAX} dots in a line")  # noqa: TRY301 - one kind of answer
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(name, [f"not valid TOML: {error}"]) from error


def build(kind: type[T], data: Mapping[str, Any]) -> tuple[T | None, dict[Place, str]]:
    """Return the checked dataclass, or None with a line for each problem, by the place where it stands.

    `data` is what TOML or JSON gives; words make enumerations, lists make tuples, unknown keys are refused.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - as above

    adapter: Any = _adapter(kind)  # type: ignore[arg-type]  # a class is hashable
    try:
        # As JSON, because strict JSON knows that words make enumerations and lists make tuples.
        return adapter.validate_json(json.dumps(data, default=_no_text), strict=True), {}
    except RecursionError:
        return None, {(): "is nested too deep"}
    except ValidationError as error:
        found = error.errors(include_url=False)
        return None, {tuple(problem["loc"]): _sentence(kind, problem) for problem in found}


Contradiction = tuple[list[Place], str]
"""Values that exclude each other: the places where they stand, and what is wrong, in a sentence."""


def examine(
    kind: type[T],
    name: str,
    data: Mapping[str, Any],
    stand_ins: Mapping[str, Mapping[str, Any]],
    contradictions: Callable[[T], Iterable[Contradiction]],
) -> T:
    """Return a checked configuration of named sections. Raises ConfigError with every problem found.

    `name` stands for the file in messages. `contradictions` yields what the types cannot say. `stand_ins`:
    what every configuration has to say, by section; used only to examine the rest of one that does not.
    """
    config, found = build(kind, data)
    problems = list(found.values())
    # What is left when the faulty keys are gone is examined as well, so that all is said at once.
    sound = config or build(kind, _without(data, found, stand_ins))[0]
    if sound is not None:
        told = [(places, text) for places, text in contradictions(sound) if not _touched(places, found)]
        problems += [text for _, text in told]
        found |= {place: text for places, text in told for place in places}
    if config is None or problems:
        raise ConfigError(name, problems, build(kind, _without(data, found, stand_ins))[0])
    return config


def _without(
    data: Mapping[str, Any], found: Mapping[Place, str], stand_ins: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the configuration data without the keys at which something is wrong."""
    faulty = {place[:2] for place in found}
    sound: dict[str, Any] = {
        section: {key: value for key, value in table.items() if (section, key) not in faulty}
        for section, table in data.items()
        if (section,) not in faulty and isinstance(table, dict)
    }
    sections = {place[:1] for place in found}
    sound |= {name: rows for name, rows in data.items() if isinstance(rows, list) and (name,) not in sections}
    return sound | {section: {**given, **sound.get(section, {})} for section, given in stand_ins.items()}


def _touched(places: Iterable[Place], found: Mapping[Place, str]) -> bool:
    """True when one of the places is among those at which something else is wrong."""
    faulty = {place[:2] for place in found}
    return any(place in faulty or place[:1] in faulty for place in places)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415 - 0.1 s that other commands need not wait

    for part in _dataclasses_in(kind):
        part.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(kind)


def _dataclasses_in(kind: Any) -> Iterable[Any]:
    if isinstance(kind, type) and is_dataclass(kind):
        yield kind
        for hint in get_type_hints(kind, include_extras=True).values():
            yield from _dataclasses_in(hint)
    for argument in get_args(kind):
        yield from _dataclasses_in(argument)


def _no_text(value: object) -> list[str]:
    """Give a TOML date a form that no field takes: it is no text, though it looks like one."""
    return [str(value)]


def _sentence(kind: type[Any], problem: Mapping[str, Any]) -> str:
    place = ".".join(part if part.isprintable() else repr(part) for part in map(str, problem["loc"]))
    if problem["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = [f.name for f in fields(_dataclass_at(kind, problem["loc"][:-1]))]
        return f"{place}: unknown key{did_you_mean(str(problem['loc'][-1]), known)}"
    if problem["type"] in {"missing", "missing_argument"}:
        return f"{place}: is required and missing"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    hint = ""
    if problem["type"] in {"enum", "literal_error"}:
        hint = did_you_mean(str(problem["input"]), re.findall(r"'([^']*)'", problem["ctx"]["expected"]))
    return f"{place}: {problem['msg']} (found {problem['input']!r}{hint})"


def _dataclass_at(kind: Any, place: Iterable[Any]) -> Any:
    for part in place:
        if is_dataclass(kind):
            kind = get_type_hints(kind, include_extras=True).get(str(part), kind)
        candidates = list(_dataclasses_in(kind))
        kind = candidates[0] if candidates else kind
    return kind
