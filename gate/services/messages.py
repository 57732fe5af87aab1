"""Question and answer of a verify service, by its settings: JSON on the wire, our words inside."""

import hashlib
import hmac
import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import accumulate
from typing import Final, NoReturn, TypeVar

from gate.core.codes.china import CHINA_TIME
from gate.core.codes.model import LabTest, Status, Travel
from gate.core.codes.service import Outcome, ServiceAnswer
from gate.services.settings import REQUEST_ID, TOKEN, UNIX_MS, AnswerForm, LabTestForm, RequestForm

DEPTH_MAX: Final = 16

Json = object
Word = TypeVar("Word")


def question(form: RequestForm, secret: bytes, *, token: str, request_id: str, unix_ms: int) -> bytes:
    """Write one signed question."""
    given: dict[str, str | int] = {TOKEN: token, REQUEST_ID: request_id, UNIX_MS: unix_ms}
    values = {path: given.get(text, text) for path, text in form.fields.items()}
    document: dict[str, Json] = {}
    for path, value in (*values.items(), (form.signature, sign(form, secret, values))):
        _put(document, path, value)
    return json.dumps(document, ensure_ascii=False).encode("utf-8")


def sign(form: RequestForm, secret: bytes, values: Mapping[str, Json]) -> str:
    """Return the HMAC-SHA256 (RFC 2104) of the signed fields, in hexadecimal digits."""
    text = "&".join(f"{path}={values[path]}" for path in form.signed)
    return hmac.new(secret, text.encode("utf-8"), hashlib.sha256).hexdigest()


def read_answer(form: AnswerForm, body: bytes, pseudonym_key: bytes) -> ServiceAnswer:
    """Read an answer. Raises ValueError when it is not one JSON object of the kind that a service sends."""
    document = _load(body)
    problems: list[str] = []
    outcome = _word(document, form.outcome, form.outcome_words, Outcome.ERROR, problems)
    if outcome is not Outcome.ANSWERED:
        return ServiceAnswer(outcome, problems=tuple(problems))
    status = _word(document, form.status, form.status_words, Status.UNKNOWN, problems)
    travel = Travel.UNKNOWN
    if form.travel is not None and at_path(document, form.travel) is not None:
        travel = _word(document, form.travel, form.travel_words, Travel.UNKNOWN, problems)
    return ServiceAnswer(
        outcome,
        status=status,
        travel=travel,
        registered=frozenset(form.registered),
        subject_ref=_pseudonym(document, form.subject, pseudonym_key),
        test=None if form.test is None else _test(document, form.test, problems),
        problems=tuple(problems),
    )


def at_path(document: Json, path: str) -> Json:
    """Return the value at a dotted path, None where there is none."""
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _put(document: dict[str, Json], path: str, value: Json) -> None:
    *parents, last = path.split(".")
    for key in parents:
        inner = document.setdefault(key, {})
        assert isinstance(inner, dict)  # the settings refuse paths that clash
        document = inner
    document[last] = value


_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""Strings of JSON, the last one perhaps without its end; never gives back what it took, so it is linear."""


_STEPS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


def _load(body: bytes) -> Json:
    text = body.decode("utf-8")
    steps = (_STEPS.get(mark, 0) for mark in _STRINGS.sub("", text))
    if max(accumulate(steps), default=0) > DEPTH_MAX:
        raise ValueError(f"deeper than {DEPTH_MAX}")
    document: Json = json.loads(text, parse_constant=_refuse, object_pairs_hook=_distinct)
    if not isinstance(document, dict):
        raise ValueError("no object")  # noqa: TRY004 - what a stranger sends is a value, not a type of ours
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _distinct(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key twice")
    return document


def _scalar(value: Json) -> str | None:
    """Write a value as tables of words have it, None for what no table can have."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else None


def _word(document: Json, path: str, words: Mapping[str, Word], default: Word, problems: list[str]) -> Word:
    value = _scalar(at_path(document, path))
    if value is not None and value in words:
        return words[value]
    problems.append(f"{path}: {_shown(value)} has no word")
    return default


def _shown(value: str | None) -> str:
    """Show a value only where it is too short to tell anything of a person."""
    if value is None:
        return "what is missing there"
    return repr(value) if re.fullmatch(r"[0-9A-Za-z_-]{1,4}", value) else "the value there"


def _pseudonym(document: Json, path: str | None, key: bytes) -> str | None:
    value = _scalar(at_path(document, path)) if path else None
    if not value:
        return None
    return hmac.new(key, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]


def _test(document: Json, form: LabTestForm, problems: list[str]) -> LabTest | None:
    """Read the test; where either half is missing there is none, where it cannot be read this is reported."""
    taken, result = at_path(document, form.time), at_path(document, form.result)
    if taken is None or result is None:
        return None
    word = _word(document, form.result, form.words, None, problems)
    try:
        taken_s = _unix_s(taken, form)
    except (ValueError, OverflowError):
        problems.append(f"{form.time}: no time of the form {form.time_form}")
        return None
    return None if word is None else LabTest(taken_s, negative=word == "negative")


def _unix_s(value: Json, form: LabTestForm) -> int:
    text = _scalar(value)
    if text is None:
        raise ValueError("neither text nor number")
    if form.time_form == "text":
        taken = datetime.fromisoformat(text)
        taken_s = math.floor((taken if taken.tzinfo else taken.replace(tzinfo=CHINA_TIME)).timestamp())
    else:
        taken_s = int(text) // (1000 if form.time_form == "unix_ms" else 1)
    if not 0 < taken_s < 2**32:
        raise ValueError("no time of our days")
    return taken_s
