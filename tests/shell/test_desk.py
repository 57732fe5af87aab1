"""The desk's socket as its clients meet it: what it takes, what it refuses, and that nobody holds it up."""

import json
import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core.codes.model import REGISTRATION_FIELDS, LabTest, Travel
from gate.core.evidence import MaskStatus, Origin, Person, Symptom
from gate.core.inputs import (
    NOBODY,
    AttendantConfirmed,
    AttendantNoted,
    AttendantRefused,
    Device,
    DeviceFailed,
    Input,
    MaskSeen,
)
from gate.core.mode import Mode
from gate.core.session import State
from gate.shell.desk import (
    CLIENT_S,
    CLIENTS_MAX,
    REQUEST_BYTES_MAX,
    SOCKET_NAME,
    DeskServer,
    DeskStatus,
    address,
    status_of,
)
from gate.shell.registration import RegistrationError
from tests.brokers import wait_for
from tests.core.gatebox import Box, act

BOUND_S = 5.0
VISIT = "0a1b2c3d-000001"
BUSY = DeskStatus(Mode.SERVING, VISIT, State.WITH_STAFF, ("registration_missing",), ("name", "phone"))


class Gate:
    """A server with a list for an inbox, and a status that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / SOCKET_NAME
        self.posted: list[Input] = []
        self.status = BUSY
        self.server = DeskServer(self.path, self.posted.append, lambda: self.status)

    def client(self) -> socket.socket:
        with address(self.path) as short:
            channel = socket.socket(socket.AF_UNIX)
            channel.connect(short)  # waits in line; with a time limit it would be sent away from a full one
        channel.settimeout(BOUND_S)
        return channel

    def ask(self, line: bytes | str, *, end: bool = False) -> dict[str, Any]:
        """Send bytes as they are and return the one answer."""
        with self.client() as channel:
            channel.sendall(line.encode() if isinstance(line, str) else line)
            if end:
                channel.shutdown(socket.SHUT_WR)
            return answer_on(channel)

    def say(self, request: object) -> dict[str, Any]:
        return self.ask(json.dumps(request) + "\n")


def heard_on(channel: socket.socket) -> bytes:
    """Return all that comes until the server hangs up."""
    heard = b""
    while True:
        try:
            more = channel.recv(65_536)
        except ConnectionResetError:  # the server has not read all that was sent
            return heard
        if not more:
            return heard
        heard += more


def answer_on(channel: socket.socket) -> dict[str, Any]:
    heard = heard_on(channel)
    assert heard.endswith(b"\n")
    assert heard.count(b"\n") == 1
    answer = json.loads(heard)
    assert (answer.get("ok") is True) != isinstance(answer.get("error"), str)
    return dict(answer)


@contextmanager
def running(folder: Path) -> Iterator[Gate]:
    gate = Gate(folder)
    gate.server.start()
    try:
        yield gate
    finally:
        gate.server.stop(BOUND_S)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with running(tmp_path) as gate:
        yield gate


# What it takes


def meant(happened: Any, visit: str = VISIT) -> Input:
    """Return a word as it reaches the actor: with whom it was said of."""
    word: Input = replace(happened, visit=visit)
    return word


@pytest.mark.parametrize(
    ("request_", "happened"),
    [
        ({"confirm": True}, AttendantConfirmed()),
        ({"refuse": True}, AttendantRefused()),
        ({"mask": "worn"}, MaskSeen(MaskStatus.WORN)),
        ({"mask": "missing"}, MaskSeen(MaskStatus.MISSING)),
        ({"note": {"person": "supply"}}, AttendantNoted(person=Person.SUPPLY)),
        ({"note": {"id_checked": False}}, AttendantNoted(id_checked=False)),
        ({"note": {"symptoms": []}}, AttendantNoted(symptoms=frozenset())),
        (
            {
                "note": {
                    "person": "visitor",
                    "registered": ["name", "id_number"],
                    "id_checked": True,
                    "symptoms": ["cough", "cold"],
                    "travel": "declared",
                    "origin": "key_area",
                    "test": {"taken_at": "2022-04-10T10:00:00+08:00", "result": "positive"},
                }
            },
            AttendantNoted(
                person=Person.VISITOR,
                registered=frozenset({"name", "id_number"}),
                id_checked=True,
                symptoms=frozenset({Symptom.COUGH, Symptom.COLD}),
                travel=Travel.DECLARED,
                origin=Origin.KEY_AREA,
                test=LabTest(1_649_556_000, negative=False),
            ),
        ),
    ],
)
def test_what_was_said_is_posted_once_as_it_was_said(gate: Gate, request_: object, happened: Input) -> None:
    assert gate.say(request_) == {"ok": True, "visit": BUSY.visit}
    assert gate.posted == [meant(happened)]


@pytest.mark.parametrize("happened", [AttendantConfirmed(), AttendantNoted(id_checked=True)])
def test_what_is_said_while_nobody_is_there_is_said_of_nobody(gate: Gate, happened: Input) -> None:
    request = {"confirm": True} if happened == AttendantConfirmed() else {"note": {"id_checked": True}}
    gate.status = DeskStatus()
    assert gate.say(request) == {"ok": True, "visit": None}
    assert gate.say({**request, "visit": NOBODY}) == {"ok": True, "visit": None}
    assert gate.posted == [meant(happened, NOBODY)] * 2


@pytest.mark.parametrize("word", ["confirm", "refuse", "mask", "note"])
def test_a_word_for_another_visitor_than_is_there_now_is_refused(gate: Gate, word: str) -> None:
    request = {word: {"mask": "worn", "note": {"id_checked": True}}.get(word, True)}
    for other in ("0a1b2c3d-000002", NOBODY):
        assert gate.say({**request, "visit": other}) == {
            "error": "that visitor has gone; look again with show"
        }
    gate.status = DeskStatus()
    assert "has gone" in gate.say({**request, "visit": VISIT})["error"]
    assert gate.posted == []
    gate.status = BUSY
    assert gate.say({**request, "visit": VISIT}) == {"ok": True, "visit": VISIT}
    assert len(gate.posted) == 1


def test_the_visit_that_was_there_when_it_was_said_is_the_one_that_is_meant(tmp_path: Path) -> None:
    """Who comes between the word and the moment it is heard is neither vouched for nor turned away."""
    seen = iter([BUSY])
    posted: list[Input] = []
    server = DeskServer(
        tmp_path / SOCKET_NAME, posted.append, lambda: next(seen, replace(BUSY, visit="0a1b2c3d-000002"))
    )
    server.start()
    try:
        with address(tmp_path / SOCKET_NAME) as short, socket.socket(socket.AF_UNIX) as channel:
            channel.connect(short)
            channel.settimeout(BOUND_S)
            channel.sendall(b'{"confirm": true}\n')
            assert answer_on(channel) == {"ok": True, "visit": VISIT}
    finally:
        server.stop(BOUND_S)
    assert posted == [AttendantConfirmed(VISIT)]


def test_show_tells_the_status_of_this_moment_and_posts_nothing(gate: Gate) -> None:
    assert gate.say({"show": True}) == {
        "ok": True,
        "mode": "serving",
        "visit": "0a1b2c3d-000001",
        "state": "with_staff",
        "findings": ["registration_missing"],
        "fields": ["name", "phone"],
        "failed": [],
    }
    gate.status = DeskStatus(Mode.FAULT)
    assert gate.say({"show": True})["mode"] == "fault"
    assert gate.say({"show": True})["visit"] is None
    assert gate.posted == []


def test_a_line_may_come_in_pieces(gate: Gate) -> None:
    with gate.client() as channel:
        for piece in (b'{"mask"', b': "wo', b'rn"}\r', b"\n"):
            channel.sendall(piece)
        assert answer_on(channel)["ok"]
    assert gate.posted == [MaskSeen(MaskStatus.WORN, VISIT)]


# What it refuses

NAME, NUMBER = "Li Lei", "110101199003070011"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"note": {"name": NAME}}, "which fields were taken down, never what they say"),
        ({"note": {"person": "staff", "id_number": NUMBER}}, "never what they say"),
        ({"note": {"registered": [NAME]}}, "registered: must be a list of some of name, id_number"),
        ({"note": {"registered": {"name": NAME}}}, "never what they say"),
        ({"note": {"registered": NAME}}, "registered"),
        ({"note": {"registered": [["name"]]}}, "registered"),
        ({"note": {"person": NAME}}, "person: must be one of visitor, staff, resident, supply"),
        ({"note": {"person": ["staff"]}}, "person"),
        ({"note": {"id_checked": NUMBER}}, "id_checked: must be true or false"),
        ({"note": {"id_checked": 1}}, "id_checked"),
        ({"note": {"symptoms": ["cough", NAME]}}, "symptoms: must be a list"),
        ({"note": {"travel": "unknown"}}, "travel: must be one of clear, risk_area, declared"),
        ({"note": {"origin": "unknown"}}, "origin: must be one of key_area, elsewhere"),
        ({"note": {"test": {"taken_at": NUMBER, "result": "negative"}}}, "an instant such as"),
        ({"note": {"test": {"taken_at": 1, "result": "negative"}}}, "an instant such as"),
        ({"note": {"test": {"taken_at": "2022-04-10T10:00:00", "result": "negative"}}}, "offset"),
        ({"note": {"test": {"taken_at": "2022-04-10T10:00:00Z", "result": NAME}}}, "test.result"),
        ({"note": {"test": {"result": "negative"}}}, "taken_at and result"),
        ({"note": {"test": NAME}}, "taken_at and result"),
        ({"note": {}}, "at least one of person, registered"),
        ({"note": True}, "at least one of"),
        ({"mask": "unknown"}, "mask: must be one of worn, missing"),
        ({"mask": None}, "mask"),
        ({"confirm": NAME}, "confirm: must be true"),
        ({"refuse": 1}, "refuse: must be true"),
        ({"show": False}, "show: must be true"),
        (
            {"show": True, "confirm": True},
            "a request says one of: show, note, register, mask, confirm, refuse",
        ),
        ({NAME: True}, "one of"),
        ({}, "one of"),
        ([], "one of"),
        ({"visit": VISIT}, "one of"),
        ({"confirm": True, "visit": 7}, "visit: must be the name that show gives"),
        ({"confirm": True, "visit": [NAME]}, "visit: must be"),
        ({"confirm": True, "visit": NAME}, "that visitor has gone"),
    ],
)
def test_anything_else_is_refused_in_words_and_not_repeated(gate: Gate, request_: object, said: str) -> None:
    error = gate.say(request_)["error"]
    assert said in error
    assert NAME not in error
    assert NUMBER not in error
    assert gate.posted == []


@pytest.mark.parametrize(
    "line",
    [b"\n", b"confirm\n", b"\xff\xfe\x00\n", b'{"confirm": tru\n', b"[" * 4000 + b"\n", b"\x00" * 99 + b"\n"],
)
def test_garbage_gets_a_sentence(gate: Gate, line: bytes) -> None:
    assert "one line of JSON" in gate.ask(line)["error"]
    assert gate.posted == []


def test_half_a_line_does_nothing_even_when_it_would_be_whole(gate: Gate) -> None:
    assert "before its line did" in gate.ask('{"confirm": true}', end=True)["error"]
    assert gate.posted == []


def test_a_connection_carries_one_request(gate: Gate) -> None:
    assert "one request" in gate.ask('{"confirm": true}\n{"refuse": true}\n')["error"]
    assert gate.posted == []


def test_a_request_may_be_as_long_as_the_limit_and_no_longer(gate: Gate) -> None:
    line = b'{"confirm": true}'.ljust(REQUEST_BYTES_MAX)
    assert f"at most {REQUEST_BYTES_MAX} bytes" in gate.ask(line + b" \n")["error"]
    assert f"at most {REQUEST_BYTES_MAX} bytes" in gate.ask(line + b" ")["error"]
    assert gate.posted == []
    assert gate.ask(line + b"\n")["ok"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("person", "registered", "id_checked", "symptoms", "travel", "origin", "test")
INSTANTS = st.datetimes(timezones=st.timezones()).map(lambda taken: taken.isoformat())
TESTS = st.fixed_dictionaries(
    {"taken_at": INSTANTS | st.text(max_size=30), "result": st.sampled_from(["negative", "positive", "?"])}
)
WORDS = ["show", "note", "register", "mask", "confirm", "refuse", "visit"]
REQUESTS = st.dictionaries(st.sampled_from(WORDS), JSON, max_size=2)
NOTES = st.dictionaries(st.sampled_from(FIELDS), JSON | TESTS).map(lambda noted: {"note": noted})
LINES = st.binary(max_size=200) | (JSON | REQUESTS | NOTES).map(lambda said: json.dumps(said).encode())


def test_whatever_is_sent_one_line_answers(tmp_path: Path) -> None:
    with running(tmp_path) as gate:

        @settings(deadline=None)
        @given(LINES)
        def answers(line: bytes) -> None:
            before = len(gate.posted)
            answer = gate.ask(line + b"\n")
            spoken = "ok" in answer and "mode" not in answer
            assert len(gate.posted) == before + spoken

        answers()
        assert gate.say({"confirm": True})["ok"]


# Nobody holds it up


def test_two_clients_are_served_as_they_finish(gate: Gate) -> None:
    with gate.client() as slow:
        slow.sendall(b'{"mask": ')
        assert gate.say({"confirm": True})["ok"]
        slow.sendall(b'"worn"}\n')
        assert answer_on(slow)["ok"]
    assert gate.posted == [AttendantConfirmed(VISIT), MaskSeen(MaskStatus.WORN, VISIT)]


def test_clients_that_hang_or_dawdle_are_dismissed_and_the_next_is_served(gate: Gate) -> None:
    clients = [gate.client() for _ in range(CLIENTS_MAX)]
    dawdler = clients[-1]
    dawdler.settimeout(CLIENT_S / 10)
    newcomer = gate.client()
    newcomer.sendall(b'{"confirm": true}\n')
    answer = b""
    for _ in range(100):  # a byte now and then buys no time
        dawdler.send(b" ")
        try:
            answer = dawdler.recv(1000)
            break
        except TimeoutError:
            continue
    assert b"no whole line has come within 1 s" in answer
    for silent in clients[:-1]:
        assert "no whole line" in answer_on(silent)["error"]
    assert answer_on(newcomer) == {"ok": True, "visit": BUSY.visit}
    for client in (*clients, newcomer):
        client.close()


def test_who_hangs_up_at_once_disturbs_nobody(gate: Gate) -> None:
    for said in (b"", b'{"confirm"', b'{"show": true}\n'):
        for _ in range(3 * CLIENTS_MAX):
            with gate.client() as client:
                client.sendall(said)
    assert gate.say({"refuse": True})["ok"]
    assert gate.posted == [AttendantRefused(VISIT)]


def test_without_free_files_it_rests_and_goes_on(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as client, address(gate.path) as short:
        client.settimeout(BOUND_S)
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
        try:
            client.connect(short)
            wait_for(lambda: "cannot be reached just now" in caplog.text, BOUND_S, "a word in the log")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        client.sendall(b'{"show": true}\n')
        assert answer_on(client)["ok"]
    assert caplog.text.count("cannot be reached just now") <= 2, "a rest, not a storm"


# The socket's file


def test_the_socket_is_for_the_services_user_and_group(gate: Gate) -> None:
    found = gate.path.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())


def test_a_socket_left_by_a_dead_process_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead, address(tmp_path / SOCKET_NAME) as short:
        dead.bind(short)
    with running(tmp_path) as gate:
        assert gate.say({"show": True})["ok"]
    assert not gate.path.exists()


def test_what_is_no_socket_is_left_alone_and_said(tmp_path: Path) -> None:
    (tmp_path / SOCKET_NAME).write_text("precious")
    with pytest.raises(OSError, match=r"the desk's socket cannot be made .* remove what is there"):
        Gate(tmp_path)
    assert (tmp_path / SOCKET_NAME).read_text() == "precious"
    with pytest.raises(OSError, match=r"cannot be made .No such file"):
        Gate(tmp_path / "nowhere")


def test_a_state_folder_may_be_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with running(deep) as gate:
        assert gate.say({"show": True})["ok"]


# The end


def test_stopping_hangs_up_on_everybody_and_removes_the_socket(tmp_path: Path) -> None:
    with running(tmp_path) as gate:
        silent, half = gate.client(), gate.client()
        half.sendall(b'{"confirm": true}')
        assert gate.say({"show": True})["ok"]  # behind the two, who have been welcomed by now
        gate.server.stop(BOUND_S)
        assert heard_on(silent) == heard_on(half) == b""
        assert not gate.path.exists()
        silent.close()
        half.close()
    assert gate.posted == []  # and a second stop does nothing


def test_a_server_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    gate.server.stop(BOUND_S)
    assert not gate.path.exists()


# With the real actor

SCENES = {
    State.IDLE: ("starts",),
    State.COLLECTING: ("arrives",),
    State.RETESTING: ("arrives", "37.60"),
    State.CURING: ("arrives", "mask off"),
    State.WITH_STAFF: ("arrives", "36.50", "wait 12"),
    State.AUTHORISED: ("arrives", "36.50", "wait 12", "staff confirms"),
    State.FAREWELL: ("arrives", "staff refuses"),
}
SPOKEN: tuple[tuple[object, Input], ...] = (
    ({"confirm": True}, AttendantConfirmed()),
    ({"refuse": True}, AttendantRefused()),
    ({"mask": "missing"}, MaskSeen(MaskStatus.MISSING)),
    ({"note": {"symptoms": ["cough"]}}, AttendantNoted(symptoms=frozenset({Symptom.COUGH}))),
)


def a_box(*phrases: str) -> Box:
    box = Box("township-routine")
    for phrase in phrases:
        act(box, phrase)
    return box


@pytest.mark.parametrize("state", State)
def test_what_the_actor_would_not_hear_is_refused_and_all_else_is_posted(gate: Gate, state: State) -> None:
    assert SCENES.keys() == set(State)
    for request, happened in SPOKEN:
        box = a_box(*SCENES[state])
        gate.status = status_of(box.actor, box.policy)
        assert gate.status.state is state
        before = deepcopy(box.actor.visit)
        answer = gate.say(request)
        word = meant(happened, gate.status.visit or NOBODY)
        if "ok" in answer:
            assert gate.posted.pop() == word
        heard = bool(box.feed(word)) or box.actor.visit != before
        if state is State.CURING and isinstance(happened, MaskSeen):
            heard = True  # said again, it changes nothing
        assert ("ok" in answer) is heard, f"{request} while {state}: {answer}"


def test_in_an_evacuation_nothing_is_taken(gate: Gate) -> None:
    box = a_box("starts", "arrives", "fire")
    gate.status = status_of(box.actor, box.policy)
    for request, happened in SPOKEN:
        assert "evacuation" in gate.say(request)["error"]
        assert box.feed(happened) == []
    assert gate.say({"show": True})["mode"] == "evacuating"
    assert gate.posted == []


def test_the_status_says_what_stands_against_a_pass_and_what_to_take_down() -> None:
    box = a_box("starts")
    assert status_of(box.actor, box.policy) == DeskStatus(Mode.SERVING)
    act(box, "arrives")
    first = status_of(box.actor, box.policy)
    assert (first.visit, first.state, first.fields) == (
        "0a1b2c3d-000001",
        State.COLLECTING,
        ("name", "phone"),
    )
    assert "temperature_missing" in first.findings
    for phrase in ("36.50", "wait 12"):
        act(box, phrase)
    second = status_of(box.actor, box.policy)
    assert second.findings == ("code_missing", "travel_unknown", "mask_unknown", "registration_missing")
    box.feed(AttendantNoted(registered=frozenset({"name"}), travel=Travel.CLEAR))
    box.feed(MaskSeen(MaskStatus.WORN))
    third = status_of(box.actor, box.policy)
    assert (third.findings, third.fields) == (("code_missing", "registration_missing"), ("phone",))
    box.feed(DeviceFailed(Device.CAMERA, "no answer"))
    assert status_of(box.actor, box.policy) == replace(third, mode=Mode.DEGRADED, failed=("camera",))


def test_somebody_without_a_phone_is_registered_at_the_desk_and_enters(gate: Gate) -> None:
    """AL-3: by ID card or companion; the record says who vouched and for what."""
    box = a_box("starts", "arrives", "36.50", "wait 12")

    def told(request: object) -> list[str]:
        gate.status = status_of(box.actor, box.policy)
        assert gate.say(request) == {"ok": True, "visit": "0a1b2c3d-000001"}
        return box.feed(gate.posted[-1])

    assert told({"note": {"registered": ["name", "phone"], "id_checked": True, "travel": "declared"}}) == []
    assert told({"mask": "worn"}) == []
    assert told({"confirm": True}) == ["authorised", "UNLOCK", "pass_please"]
    reasons = {(finding["rule"], finding["reason"]) for finding in box.decided["findings"]}
    assert {("AL-3", "code_by_attendant"), ("TR-1", "registration_complete")} <= reasons


# What a visitor says of themselves

SAID = {"name": NAME, "id_number": NUMBER}


class Seals:
    """Stands for the centre's key: keeps what it was given to seal."""

    def __init__(self) -> None:
        self.given: list[dict[str, str]] = []
        self.refuses = False

    def __call__(self, fields: Any) -> bytes:
        if self.refuses:
            raise RegistrationError("nothing was kept: no key")
        self.given.append(dict(fields))
        return b"sealed %d" % len(self.given)


