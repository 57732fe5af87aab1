"""Delivery over MQTT: records leave the outbox in order, at least once, and never hold up a visit.

Documents of the site come in over the same connection, and never hold up a record.

One thread, `mqtt-sink`, does everything: it connects, sends, keeps its own window, saves the acknowledged
mark. Whatever fails ends this one connection and leads to the next.

- Every connection is a new client with a clean start. paho would send all it remembers at once after a
  reconnect, beyond the broker's Receive Maximum, which it does not read; here the outbox is the only memory,
  and sending resumes after the mark. What was under way is sent twice: receivers drop duplicates by (gate,
  epoch, sequence).
- The mark is folded from acknowledgements in any order and saved at most once a second or every 500 records.
  A lost save costs duplicates, never a record.
- A connection is given up when nothing has been heard for 1.5 x keepalive, or when an acknowledgement takes
  longer than one keepalive: a half-open TCP connection reports nothing by itself.
- MQTT 5 is spoken first, 3.1.1 to brokers that refuse 5, hang up on it or never answer it.
- Documents are subscribed to anew on every connection, which brings the retained ones each time. So they can
  be left out whenever they get in the way: for a minute when more than 100 come in 10 s (unsubscribing stops
  a flood where it starts), when the broker refuses the subscription, or when connections break as soon as
  they are asked for; for ten minutes when they keep coming while acknowledgements do not.

Topics under the prefix `hg/1/<site>/<gate>`: `ev` carries records (QoS 1, the exact bytes of the ledger, not
retained); `state` is retained and says ready, disconnected or lost (the last will). A PUBACK is only a hint
that the record has travelled. The centre's signed receipts will arrive on `rcpt`: `_resume` is where that
topic is to be subscribed, and a checked receipt will move a mark of its own in the outbox.

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
from collections.abc import Callable
from dataclasses import dataclass

from paho.mqtt.reasoncodes import ReasonCode

from gate.ports import Entry, Outbox
from gate.sinks.link import (
    NO_MATCHING_SUBSCRIBERS,
    Dialect,
    Link,
    LinkDown,
    MqttSettings,
    ProtocolVersion,
    TlsSettings,
    empty,
    refusal,
    state_body,
    topic_prefix,
)
from gate.sinks.window import (
    DOCUMENTS_MAX,
    DOCUMENTS_WITHIN_S,
    Backlog,
    Intake,
    Window,
    retry_delay_s,
)

__all__ = ["MqttSettings", "MqttSink", "SinkStatus", "TlsSettings", "topic_prefix"]

_READ_AHEAD = 500
_SAVE_EVERY = 500
_SAVE_WITHIN_S = 1.0
_ASK_AGAIN_S = 1.0
_STABLE_AFTER_S = 10.0
_FAREWELL_S = 0.5
_REPEAT_LOG_S = 600.0
_DOCUMENT_BYTES_MAX = 512 * 1024
_PAUSE_S = 60.0
_LONG_PAUSE_S = 600.0
_BUSY_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """How delivery stands.

    `oldest_unacknowledged_age_s` counts from when the sink learnt of the record, None when nothing waits.
    `last_error` says what is wrong and what to do; it is cleared after ten seconds of a good connection.
    `nobody_listens`: the broker took the last record, but has no subscriber for it (MQTT 5 only).
    """

    connected: bool
    protocol: ProtocolVersion | None
    acknowledged: int
    head: int
    oldest_unacknowledged_age_s: float | None
    last_error: str | None
    reconnects: int
    nobody_listens: bool


class MqttSink:
    """Delivers every record of an outbox to an MQTT broker, whatever happens to the broker meanwhile.

    `state` returns what goes into the retained state message beside `v` and `state`; the sink's thread calls
    it, it must return quickly, and it may fail without harm to delivery. One sink object runs once.

    `on_document` gets the payload of every document, 1 byte to 512 KiB, unchecked, in the sink's thread: it
    must return quickly, and it may fail. The same document comes again with every connection. At most 100
    come in 10 s. Without it nothing is subscribed to.
    """

    def __init__(
        self,
        settings: MqttSettings,
        outbox: Outbox,
        *,
        state: Callable[[], dict[str, object]],
        on_document: Callable[[bytes], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._state = state
        self._on_document = on_document
        self._monotonic = monotonic
        self._uniform = uniform
        self._dialect = Dialect(settings.protocol)
        self._version: ProtocolVersion = "5"
        self._thread = threading.Thread(target=self._run, name="mqtt-sink", daemon=True)
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._news = threading.Event()
        self._state_due = threading.Event()
        self._stop_at: float | None = None
        # From here on everything belongs to the sink's thread; others only read single values of it.
        self._window = Window(1, 0)
        self._backlog = Backlog()
        self._intake = Intake()
        self._waiting_since: float | None = None
        self._queue: deque[Entry] = deque()
        self._more = False
        self._ask_again_at = 0.0
        self._handed = 0
        self._upto = 0
        self._saved: int | None = None
        self._save_due: float | None = None
        self._head = 0
        self._link: Link | None = None
        self._accepted_at = 0.0
        self._connections = 0
        self._failures = 0
        self._last_error: str | None = None
        self._complained_at = 0.0
        self._nobody_listens = False
        self._logged: dict[str, float] = {}

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

    def status(self) -> SinkStatus:
        """Return how delivery stands at this moment."""
        link, since = self._link, self._waiting_since
        return SinkStatus(
            connected=link is not None,
            protocol=link.version if link else None,
            acknowledged=self._upto,
            head=self._head,
            oldest_unacknowledged_age_s=None if since is None else self._monotonic() - since,
            last_error=self._last_error,
            reconnects=max(0, self._connections - 1),
            nobody_listens=self._nobody_listens,
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
            link = Link(
                self._settings,
                self._version,
                self._taken,
                self._monotonic,
                on_message=self._arrived,
                on_subscribed=self._answered,
            )
            link.open()
            self._await_acceptance(link, wake)
            self._deliver(link, wake)
        except LinkDown as fault:
            return fault
        except Exception as error:  # noqa: BLE001 - whatever broke, records wait: say it and try again
            words = f"delivery was interrupted by {type(error).__name__}: {error}"
            self._say(logging.ERROR, words, error)
            return LinkDown(words)
        finally:
            self._link = None
            self._settle()
            self._save()
            if link:
                link.close()
        return None

    def _await_acceptance(self, link: Link, wake: socket.socket) -> None:
        deadline = self._monotonic() + self._settings.answer_timeout_s
        while not link.accepted:
            left_s = deadline - self._monotonic()
            if left_s <= 0:
                raise LinkDown("the broker does not answer; is it an MQTT port?", wrong_version=True)
            if self._stop_at is not None:
                raise LinkDown("stopped while connecting")
            link.pump(wake, left_s)

    def _deliver(self, link: Link, wake: socket.socket) -> None:
        """Send until the connection fails (LinkDown) or the sink is stopped."""
        self._resume(link)
        while not self._may_leave():
            self._fill(link)
            self._ask_for_documents(link)
            link.pump(wake, self._patience_s())
            self._look_at_outbox()
            self._settle()
            self._watch(link)
        self._farewell(link, wake)

    def _resume(self, link: Link) -> None:
        """Begin a connection behind the mark, with the birth message first."""
        self._news.set()
        self._look_at_outbox()
        self._window = Window(min(self._settings.window, link.receive_maximum), after=self._upto)
        self._queue.clear()
        self._handed = self._upto
        self._state_due.set()
        self._connections += 1
        self._accepted_at = self._monotonic()
        self._link = link
        self._say(logging.INFO, f"delivering to {self._settings.host} with MQTT {link.version}")

    def _fill(self, link: Link) -> None:
        """Hand over messages while the window has room: a state that is due first, then records in order."""
        while self._window.room():
            if self._state_due.is_set():
                self._state_due.clear()
                self._send(link, "state", self._describe("ready"), None)
            elif entry := self._next_entry():
                self._handed = entry.seq
                self._send(link, "ev", entry.body, entry.seq)
            else:
                return

    def _next_entry(self) -> Entry | None:
        if not self._queue and self._more:
            try:
                self._queue.extend(self._outbox.pending(self._handed, _READ_AHEAD))
            except Exception as error:  # noqa: BLE001 - a gate without its ledger must still tell its state
                self._outbox_failed(error)
                return None
            self._more = len(self._queue) == _READ_AHEAD
        return self._queue.popleft() if self._queue else None

    def _send(self, link: Link, leaf: str, body: bytes, seq: int | None) -> None:
        mid = link.publish(leaf, body, retain=seq is None)
        self._window.sent(mid, seq, self._monotonic())

    def _taken(self, mid: int, reason: ReasonCode) -> None:
        """Handle a PUBACK. A record that the broker refuses stops delivery: none may be left out."""
        seq = self._window.seq_of(mid)
        if reason.is_failure:
            if seq is not None:
                raise refusal(f"the broker refused record {seq}", reason)
            self._complain(refusal("the broker refused the state message", reason).words)
        if seq is not None:
            self._nobody_listens = reason.value == NO_MATCHING_SUBSCRIBERS
        self._window.acknowledged(mid)

    def _ask_for_documents(self, link: Link) -> None:
        now = self._monotonic()
        if self._on_document and self._intake.due(now):
            self._intake.asked(now)
            link.subscribe(f"{self._settings.document_prefix}#")

    def _answered(self, reason: ReasonCode) -> None:
        """Handle the SUBACK."""
        if reason.is_failure:
            self._pause_documents(
                refusal("the broker refused the subscription to documents", reason).words, _PAUSE_S
            )

    def _arrived(self, topic: str, payload: bytes) -> None:
        """Hand a document on. Nothing that arrives may end the connection: the records need it."""
        if self._on_document is None or not self._intake.open:
            return
        if not topic.startswith(self._settings.document_prefix) or not payload:
            return
        if not self._intake.takes(self._monotonic()):
            self._stem()
        elif len(payload) > _DOCUMENT_BYTES_MAX:
            leaf = topic.removeprefix(self._settings.document_prefix)[:64]
            self._complain(f"document {leaf!r} is larger than {_DOCUMENT_BYTES_MAX} bytes and was dropped")
        else:
            try:
                self._on_document(payload)
            except Exception as error:  # noqa: BLE001 - as above; the next connection brings it again
                words = f"a document could not be handed on ({type(error).__name__}: {error})"
                self._say(logging.ERROR, words, error)

    def _stem(self) -> None:
        """Stop a flood of documents where it starts; what is under way is dropped."""
        if self._link:
            self._link.unsubscribe(f"{self._settings.document_prefix}#")
        words = f"more than {DOCUMENTS_MAX} documents within {DOCUMENTS_WITHIN_S:.0f} s; the rest is dropped"
        self._pause_documents(words, _PAUSE_S)

    def _pause_documents(self, words: str, pause_s: float) -> None:
        self._intake.pause(self._monotonic() + pause_s)
        self._complain(f"{words}; documents are asked for again in {pause_s:.0f} s")

    def _look_at_outbox(self) -> None:
        """Learn how far the outbox reaches, if anything is new."""
        if not self._news.is_set() or self._monotonic() < self._ask_again_at:
            return
        try:
            if self._saved is None:
                self._saved = self._upto = self._handed = self._outbox.acknowledged()
                self._backlog.done(self._upto)
            self._news.clear()  # before looking, so that a record committed meanwhile is announced again
            self._head = self._outbox.head()
        except Exception as error:  # noqa: BLE001 - a gate without its ledger must still tell its state
            self._outbox_failed(error)
            return
        self._backlog.grown(self._head, self._monotonic())
        self._waiting_since = self._backlog.waiting_since()
        self._more = True

    def _outbox_failed(self, error: Exception) -> None:
        self._complain(f"cannot read the ledger ({type(error).__name__}: {error}); see `gate ledger verify`")
        self._ask_again_at = self._monotonic() + _ASK_AGAIN_S
        self._more = False
        self._news.set()

    def _settle(self) -> None:
        """Move the mark, and save it when enough has gathered: one save per record drains 5 x slower."""
        upto = self._window.upto()
        if upto > self._upto:
            self._upto = upto
            self._backlog.done(upto)
            self._waiting_since = self._backlog.waiting_since()
            if self._save_due is None:
                self._save_due = self._monotonic() + _SAVE_WITHIN_S
        if self._save_due is not None:
            enough = self._saved is not None and self._upto - self._saved >= _SAVE_EVERY
            if enough or self._monotonic() >= self._save_due:
                self._save()

    def _save(self) -> None:
        if self._save_due is None:
            return
        try:
            self._outbox.acknowledge(self._upto)
        except Exception as error:  # noqa: BLE001 - a mark not saved costs duplicates only; delivery goes on
            self._complain(
                f"cannot save how far delivery is ({type(error).__name__}: {error}); check the disk"
            )
            self._save_due = self._monotonic() + _SAVE_WITHIN_S
        else:
            self._saved = self._upto
            self._save_due = None

    def _watch(self, link: Link) -> None:
        """Give up a connection that is only apparently alive, and trust one that has lasted."""
        now = self._monotonic()
        oldest = self._window.oldest_at()
        if oldest is not None and now - oldest > self._settings.keepalive_s:
            if self._intake.open and link.silent_s() < _BUSY_S:
                self._pause_documents("documents may be holding up acknowledgements", _LONG_PAUSE_S)
            raise LinkDown(f"no acknowledgement for {now - oldest:.0f} s; the connection is given up")
        if link.silent_s() > link.silence_allowed_s():
            raise LinkDown(f"the broker is silent for {link.silent_s():.0f} s; the connection is given up")
        if now - max(self._accepted_at, self._complained_at) > _STABLE_AFTER_S:
            self._failures = 0
            self._last_error = None

    def _patience_s(self) -> float:
        """Return how long the loop may sleep: watchdogs need a look, a save and a stop have their moment."""
        now = self._monotonic()
        moments = [at - now for at in (self._save_due, self._stop_at) if at is not None]
        return max(0.001, min([1.0, self._settings.keepalive_s / 8, *moments]))

    def _may_leave(self) -> bool:
        if self._stop_at is None:
            return False
        drained = self._window.empty() and not self._queue and not self._more and not self._news.is_set()
        return drained or self._monotonic() >= self._stop_at

    def _farewell(self, link: Link, wake: socket.socket) -> None:
        """Announce the end and leave in order; without room for the message the last will has to say it."""
        if not self._window.room():
            return
        self._send(link, "state", self._describe("disconnected"), None)
        deadline = self._monotonic() + _FAREWELL_S
        while not self._window.empty() and (left_s := deadline - self._monotonic()) > 0:
            link.pump(wake, left_s)
        self._settle()
        link.leave()

    def _describe(self, state: str) -> bytes:
        try:
            return state_body(state, self._state())
        except Exception as error:  # noqa: BLE001 - a state that cannot be told must not stop the records
            self._complain(f"the state of the gate cannot be told ({type(error).__name__}: {error})")
            return state_body(state, {})

    def _rest(self, wake: socket.socket, fault: LinkDown) -> None:
        """Wait for the next attempt, keeping count of what gathers meanwhile."""
        now = self._monotonic()
        if fault.wrong_version:
            self._dialect.refused(self._version, now)
        self._complain(fault.words)
        if self._intake.ended(now):
            self._pause_documents("connections break when documents are asked for", _PAUSE_S)
        until = now + retry_delay_s(self._failures, lasting=fault.lasting, uniform=self._uniform)
        self._failures += 1
        while self._stop_at is None and (left_s := until - self._monotonic()) > 0:
            select.select([wake], [], [], left_s)
            empty(wake)
            self._look_at_outbox()

    def _complain(self, words: str) -> None:
        self._last_error = words
        self._complained_at = self._monotonic()
        self._say(logging.WARNING, words)

    def _say(self, level: int, words: str, error: BaseException | None = None) -> None:
        """Log one sentence at most every ten minutes."""
        now = self._monotonic()
        if now - self._logged.get(words, -_REPEAT_LOG_S) < _REPEAT_LOG_S:
            return
        if len(self._logged) > 100:
            self._logged.clear()
        self._logged[words] = now
        _log.log(level, "MQTT: %s", words, exc_info=error)
