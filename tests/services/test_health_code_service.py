"""The adapter against the stand-in over real TLS: what comes back, what is refused, what never gets out."""

import contextlib
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gate.core.codes.model import LabTest, Status, Travel
from gate.core.codes.service import Outcome, ServiceAnswer
from gate.demo.health_service import HOST, Mood, StandInHealthService, VendorRecord, write_certificate
from gate.services.health_code import HealthCodeService, ServiceSetupError
from gate.services.settings import ServiceSettings
from tests.brokers import free_port

REGION = "CN-32"
SECRET = "a-secret-of-the-test"
SITE_KEY = b"a-site-key-of-the-test"
TOKEN = b"https://jsstm.jszwfw.gov.cn/jkmIndex.html?token=visitor&uuid=1"
NOW_MS = 1_650_000_000_000
QUICK_S = 0.4

RECORDS = {
    TOKEN.decode(): VendorRecord(nat_time="2022-04-14 08:00:00", nat_result=0),
    "yellow": VendorRecord(level="01", trip=2),
    "red": VendorRecord(level="10", trip=0),
    "odd": VendorRecord(level="11", trip=9),
    "expired": VendorRecord(code=4),
    "busy": VendorRecord(code=7),
    "failed": VendorRecord(code=6),
}


class Ticks:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandInHealthService]:
    with StandInHealthService(tmp_path, SECRET, RECORDS) as running:
        yield running


def a_service(
    settings: ServiceSettings, *, site_key: bytes = SITE_KEY, ticks: Ticks | None = None
) -> HealthCodeService:
    return HealthCodeService(
        [settings], site_key=site_key, now_ms=lambda: NOW_MS, monotonic=ticks or time.monotonic
    )


def quick(settings: ServiceSettings, **changes: Any) -> ServiceSettings:
    return replace(settings, **{"timeout_s": QUICK_S, "connect_timeout_s": QUICK_S / 2, **changes})


def ask(stand_in: StandInHealthService, token: bytes = TOKEN) -> ServiceAnswer:
    return a_service(stand_in.settings(REGION)).ask(token, REGION)


def test_numbers_become_words_and_a_person_becomes_a_pseudonym(stand_in: StandInHealthService) -> None:
    answer = ask(stand_in)
    assert answer.subject_ref is not None
    assert answer == ServiceAnswer(
        Outcome.ANSWERED,
        Status.GREEN,
        Travel.CLEAR,
        answer.subject_ref,
        LabTest(1_649_894_400, negative=True),  # 2022-04-14T08:00:00+08:00
        registered=frozenset({"name", "id_number", "phone"}),
    )
    assert re.fullmatch("[0-9a-f]{16}", answer.subject_ref), "as in documents and passes"
    assert answer == ask(stand_in), "the same person has the same pseudonym"


def test_pseudonyms_differ_between_sites_and_regions(stand_in: StandInHealthService) -> None:
    here, there = stand_in.settings(REGION), stand_in.settings("CN-33")
    answers = [
        a_service(here).ask(TOKEN, REGION),
        a_service(here, site_key=b"the key of another site").ask(TOKEN, REGION),
        a_service(there).ask(TOKEN, "CN-33"),
    ]
    assert len({answer.subject_ref for answer in answers}) == 3
    assert None not in {answer.subject_ref for answer in answers}


@pytest.mark.parametrize(
    ("token", "outcome", "status", "travel"),
    [
        ("yellow", Outcome.ANSWERED, Status.YELLOW, Travel.RISK_AREA),
        ("red", Outcome.ANSWERED, Status.RED, Travel.UNKNOWN),
        ("nobody's", Outcome.NOT_FOUND, Status.UNKNOWN, Travel.UNKNOWN),
        ("expired", Outcome.EXPIRED, Status.UNKNOWN, Travel.UNKNOWN),
        ("busy", Outcome.TIMEOUT, Status.UNKNOWN, Travel.UNKNOWN),
        ("failed", Outcome.ERROR, Status.UNKNOWN, Travel.UNKNOWN),
    ],
)
def test_every_vendors_value_has_its_word(
    stand_in: StandInHealthService, token: str, outcome: Outcome, status: Status, travel: Travel
) -> None:
    answer = ask(stand_in, token.encode())
    assert (answer.outcome, answer.status, answer.travel) == (outcome, status, travel)
    assert answer.problems == ()


