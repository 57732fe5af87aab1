"""What an office signs for its gates each day: read from words or rows, signed into a file, shown."""

import csv
import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from gate.app.counter import CounterError, CounterKey, alone_in, read_bytes, read_signed
from gate.core.codes.model import CodeError
from gate.core.codes.trust import DOCUMENTS, Trust, TrustedKey
from gate.core.documents import (
    PASS_ID,
    PREFIX,
    TEXT_BYTES_MAX,
    Appointment,
    Appointments,
    Content,
    Document,
    Kind,
    Occupancy,
    Residents,
    Revocations,
    RiskAreas,
    Suspension,
    read_document,
    sign_document,
)
from gate.durable import replace

CONTENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of a content file: several times what fits into a document, so that comments and spaces have room."""

_SUBJECT: Final = re.compile(r"[0-9a-f]{16}")
_REGION: Final = re.compile(r"[^\W_][\w.-]{0,63}")
_ISO_3166: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")

R = TypeVar("R")
Lines = list[tuple[int, str]]


# Content


def read_file(file: Path) -> bytes:
    """Return the bytes of a content file. Raises CounterError."""
    raw = read_bytes(file, CONTENT_BYTES_MAX)
    if raw is None:
        raise CounterError(f"there is no file {file}")
    return raw


def read_content(kind: Kind, name: str, raw: bytes) -> Residents | RiskAreas | Appointments:
    """Read residents or risk areas, one word per line, or appointments as CSV or JSON lines.

    UTF-8; what follows a `#` is a comment. Raises CounterError with every problem, each with its line; also
    when there is not even a comment, because a list that got lost on its way would say "nobody".
    """
    lines = _lines(name, raw)
    if kind is Kind.RESIDENTS:
        return Residents(_each(name, lines, _subject))
    if kind is Kind.RISK_AREAS:
        return RiskAreas(_each(name, lines, _region))
    return _appointments(name, lines)


def instant(text: str) -> int:
    """Read ISO 8601 with an offset from UTC as unix seconds, a fraction dropped. Raises ValueError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError(f"{_quoted(text)} is no instant with its offset, such as 2022-04-11T10:00:00+08:00")
    time_s = int(time.timestamp())
    if not 0 < time_s < 2**32:
        raise ValueError(f"{_quoted(text)} lies outside the years 1970 to 2106")
    return time_s


def _lines(name: str, raw: bytes) -> Lines:
    """Return each line that says something, with its number."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CounterError(f"{name}, line {line}: is not UTF-8; save the file as UTF-8") from error
    if not text.strip():
        raise CounterError(f"{name} is empty; if that is meant, write a comment into it: # none today")
    # Not splitlines(), which counts more characters as ends of lines than editors do.
    said = (line.partition("#")[0].strip() for line in text.split("\n"))
    return [(number, line) for number, line in enumerate(said, 1) if line]


def _each(name: str, lines: Lines, read: Callable[[str], R]) -> frozenset[R]:
    """Read every line; `read` raises ValueError with one sentence per problem."""
    rows, problems = set(), []
    for number, line in lines:
        try:
            rows.add(read(line))
        except ValueError as error:
            problems += [f"{name}, line {number}: {problem}" for problem in error.args]
    if problems:
        raise CounterError("\n".join(problems))
    return frozenset(rows)


def _subject(word: str) -> str:
    if not _SUBJECT.fullmatch(word.lower()):
        raise ValueError(f"{_quoted(word)} is no subject: 16 hexadecimal digits, as passes carry them")
    return word.lower()


def _pass_id(word: str) -> str:
    if not PASS_ID.fullmatch(word.lower()):
        raise ValueError(f"{_quoted(word)} is no pass id: 8 to 32 hexadecimal digits, two for each byte")
    return word.lower()


def _region(word: str) -> str:
    """Gates compare regions letter by letter: what is nearly a region would be nobody's."""
    plain = unicodedata.normalize("NFKC", word).upper()  # full-width letters are typed easily
    if plain != word and _ISO_3166.fullmatch(plain):
        raise ValueError(f"{_quoted(word)} must be written {plain}")
    if not _REGION.fullmatch(word):
        raise ValueError(f"{_quoted(word)} is no region: one word per line, such as CN-31")
    return word


# The columns of appointments, in the order of the fields of `Appointment`.
_COLUMNS: Final[dict[str, Callable[[str], Any]]] = {
    "subject": _subject,
    "from": instant,
    "until": instant,
    "booked_at": instant,
    "pass_id": _pass_id,
}


