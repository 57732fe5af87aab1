"""`gate certlogic`: does this gate's CertLogic give the results that a test suite expects?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from gate.cli.ending import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

DEPTH_MAX: Final = 300
"""Arrays and objects inside each other in a suite file; the published ones reach 13."""

DIRECTIVES: Final = (None, "skip", "only")


class SuiteError(ValueError):
    """A file that is no CertLogic test suite, in a sentence."""


@dataclass(slots=True)
class Outcome:
    """How one suite file went."""

    file: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[dict[str, object]] = field(default_factory=list)


@click.command("certlogic")
@click.option(
    "--suite", "suites", type=click.Path(path_type=Path), multiple=True, required=True, metavar="FILE",
    help="A test suite, or a folder of them (*.json); may be given several times.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object per file.")
def certlogic(suites: tuple[Path, ...], as_json: bool) -> None:
    """Run CertLogic test suites in their published form; status 1 when an assertion fails."""
    outcomes = [_run(str(file), suite) for file, suite in _read_all(suites)]
    for outcome in outcomes:
        if as_json:
            click.echo(json.dumps({name: getattr(outcome, name) for name in Outcome.__slots__}))
            continue
        for failure in outcome.failures:
            click.echo(_line(outcome.file, failure))
    failed = sum(outcome.failed for outcome in outcomes)
    if not as_json:
        passed, skipped = (sum(getattr(o, name) for o in outcomes) for name in ("passed", "skipped"))
        click.echo(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


def _read_all(paths: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """Read every suite, or end with every problem at once."""
    problems: list[str] = []
    read = []
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            problems.append(f"{path}: the folder holds no *.json file")
        for file in files:
            try:
                read.append((file, _read(file)))
            except SuiteError as error:
                problems.append(f"{file}: {error}")
    if problems:
        refuse("\n".join(_printable(problem) for problem in problems), 2)
    return read


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes(), parse_constant=_no_number)
    except OSError as error:
        raise SuiteError(f"cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise SuiteError("is nested too deep for a test suite") from error
    except ValueError as error:
        raise SuiteError(f"is not JSON ({error})") from error
    if _depth(document) > DEPTH_MAX:
        raise SuiteError("is nested too deep for a test suite")
    _check(document)
    return document  # type: ignore[no-any-return]  # checked in the line above


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _depth(document: object) -> int:
    level, depth = [document], 0
    while level:
        level = [
            part
            for item in level
            if isinstance(item, dict | list)
            for part in (item.values() if isinstance(item, dict) else item)
        ]
        depth += 1
    return depth


def _check(document: object) -> None:
    """Refuse what is no suite: {"name", "cases": [{"name", "assertions": [{"data", "expected"}]}]}."""
    for case in _tables(document, "cases", "the file"):
        name = f"the case {case.get('name')!r}"
        for assertion in _tables(case, "assertions", name):
            if "data" not in assertion or "expected" not in assertion:
                raise SuiteError(f'is no test suite: {name} has an assertion without "data" or "expected"')
            _check_directive(assertion)


def _tables(owner: object, key: str, name: str) -> list[dict[str, Any]]:
    tables = owner.get(key) if isinstance(owner, dict) else None
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SuiteError(f'is no test suite: {name} has no list "{key}" of objects')
    _check_directive(owner)
    return tables


def _check_directive(owner: Any) -> None:
    if owner.get("directive") not in DIRECTIVES:
        raise SuiteError('is no test suite: a "directive" must be "skip" or "only"')


def _run(file: str, suite: dict[str, Any]) -> Outcome:
    outcome = Outcome(file)
    for case, assertion, message, skipped in _assertions(suite):
        if skipped:
            outcome.skipped += 1
        elif failure := _failure(case, assertion):
            outcome.failed += 1
            outcome.failures.append({"case": case.get("name"), "message": message, **failure})
        else:
            outcome.passed += 1
    return outcome


def _assertions(suite: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any], object, bool]]:
    """Give each assertion with its case, its message, and whether it is to be left out.

    As in the published runners, "only" on a case leaves out its neighbours and on an assertion means nothing.
    """
    only = any(case.get("directive") == "only" for case in suite["cases"])
    for case in suite["cases"]:
        left_out = "skip" in {suite.get("directive"), case.get("directive")}
        left_out |= only and case.get("directive") != "only"
        for number, assertion in enumerate(case["assertions"], 1):
            message = assertion.get("message", f"#{number}")
            yield case, assertion, message, left_out or assertion.get("directive") == "skip"


def _failure(case: dict[str, Any], assertion: dict[str, Any]) -> dict[str, object] | None:
    from gate.core.codes.certlogic import CertLogicError, evaluate

    expected = assertion["expected"]
    expression = assertion.get("certLogicExpression")
    if expression is None:
        expression = case.get("certLogicExpression")
    try:
        got = evaluate(expression, assertion["data"])
    except CertLogicError as error:
        return {"expected": expected, "got": None, "error": str(error)}
    text = json.dumps(got, sort_keys=True, default=str)  # date-times as they are written
    if _canonical(text) == _canonical(json.dumps(expected)):
        return None
    return {"expected": expected, "got": json.loads(text)}


def _canonical(text: str) -> str:
    """Write JSON one way: keys sorted, 1.0 as 1; as text, so that true is not 1."""

    def number(digits: str) -> float:
        value = float(digits)
        return int(value) if value.is_integer() else value

    return json.dumps(json.loads(text, parse_float=number), sort_keys=True)


def _line(file: str, failure: dict[str, object]) -> str:
    expected = json.dumps(failure["expected"])
    got = failure.get("error") or json.dumps(failure["got"])
    words = f"{file}: {failure['case']}: {failure['message']}: expected {expected}, got {got}"
    return _printable(words)


def _printable(text: str) -> str:
    """Show a stranger's text on one line, without letting it steer the terminal."""
    shown = text if len(text) <= 500 else text[:500] + "…"
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in shown)