def test_a_value_without_a_word_is_unknown_and_reported(stand_in: StandInHealthService) -> None:
    answer = ask(stand_in, b"odd")
    assert (answer.outcome, answer.status, answer.travel) == (
        Outcome.ANSWERED,
        Status.UNKNOWN,
        Travel.UNKNOWN,
    )
    assert answer.problems == ("data.level: '11' has no word", "data.trip: '9' has no word")


def test_a_question_with_a_wrong_signature_is_refused_by_the_service(stand_in: StandInHealthService) -> None:
    stand_in.secret_file.write_text("another secret")
    answer = ask(stand_in)
    assert answer == ServiceAnswer(Outcome.ERROR, problems=(f"{REGION}: {HOST} answers with status 403",))


MOODS = {
    Mood.FAILING: (Outcome.ERROR, "status 500"),
    Mood.GARBAGE: (Outcome.ERROR, "not the JSON object"),
    Mood.OVERSIZED: (Outcome.ERROR, "more than 65536 bytes"),
    Mood.DEEP: (Outcome.ERROR, "not the JSON object"),
    Mood.REDIRECTING: (Outcome.ERROR, "points elsewhere"),
    Mood.CUT_SHORT: (Outcome.ERROR, "broke off"),
}


@pytest.mark.parametrize("mood", MOODS)
def test_a_service_in_a_bad_mood_is_asked_once_and_states_nothing(
    stand_in: StandInHealthService, mood: Mood
) -> None:
    stand_in.mood = mood
    answer = ask(stand_in)
    outcome, problem = MOODS[mood]
    assert answer == ServiceAnswer(outcome, problems=answer.problems)
    assert len(answer.problems) == 1
    assert problem in answer.problems[0]
    assert stand_in.asked == 1


@pytest.mark.parametrize("mood", [Mood.SLOW, Mood.DRIPPING])
def test_one_span_of_time_covers_the_whole_answer(stand_in: StandInHealthService, mood: Mood) -> None:
    stand_in.mood = mood
    service = a_service(quick(stand_in.settings(REGION)))
    begun = time.monotonic()
    answer = service.ask(TOKEN, REGION)
    assert QUICK_S <= time.monotonic() - begun < QUICK_S + 3
    assert (answer.outcome, stand_in.asked) == (Outcome.TIMEOUT, 1)


