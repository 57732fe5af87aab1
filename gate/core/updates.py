"""Updates: what the centre has asked for, and what has become of it, as the two halves of a gate say it.

The service (user `gate`) hears the command and writes the order; `gate update` (root) reads it, installs
the version in the plan's quiet hours, undoes it when the gate is not well afterwards, and writes the result,
which the service puts on record. Both are JSON, one object, in the state folder:

    update.json         {"version", "command", "asked_ms"}
    update-result.json  {"version", "previous", "outcome", "detail", "command", "at_ms"}

Neither half trusts the other's file: a version is a version and nothing else, and an outcome is one of four.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from gate.core.commands import is_version

ORDER_NAME: Final = "update.json"
RESULT_NAME: Final = "update-result.json"
BYTES_MAX: Final = 4096
DETAIL_MAX: Final = 200
_MS_MAX: Final = 2**53 - 1


class UpdateOutcome(StrEnum):
    """What has become of an update. All but `waiting` are final for their command."""

    DONE = "done"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class UpdateOrder:
    """The version that is wanted, by which command, asked for when (unix milliseconds, the gate's clock)."""

    version: str
    command: str
    asked_ms: int

    def encoded(self) -> bytes:
        """Return the content of the file."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What has become of an order. `previous`: the version before it, "" where that is not known."""

    version: str
    previous: str
    outcome: UpdateOutcome
    detail: str
    command: str
    at_ms: int

    def encoded(self) -> bytes:
        """Return the content of the file."""
        return json.dumps(asdict(self)).encode()


def read_order(content: bytes) -> UpdateOrder:
    """Return what the file `update.json` says. Raises ValueError, whatever the bytes."""
    said = _object(content)
    return UpdateOrder(_version(said, "version"), _command(said), _ms(said, "asked_ms"))


def read_result(content: bytes) -> UpdateResult:
    """Return what the file `update-result.json` says. Raises ValueError, whatever the bytes."""
    said = _object(content)
    detail = said.get("detail")
    if not isinstance(detail, str) or not detail.isprintable():
        raise ValueError("detail: one line of text")
    return UpdateResult(
        version=_version(said, "version"),
        previous=_version(said, "previous") if said.get("previous") != "" else "",
        outcome=UpdateOutcome(str(said.get("outcome"))),
        detail=detail[:DETAIL_MAX],
        command=_command(said),
        at_ms=_ms(said, "at_ms"),
    )


def _object(content: bytes) -> dict[str, Any]:
    if len(content) > BYTES_MAX:
        raise ValueError(f"more than {BYTES_MAX} bytes")
    try:
        said = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(said, dict):
        raise ValueError("no object")  # noqa: TRY004 - one kind of error
    return said


def _version(said: dict[str, Any], name: str) -> str:
    found = said.get(name)
    if not isinstance(found, str) or not is_version(found):
        raise ValueError(f"{name}: no version")
    return found


def _command(said: dict[str, Any]) -> str:
    found = said.get("command")
    if not isinstance(found, str) or not found.isalnum() or not found.isascii() or len(found) > 32:
        raise ValueError("command: no id of one")
    return found


def _ms(said: dict[str, Any], name: str) -> int:
    found = said.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _MS_MAX:
        raise ValueError(f"{name}: no time")
    return found
