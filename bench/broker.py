"""A broker for a benchmark: Mosquitto where it is installed, else the demo's own in this process."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gate.demo.broker import BrokerAddress, DemoBroker
from gate.shell.clock import sleep

HOST: Final = "127.0.0.1"
START_S: Final = 10.0


@contextmanager
def a_broker(folder: Path) -> Iterator[tuple[BrokerAddress, str]]:
    """Run a broker for as long as the `with` block lasts; give its address, with a user, and its name."""
    # A plain user's PATH on Debian ends before the folder that Mosquitto is in.
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if program is None:
        with DemoBroker(folder) as demo:
            yield demo.address, "amqtt"
        return
    port = _free_port()
    settings = folder / "mosquitto.conf"
    root = ["user root"] if os.geteuid() == 0 else []  # or it could not read this folder
    lines = [
        f"listener {port} {HOST}",
        "allow_anonymous true",
        "persistence false",
        "max_queued_messages 0",  # or it would drop what it has acknowledged
        *root,
    ]
    settings.write_text("\n".join(lines) + "\n", "utf-8")
    quiet = subprocess.DEVNULL
    with subprocess.Popen([program, "-c", str(settings)], stdout=quiet, stderr=quiet) as process:
        try:
            _wait_until_it_listens(port)
            yield BrokerAddress(HOST, port, "bench", "bench"), "Mosquitto"
        finally:
            process.terminate()


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            sleep(0.02)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