@pytest.fixture
def seals() -> Seals:
    return Seals()


@pytest.fixture
def sealing(tmp_path: Path, seals: Seals) -> Iterator[Gate]:
    gate = Gate.__new__(Gate)
    gate.path, gate.posted, gate.status = tmp_path / SOCKET_NAME, [], BUSY
    gate.server = DeskServer(gate.path, gate.posted.append, lambda: gate.status, seals)
    gate.server.start()
    yield gate
    gate.server.stop(BOUND_S)


def test_what_is_registered_reaches_the_gate_sealed(sealing: Gate, seals: Seals) -> None:
    assert sealing.say({"register": SAID}) == {"ok": True, "visit": VISIT}
    assert seals.given == [SAID]
    assert sealing.posted == [AttendantNoted(registered=frozenset(SAID), visit=VISIT, sealed=b"sealed 1")]


def test_nothing_is_sealed_of_somebody_who_is_not_heard(sealing: Gate, seals: Seals) -> None:
    assert "has gone" in sealing.say({"register": SAID, "visit": "0a1b2c3d-000002"})["error"]
    for state in (State.AUTHORISED, State.FAREWELL):
        sealing.status = replace(BUSY, state=state)
        assert sealing.say({"register": SAID})["error"]
    assert (sealing.posted, seals.given) == ([], [])
    sealing.status = DeskStatus()
    assert sealing.say({"register": SAID}) == {"ok": True, "visit": None}, "it begins a visit"
    assert [word.visit for word in sealing.posted if isinstance(word, AttendantNoted)] == [NOBODY]


