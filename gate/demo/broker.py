"""A broker inside the demo, so that nothing has to be installed: amqtt with one user and a password.

It keeps nothing on disk and belongs in no real installation.
"""

import asyncio
import logging
import secrets
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

MQTT_PORT: Final = 1883  # IANA: mqtt

HOST: Final = "127.0.0.1"
USER: Final = "demo"
_START_S: Final = 15.0


class BrokerError(Exception):
    """The broker cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker listens and as whom to go there."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, url: str) -> "BrokerAddress":
        """Read mqtt://[user:password@]host[:port], signs in user and password as %40. Raises BrokerError."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or MQTT_PORT
        except ValueError as error:
            raise BrokerError(f"{url}: {error}") from error
        if parts.scheme != "mqtt" or not host:
            raise BrokerError(f"{url}: write it as mqtt://user:password@host:1883")
        user, password = (
            None if word is None else unquote(word) for word in (parts.username, parts.password)
        )
        return cls(host, port, user, password)


class DemoBroker:
    """A real MQTT 3.1.1 broker on a free port of this machine, for as long as the `with` block lasts."""

    def __init__(self, folder: Path) -> None:
        password = secrets.token_urlsafe(12)
        self.address = BrokerAddress(HOST, _free_port(), USER, password)
        passwords = folder / "broker-passwords"
        passwords.write_text(f"{USER}:{_hashed(password)}\n", "utf-8")
        self._config = {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self.address.port}"}},
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
