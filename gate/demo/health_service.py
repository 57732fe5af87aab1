"""A stand-in for a province's verify service: a real HTTPS server on this machine that speaks as vendors do.

It answers with numbers instead of words, tells name and ID number of (invented) persons, and refuses what is
not signed. It can be told to misbehave. It knows nothing of real people and belongs in no real installation.
"""

import datetime
import hashlib
import hmac
import ipaddress
import json
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

from gate.core.codes.model import Status, Travel
from gate.core.codes.service import Outcome
from gate.services.settings import (
    REQUEST_ID,
    TOKEN,
    UNIX_MS,
    AnswerForm,
    LabTestForm,
    RequestForm,
    ServiceSettings,
)

HOST: Final = "127.0.0.1"

QUESTION: Final = RequestForm(
    fields={
        "appKey": "demo-gate",
        "bizData.qrCode": TOKEN,
        "deviceId": "north-1",
        "requestId": REQUEST_ID,
        "timestamp": UNIX_MS,
        "version": "1.0",
    },
    signed=("appKey", "bizData.qrCode", "deviceId", "requestId", "timestamp", "version"),
)

ANSWER: Final = AnswerForm(
    outcome="code",
    outcome_words={
        "200": Outcome.ANSWERED,
        "4": Outcome.EXPIRED,
        "5": Outcome.NOT_FOUND,
        "6": Outcome.ERROR,
        "7": Outcome.TIMEOUT,
    },
    status="data.level",
    status_words={"00": Status.GREEN, "01": Status.YELLOW, "10": Status.RED},
    travel="data.trip",
    travel_words={"0": Travel.UNKNOWN, "1": Travel.CLEAR, "2": Travel.RISK_AREA},
    subject="data.idcardNo",
    registered=("name", "id_number", "phone"),
    test=LabTestForm("data.nat.time", "data.nat.result", {"0": "negative", "1": "positive"}),
)


class Mood(StrEnum):
    """How the stand-in treats a question."""

    WELL = "well"
    SLOW = "slow"
    DRIPPING = "dripping"
    FAILING = "failing"
    GARBAGE = "garbage"
    OVERSIZED = "oversized"
    DEEP = "deep"
    REDIRECTING = "redirecting"
    CUT_SHORT = "cut_short"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class VendorRecord:
    """What the stand-in knows of one token, in a vendor's numbers; the person is invented."""

    level: str | int = "00"
    trip: int = 1
    name: str = "测试人"
    idcard_no: str = "000000190001010000"
    nat_time: str | None = None
    nat_result: int | None = None
    code: int = 200

    def answer(self) -> dict[str, Any]:
        """Write the record as the service answers it."""
        data = {"level": self.level, "trip": self.trip, "name": self.name, "idcardNo": self.idcard_no}
        nat = {"time": self.nat_time, "result": self.nat_result}
        return {"code": self.code, "message": "ok", "data": {**data, "nat": nat}}


