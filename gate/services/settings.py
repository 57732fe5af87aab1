"""What the verify service of one province looks like: where it is, what it wants to hear, what it answers.

Paths name a place in a JSON document by its keys, joined with dots: `data.level`. Tables of words translate
the vendor's values (a text, a whole number or true/false, written as a text) into ours; a value without a
word is unknown and reported, never taken for good.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from gate.core.codes.model import RegistrationField, Status, Travel
from gate.core.codes.service import Outcome
from gate.core.codes.token_families import REGION

TOKEN: Final = "{token}"  # noqa: S105 - a placeholder, no secret
REQUEST_ID: Final = "{request_id}"
UNIX_MS: Final = "{unix_ms}"

JsonPath = Annotated[str, MinLen(1), MaxLen(128)]

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123 section 2.1
_URL = re.compile(
    rf"https://({_LABEL}(\.{_LABEL})*|\[[0-9a-f:]+\])(:(?P<port>[1-9][0-9]{{0,4}}))?/[!-\[\]-~]*"
)
_PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class RequestForm:
    """The question: a JSON object, sent by POST, signed with HMAC-SHA256.

    `fields`: for each path its text: `{token}` what the visitor shows, `{request_id}` 32 random hexadecimal
    digits, `{unix_ms}` the time (a number), anything else as it stands (application key, device, version).
    The signature covers the `signed` paths in this order as `path=value`, joined with `&`, in UTF-8; it is
    put at `signature` in hexadecimal digits. Raises ValueError.
    """

    fields: Mapping[JsonPath, str]
    signed: tuple[JsonPath, ...]
    signature: JsonPath = "sign"

    def __post_init__(self) -> None:
        if TOKEN not in self.fields.values():
            raise ValueError(f"fields: one must be {TOKEN}")
        if not {path for path, text in self.fields.items() if text == TOKEN} <= set(self.signed):
            raise ValueError(f"signed: must have the path of {TOKEN}")
        if unknown := [path for path in self.signed if path not in self.fields]:
            raise ValueError(f"signed: not among the fields: {', '.join(unknown)}")
        paths = (*self.fields, self.signature)
        for one, other in permutations(paths, 2):
            if f"{other}.".startswith(f"{one}."):
                raise ValueError(f"fields: {one} and {other} cannot both have a value")


@dataclass(frozen=True, slots=True)
class LabTestForm:
    """Where the answer has a nucleic-acid test, and how it says when and with what result.

    `time_form`: "text" is ISO 8601 or `YYYY-MM-DD hh:mm:ss`, in China's time where it names no zone.
    """

    time: JsonPath
    result: JsonPath
    words: Mapping[str, Literal["negative", "positive"]]
    time_form: Literal["unix_ms", "unix_s", "text"] = "text"


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """The answer: where outcome, colour, travel, person and test stand, and the words for their values.

    Only an outcome that means `answered` is read further. `subject` is whatever names the person the same way
    each time (an ID number, a user number); it leaves the adapter only as a pseudonym. `registered` are the
    fields that the issuer has taken down of everybody whom it gives a code.
    """

    outcome: JsonPath
    outcome_words: Mapping[str, Outcome]
    status: JsonPath
    status_words: Mapping[str, Status]
    travel: JsonPath | None = None
    travel_words: Mapping[str, Travel] = field(default_factory=dict)
    subject: JsonPath | None = None
    registered: tuple[RegistrationField, ...] = ()
    test: LabTestForm | None = None

    def __post_init__(self) -> None:
        if Outcome.ANSWERED not in self.outcome_words.values():
            raise ValueError("outcome_words: no value means answered")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The service of one region (as CN-31). Raises ValueError.

    `url`: https only, host in lower case, no user name; certificates are always checked, by `ca_file` (PEM)
    where given, else by the system's authorities. `secret_file` has the key of the signature. `timeout_s`
    covers one question from looking up the name to the last byte, `connect_timeout_s` each try to connect.
    After `failures_max` failures in a row nothing is asked for `pause_s`, then one question is tried.
    """

    region: str
    url: str
    secret_file: Path
    request: RequestForm
    answer: AnswerForm
    ca_file: Path | None = None
    timeout_s: Annotated[float, Ge(1), Le(15)] = 5
    connect_timeout_s: Annotated[float, Ge(0.5), Le(10)] = 2
    failures_max: Annotated[int, Ge(1), Le(100)] = 3
    pause_s: Annotated[int, Ge(1), Le(3600)] = 30

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        if not REGION.fullmatch(self.region):
            yield "region must be of the form CN or CN-31"
        url = _URL.fullmatch(self.url)
        if url is None or int(url["port"] or 1) > _PORT_MAX:
            yield "url must be of the form https://host.example/path, without user name"
        if self.connect_timeout_s >= self.timeout_s:
            yield "connect_timeout_s must be shorter than timeout_s"
