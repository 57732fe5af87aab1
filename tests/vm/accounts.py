"""The books of a power cut: what was seen outside, against the ledger of the machine that came back."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Event = Mapping[str, Any]  # as JSON has it


def problems(seen: Iterable[bytes], pulses: Iterable[Event], ledger: Sequence[bytes]) -> list[str]:
    """Return what is wrong, a sentence each; nothing when the books agree.

    In the ledger no record may stand twice: one that allows somebody to pass would cover two pulses.

    `seen` are the events as a subscriber got them, byte for byte: every one must be in the ledger. `pulses`
    are the rises of the relay, {"boot_id", "mono_ns"}: before each there must be the record that allows it.
    """
    recorded = set(ledger)
    lost = [json.loads(body)["id"] for body in dict.fromkeys(seen) if body not in recorded]
    found = [f"{name} was seen outside and is not in the ledger" for name in lost]
    times = Counter(json.loads(body)["id"] for body in ledger)
    found += [f"{name} is in the ledger {count} times" for name, count in times.items() if count > 1]
    allowed = _allowed(map(json.loads, ledger))
    opened: defaultdict[str, int] = defaultdict(int)
    for pulse in pulses:
        boot_id, mono_ns = pulse["boot_id"], pulse["mono_ns"]
        opened[boot_id] += 1
        before = sum(allowed_ns <= mono_ns for allowed_ns in allowed[boot_id])
        if opened[boot_id] > before:
            found.append(f"pulse {opened[boot_id]} of boot {boot_id[:8]} has no record before it")
    return found


def overlooked(seen: Sequence[bytes], pulses: Sequence[Event], ledger: Sequence[bytes]) -> list[str]:
    """Return which damage to these books `problems` would not find: the control of a run, mostly nothing.

    The books, which must agree, are damaged one record at a time: lost, altered, doubled. Without the records
    that allow them the pulses alone must tell.
    """
    found = [] if seen and pulses else ["nothing was seen outside, so nothing was compared"]
    known = set(seen)
    for at, body in enumerate(ledger):
        before, after, name = ledger[:at], ledger[at + 1 :], json.loads(body)["id"]
        damaged = {"doubled": [*before, body, body, *after]}
        if body in known:
            damaged |= {"lost": [*before, *after], "altered": [*before, body.replace(b":", b": ", 1), *after]}
        found += [f"{name} {what}" for what, books in damaged.items() if not problems(seen, pulses, books)]
    for pulse in pulses:
        books = [body for body in ledger if not _allowed([json.loads(body)])[pulse["boot_id"]]]
        if not problems([], [pulse], books):
            found.append(f"a pulse of boot {pulse['boot_id'][:8]} without any record")
    return found


def _allowed(events: Iterable[Event]) -> defaultdict[str, list[int]]:
    """Return by boot when the turnstile was allowed to move: a visitor may pass, or there is fire."""
    allowed: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        data = event["data"]
        fire = event["type"] == "hg.fire.alarm.v1" and data["active"]
        if fire or data.get("stage") == "authorised":
            # In a fire the arm opens first and the record follows: no pulse needs one before it.
            allowed[data["clock"]["boot_id"]].append(0 if fire else data["clock"]["mono_ns"])
    return allowed