@contextlib.contextmanager
def a_server(handle: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Run a TCP server whose connections are all treated in one rude way."""
    closing = threading.Event()
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(0.05)

        def serve() -> None:
            while not closing.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(5)
                        handle(connection, closing)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            closing.set()
            thread.join()


def at_port(settings: ServiceSettings, port: int) -> ServiceSettings:
    return quick(settings, url=f"https://{HOST}:{port}/verify")


def test_a_server_that_never_shakes_hands_is_left_in_time(stand_in: StandInHealthService) -> None:
    with a_server(lambda _, closing: closing.wait() and None) as port:
        answer = a_service(at_port(stand_in.settings(REGION), port)).ask(TOKEN, REGION)
    assert answer.outcome is Outcome.TIMEOUT


def test_headers_without_end_are_left_in_time(stand_in: StandInHealthService) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(stand_in.ca_file, stand_in.ca_file.with_suffix(".key"))

    def handle(connection: socket.socket, closing: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(b"HTTP/1.1 100 Continue\r\n")
            while not closing.wait(0.02):
                secure.sendall(b"\r\nHTTP/1.1 100 Continue\r\n")

    with a_server(handle) as port:
        begun = time.monotonic()
        answer = a_service(at_port(stand_in.settings(REGION), port)).ask(TOKEN, REGION)
        assert time.monotonic() - begun < QUICK_S + 3
    assert answer.outcome in {Outcome.TIMEOUT, Outcome.ERROR}


def test_what_speaks_no_tls_or_no_http_is_an_answer_too(stand_in: StandInHealthService) -> None:
    with a_server(lambda connection, _: connection.sendall(b"SSH-2.0-x\r\n" * 100)) as port:
        answer = a_service(at_port(stand_in.settings(REGION), port)).ask(TOKEN, REGION)
    assert answer.outcome is Outcome.UNREACHABLE
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(stand_in.ca_file, stand_in.ca_file.with_suffix(".key"))

    def handle(connection: socket.socket, _: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            received = b""
            while not received.endswith(b"}"):  # the whole question, or closing would reset the connection
                received += secure.recv(65536)
            secure.sendall(b"SSH-2.0-x\r\n" * 3)

    with a_server(handle) as port:
        answer = a_service(at_port(stand_in.settings(REGION), port)).ask(TOKEN, REGION)
    assert answer.outcome is Outcome.ERROR
    assert answer.problems == (f"{REGION}: {HOST}:{port} does not speak HTTP: BadStatusLine",)


def test_a_certificate_of_an_unknown_authority_is_refused(
    stand_in: StandInHealthService, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other, _ = write_certificate(tmp_path / "other")
    answer = a_service(replace(stand_in.settings(REGION), ca_file=other)).ask(TOKEN, REGION)
    assert answer.outcome is Outcome.UNREACHABLE
    assert "certificate" in answer.problems[0]
    answer = a_service(replace(stand_in.settings(REGION), ca_file=None)).ask(TOKEN, REGION)
    assert answer.outcome is Outcome.UNREACHABLE
    assert stand_in.asked == 0


def test_a_certificate_for_another_host_is_refused(stand_in: StandInHealthService) -> None:
    url = f"https://localhost:{stand_in.port}/verify"
    answer = a_service(replace(stand_in.settings(REGION), url=url)).ask(TOKEN, REGION)
    assert answer.outcome is Outcome.UNREACHABLE
    assert "certificate" in answer.problems[0]
    assert stand_in.asked == 0


def test_the_stand_ins_certificate_satisfies_strict_checks(stand_in: StandInHealthService) -> None:
    context = ssl.create_default_context(cafile=stand_in.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python 3.13 sets by itself
    with socket.create_connection((HOST, stand_in.port), 5) as plain:
        context.wrap_socket(plain, server_hostname=HOST).close()


def test_where_nobody_listens_is_unreachable(stand_in: StandInHealthService) -> None:
    answer = a_service(at_port(stand_in.settings(REGION), free_port())).ask(TOKEN, REGION)
    assert answer.outcome is Outcome.UNREACHABLE
    assert "Connection refused" in answer.problems[0]


class LookUps:
    """Stands for the name server: fails so many times, then finds what there is."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0
        self._real = socket.getaddrinfo

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls <= self.failures:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._real(*args, **kwargs)


@pytest.mark.parametrize(
    ("failures", "outcome", "asked"), [(1, Outcome.ANSWERED, 1), (2, Outcome.UNREACHABLE, 0)]
)
def test_connecting_is_tried_twice(
    stand_in: StandInHealthService,
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
    outcome: Outcome,
    asked: int,
) -> None:
    look_ups = LookUps(failures)
    monkeypatch.setattr(socket, "getaddrinfo", look_ups)
    assert ask(stand_in).outcome is outcome
    assert (look_ups.calls, stand_in.asked) == (2, asked)


def test_a_name_server_that_hangs_is_left_in_time(
    stand_in: StandInHealthService, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(5) and [])
    begun = time.monotonic()
    answer = a_service(quick(stand_in.settings(REGION))).ask(TOKEN, REGION)
    release.set()
    assert time.monotonic() - begun < QUICK_S + 3
    assert answer.outcome is Outcome.TIMEOUT


def test_settings_of_the_environment_are_ignored(
    stand_in: StandInHealthService, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://{HOST}:{free_port()}"
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, nowhere)
    assert ask(stand_in).outcome is Outcome.ANSWERED


def test_a_service_that_keeps_failing_is_left_alone_and_tried_again(stand_in: StandInHealthService) -> None:
    ticks = Ticks()
    settings = replace(stand_in.settings(REGION), failures_max=2, pause_s=30)
    service = a_service(settings, ticks=ticks)

    def asked_with(mood: Mood) -> tuple[Outcome, int]:
        stand_in.mood, before = mood, stand_in.asked
        return service.ask(TOKEN, REGION).outcome, stand_in.asked - before

    assert asked_with(Mood.FAILING) == (Outcome.ERROR, 1)
    assert asked_with(Mood.WELL) == (Outcome.ANSWERED, 1), "only failures in a row count"
    assert asked_with(Mood.FAILING) == (Outcome.ERROR, 1)
    assert asked_with(Mood.GARBAGE) == (Outcome.ERROR, 1)
    assert asked_with(Mood.WELL) == (Outcome.UNREACHABLE, 0), "open"
    ticks.now_s += 29.9
    assert asked_with(Mood.WELL) == (Outcome.UNREACHABLE, 0)
    ticks.now_s += 0.1
    assert asked_with(Mood.FAILING) == (Outcome.ERROR, 1), "half open, and the trial fails"
    assert asked_with(Mood.WELL) == (Outcome.UNREACHABLE, 0), "open again after one failure"
    ticks.now_s += 30
    assert asked_with(Mood.WELL) == (Outcome.ANSWERED, 1), "half open, and the trial succeeds"
    assert asked_with(Mood.FAILING) == (Outcome.ERROR, 1)
    assert asked_with(Mood.WELL) == (Outcome.ANSWERED, 1), "closed: one failure is allowed again"


def test_strangers_cannot_switch_a_service_off(stand_in: StandInHealthService) -> None:
    service = a_service(replace(stand_in.settings(REGION), failures_max=1))
    for token in (b"failed", b"busy", b"nobody's", b"odd", b"\xff\xfe"):
        service.ask(token, REGION)
    assert service.ask(TOKEN, REGION).outcome is Outcome.ANSWERED


def test_a_question_at_fault_says_nothing_of_the_service(stand_in: StandInHealthService) -> None:
    stand_in.secret_file.write_text("another secret")
    service = a_service(replace(stand_in.settings(REGION), failures_max=1))
    assert [service.ask(TOKEN, REGION).outcome for _ in range(2)] == [Outcome.ERROR] * 2
    assert stand_in.asked == 2


def test_each_region_has_its_own_service(stand_in: StandInHealthService) -> None:
    broken = at_port(stand_in.settings("CN-33"), free_port())
    both = HealthCodeService(
        [replace(broken, failures_max=1), stand_in.settings(REGION)],
        site_key=SITE_KEY,
        now_ms=lambda: NOW_MS,
    )
    assert both.regions == {"CN-33", REGION}
    assert [both.ask(TOKEN, "CN-33").outcome for _ in range(2)] == [Outcome.UNREACHABLE] * 2
    assert both.ask(TOKEN, REGION).outcome is Outcome.ANSWERED
    assert both.ask(TOKEN, "CN-11").outcome is Outcome.UNREACHABLE


def test_files_that_cannot_be_used_are_all_named(stand_in: StandInHealthService, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text(" \n")
    settings = stand_in.settings(REGION)
    with pytest.raises(ServiceSetupError) as caught:
        HealthCodeService(
            [
                replace(settings, secret_file=tmp_path / "none", ca_file=tmp_path / "no-ca"),
                replace(settings, secret_file=empty, ca_file=empty),
            ],
            site_key=SITE_KEY,
            now_ms=lambda: NOW_MS,
        )
    words = ("secret_file", "ca_file", "secret_file", "ca_file")
    assert len(caught.value.problems) == len(words)
    assert all(word in problem for word, problem in zip(words, caught.value.problems, strict=True))


def test_a_short_site_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        HealthCodeService([], site_key=b"short", now_ms=lambda: NOW_MS)


@pytest.mark.parametrize("mood", [*MOODS, Mood.WELL, Mood.DRIPPING])
def test_nothing_secret_gets_out(
    stand_in: StandInHealthService,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    mood: Mood,
) -> None:
    caplog.set_level(logging.DEBUG)
    stand_in.mood = mood
    service = a_service(quick(stand_in.settings(REGION)))
    answer = service.ask(TOKEN, REGION)
    printed = capfd.readouterr()
    everything = f"{answer!r} {caplog.text} {printed.out} {printed.err} {service!r} {vars(service)!r}"
    record = RECORDS[TOKEN.decode()]
    for secret in (SECRET, SITE_KEY.decode(), TOKEN.decode(), "visitor", record.name, record.idcard_no):
        assert secret not in everything
