"""What comes in beside the records, where it gets in their way."""

from typing import cast

import pytest

from gate.sinks.complaints import Complaints
from gate.sinks.connection import Connection
from gate.sinks.incoming import Incoming, Subscription
from gate.sinks.window import RETRY_CAP_S


class Asked:
    """A connection that notes what it is asked for."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def subscribe(self, *topics: str) -> int:
        self.topics += topics
        return len(self.topics)


@pytest.mark.parametrize(("first", "early_ends"), [(True, 6), (False, 2)])
def test_what_connections_break_of_is_left_out_until_one_without_it_has_come_about(
    *, first: bool, early_ends: int
) -> None:
    now = 0.0
    complaints = Complaints(lambda: now)
    one = Subscription(
        "command",
        "commands",
        "hg/1/north/g-1/cmd",
        lambda _payload, _retained: None,
        10,
        100,
        60.0,
        first=first,
    )
    incoming = Incoming([one], lambda: now, complaints)

    def connect() -> list[str]:
        link = Asked()
        incoming.begin(cast("Connection", link))
        incoming.ask(cast("Connection", link))
        return link.topics

    for _ in range(early_ends):
        assert connect() == [one.topics]
        now += 1.0
        incoming.ended()
    assert complaints.last is not None
    assert complaints.last.startswith("connections break when commands are asked for")
    now += RETRY_CAP_S + 1  # the longest pause between two attempts
    assert connect() == ([] if first else [one.topics])
    incoming.ended()
    now += RETRY_CAP_S
    assert connect() == [one.topics]
