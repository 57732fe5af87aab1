"""What waits while there is no broker goes out in order, once there is one."""

import time

from central.inbox import Inbox
from central.subscriber import BrokerSettings, Subscriber
from tests.brokers import HOST, StrictBroker, wait_for

TOPIC = "hg/1/north/g-1/cmd"


def test_a_command_that_is_sent_again_keeps_its_place() -> None:
    """Behind a later one the gate would refuse it: its counter would be used up."""
    with StrictBroker() as broker:
        settings = BrokerSettings(HOST, "centre", port=broker.port)
        subscriber = Subscriber(settings, ["hg"], Inbox(time.monotonic), uniform=lambda low, _: low)
        for body in (b"c0", b"c1", b"c0"):
            subscriber.publish(TOPIC, body, retain=False, newest_only=False)
        subscriber.start()
        wait_for(lambda: len(broker.received) >= 2, 10, "what was kept")
        subscriber.stop()
        assert broker.bodies("cmd") == [b"c0", b"c1"]
