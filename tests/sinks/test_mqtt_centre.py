"""The sink with a centre behind a broker of our own: what only a receipt makes done, and what may come in."""

import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from pytest import LogCaptureFixture, MonkeyPatch, fixture, mark

from gate.core.delivery import Ask, Why
from gate.core.signed import MESSAGE_BYTES_MAX
from gate.sinks.mqtt import MqttSettings, MqttSink, topic_prefix
from tests.brokers import HOST, MemoryOutbox, _HangUpError, running, wait_for
from tests.centre import GATE, SITE, Heard, SmallCentre
from tests.sinks.test_mqtt_documents import DocumentBroker, DocumentSession, LeapingClock, leap, published

pytestmark = mark.apart

PREFIX = topic_prefix(SITE, GATE)
RECEIPT, CMD, DOC = f"{PREFIX}/receipt", f"{PREFIX}/cmd", f"hg/1/{SITE}/doc/#"


@fixture(autouse=True)
def _quick_checkpoints(monkeypatch: MonkeyPatch) -> None:
    """Let checkpoints follow each other sooner; their pace of one a second is for `test_checkpoints`."""
    monkeypatch.setattr("gate.sinks.checkpoints.APART_S", 0.1)


class CentreBroker(DocumentBroker):
    """A strict broker with a small centre in it, which answers at once unless it is `silent`.

    `deaf`: it loses what it has acknowledged. `hates_batches`: it hangs up on them. `log` has what came, in
    order: topics, and subscriptions.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.centre = SmallCentre()
        self.silent = self.deaf = self.hates_batches = False
        self.log: list[str] = []

    def _serve(self, sock: socket.socket) -> None:
        self.session = CentreSession(self, sock)
        with sock:
            try:
                self.session.run()
            except (OSError, _HangUpError):
                return

    def says(self, receipt: bytes) -> None:
        self.push(RECEIPT, receipt)


class CentreSession(DocumentSession):
    """One connection of a CentreBroker."""

    _broker: CentreBroker

    def _answer_subscribe(self, body: bytes) -> None:
        super()._answer_subscribe(body)
        self._broker.log.append(f"subscribe {self._broker.asked[-1]}")

    def _take(self, flags: int, body: bytes) -> None:
        length = struct.unpack_from("!H", body)[0]
        leaf = body[2 : 2 + length].decode().removeprefix(f"{PREFIX}/")
        self._broker.log.append(leaf)
        if leaf == "ev/batch" and self._broker.hates_batches:
            raise _HangUpError
        before = len(self._broker.received)
        super()._take(flags, body)
        for _, payload in self._broker.received[before:] if not self._broker.deaf else ():
            for receipt in self._broker.centre.take(leaf, payload):
                if not self._broker.silent:
                    self.publish(RECEIPT, receipt)


def a_sink(
    port: int,
    outbox: MemoryOutbox,
    heard: Heard | None = None,
    clock: Callable[[], float] | None = None,
    on_document: Callable[[bytes], None] | None = None,
    **settings: Any,
) -> MqttSink:
    given = {"host": HOST, "topic_prefix": PREFIX, "client_id": "north-1", "answer_timeout_s": 2.0}
    return MqttSink(
        MqttSettings(port=port, **{**given, **settings}),
        outbox,
        state=dict,
        on_document=on_document,
        centre=(heard or Heard()).centre(),
        monotonic=clock or LeapingClock(),
        uniform=lambda low, high: min(high, 0.05) if low == 0 else low,
    )


def wait_receipted(sink: MqttSink, outbox: MemoryOutbox, within_s: float = 8) -> None:
    head = outbox.head().seq
    wait_for(lambda: sink.status().acknowledged == head, within_s, f"receipts for {head} records")


def wait_sent(broker: CentreBroker, seq: int) -> None:
    wait_for(lambda: seq in broker.centre.stream().bodies, 5, f"record {seq} at the centre")


@mark.parametrize("version_reply", ["", "0x84"], ids=["5", "3.1.1"])
@mark.parametrize("receive_maximum", [1, 10, 20])
def test_a_backlog_drains_to_receipts_within_the_receive_maximum(
    receive_maximum: int, version_reply: str
) -> None:
    outbox = MemoryOutbox(3050)
    outbox.abnormal_seqs = {7, 2000}
    outbox.sealed_bytes = {seq: b"sealed %d" % seq for seq in (7, 8, 3050)}
    with CentreBroker(receive_maximum=receive_maximum, version_reply=version_reply) as broker:
        window = receive_maximum if version_reply else 20  # MQTT 3.1.1 has no word for it
        with running(a_sink(broker.port, outbox, window=window)) as sink:
            wait_receipted(sink, outbox)
            assert sink.status().reconnects == 0
        assert broker.centre.bodies() == outbox.bodies()
        assert broker.centre.stream().sealed == outbox.sealed_bytes
        assert broker.excess == 0
        assert broker.most_open <= receive_maximum
        assert broker.centre.batches >= 30
        assert outbox.acknowledged() == 3050


def test_receipts_and_commands_are_subscribed_to_before_anything_is_sent_and_documents_after() -> None:
    with CentreBroker() as broker:
        sink = a_sink(broker.port, MemoryOutbox(3), on_document=lambda _: None)
        with running(sink):
            wait_receipted(sink, sink._delivery._outbox)  # type: ignore[arg-type]
            wait_for(lambda: len(broker.asked) == 3, 3, "the documents")
        receipts, commands, documents = (f"subscribe {topics}" for topics in (RECEIPT, CMD, DOC))
        assert broker.log[:4] == [receipts, commands, "state", "checkpoint"]
        assert broker.log.index(documents) > broker.log.index("ev")


def test_a_connection_that_got_a_backlog_further_is_no_failed_attempt() -> None:
    outbox, pauses = MemoryOutbox(), list[float]()
    with CentreBroker() as broker:
        sink = a_sink(broker.port, outbox, clock=time.monotonic)
        sink._uniform = lambda _, high: pauses.append(high) or 0.1  # type: ignore[func-returns-value]
        with running(sink):
            for attempt, records in enumerate([100, 150, 100, 99, 1, 0, 100], 1):
                wait_for(lambda attempt=attempt: len(broker.connects) == attempt, 5, "another connection")
                outbox.add(records)
                sink.notify()
                wait_receipted(sink, outbox)
                wait_for(lambda: sink.status().connected, 5, "it to be accepted")
                broker.hang_up()
                wait_for(lambda attempt=attempt: len(pauses) == attempt, 5, "the end of a connection")
    assert pauses == [2.0, 2.0, 2.0, 4.0, 8.0, 16.0, 2.0]


def test_live_records_are_receipted_one_by_one(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr("gate.sinks.checkpoints.APART_S", 1.0)  # as in service
    outbox = MemoryOutbox()
    with CentreBroker() as broker, running(a_sink(broker.port, outbox)) as sink:
        for n in range(1, 4):
            outbox.add()
            sink.notify()
            wait_sent(broker, n)
            wait_receipted(sink, outbox, 2.5)
        assert broker.centre.batches == 0
        assert sink.status().receipt_at_ms == broker.centre.clock_ms
        wait_for(lambda: sink.status().oldest_unacknowledged_age_s is None, 5, "nothing to wait")


def test_the_brokers_word_is_nothing() -> None:
    outbox, clock = MemoryOutbox(50), LeapingClock()
    with CentreBroker() as broker:
        broker.deaf = True
        with running(a_sink(broker.port, outbox, clock=clock, keepalive_s=6000)) as sink:
            wait_for(lambda: len(broker.bodies()) == 50, 5, "50 records at the broker")
            wait_for(sink._window.empty, 5, "50 acknowledgements")
            assert sink.status().acknowledged == outbox.acknowledged() == 0
            broker.deaf = False
            leap(clock, sink, 31.0)
            wait_receipted(sink, outbox)
        assert len(broker.bodies()) == 100


def test_without_a_centre_there_is_no_hurry() -> None:
    outbox, clock = MemoryOutbox(50), LeapingClock()
    with CentreBroker() as broker:
        broker.silent = True
        with running(a_sink(broker.port, outbox, clock=clock, keepalive_s=6000)) as sink:
            for minute in range(30):
                beats = len(broker.bodies("checkpoint"))
                leap(clock, sink, 60.0 * minute)
                wait_for(lambda beats=beats: len(broker.bodies("checkpoint")) > beats, 3, "a heartbeat")
                wait_for(lambda: sink._delivery._all_sent() and sink._window.empty(), 3, "a minute to end")
        # After 30 s, and 1, 2, 4, 8, 10 ... minutes; the clock leaps, and so it may be later.
        assert 3 <= len(broker.bodies()) / 50 <= 7


@mark.parametrize("lost", ["connection", "sink"])
def test_what_was_not_receipted_is_sent_again_on_the_next_connection(lost: str) -> None:
    outbox = MemoryOutbox(30)
    with CentreBroker() as broker:
        broker.deaf = True
        sink = a_sink(broker.port, outbox)
        with running(sink):
            wait_for(lambda: len(broker.bodies()) == 30, 5, "30 records at the broker")
            broker.deaf = lost == "sink"
            broker.hang_up()
            if lost == "connection":
                wait_receipted(sink, outbox)
        broker.deaf = False
        with running(a_sink(broker.port, outbox)) as again:
            wait_receipted(again, outbox)
        assert broker.centre.bodies() == outbox.bodies()


def test_a_receipt_that_is_not_the_centres_is_counted_said_and_harms_nothing() -> None:
    outbox = MemoryOutbox(30)
    with CentreBroker() as broker:
        forged = SmallCentre(gate="south").signed(30, b"x" * 32)
        with running(a_sink(broker.port, outbox)) as sink:
            wait_receipted(sink, outbox)
            for message in (forged, b"\x00", b"x" * (MESSAGE_BYTES_MAX + 1), b"x" * 600_000):
                broker.says(message)
            wait_for(lambda: sink.status().refused_receipts == 2, 3, "two that are refused")
            wait_for(
                lambda: "receipt is larger than" in str(sink.status().last_error), 3, "what is too large"
            )
            outbox.add()
            sink.notify()
            wait_receipted(sink, outbox)
            assert sink.status().reconnects == 0


def test_a_flood_of_forged_receipts_stops_no_record_and_receipts_come_again(
    caplog: LogCaptureFixture,
) -> None:
    outbox, clock = MemoryOutbox(400), LeapingClock()
    with CentreBroker() as broker:
        broker.ahead = b"".join(published(RECEIPT, b"forged %d" % n, qos=n % 2) for n in range(1500))
        with running(a_sink(broker.port, outbox, clock=clock, keepalive_s=600)) as sink:
            wait_for(lambda: broker.unsubscribed == [RECEIPT], 5, "UNSUBSCRIBE")
            wait_for(lambda: broker.centre.stream().linked == 400, 5, "400 records at the centre")
            broker.ahead = b""
            wait_for(sink._window.empty, 5, "the acknowledgements behind the flood")
            assert sink.status().refused_receipts <= 1000
            leap(clock, sink, 75.0)
            wait_receipted(sink, outbox)
            assert sink.status().reconnects == 0
    assert len([r for r in caplog.records if "more than 1000 receipts within 10 s" in r.message]) == 1
    assert len([r for r in caplog.records if "is not believed" in r.message]) == 1


def test_commands_are_handed_on_as_they_come_and_not_more_than_a_hundred_in_ten_seconds() -> None:
    outbox, heard = MemoryOutbox(), Heard()
    with CentreBroker() as broker, running(a_sink(broker.port, outbox, heard)) as sink:
        wait_for(lambda: len(broker.asked) == 2, 3, "the subscriptions")
        broker.push(CMD, b"\x00 whatever")
        broker.push(CMD, b"x" * 100_000)
        wait_for(lambda: len(heard.commands) == 2, 3, "two commands")
        assert heard.commands == [(b"\x00 whatever", False), (b"x" * (MESSAGE_BYTES_MAX + 1), False)]
        for n in range(120):
            broker.push(CMD, b"%d" % n)
        wait_for(lambda: broker.unsubscribed == [CMD], 3, "UNSUBSCRIBE")
        outbox.add(20)
        sink.notify()
        wait_receipted(sink, outbox)
        assert len(heard.commands) == 100


def test_whoever_fails_to_take_a_command_stops_nothing(caplog: LogCaptureFixture) -> None:
    outbox, heard = MemoryOutbox(), Heard()
    heard.commands = None  # type: ignore[assignment]  # nothing can be appended to it
    with CentreBroker() as broker, running(a_sink(broker.port, outbox, heard)) as sink:
        wait_for(lambda: len(broker.asked) == 2, 3, "the subscriptions")
        broker.push(CMD, b"suspend")
        outbox.add(20)
        sink.notify()
        wait_receipted(sink, outbox)
        assert sink.status().reconnects == 0
    assert "a command could not be handed on (AttributeError" in caplog.text


def test_a_ledger_that_the_centre_does_not_know_is_not_sent_until_it_is_another() -> None:
    outbox, heard = MemoryOutbox(30), Heard()
    with CentreBroker() as broker, running(a_sink(broker.port, outbox, heard)) as sink:
        wait_receipted(sink, outbox)
        broker.says(broker.centre.signed(99, b"x" * 32))
        wait_for(lambda: heard.disagreed, 3, "the disagreement")
        outbox.add(5)
        sink.notify()
        sink.publish_state()
        wait_for(lambda: len(broker.bodies("state")) == 2, 3, "the state, which is told all the same")
        assert len(broker.bodies()) == 30
        outbox.renew("e1", records=4)
        sink.notify()
        wait_for(lambda: len(broker.bodies()) == 34, 3, "the records of the new epoch")
        wait_for(lambda: broker.centre.checkpoints[-1].epoch == "e1", 3, "a checkpoint of it")


def test_a_centre_that_went_back_gets_everything_again() -> None:
    outbox, heard = MemoryOutbox(250), Heard()
    with CentreBroker() as broker, running(a_sink(broker.port, outbox, heard)) as sink:
        wait_receipted(sink, outbox)
        broker.centre.lose(after=40)
        broker.says(broker.centre.receipt())
        wait_for(lambda: heard.went_back == [(250, 40)], 3, "the step back")
        wait_receipted(sink, outbox)
        assert broker.centre.bodies() == outbox.bodies()


def test_a_centre_may_ask_for_records_and_for_a_checkpoint() -> None:
    outbox = MemoryOutbox(30)
    with CentreBroker() as broker:
        broker.silent = True
        with running(a_sink(broker.port, outbox)) as sink:
            wait_sent(broker, 30)
            wait_for(sink._window.empty, 5, "the acknowledgements")
            broker.says(broker.centre.receipt(upto=10, ask=Ask.RECORDS))
            wait_for(lambda: len(broker.bodies()) == 50, 3, "records 11 to 30 again")
            wait_for(lambda: broker.centre.checkpoints[-1].why is Why.DRAINED, 3, "the checkpoint after them")
            broker.says(broker.centre.receipt(upto=10, ask=Ask.CHECKPOINT))
            wait_for(lambda: broker.centre.checkpoints[-1].why is Why.DEMAND, 3, "a checkpoint")
            assert broker.centre.checkpoints[-1].receipted == 10


def test_the_gate_itself_may_have_records_sent_again_and_a_checkpoint_made() -> None:
    outbox = MemoryOutbox(30)
    with CentreBroker() as broker, running(a_sink(broker.port, outbox)) as sink:
        wait_receipted(sink, outbox)
        sink.send_again(25)
        wait_for(lambda: len(broker.bodies()) == 35, 3, "five records again")
        wait_for(lambda: broker.centre.checkpoints[-1].why is Why.DRAINED, 3, "the checkpoint after them")
        sink.make_checkpoint()
        wait_for(lambda: broker.centre.checkpoints[-1].why is Why.DEMAND, 3, "a checkpoint")


@mark.parametrize("fault", ["refused", "hung up"])
def test_batches_that_the_broker_does_not_take_are_followed_by_single_records(fault: str) -> None:
    outbox = MemoryOutbox(300)
    reasons = lambda body: 0x87 if fault == "refused" and body.startswith(b"\x78") else 0  # noqa: E731
    with CentreBroker(puback_reason=reasons) as broker:
        broker.hates_batches = fault == "hung up"
        with running(a_sink(broker.port, outbox)) as sink:
            wait_receipted(sink, outbox)
        assert broker.centre.batches == 0
        assert broker.centre.bodies() == outbox.bodies()


def test_a_refused_subscription_to_receipts_is_said_and_records_go_on() -> None:
    outbox, clock = MemoryOutbox(30), LeapingClock()
    with CentreBroker() as broker:
        broker.suback, broker.silent = 0x87, True
        with running(a_sink(broker.port, outbox, clock=clock, keepalive_s=6000)) as sink:
            words = "refused the subscription to commands: not authorized"
            wait_for(lambda: words in str(sink.status().last_error), 3, "the refusal")
            wait_sent(broker, 30)
            broker.suback, broker.silent = 1, False
            leap(clock, sink, 11.0)
            wait_for(lambda: len(broker.asked) == 4, 3, "the second question")
            leap(clock, sink, 72.0)
            wait_receipted(sink, outbox)


def test_stopping_ends_with_a_checkpoint_and_the_state() -> None:
    outbox = MemoryOutbox(150)
    with CentreBroker(receive_maximum=1) as broker:
        sink = a_sink(broker.port, outbox)
        sink.start()
        wait_receipted(sink, outbox)
        sink.stop(2)
        assert broker.log[-2:] == ["checkpoint", "state"]
        assert broker.centre.checkpoints[-1].why is Why.STOP
        assert broker.centre.checkpoints[-1].receipted == 150
        assert json.loads(broker.bodies("state")[-1])["state"] == "disconnected"
        wait_for(lambda: broker.farewells, 1, "DISCONNECT at the broker")


def test_an_outbox_that_cannot_keep_a_receipt_says_so_and_takes_the_next() -> None:
    outbox, clock = MemoryOutbox(30), LeapingClock()
    real, failing = outbox.receive, [True]

    def receive(held: Any) -> None:
        if failing:
            raise OSError(28, "No space left on device")
        real(held)

    outbox.receive = receive  # type: ignore[method-assign]
    with CentreBroker() as broker, running(a_sink(broker.port, outbox, clock=clock, keepalive_s=600)) as sink:
        wait_for(lambda: "No space left" in str(sink.status().last_error), 3, "the complaint")
        assert sink.status().acknowledged == 0
        failing.clear()
        leap(clock, sink, 61.0)
        wait_receipted(sink, outbox)
        assert sink.status().reconnects == 0


def test_the_signature_is_what_counts() -> None:
    """A centre with another key than the gate knows gets everything, and proves nothing."""
    outbox, heard = MemoryOutbox(30), Heard()
    with CentreBroker() as broker:
        sink = MqttSink(
            MqttSettings(host=HOST, port=broker.port, topic_prefix=PREFIX, client_id="north-1"),
            outbox,
            state=dict,
            centre=heard.centre(keys=(b"k" * 32,)),
        )
        with running(sink):
            wait_sent(broker, 30)
            wait_for(lambda: sink.status().refused_receipts, 3, "a refused receipt")
            assert "is the centre's key in centre.keys_file?" in str(sink.status().last_error)
            assert sink.status().acknowledged == 0