def test_what_cannot_be_sealed_is_not_kept(sealing: Gate, seals: Seals) -> None:
    seals.refuses = True
    assert sealing.say({"register": SAID}) == {"error": "nothing was kept: no key"}
    assert sealing.posted == []


def test_a_gate_without_a_centre_takes_nothing_down(gate: Gate) -> None:
    assert "no centre that could keep" in gate.say({"register": SAID})["error"]
    assert gate.posted == []


@pytest.mark.parametrize("said", [{}, [NAME], {NAME: "x"}, {"name": NAME * 34}, {"name": NAME + "\nx"}, True])
def test_an_unfit_registration_is_refused_and_not_repeated(sealing: Gate, seals: Seals, said: object) -> None:
    error = sealing.say({"register": said})["error"]
    assert NAME not in error
    assert (sealing.posted, seals.given) == ([], [])


def test_the_longest_registration_is_one_request(sealing: Gate, seals: Seals) -> None:
    said = dict.fromkeys(REGISTRATION_FIELDS, "\U0002070e" * 200)
    assert len(json.dumps({"register": said, "visit": VISIT})) <= REQUEST_BYTES_MAX
    assert sealing.say({"register": said, "visit": VISIT})["ok"]
    assert seals.given == [said]


def test_the_server_keeps_and_logs_nothing_of_it(
    sealing: Gate, seals: Seals, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    sealing.say({"register": SAID})
    sealing.say({"register": {**SAID, "phone": "\n"}})
    seals.given.clear()
    assert NAME not in caplog.text
    assert sealing.server._clients == {}
    assert not any(NAME in repr(vars(kept)) for kept in (sealing.server, *sealing.server._clients.values()))
