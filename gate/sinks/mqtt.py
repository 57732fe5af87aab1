"""Delivery over MQTT: records leave the outbox in order, at least once, and never hold up a visit.

Documents of the site come in over the same connection, and never hold up a record.

One thread, `mqtt-sink`, does everything: it connects, sends, keeps its own window. Whatever fails ends this
one connection and leads to the next. What is sent, and when a record is done, is `gate.sinks.delivery`: with
a centre only its signed receipts count, without one the broker's acknowledgements do.

- Every connection is a new client with a clean start. paho would send all it remembers at once after a
  reconnect, beyond the broker's Receive Maximum, which it does not read; here the outbox is the only memory,
  and sending resumes after the mark. What was under way is sent twice: receivers drop duplicates by (gate,
  epoch, sequence).
- A connection is given up when nothing has been heard for 1.5 x keepalive, or when an acknowledgement takes
  longer than one keepalive: a half-open TCP connection reports nothing by itself.
- The pause between two connections grows from failure to failure (`retry_delay_s`); one that got a backlog
  further by 100 records was none, so that a link that keeps breaking is used all the time.
- MQTT 5 is spoken first, 3.1.1 to brokers that refuse 5, hang up on it or never answer it.
- What comes in is subscribed to on every connection, and left out when it gets in the way
  (`gate.sinks.incoming`).

Topics under the prefix `hg/1/<site>/<gate>`: `ev` carries records (QoS 1, the exact bytes of the ledger, not
retained); `state` is retained and says ready, disconnected or lost (the last will). With a centre also
`ev/batch` (many records of a backlog), `sealed` (what only the centre can read, ahead of its record) and
`checkpoint` (retained) go out, and `receipt` and `cmd` come in.

Topics of the whole site, `hg/1/<site>/doc/#`: signed documents, one retained message per kind and issuer
(QoS 1, the text of the document and nothing else, at most 512 KiB). What follows `doc/` says nothing to the
gate, which believes signatures only. Empty messages, which delete a retained one, mean nothing either: a
document is replaced by a higher version.
"""

import contextlib
import logging
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from paho.mqtt.reasoncodes import ReasonCode

from gate.core.signed import MESSAGE_BYTES_MAX, SignedError
from gate.ports import Outbox
from gate.sinks.by_receipt import ByReceipt, Centre
from gate.sinks.complaints import Complaints
from gate.sinks.connection import (
    PACKET_BYTES_MAX,
    Connection,
    Dialect,
    ProtocolVersion,
    Session,
    empty,
)
from gate.sinks.delivery import ByAcknowledgement, Delivery, Message
from gate.sinks.faults import NO_MATCHING_SUBSCRIBERS, LinkDown, TlsSettings, refusal
from gate.sinks.incoming import Incoming, Subscription
from gate.sinks.settings import INCOMING_MAX, MqttSettings, state_body, topic_prefix
from gate.sinks.window import Window, retry_delay_s

__all__ = ["Centre", "MqttSettings", "MqttSink", "SinkStatus", "TlsSettings", "topic_prefix"]

_ASK_AGAIN_S = 1.0
_STABLE_AFTER_S = 10.0
_FAREWELL_S = 0.5
_BUSY_S = 1.0
_GOOD_PROGRESS = 100
_TURN_S = 5.0
_LOOKUP_S = 180.0
"""A name server that does not answer: 5 s, twice, for each of three servers, search domain and address family
(resolv.conf(5)), and then each address its time to answer."""
_DOCUMENTS_MAX = 100
_DOCUMENT_BYTES_MAX = 512 * 1024
_DOCUMENTS_PAUSE_S = 60.0
_RECEIPTS_MAX = 1000
_COMMANDS_MAX = 100
_CENTRE_PAUSE_S = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """How delivery stands.

    `acknowledged` is the mark: receipted by the centre, or acknowledged by the broker where there is none.
    `oldest_unacknowledged_age_s` counts from when the sink learnt of the record, None when nothing waits.
    `last_error` says what is wrong and what to do; it is cleared after ten seconds of a good connection.
    `nobody_listens`: the broker took the last record, but has no subscriber for it (MQTT 5 only).
    `receipt_at_ms`: when the centre made the newest receipt, on its own clock. `refused_receipts`: how many
    messages came in the place of receipts that the centre has not signed for this gate.
    """

    connected: bool
    protocol: ProtocolVersion | None
    acknowledged: int
    head: int
    oldest_unacknowledged_age_s: float | None
    last_error: str | None
    reconnects: int
    nobody_listens: bool
    receipt_at_ms: int | None = None
    refused_receipts: int = 0


