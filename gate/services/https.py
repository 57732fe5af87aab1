"""One question by HTTPS POST, within one span of time from the look-up of the name to the last byte.

The standard library's client is used because the usual ones limit each single read only: a service that sends
a byte now and then would hold a visitor for ever. It also follows no redirects and reads no proxy, netrc or
other setting from the environment, which here are promises. Every question takes a connection of its own.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gate.core.codes.service import Outcome

ANSWER_BYTES_MAX: Final = 65_536

_CONNECT_TRIES: Final = 2
_HTTPS_PORT: Final = 443  # RFC 9110 section 4.2.2
_OWN_FAULTS: Final = range(400, 429)
"""Answers that blame the question (RFC 9110 section 15.5); 429 and above are about the service."""


class HttpsError(Exception):
    """No usable answer. `outcome` says how it ended, `ailing` whether that speaks against the service."""

    def __init__(self, outcome: Outcome, problem: str, *, ailing: bool = True) -> None:
        super().__init__(problem)
        self.outcome = outcome
        self.ailing = ailing


@dataclass(frozen=True, slots=True)
class _Deadline:
    """An instant of the monotonic clock."""

    at_s: float

    def left_s(self) -> float:
        """Return the seconds that are left. Raises TimeoutError when there are none."""
        left_s = self.at_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


class _BoundedSocket(ssl.SSLSocket):
    """A TLS socket whose reads all end by one deadline, however the bytes trickle in."""

    deadline: _Deadline

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive as the parent does, for no longer than is left."""
        self.settimeout(self.deadline.left_s())
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Send as the parent does, for no longer than is left."""
        self.settimeout(self.deadline.left_s())
        return super().send(*args, **kwargs)


class HttpsPost:
    """Posts JSON to one address. Raises OSError when `ca_file` cannot be used."""

    def __init__(self, url: str, *, ca_file: Path | None, timeout_s: float, connect_timeout_s: float) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or _HTTPS_PORT
        self._path = parts._replace(scheme="", netloc="", fragment="").geturl()
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._tls.sslsocket_class = _BoundedSocket

    def post(self, body: bytes) -> bytes:
        """Return the answer's body, at most `ANSWER_BYTES_MAX` bytes. Raises HttpsError and nothing else."""
        where = f"{self._host}:{self._port}"
        try:
            return self._exchange(body, _Deadline(time.monotonic() + self._timeout_s))
        except TimeoutError:
            raise HttpsError(Outcome.TIMEOUT, f"{where} did not answer in time") from None
        except ssl.SSLCertVerificationError as error:
            problem = f"the certificate of {where} is not accepted: {error.verify_message}"
            raise HttpsError(Outcome.UNREACHABLE, problem) from None
        except OSError as error:
            problem = f"cannot reach {where}: {error.strerror or type(error).__name__}"
            raise HttpsError(Outcome.UNREACHABLE, problem) from None
        except (http.client.HTTPException, ValueError) as error:
            # Only the kind: the text of these errors repeats what was received.
            raise HttpsError(Outcome.ERROR, f"{where} does not speak HTTP: {type(error).__name__}") from None

    def _exchange(self, body: bytes, deadline: _Deadline) -> bytes:
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._tls)
        with self._connect(deadline) as plain:
            plain.settimeout(deadline.left_s())
            with self._tls.wrap_socket(plain, server_hostname=self._host) as secure:
                assert isinstance(secure, _BoundedSocket)
                secure.deadline = deadline
                connection.sock = secure
                headers = {"Content-Type": "application/json", "Connection": "close"}
                connection.request("POST", self._path, body, headers)
                with connection.getresponse() as response:
                    return self._read(response)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        status = response.status
        if 300 <= status < 400:
            raise HttpsError(Outcome.ERROR, f"{self._host} points elsewhere (status {status}): refused")
        if status != http.HTTPStatus.OK:
            ailing = status not in _OWN_FAULTS
            raise HttpsError(Outcome.ERROR, f"{self._host} answers with status {status}", ailing=ailing)
        body = response.read(ANSWER_BYTES_MAX + 1)
        if len(body) > ANSWER_BYTES_MAX:
            raise HttpsError(Outcome.ERROR, f"{self._host} answers with more than {ANSWER_BYTES_MAX} bytes")
        if response.length:
            raise HttpsError(Outcome.ERROR, f"{self._host} broke off its answer")
        return body

    def _connect(self, deadline: _Deadline) -> socket.socket:
        """Connect, with one more try: nothing has been asked by then, so nothing is asked twice."""
        for _ in range(_CONNECT_TRIES - 1):
            try:
                return self._connect_once(deadline)
            except OSError:
                deadline.left_s()
        return self._connect_once(deadline)

    def _connect_once(self, deadline: _Deadline) -> socket.socket:
        fault = OSError("no address")
        for family, kind, protocol, _, place in _look_up(self._host, self._port, deadline):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(min(self._connect_timeout_s, deadline.left_s()))
                sock.connect(place)
            except OSError as error:
                sock.close()
                fault = error
            else:
                return sock
        raise fault


def _look_up(host: str, port: int, deadline: _Deadline) -> list[Any]:
    """Find the addresses of a host in time: without a network the resolver takes up to half a minute."""
    return _within(deadline, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _within(deadline: _Deadline, call: Callable[[], list[Any]]) -> list[Any]:
    """Call in a thread that is left behind when time runs out. Raises OSError, as TimeoutError."""
    result: list[Any] = []
    fault: list[OSError] = []

    def run() -> None:
        try:
            result.extend(call())
        except OSError as error:
            fault.append(error)

    thread = threading.Thread(target=run, name="name-lookup", daemon=True)
    thread.start()
    thread.join(deadline.left_s())
    if thread.is_alive():
        raise TimeoutError
    if fault:
        raise fault[0]
    return result
