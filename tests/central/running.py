"""The centre at work in a test: in a thread of this process, or as a process that can be killed."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from central.app import topics
from central.config import MqttSection, WatchSection, broker_settings
from central.inbox import MESSAGES_MAX, Inbox, Message
from central.keys import CentreKeys
from central.metrics import Metrics
from central.receipts import Signer
from central.service import Audience, Centre
from central.store import Store
from central.subscriber import Subscriber
from central.watch import Watch
from tests.brokers import HOST, wait_for
from tests.central.fake_gate import NOW_MS

PACE = 10.0


class HastyClock:
    """A clock that runs ten times as fast as ours, from the time at which the fake gates live."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def now_ms(self) -> int:
        return NOW_MS + round(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return (time.monotonic() - self._began) * PACE

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds / PACE)


class _HastyInbox(Inbox):
    """An inbox whose first wait is counted by the hasty clock."""

    def gather(self, limit: int, *, first_within_s: float, linger_s: float) -> list[Message]:
        return super().gather(limit, first_within_s=first_within_s / PACE, linger_s=linger_s)


class RunningCentre:
    """A centre in a thread; whatever ends it early is raised where it is closed."""

    def __init__(
        self,
        port: int,
        keys: CentreKeys,
        store: Store,
        *,
        watch: WatchSection | None = None,
        audience: Sequence[Audience] = (),
        capacity: int = MESSAGES_MAX,
        alone: bool = True,
        on_ready: Callable[[str, str], None] = lambda _site, _gate: None,
        **mqtt: Any,
    ) -> None:
        section = MqttSection(host=HOST, port=port, **mqtt)
        self.metrics = Metrics()
        settings = replace(broker_settings(section), answer_timeout_s=1.0)
        self.inbox = _HastyInbox(time.monotonic, capacity)
        self.subscriber = Subscriber(settings, topics(section), self.inbox, uniform=lambda low, _: low)
        self.centre = Centre(
            store,
            self.inbox,
            self.subscriber,
            Signer(keys.sign),
            Watch(watch or WatchSection()),
            HastyClock(),
            alone=alone,
            metrics=self.metrics,
            audience=audience,
            on_ready=on_ready,
        )
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.centre.run()
        except BaseException as error:  # noqa: BLE001 - raised again below
            self._fault = error

    def count(self, name: str) -> float:
        """Return one of the metrics."""
        return self.metrics.registry.get_sample_value(f"central_{name}") or 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for(lambda: self.subscriber.status().connected or self._fault, 10, "the centre to listen")
        return self

    def __exit__(self, *_: object) -> None:
        self.centre.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()
        if self._fault:
            raise self._fault


def write_config(folder: Path, port: int, *, store: str = "", **mqtt: Any) -> Path:
    """Write a configuration for the keys in this folder."""
    lines = [
        "[centre]",
        f"keys_dir = {json.dumps(str(folder))}",
        f"store = {json.dumps(store or f'sqlite:///{folder}/central.db')}",
        "[mqtt]",
        f'host = "{HOST}"',
        f"port = {port}",
        *(f"{name} = {json.dumps(value)}" for name, value in mqtt.items()),
    ]
    path = folder / "central.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


class CentreProcess:
    """`central run` as a process of its own."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._log = config.with_suffix(".log")

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "central", "run", "--config", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process
        self._process.kill()
        self._process.wait(10)

    def terminate(self) -> int:
        """Ask it to end; return its exit status."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.poll() is None:
            self.kill()
