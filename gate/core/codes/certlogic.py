"""CertLogic 1.3.3, the language of EU business rules: a JSON expression over JSON data gives a JSON value.

An expression is a literal, an array of expressions, or an object `{"<operation>": [<operand>, ...]}`
(certlogic/specification in ehn-dcc-development/dgc-business-rules). The rules come from a folder that the
site trusts, the data from strangers: depth and work are capped, so that every evaluation ends, with a value
or with `CertLogicError`. Where the specification leaves the behaviour open, as for a date that does not
exist, this is an error and never a guess: an error keeps a turnstile shut.
"""

from __future__ import annotations

import calendar
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, TypeVar

DEPTH_MAX: Final = 128
"""Expressions inside expressions, values inside values; at four frames each, half of what Python allows."""

STEPS_MAX: Final = 10_000
"""What one evaluation may cost: a step per node evaluated or compared, more for dates and texts."""

DATE_STEPS: Final = 8
"""Reading and moving a date takes about as long as so many nodes."""

WHOLE_MAX: Final = 2**53 - 1
"""The largest integer that all platforms agree on; CertLogic's integers are those of JavaScript."""

DATE_CHARACTERS_MAX: Final = 64
"""Longer than any date with the digits of a second that anybody writes."""

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


class CertLogicError(ValueError):
    """An expression that has no value on this data, in a sentence."""


@dataclass(frozen=True, slots=True, order=True)
class DateTime:
    """An instant in unix milliseconds, as `plusTime` and `dccDateOfBirth` give; neither truthy nor falsy."""

    ms: int

    def __str__(self) -> str:
        return (_EPOCH + self.ms * _MS).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def evaluate(expression: object, data: object) -> object:
    """Return the value of an expression over a data context, both as a JSON parser gives them.

    Date-times come out as `DateTime`. Raises `CertLogicError` for an expression that is invalid or meets
    values of the wrong type, and beyond `DEPTH_MAX` or `STEPS_MAX`; nothing else.
    """
    run = _Evaluation()
    value = run.value(expression, data, 0)
    run.walk(value, 0)
    return value


def truthy(value: object) -> bool:
    """Tell truthy from falsy; raises `CertLogicError` for what is neither (date-times, fractions)."""
    if value is None or isinstance(value, bool):
        return value is True
    if isinstance(value, str | list | Mapping):
        return len(value) > 0
    number = _whole(value)
    if number is None:
        raise CertLogicError("A condition is neither truthy nor falsy.")
    return number != 0


def parse_date_time(text: str) -> DateTime:
    """Read a date or date-time in one of the formats that `plusTime` allows, UTC where it names no zone.

    A partial date is the last day that fits it; digits beyond milliseconds are cut off. Raises
    `CertLogicError` for other formats and for dates that do not exist.
    """
    return _date_time(_parse(text))


