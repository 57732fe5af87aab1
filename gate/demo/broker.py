"""A broker inside the demo, so that nothing has to be installed: amqtt with one user and a password.

It keeps nothing on disk and belongs in no real installation.
"""

import asyncio
import logging
import socket
import threading
from pathlib import Path
from typing import Any, Self

HOST = "127.0.0.1"
_START_S = 15.0


class DemoBroker:
    """A real MQTT 3.1.1 broker on a free port of this machine, for as long as the `with` block lasts."""

    def __init__(self, folder: Path, user: str, password: str) -> None:
        self.port = _free_port()
        passwords = folder / "broker-passwords"
        passwords.write_text(f"{user}:{_hashed(password)}\n", "utf-8")
        self._config = {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self.port}"}},
            "plugins": {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(passwords)}},
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="demo-broker", daemon=True)
        self._broker: Any = None

    def __enter__(self) -> Self:
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        self._thread.start()
        self._broker = self._await(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._await(self._broker.shutdown())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()

    async def _start(self) -> Any:
        from amqtt.broker import Broker  # noqa: PLC0415 - heavy, and only the demo has it

        broker = Broker(self._config)
        await broker.start()
        return broker

    def _await(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_S)


def _hashed(password: str) -> str:
    from pwdlib.hashers.argon2 import Argon2Hasher  # noqa: PLC0415 - comes with amqtt

    return Argon2Hasher().hash(password)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
