"""What a batch of messages holds, by what is to be done with it. Pure: nothing is judged or stored here.

hg/1/<site>/<gate>/ev           one record
                   ev/batch     up to 100 records (`gate.core.batches`)
                   sealed       the attachment of a record
                   checkpoint   how far the gate's ledger reaches, signed
                   state        what the gate, or the broker in its name, says of it; nobody has signed it
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from central.inbox import Message
from central.store import Arrived, ArrivedSealed
from gate.core.batches import BatchError, unpack
from gate.core.mode import Mode

_TOPIC: Final = re.compile(r"hg/1/([A-Za-z0-9_-]{1,32})/([A-Za-z0-9_-]{1,32})/(.+)", re.ASCII)
READY: Final = "ready"
STOPPED: Final = "disconnected"
LOST: Final = "lost"
_STATES: Final = frozenset({READY, STOPPED, LOST})
_MODES: Final = frozenset(map(str, Mode))
_STATE_BYTES_MAX: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Stated:
    """What a state message says: ready, disconnected or lost, and in which mode ("" when it says none)."""

    site: str
    gate: str
    state: str
    mode: str = ""


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint as it came."""

    site: str
    gate: str
    message: bytes


@dataclass(slots=True)
class Sorted:
    """A batch by kinds, each in the order of arrival. `strays`: messages that are nothing of this."""

    records: list[Arrived] = field(default_factory=list)
    sealed: list[ArrivedSealed] = field(default_factory=list)
    checkpoints: dict[Signed, None] = field(default_factory=dict)
    states: list[Stated] = field(default_factory=list)
    strays: int = 0


def sort(messages: Iterable[Message]) -> Sorted:
    """Sort a batch. A checkpoint that is in it twice is in the result once."""
    found = Sorted()
    for message in messages:
        place = _TOPIC.fullmatch(message.topic)
        if place is None or not _add(found, place[1], place[2], place[3], message.payload):
            found.strays += 1
    return found


def _add(found: Sorted, site: str, gate: str, leaf: str, payload: bytes) -> bool:
    if leaf == "ev":
        found.records.append(Arrived(site, gate, payload))
    elif leaf == "ev/batch":
        found.records.extend(Arrived(site, gate, body) for body in _bodies(payload))
    elif leaf == "sealed":
        found.sealed.append(ArrivedSealed(site, gate, payload))
    elif leaf == "checkpoint":
        if payload:  # an empty one only deletes what was retained
            found.checkpoints[Signed(site, gate, payload)] = None
    elif leaf == "state":
        return _add_state(found, site, gate, payload)
    else:
        return False
    return True


def _bodies(payload: bytes) -> list[bytes]:
    try:
        return unpack(payload)
    except BatchError:
        return [payload]  # the store keeps it among what it rejects


def _add_state(found: Sorted, site: str, gate: str, payload: bytes) -> bool:
    try:
        said = json.loads(payload[:_STATE_BYTES_MAX])
        state = said["state"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    if not isinstance(state, str) or state not in _STATES:
        return False
    mode = said.get("mode")
    known = isinstance(mode, str) and mode in _MODES
    found.states.append(Stated(site, gate, state, mode if known else ""))
    return True
