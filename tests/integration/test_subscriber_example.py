"""The example of a subscriber, as a stranger starts it, with a real Mosquitto."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from gate.core.batches import pack
from gate.core.events import Event, Kind, Origin, encode
from gate.core.moment import Moment
from tests.brokers import HOST, Mosquitto, wait_for

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "subscriber.py"
NOW = Moment(0, 1_795_000_000_000, clock_trusted=True)


def record(seq: int, gate: str = "g-1", epoch: str = "e1") -> bytes:
    return encode(Event(Kind.GATE_STOPPED, {}), Origin("north", gate, epoch, "boot"), seq, NOW)


class Example:
    """The example as a process; its two outputs are read as they come."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        assert process.stdout
        assert process.stderr
        pairs = ((process.stdout, self.out), (process.stderr, self.err))
        self._threads = [threading.Thread(target=self._read, args=pair) for pair in pairs]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        lines.extend(line.rstrip("\n") for line in stream)

    def end(self) -> None:
        for thread in self._threads:
            thread.join(5)

    def printed(self) -> list[tuple[str, int]]:
        events = [json.loads(line)["data"] for line in list(self.out)]
        return [(f"{data['gate']} {data['epoch']}", data["seq"]) for data in events]


@contextmanager
def running_example(port: int) -> Iterator[Example]:
    command = [sys.executable, str(EXAMPLE), HOST, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        example = Example(process)
        try:
            yield example
        finally:
            process.kill()
            example.end()


@contextmanager
def a_publisher(port: int) -> Iterator[Callable[[str, bytes], None]]:
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect(HOST, port)
    client.loop_start()
    try:
        yield lambda leaf, body: client.publish(f"hg/1/north/{leaf}", body, qos=1).wait_for_publish(5)
    finally:
        client.disconnect()
        client.loop_stop()


def test_it_prints_every_record_once_and_tells_what_is_missing(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path, "log_type subscribe") as broker,
        running_example(broker.port) as example,
        a_publisher(broker.port) as publish,
    ):
        wait_for(lambda: "hg/1/+/+/ev/#" in (tmp_path / "log").read_text(), 10, "its subscription")
        publish("g-1/ev", record(1))
        publish("g-1/ev", record(4))  # abnormal, and so ahead of its turn
        publish("g-1/state", b'{"v":1,"state":"ready"}')
        publish("g-1/ev/batch", pack([record(seq) for seq in range(1, 101)]))
        publish("g-1/ev", record(100))
        publish("g-1/ev", record(1, epoch="e2"))
        publish("g-2/ev", record(2, gate="g-2"))
        publish("g-1/ev", record(103))
        wait_for(lambda: ("g-1 e1", 103) in example.printed(), 10, "the last record")
        wait_for(lambda: len(example.err) == 3, 5, f"three holes, not {example.err}")
    once = [1, 4, 2, 3, *range(5, 101)]
    expected = [("g-1 e1", seq) for seq in once]
    assert example.printed() == [*expected, ("g-1 e2", 1), ("g-2 e1", 2), ("g-1 e1", 103)]
    assert example.out[0].encode() == record(1), "the exact bytes"
    assert example.err == [
        "missing as yet north g-1 e1 2 to 3",
        "missing as yet north g-2 e1 1 to 1",
        "missing as yet north g-1 e1 101 to 102",
    ]


def test_it_is_as_short_as_is_said() -> None:
    lines = [line for line in EXAMPLE.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert len(lines) == 20
