"""The HTTPS service: what devices are told, and what strangers can do to it."""

import contextlib
import json
import logging
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from central.enrolment import service as enrolment_service
from central.enrolment.authority import Authority
from central.enrolment.book import Asked, EnrolmentBook
from central.enrolment.own_certificates import FOLDER
from central.enrolment.service import (
    AT_ONCE_MAX,
    PER_MINUTE_MAX,
    EnrolmentService,
    Rates,
    Slots,
    read_request,
)
from central.enrolment.settings import EnrolmentSettings
from central.keys import make_keys
from central.store import Store, StoreError
from tests.brokers import HOST, free_port, wait_for
from tests.central.enrolment.enrolling import NOW_MS, Device, a_token, an_authority, request_for


class FixedClock:
    """The wall clock of the tests, and a monotonic one that they turn."""

    def __init__(self) -> None:
        self.mono = 0.0
        self.wall_ms = NOW_MS

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.mono

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def authority(folder: Path) -> Authority:
    # TLS compares with the real clock.
    return an_authority(folder, round(time.time() * 1000))  # noqa: TID251


@pytest.fixture
def clock() -> FixedClock:
    clock = FixedClock()
    clock.wall_ms = round(time.time() * 1000)  # noqa: TID251 - as above
    return clock


@pytest.fixture
def book(store: Store) -> EnrolmentBook:
    return EnrolmentBook(store.engine)


class Caller:
    """Calls one service as devices do."""

    def __init__(self, service: EnrolmentService, folder: Path, clock: FixedClock) -> None:
        self.port, self.clock = service.port, clock
        self._context = ssl.create_default_context(cafile=folder / "ca.pem")

    def post(self, body: bytes, path: str = "/enrol") -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(f"https://{HOST}:{self.port}{path}", body)
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._context) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def ask(self, device: Device, token: str = "", **changes: Any) -> dict[str, Any]:
        status, answer = self.post(device.body(token, **{"at_ms": self.clock.wall_ms} | changes))
        assert status == 200
        return answer

    def secure(self) -> ssl.SSLSocket:
        plain = socket.create_connection((HOST, self.port), 5)
        return self._context.wrap_socket(plain, server_hostname=HOST)


@pytest.fixture
def caller(
    folder: Path, authority: Authority, book: EnrolmentBook, clock: FixedClock, monkeypatch: Any
) -> Iterator[Caller]:
    monkeypatch.setattr(enrolment_service, "REQUEST_S", 1.0)
    settings = EnrolmentSettings(free_port(), HOST, (HOST, "localhost"))
    with contextlib.closing(EnrolmentService(settings, folder, authority, book, clock)) as service:
        yield Caller(service, folder, clock)


