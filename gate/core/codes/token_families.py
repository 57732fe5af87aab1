"""Families of national tokens: whose addresses are whose, and what their paths look like.

Those of China that are publicly known are built in; a configuration adds its own, which come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final

from annotated_types import Ge, Le

from gate.core.codes.model import NAME

REGION: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")

_HOST = re.compile(r"(?!.*xn--)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
_PLACEHOLDER = re.compile(r"\{(hex:[1-9][0-9]{0,2}|unix_ms|token|rest)\}")
_LITERAL = re.compile(r"[!-\[\]-z|~]*")  # visible ASCII without backslash and braces


def _split(path: str) -> tuple[list[str], list[str]]:
    """Take a path form apart into its plain texts and the placeholders between them."""
    parts = _PLACEHOLDER.split(path)
    return parts[::2], parts[1::2]


@dataclass(frozen=True, slots=True)
class TokenFamily:
    """One issuer's tokens: https addresses on exactly these hosts, with a path of this form.

    `region`: ISO 3166 or GB/T 2260 as CN or CN-31; it names the verify service to ask. `path` is plain text,
    query and fragment included, with placeholders: `{hex:32}` that many hexadecimal digits, `{unix_ms}` 13
    digits, the time of issue in milliseconds, `{token}` letters, digits and `_.~%+=-`, as many as there are,
    `{rest}` whatever follows, at the end only. No form takes more than linear time. `age_s_max`: seconds that
    a token counts from the whole second of its `{unix_ms}`. Raises ValueError with all that is wrong.
    """

    region: str
    name: str
    hosts: tuple[str, ...]
    path: str = "/{rest}"
    age_s_max: Annotated[int, Ge(1), Le(86_400)] | None = None

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        if not REGION.fullmatch(self.region):
            yield "region must be of the form CN or CN-31"
        if not NAME.fullmatch(self.name):
            yield "name must be 1 to 32 letters A-Z a-z, digits, '-' or '_'"
        if not self.hosts or not all(_HOST.fullmatch(host) for host in self.hosts):
            yield "hosts must be one or more names as code.example.cn: lower case, no port, no 'xn--'"
        literals, placeholders = _split(self.path)
        if not (self.path.startswith("/") and all(map(_LITERAL.fullmatch, literals))):
            yield "path must start with '/' and have visible ASCII, {hex:N}, {unix_ms}, {token} and {rest}"
        if placeholders.count("unix_ms") > 1 or "{rest}" in self.path.removesuffix("{rest}"):
            yield "path: {unix_ms} stands once, {rest} at the end"
        if self.age_s_max is not None and "unix_ms" not in placeholders:
            yield "age_s_max needs {unix_ms} in the path"


SHANGHAI_AGE_S_MAX: Final = 300
"""Our own figure, not the issuer's: nobody has confirmed the 60 s that are told of, and refusing a phone that
is held out a minute late helps nobody. It stops yesterday's screenshot; a site may configure less."""

BUILT_IN: Final = (
    TokenFamily("CN-31", "shanghai", ("s.sh.gov.cn",), "/{hex:32}{unix_ms}", SHANGHAI_AGE_S_MAX),
    # Hosted for other places as well; a site there configures the same hosts with its own region.
    TokenFamily("CN-33", "dingtalk", ("h5.dingtalk.com", "healthcode.dingtalk.com"), "/healthAct/{rest}"),
    TokenFamily("CN-32", "jiangsu", ("jsstm.jszwfw.gov.cn",), "/jkmIndex.html?{rest}"),
)
"""Families whose addresses are publicly known. Those of a configuration come before them."""


@cache
def pattern_of(path: str) -> re.Pattern[str]:
    """Return what the part of an address after its host must match; groups: unix_ms."""
    literals, placeholders = _split(path)
    escaped = [re.escape(literal) for literal in literals]
    return re.compile(
        escaped[0] + "".join(_form(p) + e for p, e in zip(placeholders, escaped[1:], strict=True))
    )


def _form(placeholder: str) -> str:
    if placeholder.startswith("hex:"):
        return f"[0-9a-fA-F]{{{placeholder.removeprefix('hex:')}}}"
    # Possessive: what is taken is never given back, so that no payload makes the search long.
    return {"unix_ms": r"(?P<unix_ms>[0-9]{13})", "token": r"[\w.~%+=-]++", "rest": ".*+"}[placeholder]