class MqttSink:
    """Delivers every record of an outbox to an MQTT broker, whatever happens to the broker meanwhile.

    `state` returns what goes into the retained state message beside `v` and `state`; the sink's thread calls
    it, it must return quickly, and it may fail without harm to delivery. One sink object runs once.

    `on_document` gets the payload of every document, 1 byte to 512 KiB, unchecked, in the sink's thread: it
    must return quickly, and it may fail. The same document comes again with every connection. At most 100
    come in 10 s. Without it no documents are subscribed to.

    `centre` is what delivery to a centre needs; without it the broker's acknowledgements count.

    `turn` is called by the sink's thread every few seconds, or gets for how many seconds it may not be: while
    it connects, it waits in the system's libraries.
    """

    def __init__(
        self,
        settings: MqttSettings,
        outbox: Outbox,
        *,
        state: Callable[[], dict[str, object]],
        on_document: Callable[[bytes], None] | None = None,
        centre: Centre | None = None,
        turn: Callable[[float], None] = lambda _within_s: None,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._state = state
        self._turn = turn
        self._monotonic = monotonic
        self._uniform = uniform
        self._dialect = Dialect(settings.protocol)
        self._version: ProtocolVersion = "5"
        self._thread = threading.Thread(target=self._run, name="mqtt-sink", daemon=True)
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._news = threading.Event()
        self._state_due = threading.Event()
        self._wishes: deque[Callable[[], object]] = deque()
        self._stop_at: float | None = None
        # From here on everything belongs to the sink's thread; others only read single values of it.
        _, _, site, gate = settings.topic_prefix.split("/")
        self._by_receipt = ByReceipt(outbox, site, gate, centre) if centre else None
        self._delivery: Delivery = self._by_receipt or ByAcknowledgement(outbox)
        self._complaints = Complaints(monotonic)
        self._incoming = Incoming(self._subscriptions(on_document, centre), monotonic, self._complaints)
        self._window: Window[Message] = Window(1)
        self._waiting_since: float | None = None
        self._ask_again_at = 0.0
        self._link: Connection | None = None
        self._accepted_at = 0.0
        self._began_behind = 0
        self._connections = 0
        self._failures = 0
        self._nobody_listens = False
        self._refused_receipts = 0

    def _subscriptions(
        self, on_document: Callable[[bytes], None] | None, centre: Centre | None
    ) -> Iterator[Subscription]:
        if centre is not None:
            on_command = centre.on_command
            yield Subscription(
                one="receipt",
                many="receipts",
                topics=f"{self._settings.topic_prefix}/receipt",
                take=self._receipt_came,
                most=_RECEIPTS_MAX,
                bytes_max=MESSAGE_BYTES_MAX,
                pause_s=_CENTRE_PAUSE_S,
                first=True,
            )
            yield Subscription(
                one="command",
                many="commands",
                topics=f"{self._settings.topic_prefix}/cmd",
                # One byte more than is read, so that it is refused for its length, on the record.
                take=lambda payload, retained: on_command(payload[: MESSAGE_BYTES_MAX + 1], retained),
                most=_COMMANDS_MAX,
                bytes_max=PACKET_BYTES_MAX,
                pause_s=_CENTRE_PAUSE_S,
                first=True,
            )
        if on_document is not None:
            yield Subscription(
                one="document",
                many="documents",
                topics=f"{self._settings.document_prefix}#",
                take=lambda payload, _retained: on_document(payload),
                most=_DOCUMENTS_MAX,
                bytes_max=_DOCUMENT_BYTES_MAX,
                pause_s=_DOCUMENTS_PAUSE_S,
            )

    # What other threads may call

    def start(self) -> None:
        """Begin to deliver, in a thread of its own; returns at once."""
        read, write = socket.socketpair()
        read.setblocking(False)
        write.setblocking(False)
        self._wake = (read, write)
        self._news.set()
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Deliver what can be delivered within `timeout_s`, announce "disconnected", end the thread."""
        if self._wake is None:
            return
        self._stop_at = self._monotonic() + timeout_s
        self._poke()
        self._thread.join(timeout_s + 2 * _FAREWELL_S)
        if self._thread.is_alive():  # kept waiting by a name server or a TLS peer; it is a daemon thread
            _log.warning("MQTT: still connecting after %.1f s; left behind", timeout_s)

    def notify(self) -> None:
        """Tell that new records are in the outbox; never blocks."""
        if not self._news.is_set():
            self._news.set()
            self._poke()

    def publish_state(self) -> None:
        """Have the retained state message sent again; never blocks."""
        self._state_due.set()
        self._poke()

    def send_again(self, after: int) -> None:
        """Have every record behind this one sent to the centre once more; never blocks."""
        if self._by_receipt:
            self._wishes.append(partial(self._by_receipt.send_again, after))
            self._poke()

    def make_checkpoint(self) -> None:
        """Have it stated to the centre how far the ledger reaches; never blocks."""
        if self._by_receipt:
            self._wishes.append(self._by_receipt.make_checkpoint)
            self._poke()

    def status(self) -> SinkStatus:
        """Return how delivery stands at this moment."""
        link, since = self._link, self._waiting_since
        return SinkStatus(
            connected=link is not None,
            protocol=link.version if link else None,
            acknowledged=self._delivery.mark,
            head=self._delivery.head,
            oldest_unacknowledged_age_s=None if since is None else self._monotonic() - since,
            last_error=self._complaints.last,
            reconnects=max(0, self._connections - 1),
            nobody_listens=self._nobody_listens,
            receipt_at_ms=self._by_receipt.receipt_at_ms if self._by_receipt else None,
            refused_receipts=self._refused_receipts,
        )

    def _poke(self) -> None:
        if self._wake:
            with contextlib.suppress(OSError):  # full: it is awake already; closed: it has ended
                self._wake[1].send(b"!")

    # The thread: connect, deliver, rest, again

    def _run(self) -> None:
        assert self._wake is not None
        read, write = self._wake
        with read, write, contextlib.closing(self._outbox):
            while self._stop_at is None:
                fault = self._one_connection(read)
                if fault and self._stop_at is None:
                    self._rest(read, fault)

    def _one_connection(self, wake: socket.socket) -> LinkDown | None:
        """Serve one connection to its end; None after a farewell."""
        link = None
        try:
            self._look_at_outbox()
            self._version = self._dialect.choose(self._monotonic())
            link = Connection(
                self._settings,
                self._version,
                self._monotonic,
                session=Session(INCOMING_MAX),
                will=(f"{self._settings.topic_prefix}/state", state_body("lost", {})),
                on_packet=self._incoming.arrived,
                on_taken=self._taken,
                on_subscribed=self._incoming.answered,
            )
            self._turn(_LOOKUP_S + self._settings.keepalive_s + self._settings.answer_timeout_s)
            link.open(wake, lambda: self._stop_at is not None)
            self._deliver(link, wake)
        except LinkDown as fault:
            return fault
        except Exception as error:  # noqa: BLE001 - whatever broke, records wait: say it and try again
            words = f"delivery was interrupted by {type(error).__name__}: {error}"
            self._complaints.say(logging.ERROR, words, error)
            return LinkDown(words)
        finally:
            self._link = None
            self._settle()
            self._close_books()
            if link:
                link.close()
        return None

    def _deliver(self, link: Connection, wake: socket.socket) -> None:
        """Send until the connection fails (LinkDown) or the sink is stopped."""
        self._resume(link)
        while not self._may_leave():
            self._turn(0.0)
            self._fill(link)
            self._incoming.ask(link)
            link.pump(wake, self._patience_s())
            self._look_at_outbox()
            self._settle()
            self._watch(link)
        self._farewell(link, wake)

    def _resume(self, link: Connection) -> None:
        """Begin a connection behind the mark: subscriptions first, then the birth message."""
        self._incoming.begin(link)
        self._news.set()
        self._look_at_outbox()
        size = min(self._settings.window, link.receive_maximum)
        self._window = Window(size)
        self._delivery.begin(size, link.packet_bytes_max)
        self._began_behind = self._delivery.mark
        self._state_due.set()
        self._connections += 1
        self._accepted_at = self._monotonic()
        self._link = link
        words = f"delivering to {self._settings.host} with MQTT {link.version}"
        self._complaints.say(logging.INFO, words)

    def _fill(self, link: Connection) -> None:
        """Hand over messages while the window has room, a state that is due before all others."""
        while self._wishes:
            self._wishes.popleft()()
        while self._window.room():
            if self._state_due.is_set():
                self._state_due.clear()
                self._send(link, self._describe("ready"))
            elif message := self._next_message():
                self._send(link, message)
            else:
                return

    def _next_message(self) -> Message | None:
        try:
            return self._delivery.next(self._monotonic())
        except Exception as error:  # noqa: BLE001 - a gate without its ledger must still tell its state
            self._outbox_failed(error)
            return None

    def _send(self, link: Connection, message: Message) -> None:
        topic = f"{self._settings.topic_prefix}/{message.leaf}"
        mid = link.publish(topic, message.body, retain=message.retain)
        self._window.sent(mid, message, self._monotonic())

    def _taken(self, mid: int, reason: ReasonCode) -> None:
        """Handle a PUBACK. A record that the broker refuses stops delivery: none may be left out."""
        message = self._window.under_way(mid)
        if message is None:
            return
        if reason.is_failure:
            if message.upto is not None and not self._delivery.refused(message):
                raise refusal(f"the broker refused record {message.upto}", reason)
            self._complaints.complain(refusal(f"the broker refused the {message.leaf} message", reason).words)
        if message.upto is not None:
            self._nobody_listens = reason.value == NO_MATCHING_SUBSCRIBERS
        self._window.acknowledged(mid)
        self._delivery.taken(message)

    def _receipt_came(self, message: bytes, _retained: bool) -> None:
        """Take a receipt, or what somebody would like to be taken for one."""
        assert self._by_receipt is not None
        try:
            self._by_receipt.receive(message, self._monotonic())
        except SignedError as error:
            self._refused_receipts += 1
            self._complaints.complain(
                f"a receipt is not believed ({error.reason}); is the centre's key in centre.keys_file?"
            )
        except Exception as error:  # noqa: BLE001 - a receipt not kept costs duplicates; another will come
            words = f"a receipt could not be kept ({type(error).__name__}: {error}); check the disk"
            self._complaints.complain(words)

    def _look_at_outbox(self) -> None:
        """Learn how far the outbox reaches, if anything is new."""
        now = self._monotonic()
        if not self._news.is_set() or now < self._ask_again_at:
            return
        self._news.clear()  # before looking, so that a record committed meanwhile is announced again
        try:
            self._delivery.look(now)
        except Exception as error:  # noqa: BLE001 - a gate without its ledger must still tell its state
            self._outbox_failed(error)
            return
        self._waiting_since = self._delivery.waiting_since

    def _outbox_failed(self, error: Exception) -> None:
        words = f"cannot read the ledger ({type(error).__name__}: {error}); see `gate ledger verify`"
        self._complaints.complain(words)
        self._ask_again_at = self._monotonic() + _ASK_AGAIN_S
        self._news.set()

    def _settle(self) -> None:
        try:
            self._delivery.settle(self._monotonic(), window_empty=self._window.empty())
        except Exception as error:  # noqa: BLE001 - what is not saved costs duplicates only; delivery goes on
            self._not_saved(error)
        self._waiting_since = self._delivery.waiting_since

    def _close_books(self) -> None:
        try:
            self._delivery.ended(self._window.all_under_way())
        except Exception as error:  # noqa: BLE001 - as above
            self._not_saved(error)

    def _not_saved(self, error: Exception) -> None:
        words = f"cannot save how far delivery is ({type(error).__name__}: {error}); check the disk"
        self._complaints.complain(words)

    def _watch(self, link: Connection) -> None:
        """Give up a connection that is only apparently alive, and trust one that has lasted."""
        now = self._monotonic()
        oldest = self._window.oldest_at()
        if oldest is not None and now - oldest > self._settings.keepalive_s:
            if link.silent_s() < _BUSY_S:
                self._incoming.holds_up()
            raise LinkDown(f"no acknowledgement for {now - oldest:.0f} s; the connection is given up")
        link.check_alive()
        if now - max(self._accepted_at, self._complaints.at) > _STABLE_AFTER_S:
            self._failures = 0
            self._complaints.last = None

    def _patience_s(self) -> float:
        """Return how long the loop may sleep: watchdogs need a look, what is due and a stop their moment."""
        now = self._monotonic()
        due_s = self._delivery.due_in_s(now) if self._window.room() else None
        stop_s = None if self._stop_at is None else self._stop_at - now
        moments = [at_s for at_s in (due_s, stop_s) if at_s is not None]
        return max(0.001, min([1.0, self._settings.keepalive_s / 8, *moments]))

    def _may_leave(self) -> bool:
        if self._stop_at is None:
            return False
        drained = self._window.empty() and self._delivery.at_end() and not self._news.is_set()
        return drained or self._monotonic() >= self._stop_at

    def _farewell(self, link: Connection, wake: socket.socket) -> None:
        """Announce the end and leave in order; without room for the message the last will has to say it."""
        deadline = self._monotonic() + _FAREWELL_S
        for message in (self._delivery.last(self._monotonic()), self._describe("disconnected")):
            if message is not None:
                self._wait_until(self._window.room, link, wake, deadline)
                if not self._window.room():
                    return
                self._send(link, message)
        self._wait_until(self._window.empty, link, wake, deadline)
        self._settle()
        link.leave()

    def _wait_until(
        self, condition: Callable[[], bool], link: Connection, wake: socket.socket, deadline: float
    ) -> None:
        while not condition() and (left_s := deadline - self._monotonic()) > 0:
            link.pump(wake, left_s)

    def _describe(self, state: str) -> Message:
        try:
            body = state_body(state, self._state())
        except Exception as error:  # noqa: BLE001 - a state that cannot be told must not stop the records
            words = f"the state of the gate cannot be told ({type(error).__name__}: {error})"
            self._complaints.complain(words)
            body = state_body(state, {})
        return Message("state", body, retain=True)

    def _rest(self, wake: socket.socket, fault: LinkDown) -> None:
        """Wait for the next attempt, keeping count of what gathers meanwhile."""
        now = self._monotonic()
        if fault.wrong_version:
            self._dialect.refused(self._version, now)
        self._complaints.complain(fault.words)
        self._incoming.ended()
        if self._delivery.mark - self._began_behind >= _GOOD_PROGRESS:
            self._failures, self._began_behind = 0, self._delivery.mark
        until = now + retry_delay_s(self._failures, lasting=fault.lasting, uniform=self._uniform)
        self._failures += 1
        while self._stop_at is None and (left_s := until - self._monotonic()) > 0:
            self._turn(0.0)
            select.select([wake], [], [], min(left_s, _TURN_S))
            empty(wake)
            self._look_at_outbox()