def test_a_device_gets_all_that_it_needs(
    caller: Caller, book: EnrolmentBook, authority: Authority, folder: Path, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    device, token = Device(), a_token(book, now_ms=caller.clock.wall_ms)
    answer = caller.ask(device, token)
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
    assert certificate.public_key() == device.key.public_key()
    assert authority.signed(certificate)
    assert answer["ca"].encode() == (folder / "ca.pem").read_bytes()
    assert answer["centre"] == json.loads((folder / "centre.json").read_bytes())
    assert caller.ask(device, token)["certificate"] == answer["certificate"]
    assert caller.ask(Device(), token)["refused"] == "waiting"
    assert "registered" in caplog.text
    assert "waiting" in caplog.text
    assert token not in caplog.text


def test_what_is_no_request_is_refused_in_words(caller: Caller) -> None:
    device = Device()
    ec = generate_private_key(SECP256R1())
    for said, words in (
        ({"csr": request_for("north/g-1", ec)}, "not signed with the Ed25519 key"),
        ({"csr": "junk"}, "cannot be read"),
        ({"csr": request_for("north", device.key)}, "no name"),
        ({"csr": request_for("a/b/c", device.key)}, "no name"),
        ({"token": 5}, "are texts"),
        ({"token": "\ud800"}, "ASCII"),
        ({"at_ms": "now"}, "a number"),
        ({"at_ms": 0}, "clock"),
    ):
        answer = caller.ask(device, **said)
        assert words in answer["words"], said
    altered = request_for("north/g-1", device.key).splitlines()
    altered[2] = altered[2][:10] + ("A" if altered[2][10] != "A" else "B") + altered[2][11:]
    assert "refused" in caller.ask(device, csr="\n".join(altered))
    assert caller.post(b"[]")[1]["refused"] == "bad_request"


def test_a_name_that_is_no_text_is_refused_in_words(caller: Caller, caplog: Any) -> None:
    """It is signed as it should be; only who looks at the name finds out."""
    device = Device()
    request = x509.load_pem_x509_csr(request_for("north/g-1", device.key).encode())
    info = request.tbs_certrequest_bytes
    odd = info.replace(b"north/g-1", b"north/\xff\xfe1")
    assert odd != info
    der = (
        request.public_bytes(Encoding.DER).replace(info, odd).replace(request.signature, device.key.sign(odd))
    )
    csr = x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()
    assert caller.ask(device, csr=csr)["refused"] == "bad_request"
    assert not [line for line in caplog.records if line.exc_info]


def test_what_is_too_large_or_elsewhere_is_not_read(caller: Caller) -> None:
    assert caller.post(b"{}", "/")[0] == 404
    with caller.secure() as sock:
        sock.sendall(b"POST /enrol HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in sock.recv(1000)
    with caller.secure() as sock:
        sock.sendall(b"GET /enrol HTTP/1.1\r\n\r\n")
        assert b" 501 " in sock.recv(1000)


def ended(sock: socket.socket, within_s: float) -> bool:
    sock.settimeout(within_s)
    try:
        return sock.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True
    except TimeoutError:
        return False


def test_who_is_slow_is_cut_off_at_every_stage(caller: Caller) -> None:
    with socket.create_connection((HOST, caller.port), 5) as silent:
        assert ended(silent, 4), "no TLS comes"
    with caller.secure() as sock:
        assert ended(sock, 4), "no request comes"
    with caller.secure() as sock:
        sock.sendall(b"POST /enrol HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 8:  # a byte now and then
                sock.sendall(b"x")
                sock.settimeout(0.2)
                try:
                    if sock.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
        assert time.monotonic() - began < 4
    assert caller.post(b"[]")[0] == 200


def test_many_who_say_nothing_keep_nobody_out_for_long(caller: Caller) -> None:
    idle = [socket.create_connection((HOST, caller.port), 5) for _ in range(60)]
    try:

        def answered() -> bool:
            with contextlib.suppress(OSError):
                return caller.post(b"[]")[0] == 200
            return False

        wait_for(answered, 15, "an answer")
        assert threading.active_count() < 40
    finally:
        for sock in idle:
            sock.close()


def test_one_address_that_says_nothing_keeps_the_others_in(caller: Caller, monkeypatch: Any) -> None:
    monkeypatch.setattr(enrolment_service, "REQUEST_S", 60.0)
    with contextlib.ExitStack() as idle:
        for _ in range(AT_ONCE_MAX):
            there = socket.create_connection((HOST, caller.port), 5, source_address=("127.0.0.2", 0))
            idle.enter_context(there)
        assert ended(there, 5), "there are too many of them"
        assert caller.post(b"[]")[0] == 200


def test_places_are_counted_by_address_and_given_back() -> None:
    slots = Slots()
    assert [slots.take("a") for _ in range(5)] == [True] * 4 + [False]
    assert [slots.take(f"b{n}") for n in range(13)] == [True] * 12 + [False]
    slots.give_back("a")
    assert slots.take("c")
    assert not slots.take("a"), "all places are taken"
    for address in ("a", "a", "a", "c", *(f"b{n}" for n in range(12))):
        slots.give_back(address)
    assert slots._taken == {}


def test_one_address_is_answered_so_often_in_a_minute(caller: Caller) -> None:
    assert [caller.post(b"[]")[0] for _ in range(PER_MINUTE_MAX + 2)] == [200] * PER_MINUTE_MAX + [429, 429]
    caller.clock.mono = 61
    assert caller.post(b"[]")[0] == 200


def test_addresses_are_counted_apart_and_forgotten() -> None:
    rates = Rates(lambda: 0.0)
    assert all(rates.allowed("a") for _ in range(PER_MINUTE_MAX))
    assert not rates.allowed("a")
    for number in range(20_000):
        assert rates.allowed(f"b{number}")
    assert len(rates._heard) <= 10_000


def test_a_store_that_cannot_be_used_is_said(caller: Caller, monkeypatch: Any) -> None:
    def away(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(EnrolmentBook, "ask", away)
    status, answer = caller.post(Device().body(at_ms=caller.clock.wall_ms))
    assert (status, "ask later" in answer["words"]) == (503, True)


def test_old_tls_is_not_spoken(caller: Caller, folder: Path) -> None:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection((HOST, caller.port), 5) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname=HOST)


def test_a_renewed_certificate_is_shown_without_a_restart(
    folder: Path, authority: Authority, book: EnrolmentBook, clock: FixedClock
) -> None:
    settings = EnrolmentSettings(free_port(), HOST, (HOST,))
    with contextlib.closing(EnrolmentService(settings, folder, authority, book, clock)) as service:
        caller = Caller(service, folder, clock)
        (folder / FOLDER / "enrolment.pem").unlink()
        with caller.secure() as sock:
            before = sock.getpeercert(binary_form=True)
        from central.enrolment.own_certificates import certify

        assert certify(folder, authority, "enrolment", (HOST,), clock.now_ms())
        service.reload()
        with caller.secure() as sock:
            assert sock.getpeercert(binary_form=True) != before


@given(
    st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(["v", "csr", "token", "device", "at_ms"]),
        st.none() | st.text() | st.integers() | st.lists(st.integers(), max_size=2),
    ).map(lambda said: json.dumps(said).encode())
)
def test_nothing_else_comes_out_of_strangers_bytes(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(read_request(body, "192.0.2.1"), Asked)