def _appointments(name: str, lines: Lines) -> Appointments:
    if not lines or lines[0][1].startswith("{"):
        return Appointments(_each(name, lines, _json_row))
    number, header = lines[0]
    columns = [column.strip('" ') for column in header.split(",")]
    if sorted(columns) != sorted(_COLUMNS):
        raise CounterError(
            f"{name}, line {number}: appointments begin with the header {','.join(_COLUMNS)}, "
            "or else each line is a JSON object with these fields"
        )
    return Appointments(_each(name, lines[1:], partial(_csv_row, columns)))


def _json_row(line: str) -> Appointment:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not valid JSON") from error
    if not isinstance(row, dict) or row.keys() != _COLUMNS.keys():
        raise ValueError(f"must be an object with the fields {', '.join(_COLUMNS)}, and no others")
    return _appointment(row)


def _csv_row(columns: list[str], line: str) -> Appointment:
    try:
        (cells,) = csv.reader([line], skipinitialspace=True, strict=True)
    except csv.Error as error:
        raise ValueError(f"is not valid CSV: {error}") from error
    if len(cells) != len(columns):
        raise ValueError(f"has {len(cells)} fields and must have {len(columns)}")
    return _appointment(dict(zip(columns, map(str.strip, cells), strict=True)))


def _appointment(row: Mapping[str, object]) -> Appointment:
    values, problems = [], []
    for column, read in _COLUMNS.items():
        value = row[column]
        try:
            values.append(read(value if isinstance(value, str) else json.dumps(value)))
        except ValueError as error:
            problems.append(f"{column}: {error}")
    if problems:
        raise ValueError(*problems)
    return Appointment(*values)


def _quoted(word: str) -> str:
    return repr(word if len(word) <= 40 else word[:40] + "…")


# Signed


def sign(
    key: CounterKey,
    *,
    site: str,
    file: Path,
    content: Content,
    now_s: int,
    not_after: int,
    version: int | None = None,
) -> Document:
    """Sign a document into a file, in the version after the one that the file holds (1 without a file).

    A `version` (1 to 2^32 - 1) must be higher than that one: gates never go back. Times are unix seconds.
    Raises CounterError, and then the file is as it was; so it does for a file that holds anything else.
    """
    own = TrustedKey(key.issuer, key.issuer, key.public_key, frozenset({DOCUMENTS}))
    try:
        with alone_in(file.parent):
            held = read_signed(file, Trust((own,)), site)
            number = _next_version(file, held, content.kind, version)
            document = Document(site, key.issuer, number, now_s, not_after, content)
            # Without a line end: these very bytes may be published too, and a document has one spelling.
            replace(file, sign_document(key.private_key, document).encode())
    except ValueError as error:
        raise CounterError(f"the document cannot be signed: {error}") from error
    except OSError as error:
        raise CounterError(f"{file} cannot be written ({error.strerror})") from error
    return document


def _next_version(file: Path, held: Document | None, kind: Kind, version: int | None) -> int:
    if held is None:
        return version or 1
    if held.kind is not kind:
        raise CounterError(f"{file} is a document of {held.kind}, not of {kind}; name another file")
    if version is not None and version <= held.version:
        raise CounterError(f"{file} has version {held.version} already, and gates never go back; give more")
    return version or held.version + 1


# Shown


class DamagedError(Exception):
    """A file that holds no document, or one that cannot be read, in a sentence."""


def read_text(file: Path) -> bytes:
    """Return what a file holds, as gates take it in from their folder. Raises CounterError."""
    text = read_bytes(file, TEXT_BYTES_MAX + 2)
    if text is None:
        raise CounterError(f"there is no file {file}")
    return text.strip()


def stated(file: Path, text: bytes) -> Document:
    """Return what a document states, whoever signed it. Raises DamagedError."""
    if not text.startswith(PREFIX):
        raise DamagedError(f"{file} is no signed document: it does not begin with {PREFIX.decode()}")
    try:
        return read_document(text)
    except CodeError as error:
        raise DamagedError(f"{file} is a signed document, but it is damaged") from error


def size(content: Content) -> str:
    """Say in a few words how much a document says: its rows, or the one thing that it says."""
    match content:
        case Occupancy(count):
            return "1 person inside" if count == 1 else f"{count} people inside"
        case Suspension(suspended):
            return "service suspended" if suspended else "service resumed"
    rows = len(_rows(content))
    return "1 row" if rows == 1 else f"{rows} rows"


def _rows(content: RiskAreas | Residents | Appointments | Revocations) -> frozenset[Any]:
    match content:
        case RiskAreas(rows) | Residents(rows) | Revocations(rows):
            return rows
    return content.rows
