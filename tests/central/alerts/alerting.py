"""What the tests of the alerts share: records as gates make them, a still clock, a spy at an address."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from central.alerts.dispatcher import Dispatcher
from central.alerts.messages import Message
from central.alerts.send import Addresses, Sent
from central.alerts.settings import AlertSettings
from central.store import StoredRecord
from gate.core.events import Event, Origin, encode
from gate.core.moment import Moment

GOLDEN = Path(__file__).parents[2] / "golden" / "events.jsonl"
NOON_MS = 1_795_320_000_000  # 2026-11-22 12:00:00, eight hours east
S = 1000
MINUTE = 60 * S


def golden() -> list[dict[str, Any]]:
    return [json.loads(line) for line in GOLDEN.read_text("utf-8").splitlines()]


def decided(
    *reasons: str, rule: str = "TR-2", verdict: str = "refuse", tasks: tuple[str, ...] = (), **data: Any
) -> dict[str, Any]:
    """The data of a visit that was decided for these reasons."""
    findings = [{"rule": rule, "verdict": verdict, "reason": reason} for reason in reasons]
    more: dict[str, Any] = {"tasks": list(tasks)} if tasks else {}
    known = {"visit": "0a1b2c3d-000042", "stage": "refused", "verdict": verdict, "policy": "county-hall"}
    return {"kind": "visit.decided", "abnormal": True, **known, "findings": findings, **more, **data}


def fever(**data: Any) -> dict[str, Any]:
    return decided("temperature_fever", rule="CH-2", tasks=("CH-3", "CH-4"), **data)


def event(
    data: dict[str, Any], *, seq: int = 1, at_ms: int = NOON_MS, trusted: bool = True
) -> dict[str, Any]:
    """The wire event with this data, as a gate encodes it."""
    rest = {name: value for name, value in data.items() if name not in {"kind", "abnormal", "gate"}}
    origin = Origin("hall-east", data.get("gate", "gate_1"), "e1", "boot-1")
    body = encode(Event(data["kind"], rest, data["abnormal"]), origin, seq, Moment(1, at_ms, trusted))
    read: dict[str, Any] = json.loads(body)
    return read


def record(
    data: dict[str, Any], *, seq: int = 1, at_ms: int = NOON_MS, trusted: bool = True, seen_ms: int = NOON_MS
) -> StoredRecord:
    """The same as the store holds it."""
    wire = event(data, seq=seq, at_ms=at_ms, trusted=trusted)
    return StoredRecord(
        "hall-east", wire["data"]["gate"], "e1", seq, json.dumps(wire).encode(), None, at_ms, seen_ms,
        data["kind"], data["abnormal"],
    )  # fmt: skip


@dataclass
class StillClock:
    """Time moves only when told to."""

    ms: int = NOON_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.is_set()


@dataclass
class SpyChannel:
    """An address that keeps what it gets, and fails on demand."""

    sent: list[Message] = field(default_factory=list)
    broken: str = ""

    def send(self, message: Message) -> Sent:
        if self.broken:
            return Sent(delivered=False, outcome=self.broken)
        self.sent.append(message)
        return Sent(delivered=True, outcome="delivered")


def rows(engine: Engine, table: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(table).order_by(table.c.id)))


def at_once(work: Callable[[], None]) -> None:
    work()


@dataclass
class Office:
    """A dispatcher in still time with a spy at each URL."""

    engine: Engine
    settings: AlertSettings
    clock: StillClock = field(default_factory=StillClock)
    channels: dict[str, SpyChannel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        urls = {url for role in self.settings.role for url in role.urls}
        for url in urls:
            self.channels.setdefault(url, SpyChannel())
        self.dispatcher = Dispatcher(
            self.engine, self.settings, self.clock, UTC,
            addresses=Addresses(self.channels, {url: url for url in urls}), send_in=at_once,
        )  # fmt: skip

    def after(self, ms: int = 0) -> None:
        """Let so much time pass, then do everything that is due."""
        self.clock.ms += ms
        for _ in range(50):
            before = self.counts()
            self.dispatcher.step()
            self.dispatcher.step()  # collects what the first has sent
            if self.counts() == before:
                return
        raise AssertionError("it never comes to rest")

    def counts(self) -> dict[str, int]:
        return {url: len(channel.sent) for url, channel in self.channels.items()}

    def titles(self, url: str) -> list[str]:
        return [message.title for message in self.channels[url].sent]
