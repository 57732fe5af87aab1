"""The HTTPS service that devices ask: POST one JSON object, get one.

    POST /enrol   {"v": 1, "csr": "<PEM>", "token": "...", "device": "...", "at_ms": 0}
    200           {"certificate": "<PEM>", "ca": "<PEM>", "centre": {what centre.json says}}
    200           {"refused": "<reason>", "words": "what to do"}
    400, 404, 413, 429, 503   {"words": "..."}

Strangers can reach it, so everything is bounded: what a request may hold, how long all of it may take, how
many are served at once, and how often one address may ask.
"""

import contextlib
import json
import logging
import re
import socket
import ssl
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from central.clock import Clock
from central.enrolment.authority import Authority, common_name
from central.enrolment.book import Asked, EnrolmentBook, Granted, Refusal, Refused
from central.enrolment.own_certificates import ENROLMENT, FOLDER, certify
from central.enrolment.settings import EnrolmentSettings
from central.keys import FOR_GATES
from central.store import StoreError
from gate.core.codes.trust import key_id

PATH: Final = "/enrol"
BODY_BYTES_MAX: Final = 16 * 1024
AT_ONCE_MAX: Final = 16
OF_ONE_ADDRESS_MAX: Final = 4
"""So that one address that says nothing does not keep the others out."""

REQUEST_S: Final = 10.0
"""From the first byte of TLS to the last of the answer."""

PER_MINUTE_MAX: Final = 30
"""Requests from one address, behind which a whole site may be."""

_ADDRESSES_MAX: Final = 10_000
_MINUTE_S: Final = 60.0
_LOG: Final = logging.getLogger(__name__)


class _RequestError(ValueError):
    """No request of a device, in words."""