class _Evaluation:
    """One evaluation, and the steps that it has left."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps = STEPS_MAX

    def spend(self, steps: int, depth: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise CertLogicError(f"The evaluation takes more than {STEPS_MAX} steps.")
        if depth > DEPTH_MAX:
            raise CertLogicError(f"The expression or its data is nested more than {DEPTH_MAX} deep.")

    def value(self, expression: object, data: object, depth: int) -> object:
        self.spend(1, depth)
        if isinstance(expression, str | bool) or _whole(expression) is not None:
            return expression
        if isinstance(expression, list):
            return self.values(expression, data, depth)
        if not isinstance(expression, Mapping) or len(expression) != 1:
            raise CertLogicError(
                "An expression is true, false, an integer, a text, an array or an object with one key."
            )
        [(name, operands)] = expression.items()
        if name == "var":
            return self.access(operands, data, depth)
        operation = _OPERATIONS.get(name)
        if operation is None:
            raise CertLogicError(f"There is no operation {_shown(name)}.")
        if not isinstance(operands, list) or not operation.least <= len(operands) <= operation.most:
            raise CertLogicError(f"The operation {_shown(name)} needs an array of {operation.wanted}.")
        return operation.run(self, operands, data, depth)

    def values(self, expressions: list[object], data: object, depth: int) -> list[object]:
        return [self.value(expression, data, depth + 1) for expression in expressions]

    def access(self, path: object, data: object, depth: int) -> object:
        if not isinstance(path, str):
            raise CertLogicError('The path of "var" must be a text.')
        if path == "":
            return data
        fragments = path.split(".")
        self.spend(len(fragments), depth)
        for fragment in fragments:
            data = _member(data, fragment)
        return data

    def same(self, left: object, right: object, depth: int) -> bool:
        """Compare without coercion, arrays and objects by content: JSON values have no identity."""
        self.spend(1, depth)
        number = _whole(left)
        if number is not None:
            return number == _whole(right)
        if isinstance(left, _ATOMS):
            return type(left) is type(right) and left == right
        if isinstance(left, list) and isinstance(right, list):
            pairs = zip(left, right, strict=False)
            return len(left) == len(right) and all(self.same(a, b, depth + 1) for a, b in pairs)
        if not isinstance(left, Mapping) or not isinstance(right, Mapping):
            return False
        self.spend(len(left), depth)
        return left.keys() == right.keys() and all(
            self.same(left[key], right[key], depth + 1) for key in left
        )

    def walk(self, value: object, depth: int) -> None:
        """Refuse a value too large or too deep to hand out; `reduce` can share parts that multiply."""
        self.spend(1, depth)
        if isinstance(value, list):
            parts: Iterable[object] = value
        elif isinstance(value, Mapping):
            parts = value.values()
        else:
            return
        for part in parts:
            self.walk(part, depth + 1)


_ATOMS: Final = (str, bool, type(None), float, DateTime)


@dataclass(frozen=True, slots=True)
class _Operation:
    """What evaluates an operation, and how many operands it takes: checked before any is evaluated."""

    run: Callable[[_Evaluation, list[object], object, int], object]
    least: int
    most: int
    wanted: str


def _if(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
    guard, then, otherwise = operands
    chosen = then if truthy(run.value(guard, data, depth + 1)) else otherwise
    return run.value(chosen, data, depth + 1)


def _and(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
    value: object = True
    for operand in operands:
        value = run.value(operand, data, depth + 1)
        if not truthy(value):
            break
    return value


def _not(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
    return not truthy(run.value(operands[0], data, depth + 1))


def _equal(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
    left, right = run.values(operands, data, depth)
    return run.same(left, right, depth)


def _in(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
    member, array = run.values(operands, data, depth)
    if not isinstance(array, list):
        raise CertLogicError('The second operand of "in" must be an array.')
    return any(run.same(member, item, depth) for item in array)


def _plus(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
    total = sum(_integer(value) for value in run.values(operands, data, depth))
    if abs(total) > WHOLE_MAX:
        raise CertLogicError('The result of "+" is larger than an integer may be.')
    return total


def _ordering(read: Callable[[object], T], holds: Callable[[T, T], bool]) -> _Operation:
    def run(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
        values = [read(value) for value in run.values(operands, data, depth)]
        return all(holds(left, right) for left, right in pairwise(values))

    return _Operation(run, 2, 3, "2 or 3 operands")


def _reduce(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
    operand, step, initial = operands
    array = run.value(operand, data, depth + 1)
    accumulator = run.value(initial, data, depth + 1)
    if array is None:  # not in the text of the specification, but in its test suite
        return accumulator
    if not isinstance(array, list):
        raise CertLogicError('The first operand of "reduce" must be an array.')
    for current in array:
        accumulator = run.value(step, {"accumulator": accumulator, "current": current}, depth + 1)
    return accumulator


def _plus_time(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
    date, amount, unit = operands  # amount and unit are literals, not expressions
    number = _whole(amount)
    if number is None or not isinstance(unit, str) or unit not in _UNITS:
        raise CertLogicError('"plusTime" needs an integer and one of year, month, day, hour as literals.')
    start = _read_date(run, run.value(date, data, depth + 1), depth)
    try:
        return _date_time(_UNITS[unit](start, number))
    except (ValueError, OverflowError) as fault:
        raise CertLogicError('The result of "plusTime" lies outside the years 1 to 9999.') from fault


def _date_of_birth(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
    text = run.value(operands[0], data, depth + 1)
    if isinstance(text, str) and "T" in text:
        raise CertLogicError("A date of birth has no time of day.")
    return _date_time(_read_date(run, text, depth))


def _extract_from_uvci(run: _Evaluation, operands: list[object], data: object, depth: int) -> object:
    text, index = run.value(operands[0], data, depth + 1), _whole(operands[1])
    if index is None:
        raise CertLogicError('The index of "extractFromUVCI" must be an integer literal.')
    if text is None:
        return None
    if not isinstance(text, str):
        raise CertLogicError('"extractFromUVCI" needs a text or null.')
    run.spend(len(text), depth)
    fragments = re.split("[/#:]", text.removeprefix("URN:UVCI:"))
    return fragments[index] if 0 <= index < len(fragments) else None


def _whole(value: object) -> int | None:
    """Return an integer, or None; 1.0 is one too, because JSON does not tell it from 1."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _integer(value: object) -> int:
    number = _whole(value)
    if number is None:
        raise CertLogicError("Sums and comparisons take integers only.")
    return number


