"""The inbox: bounded, and read in batches that wait for nobody in particular."""

import threading
import time

from central.inbox import BYTES_MAX, Inbox, Message
from tests.brokers import wait_for


def message(payload: bytes = b"x") -> Message:
    return Message("topic", payload, False, 1, 1, 0.0)


def test_it_says_no_when_it_is_full_and_yes_when_it_has_been_read() -> None:
    inbox = Inbox(time.monotonic, capacity=3)
    assert [inbox.put(message()) for _ in range(4)] == [True, True, True, False]
    assert len(inbox.gather(2, first_within_s=0, linger_s=0)) == 2
    assert inbox.put(message())


def test_it_is_bounded_in_bytes_as_well_but_takes_one_message_of_any_size() -> None:
    inbox = Inbox(time.monotonic)
    assert inbox.put(message(b"x" * (BYTES_MAX + 1)))
    assert not inbox.put(message())
    inbox.gather(1, first_within_s=0, linger_s=0)
    assert inbox.put(message(b"x" * (BYTES_MAX - 1)))
    assert inbox.put(message())
    assert not inbox.put(message())


def test_messages_come_out_in_order_and_at_most_so_many() -> None:
    inbox = Inbox(time.monotonic)
    for number in range(5):
        inbox.put(message(bytes([number])))
    taken = [inbox.gather(3, first_within_s=0, linger_s=1) for _ in range(2)]
    assert [[one.payload[0] for one in batch] for batch in taken] == [[0, 1, 2], [3, 4]]


def test_a_lone_message_is_not_kept_waiting() -> None:
    inbox = Inbox(time.monotonic)
    inbox.put(message())
    began = time.monotonic()
    assert len(inbox.gather(1000, first_within_s=10, linger_s=10)) == 1
    assert time.monotonic() - began < 5


def test_a_stream_is_gathered_until_there_is_enough_or_the_time_is_over() -> None:
    inbox, over = Inbox(time.monotonic), threading.Event()

    def pour() -> None:
        while not over.is_set():
            inbox.put(message())

    pouring = threading.Thread(target=pour)
    pouring.start()
    try:
        assert len(inbox.gather(100, first_within_s=5, linger_s=60)) == 100
        assert len(inbox.gather(10**9, first_within_s=5, linger_s=0.02)) > 1
    finally:
        over.set()
        pouring.join(5)


def test_nothing_comes_of_waiting_in_vain_and_closing_ends_the_wait() -> None:
    inbox = Inbox(time.monotonic)
    assert inbox.gather(10, first_within_s=0.01, linger_s=1) == []
    found: list[list[Message]] = []
    waiting = threading.Thread(target=lambda: found.append(inbox.gather(10, first_within_s=60, linger_s=1)))
    waiting.start()
    inbox.close()
    waiting.join(5)
    assert found == [[]]
    inbox.put(message())
    assert len(inbox.gather(10, first_within_s=60, linger_s=60)) == 1


def test_one_thread_s_message_wakes_the_other() -> None:
    inbox = Inbox(time.monotonic)
    found: list[Message] = []
    waiting = threading.Thread(
        target=lambda: found.extend(inbox.gather(10, first_within_s=60, linger_s=0.01))
    )
    waiting.start()
    inbox.put(message())
    wait_for(lambda: found, 5, "the message")
    waiting.join(5)