class StandInHealthService:
    """The service on a free port of this machine, for as long as the `with` block lasts.

    `folder` takes its certificate and the secret. `mood` may be changed at any time; `asked` counts the
    questions that came in, whatever became of them; while it is away none does.
    """

    def __init__(self, folder: Path, secret: str, records: Mapping[str, VendorRecord]) -> None:
        self.mood = Mood.WELL
        self.asked = 0
        self.records = dict(records)
        self.ca_file, key_file = write_certificate(folder)
        self.secret_file = folder / "health-service-secret"
        self.secret_file.write_text(f"{secret}\n", "utf-8")
        self.secret_file.chmod(0o600)
        self._secret = secret.encode("utf-8")
        self._closing = threading.Event()
        self._server = _Server((HOST, 0), _Handler)
        self._server.stand_in = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file, key_file)
        # The handshake is left to the thread of its connection, where a bad one hurts nobody else.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="stand-in-service", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def settings(self, region: str) -> ServiceSettings:
        """Return the settings with which a gate asks this service."""
        url = f"https://{HOST}:{self.port}/verify"
        return ServiceSettings(region, url, self.secret_file, QUESTION, ANSWER, ca_file=self.ca_file)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def pause(self, seconds: float) -> bool:
        """Wait, but not beyond the end of the service; return whether it still goes on."""
        return not self._closing.wait(seconds)

    def reply(self, body: bytes) -> tuple[HTTPStatus, bytes]:
        """Answer one question as a vendor would; total."""
        try:
            asked = json.loads(body)
            claimed, token = asked["sign"], asked["bizData"]["qrCode"]
            names = ("appKey", "deviceId", "requestId", "timestamp", "version")
            values = {**{name: asked[name] for name in names}, "bizData.qrCode": token}
            good = hmac.compare_digest(str(claimed), self._sign(values))
        except (ValueError, LookupError, TypeError):
            return HTTPStatus.BAD_REQUEST, b'{"code": 400}'
        if not good:
            return HTTPStatus.FORBIDDEN, b'{"code": 403, "message": "sign"}'
        record = self.records.get(token, VendorRecord(code=5))
        return HTTPStatus.OK, json.dumps(record.answer(), ensure_ascii=False).encode("utf-8")

    def _sign(self, values: Mapping[str, object]) -> str:
        # Written out on its own: a stand-in that used the gate's function would agree with its mistakes.
        text = "&".join(f"{name}={values[name]}" for name in sorted(values))
        return hmac.new(self._secret, text.encode("utf-8"), hashlib.sha256).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    stand_in: StandInHealthService

    def verify_request(self, *_: object) -> bool:
        """Hang up on everybody while the service is away."""
        return self.stand_in.mood is not Mood.AWAY

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a gate that hangs up on a service in a bad mood is what the mood is for."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10

    def do_POST(self) -> None:
        """Answer as the mood says."""
        stand_in = self.server.stand_in
        stand_in.asked += 1
        status, body = stand_in.reply(self.rfile.read(int(self.headers["Content-Length"])))
        match stand_in.mood:
            case Mood.WELL:
                self._send(status, body)
            case Mood.SLOW:
                stand_in.pause(30)
            case Mood.DRIPPING:
                self._drip(body)
            case Mood.FAILING:
                self._send(HTTPStatus.INTERNAL_SERVER_ERROR, body)
            case Mood.GARBAGE:
                self._send(HTTPStatus.OK, b"<html>" + bytes(range(256)))
            case Mood.OVERSIZED:
                self._send(HTTPStatus.OK, body + b" " * 1_000_000)
            case Mood.DEEP:
                self._send(HTTPStatus.OK, b'{"code":200,"data":' + b"[" * 30_000 + b"]" * 30_000 + b"}")
            case Mood.REDIRECTING:
                self.send_response(HTTPStatus.TEMPORARY_REDIRECT)
                self.send_header("Location", f"https://{HOST}:{stand_in.port}/elsewhere")
                self._send_body(body)
            case Mood.CUT_SHORT:
                self.send_response(HTTPStatus.OK)
                self._send_body(body, promised=len(body) + 10)

    def _send(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self._send_body(body)

    def _send_body(self, body: bytes, promised: int | None = None) -> None:
        self.send_header("Content-Length", str(promised or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, body: bytes) -> None:
        """Send a byte now and then: each read succeeds, the whole never ends."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for byte in body:
            if not self.server.stand_in.pause(0.05):
                return
            self.wfile.write(bytes([byte]))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
        """Keep quiet: what is asked here is nobody's business."""


def write_certificate(folder: Path, address: str = HOST) -> tuple[Path, Path]:
    """Write a self-signed certificate for one address, good until 2049, and its key; return their paths."""
    from cryptography import x509  # noqa: PLC0415 - only who starts the stand-in pays for the import
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in health service")])
    usage = {"digital_signature": True, "key_cert_sign": True}
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    rest = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2049, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage, **rest), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8, plain = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    paths = folder / "health-service.pem", folder / "health-service.key"
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, pkcs8, plain))
    paths[1].chmod(0o600)
    return paths
