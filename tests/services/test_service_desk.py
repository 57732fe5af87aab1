"""The asking thread: nobody waits for it, gone visits are forgotten, it ends when told."""

import threading
from collections.abc import Iterator

import pytest

from gate.core.codes.service import Outcome, ServiceAnswer
from gate.services.desk import WAITING_MAX, ServiceDesk
from tests.brokers import wait_for

ANSWER = ServiceAnswer(Outcome.NOT_FOUND)


class Desk:
    """A desk whose service answers when it is let."""

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.asked: list[tuple[bytes, str]] = []
        self.posted: list[tuple[str, bytes, ServiceAnswer]] = []
        self.desk = ServiceDesk(self.ask, lambda *answer: self.posted.append(answer))

    def ask(self, token: bytes, region: str) -> ServiceAnswer:
        self.asked.append((token, region))
        assert self.let.acquire(timeout=5)
        return ANSWER

    def request(self, visit: str, number: int) -> None:
        self.desk.request(visit, bytes([number]), b"token-%d" % number, "CN-32")

    def busy_with(self, visit: str) -> None:
        self.request(visit, 0)
        wait_for(lambda: self.asked, 3, "the first question")


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    desk.desk.start()
    yield desk
    desk.let.release(20)
    desk.desk.stop(5)


def test_a_request_is_asked_and_its_answer_posted(desk: Desk) -> None:
    desk.let.release(1)
    desk.request("a", 7)
    wait_for(lambda: desk.posted, 3, "an answer")
    assert desk.asked == [(b"token-7", "CN-32")]
    assert desk.posted == [("a", b"\x07", ANSWER)]


def test_all_codes_of_one_visit_are_asked_about_in_order(desk: Desk) -> None:
    desk.busy_with("a")
    desk.request("a", 1)
    desk.request("a", 2)
    desk.let.release(3)
    wait_for(lambda: len(desk.posted) == 3, 3, "three answers")
    assert [key for _, key, _ in desk.posted] == [b"\x00", b"\x01", b"\x02"]


def test_what_waits_for_a_gone_visit_is_dropped(desk: Desk) -> None:
    desk.busy_with("a")
    desk.request("b", 1)
    desk.request("b", 2)
    desk.request("c", 3)
    desk.let.release(4)
    wait_for(lambda: len(desk.posted) == 2, 3, "two answers")
    assert [visit for visit, _, _ in desk.posted] == ["a", "c"]
    desk.request("d", 4)
    wait_for(lambda: len(desk.posted) == 3, 3, "a third")
    assert [token for token, _ in desk.asked] == [b"token-0", b"token-3", b"token-4"]


def test_a_visitor_who_shows_many_codes_fills_nothing_up(desk: Desk) -> None:
    desk.busy_with("a")
    for number in range(1, 100):
        desk.request("a", number)
    desk.let.release(WAITING_MAX + 1)
    wait_for(lambda: len(desk.posted) == WAITING_MAX + 1, 3, "the newest to be answered")
    assert [key[0] for _, key, _ in desk.posted] == [0, *range(100 - WAITING_MAX, 100)]


def test_it_ends_after_the_question_under_way() -> None:
    desk = Desk()
    desk.desk.start()
    desk.busy_with("a")
    desk.request("a", 1)
    desk.desk.stop(0.05)
    assert desk.posted == [], "stop does not wait longer than told"
    desk.let.release(5)
    desk.desk.stop(3)
    wait_for(lambda: desk.posted, 3, "the answer under way")
    assert len(desk.asked) == 1, "what waited was dropped"


def test_an_idle_desk_ends_at_once() -> None:
    desk = Desk()
    desk.desk.start()
    desk.desk.stop(3)
    assert not [thread for thread in threading.enumerate() if thread.name == "verify-service"]