def _instant(value: object) -> DateTime:
    if not isinstance(value, DateTime):
        raise CertLogicError('Date-times are compared only as "plusTime" and "dccDateOfBirth" give them.')
    return value


def _member(value: object, fragment: str) -> object:
    if isinstance(value, Mapping):
        return value.get(fragment)
    # Nine digits are more than any array has items, and int() refuses thousands of them.
    if isinstance(value, list) and re.fullmatch("[0-9]{1,9}", fragment) and int(fragment) < len(value):
        return value[int(fragment)]
    return None


def _shown(name: object) -> str:
    return f'"{str(name)[:40]}"'


_DATE: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)"
    r"(?:T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d{1,2}?)(?::?([0-5]\d))?)?)?)?)?",
    re.ASCII,
)


def _read_date(run: _Evaluation, value: object, depth: int) -> datetime:
    run.spend(DATE_STEPS, depth)
    return _parse(value)


def _parse(text: object) -> datetime:
    match = _DATE.fullmatch(text) if isinstance(text, str) and len(text) <= DATE_CHARACTERS_MAX else None
    if match is None:
        raise CertLogicError("A date or date-time must be a text in one of the formats of CertLogic.")
    year, month, day, hour, minute, second, fraction, sign, zone_h, zone_min = match.groups()
    try:
        y, m = int(year), int(month or 12)
        d = int(day) if day else calendar.monthrange(y, m)[1]
        ms = int((fraction or "")[:3].ljust(3, "0"))
        local = datetime(y, m, d, int(hour or 0), int(minute or 0), int(second or 0), ms * 1000, tzinfo=UTC)
        if not sign:
            return local
        if int(zone_h) > 23:
            raise CertLogicError("A zone is less than 24 hours off UTC.")
        offset = timedelta(hours=int(zone_h), minutes=int(zone_min or 0))
        return local - offset if sign == "+" else local + offset
    except (ValueError, OverflowError) as fault:
        raise CertLogicError("A date or time of day does not exist.") from fault


def _date_time(moment: datetime) -> DateTime:
    return DateTime((moment - _EPOCH) // _MS)


def _add_months(start: datetime, months: int) -> datetime:
    """Add as JavaScript's setUTCMonth: a day that the month does not have runs over into the next."""
    years, month0 = divmod(start.year * 12 + start.month - 1 + months, 12)
    return start.replace(year=years, month=month0 + 1, day=1) + timedelta(days=start.day - 1)


_UNITS: Final[Mapping[str, Callable[[datetime, int], datetime]]] = {
    "year": lambda start, amount: _add_months(start, 12 * amount),
    "month": _add_months,
    "day": lambda start, amount: start + timedelta(days=amount),
    "hour": lambda start, amount: start + timedelta(hours=amount),
}

_OPERATIONS: Final[Mapping[object, _Operation]] = {
    "if": _Operation(_if, 3, 3, "3 operands"),
    "and": _Operation(_and, 2, STEPS_MAX, "2 or more operands"),  # as many as an evaluation can reach
    "!": _Operation(_not, 1, 1, "1 operand"),
    "===": _Operation(_equal, 2, 2, "2 operands"),
    "in": _Operation(_in, 2, 2, "2 operands"),
    "+": _Operation(_plus, 2, 2, "2 operands"),
    "<": _ordering(_integer, operator.lt),
    ">": _ordering(_integer, operator.gt),
    "<=": _ordering(_integer, operator.le),
    ">=": _ordering(_integer, operator.ge),
    "before": _ordering(_instant, operator.lt),
    "after": _ordering(_instant, operator.gt),
    "not-after": _ordering(_instant, operator.le),
    "not-before": _ordering(_instant, operator.ge),
    "reduce": _Operation(_reduce, 3, 3, "3 operands"),
    "plusTime": _Operation(_plus_time, 3, 3, "3 operands"),
    "dccDateOfBirth": _Operation(_date_of_birth, 1, 1, "1 operand"),
    "extractFromUVCI": _Operation(_extract_from_uvci, 2, 2, "2 operands"),
}
