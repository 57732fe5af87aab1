"""`gate check-code`: what codes are worth at a given time, one JSON line in, one JSON line out."""

import base64
import binascii
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from gate.cli.ending import EX_CONFIG, refuse

if TYPE_CHECKING:
    from gate.core.codes import Trust

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CaseError(ValueError):
    """A line that cannot be examined, in a sentence."""


@dataclass(frozen=True, slots=True)
class Case:
    """One code to examine: its text, the certificate that shall have signed it, and the time to judge at."""

    text: str
    certificate: bytes | None
    now_ms: int | None


@click.command("check-code")
@click.option(
    "--cases", type=click.File("rb"), required=True, metavar="FILE",
    help='JSON lines {"id", "text", "certificate" (base64 DER), "clock" (ISO 8601)}; - is standard input.',
)  # fmt: skip
@click.option(
    "--tolerance-s", default=0, show_default=True, type=click.IntRange(0, 86_400),
    help="Seconds by which a code may be too early or too late.",
)  # fmt: skip
@click.option(
    "--trust", "trust_paths", type=click.Path(path_type=Path), multiple=True, metavar="FOLDER",
    help="Keys and certificates that are believed; may be given several times.",
)  # fmt: skip
@click.option("--site", help="Where home passes are shown; without it, the one that each is for.")
def check_code(cases: IO[bytes], tolerance_s: int, trust_paths: tuple[Path, ...], site: str | None) -> None:
    """Examine codes and print how each step went; status 1 when a line could not be examined."""
    trust = _trust(trust_paths)
    sound = True
    for line in cases:
        if not line.strip():
            continue
        row: object = None
        try:
            row = _parsed(line)
            answer = _examined(_case(row), trust, site, tolerance_s)
        except CaseError as error:
            answer = {"error": str(error)}
        sound = sound and not {"error", "problem"} & answer.keys()
        known_id = row.get("id") if isinstance(row, Mapping) else None
        click.echo(json.dumps({"id": known_id, **answer}))  # flushes, and is ASCII for every terminal
    sys.exit(0 if sound else 1)


def _trust(paths: tuple[Path, ...]) -> "Trust":
    from gate.checked import ConfigError
    from gate.trust_files import load_trust

    try:
        return load_trust(paths)
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CaseError(f"not JSON: {error}") from error


def _case(row: object) -> Case:
    if not isinstance(row, Mapping):
        raise CaseError("not a JSON object")
    text = row.get("text")
    if not isinstance(text, str):
        raise CaseError("text: must be the text of the code")
    return Case(text, _certificate(row.get("certificate")), _clock(row.get("clock")))


def _certificate(text: object) -> bytes | None:
    if text is None:
        return None
    try:
        if isinstance(text, str):
            return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        pass
    return b""  # which is said of it beside the examination


def _clock(text: object) -> int | None:
    """Read an instant as unix milliseconds, whatever is finer cut off; without an offset it is UTC."""
    if text is None:
        return None
    try:
        if isinstance(text, str):
            clock = datetime.fromisoformat(text)
            return ((clock if clock.tzinfo else clock.replace(tzinfo=UTC)) - _EPOCH) // timedelta(
                milliseconds=1
            )
    except (ValueError, OverflowError):
        pass
    raise CaseError("clock: must be a time such as 2021-06-01T18:00:00+02:00")


def _examined(case: Case, trust: "Trust", site: str | None, tolerance_s: int) -> dict[str, object]:
    from gate.core.codes import Circumstances, examine
    from gate.core.codes.dcc_keys import read_signer

    problem = {}
    if case.certificate is not None:
        try:
            signer = replace(read_signer(case.certificate), country=None)
            trust = replace(trust, signers=(*trust.signers, signer))
        except ValueError as error:  # the code is examined all the same, without it
            problem = {"problem": f"certificate: {error}"}
    at = Circumstances(
        site=site,
        now_ms=case.now_ms or 0,
        clock_trusted=case.now_ms is not None,
        start_tolerance_s=tolerance_s,
        end_tolerance_s=tolerance_s,
    )
    # A text may hold half a surrogate pair, which JSON can say and UTF-8 cannot.
    examined = examine(case.text.encode("utf-8", "surrogatepass"), trust=trust, at=at)
    result = examined.result
    return {
        "format": result.format,
        "authenticity": result.authenticity,
        "freshness": result.freshness,
        "reason": result.reason,
        "stages": asdict(examined.stages),
        **problem,
    }
