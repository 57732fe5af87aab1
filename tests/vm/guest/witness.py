"""Who sees from outside what the gate does: its events at a broker, its relay on the pin.

Both are written to the share as they are seen, one JSON line each: what is on the host outlives this machine.
"""

import json
import re
import threading
import time
from pathlib import Path
from typing import Any, Final

from board import CHIP_LABEL, BenchError, Line, boot_id, wait_for
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

LEDGER: Final = Path("/var/lib/gate/ledger.db")
TRACING: Final = Path("/sys/kernel/tracing")
POLL_S: Final = 0.005


class Events:
    """The gate's events as a subscriber of the broker gets them."""

    def __init__(self, seen: Path) -> None:
        self._seen = seen.open("ab", buffering=0)
        self.all: list[dict[str, Any]] = []
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("hg/1/#", qos=1)
        self._client.on_message = self._came
        self._client.connect_async("127.0.0.1")
        self._client.loop_start()

    def _came(self, _client: object, _data: object, message: MQTTMessage) -> None:
        event = json.loads(message.payload)
        if "specversion" in event:  # not the gate's state
            self._seen.write(message.payload + b"\n")
            self.all.append(event)

    def find(self, kind: str, since: int, **facts: object) -> dict[str, Any] | None:
        """Return the first event of this kind after the first `since` with these facts in its data."""
        for event in self.all[since:]:
            if event["type"] == f"hg.{kind}.v1" and facts.items() <= event["data"].items():
                return event
        return None

    def wait(self, kind: str, since: int, within_s: float = 60, **facts: object) -> dict[str, Any]:
        """Wait for such an event; raises BenchError, with all that came instead."""
        try:
            return dict(wait_for(lambda: self.find(kind, since, **facts), within_s, f"{kind} {facts or ''}"))
        except BenchError as error:
            came = ", ".join(map(_told, self.all[since:])) or "nothing"
            raise BenchError(f"{error}; what came: {came}") from None


def _told(event: dict[str, Any]) -> str:
    data = event["data"]
    words = [data.get(name) for name in ("stage", "result", "mode", "device", "problem", "active")]
    return " ".join([event["type"][3:-3], *(str(word) for word in words if word is not None)])


class Relay:
    """Watches the relay's pin: when it rises, and whether it is high."""

    def __init__(self, line: Line, seen: Path) -> None:
        self._file = line.value_file
        self._seen = seen.open("ab", buffering=0)
        self.pulses: list[dict[str, Any]] = []
        self.high = False
        threading.Thread(target=self._watch, name="relay", daemon=True).start()

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            level = self._file.read_bytes().startswith(b"1")
            if level and not self.high:
                mono_ns = time.monotonic_ns()
                pulse = {"boot_id": boot_id(), "mono_ns": mono_ns}
                self._seen.write(json.dumps(pulse).encode() + b"\n")
                self.pulses.append(pulse)
            self.high = level
            pause.wait(POLL_S)


class KernelTrace:
    """What the kernel says came first: the ledger on the disk, or the level of the relay's pin.

    Looking at the pin from outside takes longer than the commit of a record: that could not tell.
    """

    def __init__(self, relay: int) -> None:
        chips = Path("/sys/class/gpio").glob("gpiochip*")
        (chip,) = (chip for chip in chips if (chip / "label").read_text().strip() == CHIP_LABEL)
        base = int((chip / "base").read_text())
        self._rise = re.compile(rf" (\d+\.\d+): gpio_value: {base + relay} set 1$")
        (TRACING / "trace_clock").write_text("mono")
        for event in ("gpio/gpio_value", "ext4/ext4_sync_file_exit"):
            (TRACING / "events" / event / "enable").write_text("1")

    def synced_before_last_rise(self, since_ns: int) -> int | None:
        """Return by how many microseconds the relay rose after `since_ns`; None if no commit came between."""
        log = Path(f"{LEDGER}-wal").stat().st_ino
        sync = re.compile(rf" (\d+\.\d+): ext4_sync_file_exit: .* ino {log} ret 0$")
        lines = (TRACING / "trace").read_text().splitlines()
        syncs, rises = ([_us(m) for m in map(found.search, lines) if m] for found in (sync, self._rise))
        since_us = since_ns // 1000
        if rises and any(since_us <= synced_us <= rises[-1] for synced_us in syncs):
            return rises[-1] - since_us
        return None


def _us(found: re.Match[str]) -> int:
    return int(found[1].replace(".", ""))