def read_request(body: bytes, address: str) -> Asked:
    """Return what a device asks. Raises ValueError in words."""
    try:
        said = json.loads(body)
        csr, token, device, at_ms = (said[name] for name in ("csr", "token", "device", "at_ms"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _RequestError("this is no request of a device") from error
    if not (isinstance(csr, str) and isinstance(token, str) and isinstance(device, str)):
        raise _RequestError("csr, token and device are texts")
    if not isinstance(at_ms, int) or not token.isascii():
        raise _RequestError("at_ms is a number, and a token is ASCII")
    name, public_key = _signed(csr)
    site, _, gate = name.partition("/")
    return Asked(site, gate, public_key, token, device, at_ms, address)


def _signed(csr: str) -> tuple[str, bytes]:
    """Return common name and key of a certificate request (RFC 2986) that was signed with that very key."""
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key = request.public_key()
        valid = isinstance(key, Ed25519PublicKey) and request.is_signature_valid
        name = common_name(request.subject)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise _RequestError(f"the certificate request cannot be read: {type(error).__name__}") from error
    if not valid or not isinstance(key, Ed25519PublicKey):
        raise _RequestError("the certificate request is not signed with the Ed25519 key that it names")
    return name, key.public_bytes_raw()


class Desk:
    """Answers requests from the book of enrolments, and says in the log what came of each."""

    def __init__(self, book: EnrolmentBook, authority: Authority, keys_dir: Path, clock: Clock) -> None:
        self._book = book
        self._authority = authority
        self._for_gates = json.loads((keys_dir / FOR_GATES).read_bytes())
        self._clock = clock

    def answer(self, body: bytes, address: str) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the answer."""
        try:
            asked = read_request(body, address)
            came = self._book.ask(asked, self._authority, self._clock.now_ms())
        except _RequestError as error:
            _LOG.warning("enrolment: %s: %s", address, error)
            return HTTPStatus.OK, {"refused": Refusal.BAD_REQUEST, "words": str(error)}
        except StoreError as error:
            _LOG.error("enrolment: %s: %s", address, error)
            return HTTPStatus.SERVICE_UNAVAILABLE, {"words": "the centre cannot use its store; ask later"}
        who = f"{asked.site}/{asked.gate} key {key_id(asked.public_key).hex()} at {address}"
        if isinstance(came, Refused):
            _LOG.warning("enrolment refused: %a: %s (%s)", who, came.why, came.words)
            return HTTPStatus.OK, {"refused": came.why, "words": came.words}
        _LOG.info("enrolment: %s: %s", who, "registered" if came.is_new else "certificate")
        return HTTPStatus.OK, self._granted(came)

    def _granted(self, came: Granted) -> dict[str, Any]:
        return {
            "certificate": came.certificate.public_bytes(Encoding.PEM).decode(),
            "ca": self._authority.certificate.public_bytes(Encoding.PEM).decode(),
            "centre": self._for_gates,
        }


class Rates:
    """How often each address has asked within a minute; the addresses longest unheard of are forgotten."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._heard: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def allowed(self, address: str) -> bool:
        """Count one more request, and tell whether it is to be answered."""
        now = self._monotonic()
        with self._lock:
            since, count = self._heard.pop(address, (now, 0))
            if now - since >= _MINUTE_S:
                since, count = now, 0
            self._heard[address] = since, count + 1
            if len(self._heard) > _ADDRESSES_MAX:
                self._heard.popitem(last=False)
        return count < PER_MINUTE_MAX


class Slots:
    """Who is being served: at most so many in all, and of one address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, address: str) -> bool:
        """Take a place for an address; False when there is none."""
        with self._lock:
            if self._taken.total() >= AT_ONCE_MAX or self._taken[address] >= OF_ONE_ADDRESS_MAX:
                return False
            self._taken[address] += 1
            return True

    def give_back(self, address: str) -> None:
        """Give one place of an address back."""
        with self._lock:
            self._taken[address] -= 1
            self._taken += Counter()  # forgets whoever has none


class _BoundedSocket(ssl.SSLSocket):
    """A TLS socket whose reads and writes all end by one instant, however the bytes trickle in."""

    ends_at: float

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive as the parent does, for no longer than is left."""
        self.settimeout(_left_s(self.ends_at))
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Send as the parent does, for no longer than is left."""
        self.settimeout(_left_s(self.ends_at))
        return super().send(*args, **kwargs)


def _left_s(ends_at: float) -> float:
    left_s = ends_at - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, place: tuple[str, int], context: ssl.SSLContext, desk: Desk, rates: Rates) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        self.desk = desk
        self.rates = rates
        self._context = context
        self._slots = Slots()
        super().__init__(place, _Handler)

    def server_bind(self) -> None:
        """Bind without looking up this machine's name, which may take long."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread; who comes when all places are taken is hung up on, and comes again."""
        if not self._slots.take(client_address[0]):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.give_back(client_address[0])
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.give_back(client_address[0])

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands, then read and answer."""
        ends_at = time.monotonic() + REQUEST_S
        request.settimeout(REQUEST_S)
        with self._context.wrap_socket(request, server_side=True, do_handshake_on_connect=False) as secure:
            assert isinstance(secure, _BoundedSocket)
            secure.ends_at = ends_at
            secure.do_handshake()
            super().finish_request(secure, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the parent
        """Pass over what strangers and networks bring about; log an error of the program in full."""
        if not isinstance(sys.exception(), OSError):
            _LOG.exception("enrolment: %s: an error in the program", client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "central"
    sys_version = ""

    def do_POST(self) -> None:
        """Answer a device."""
        address = str(self.client_address[0])
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,5}", length) or int(length) > BODY_BYTES_MAX:
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"words": f"at most {BODY_BYTES_MAX} bytes"})
            return
        body = self.rfile.read(int(length))  # in any case: bytes left unread would break off the answer
        if self.path != PATH:
            self._say(HTTPStatus.NOT_FOUND, {"words": f"devices ask at {PATH}"})
        elif self.server.rates.allowed(address):
            self._say(*self.server.desk.answer(body, address))
        else:
            self._say(HTTPStatus.TOO_MANY_REQUESTS, {"words": "too many requests; ask again in a minute"})

    def _say(self, status: int, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Leave the log to the desk: a stranger's request line may hold anything."""


class EnrolmentService:
    """Serves from a thread of its own until closed. Raises OSError and KeysError where it cannot begin."""

    def __init__(
        self,
        settings: EnrolmentSettings,
        keys_dir: Path,
        authority: Authority,
        book: EnrolmentBook,
        clock: Clock,
    ) -> None:
        assert settings.port is not None
        certify(keys_dir, authority, ENROLMENT, settings.names, clock.now_ms())
        self._certificate = keys_dir / FOLDER / f"{ENROLMENT}.pem"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.sslsocket_class = _BoundedSocket
        self.reload()
        desk = Desk(book, authority, keys_dir, clock)
        place = (settings.address, settings.port)
        self._server = _Server(place, self._context, desk, Rates(clock.monotonic))
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="enrolment-https", daemon=True
        )
        self._thread.start()

    def reload(self) -> None:
        """Show a renewed certificate from the next connection on."""
        self._context.load_cert_chain(self._certificate, self._certificate.with_suffix(".key"))

    def close(self) -> None:
        """Serve no more."""
        with contextlib.suppress(OSError):
            self._server.shutdown()
            self._server.server_close()
        self._thread.join(5)
