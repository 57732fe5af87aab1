"""The inbox: order, bound, what is never lost, and posting from a signal handler of the thread that takes."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gate.core.inputs import (
    CodesRead,
    FireAlarmChanged,
    InboxOverflowed,
    PersonArrived,
    PersonLeft,
    Stopped,
)
from gate.shell.inbox import INBOX_MAX, Inbox


def test_inputs_come_in_order() -> None:
    inbox = Inbox()
    given = [PersonArrived(), CodesRead((b"a",)), PersonLeft()]
    for happened in given:
        inbox.post(happened)
    assert [inbox.take(0) for _ in given] == given
    assert inbox.take(0) is None


def test_a_full_inbox_loses_the_newest_says_how_many_and_goes_on() -> None:
    inbox = Inbox()
    for number in range(INBOX_MAX + 3):
        inbox.post(CodesRead((str(number).encode(),)))
    assert inbox.take(0) == InboxOverflowed(3)
    assert [inbox.take(0) for _ in range(INBOX_MAX)] == [
        CodesRead((str(number).encode(),)) for number in range(INBOX_MAX)
    ]
    inbox.post(PersonLeft())
    assert inbox.take(0) == PersonLeft()
    assert inbox.take(0) is None


@pytest.mark.parametrize("vital", [FireAlarmChanged(active=True), Stopped()])
def test_a_full_inbox_keeps_the_alarm_and_the_request_to_stop(vital: FireAlarmChanged | Stopped) -> None:
    inbox = Inbox()
    for _ in range(INBOX_MAX):
        inbox.post(PersonLeft())
    inbox.post(vital)
    inbox.post(PersonArrived())
    taken = [inbox.take(0) for _ in range(INBOX_MAX + 3)]
    assert taken.count(vital) == 1
    assert taken.count(InboxOverflowed(1)) == 1
    assert taken.count(PersonLeft()) == INBOX_MAX
    assert inbox.take(0) is None


def test_a_fire_alarm_is_taken_before_everything_else() -> None:
    inbox = Inbox()
    for _ in range(INBOX_MAX + 1):
        inbox.post(PersonLeft())
    inbox.post(Stopped())
    alarms = [FireAlarmChanged(active=True), FireAlarmChanged(active=False), FireAlarmChanged(active=True)]
    for alarm in alarms:
        inbox.post(alarm)
    assert [inbox.take(0) for _ in range(5)] == [*alarms, InboxOverflowed(1), PersonLeft()]
    inbox.post(alarms[1])
    assert inbox.take(0) == alarms[1], "also between two others"


def test_a_fire_alarm_wakes_the_one_who_waits_and_is_taken_once() -> None:
    inbox = Inbox()
    alarm = FireAlarmChanged(active=True)
    threading.Timer(0.05, lambda: inbox.post(alarm)).start()
    began = time.monotonic()
    taken = [inbox.take(5), inbox.take(5)]
    assert time.monotonic() - began < 3
    assert taken == [None, alarm]
    inbox.post(PersonArrived())
    assert inbox.take(0) == PersonArrived(), "nothing of the alarm is left to wake anybody"
    assert inbox.take(0) is None


def test_many_threads_lose_nothing_uncounted() -> None:
    inbox = Inbox()
    threads = [
        threading.Thread(target=lambda: [inbox.post(PersonLeft()) for _ in range(400)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    lost = inbox.take(0)
    assert isinstance(lost, InboxOverflowed)
    got = 0
    while inbox.take(0) is not None:
        got += 1
    assert got + lost.lost == 1600
    assert got <= INBOX_MAX + len(threads)


def test_a_crash_wakes_the_one_who_waits_and_is_raised_before_anything_else() -> None:
    inbox = Inbox()
    threading.Timer(0.05, lambda: inbox.crash(ZeroDivisionError("elsewhere"))).start()
    began = time.monotonic()
    assert inbox.take(5) is None
    assert time.monotonic() - began < 3
    inbox.post(PersonArrived())
    with pytest.raises(ZeroDivisionError, match="elsewhere"):
        inbox.take(0)


_POSTING_FROM_A_HANDLER = """
import signal
from gate.core.inputs import PersonLeft
from gate.shell.inbox import Inbox

inbox, posted = Inbox(), 0

def handler(*_):
    global posted
    posted += 1
    inbox.post(PersonLeft())

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
taken = 0
while taken < 5000:
    taken += inbox.take(0.01) is not None
signal.setitimer(signal.ITIMER_REAL, 0)
print(taken)
"""


def test_a_signal_handler_of_the_taking_thread_may_post() -> None:
    # SIGTERM arrives in the thread that runs the brain; with a plain queue this hangs within a second.
    done = subprocess.run(
        [sys.executable, "-c", _POSTING_FROM_A_HANDLER],
        capture_output=True,
        timeout=20,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == b"5000\n"
