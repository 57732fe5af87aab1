"""The centre at work: what arrives is stored, then acknowledged, then answered.

    broker --> subscriber (its thread) --> inbox --> Centre.run (the caller's thread) --> store
    broker <-- subscriber <-- acknowledgements and receipts, after the commit <--------'

The order is what the promises hang on: a message is acknowledged to the broker, and a receipt signed, only
for what the store has committed. Whatever dies in between, the message comes again, from the broker or from
the gate, and the store knows what it knows. Once a second the centre looks around, for what time alone shows.

A store that cannot be used is waited for: nothing is acknowledged, so that broker and gates keep it all. A
message that leads to an error of the program is dropped by itself and loudly; its gate has no receipt for it,
sends it again, and the hole that it leaves is an alarm.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from central.absence import Absences
from central.alerts.codes import in_words
from central.clock import Clock
from central.inbox import Inbox, Message
from central.intake import READY, Signed, Sorted, Stated, sort
from central.metrics import Metrics
from central.receipts import Asks, SignedReceipt, Signer
from central.states import GateStates
from central.store import Alarm, Ingested, Outcome, Store, StoreError, StreamState, Trust
from central.subscriber import Subscriber
from central.watch import GateReport, Names, Watch
from gate.core.delivery import Ask, Receipt

BATCH_MESSAGES_MAX: Final = 1000
_RECORDS_MAX: Final = 5000
_LINGER_S: Final = 0.05
_LOOK_EVERY_S: Final = 1.0
_LOOK_SHARE: Final = 0.05
_RETRY_S_MAX: Final = 15.0
_TURN_S: Final = 10.0
_STRANGERS_MAX: Final = 1000

_log = logging.getLogger(__name__)
S = TypeVar("S")
T = TypeVar("T")


class Audience(Protocol):
    """Whoever wants to know what has been stored, at once; it must return quickly."""

    def stored(self, ingested: Ingested) -> None:
        """Take note of records that are new."""

    def alarmed(self, alarms: Sequence[Alarm]) -> None:
        """Take note of alarms that were raised."""


class _StoppedError(Exception):
    """The centre was told to stop while it waited for the store."""


class Centre:
    """One centre. `run` works until `stop`, which any thread or signal handler may call.

    `alone`: no other centre works on the same store. `on_ready` is told when a registered gate says that it
    is there; it must return quickly. `turn` is called as long as the centre goes on, also while it waits for
    the store, at least every 15 seconds and what the store takes.
    """

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        subscriber: Subscriber,
        signer: Signer,
        watch: Watch,
        clock: Clock,
        *,
        alone: bool = True,
        metrics: Metrics | None = None,
        audience: Sequence[Audience] = (),
        on_ready: Callable[[str, str], None] = lambda _site, _gate: None,
        turn: Callable[[], None] = lambda: None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._subscriber = subscriber
        self._signer = signer
        self._watch = watch
        self._clock = clock
        self._alone = alone
        self._metrics = metrics or Metrics()
        self._audience = tuple(audience)
        self._on_ready = on_ready
        self._turn = turn
        self._uniform = uniform
        self._asks = Asks()
        self._absences = Absences(store.engine)
        self._states = GateStates(store.engine)
        self._stopped = threading.Event()
        self._known: frozenset[Names] = frozenset()
        self._reports: dict[Names, GateReport] = {}
        self._strangers: dict[Names, GateReport] = {}
        self._listening: tuple[int, int] | None = None
        self._look_at = 0.0
        self._troubled = False

    def stop(self) -> None:
        """Have `run` return when what it is storing is stored."""
        self._stopped.set()
        self._inbox.close()

    def run(self) -> None:
        """Serve until stopped."""
        self._subscriber.start()
        try:
            while not self._stopped.is_set():
                self._step()
        except _StoppedError:
            _log.warning("stopped while the store could not be used; what was not stored comes again")
        finally:
            self._subscriber.stop()

    def _step(self) -> None:
        self._turn()
        wait_s = min(_TURN_S, max(0.0, self._look_at - self._clock.monotonic()))
        batch = self._inbox.gather(BATCH_MESSAGES_MAX, first_within_s=wait_s, linger_s=_LINGER_S)
        if batch:
            self._take(batch)
        if self._clock.monotonic() >= self._look_at:
            self._look_around()

    # What arrives

    def _take(self, batch: Sequence[Message]) -> None:
        """Store a batch, acknowledge it, answer it."""
        found = sort(batch)
        answers = _Answers()
        began = self._clock.monotonic()
        self._take_records(found, answers)
        for checkpoint in found.checkpoints:
            for outcome in self._stored(self._judge, [checkpoint]):
                self._note_checkpoint(outcome, answers)
        done = self._clock.monotonic()
        self._subscriber.acknowledge(batch)
        self._answer(answers)
        self._hear(found.states)
        self._metrics.strays.inc(found.strays)
        self._metrics.commit_s.observe(done - began)
        self._metrics.lag_s.observe(done - batch[0].at)

    def _take_records(self, found: Sorted, answers: "_Answers") -> None:
        if found.sealed:
            for ingested in self._stored(self._store.ingest_sealed, found.sealed):
                self._note_records(ingested, answers)
        for first in range(0, len(found.records), _RECORDS_MAX):
            records = found.records[first : first + _RECORDS_MAX]
            for ingested in self._stored(self._store.ingest, records):
                self._note_records(ingested, answers)

    def _judge(self, checkpoints: Sequence[Signed], now_ms: int) -> Outcome:
        signed = checkpoints[0]
        return self._store.checkpoint(signed.message, signed.site, signed.gate, now_ms)

    def _stored(self, store: Callable[[Sequence[S], int], T], arrived: Sequence[S]) -> Iterator[T]:
        """Yield what the store says of all of it, or of each piece by itself when something is wrong."""
        try:
            yield self._patiently(lambda now_ms: store(arrived, now_ms))
        except (StoreError, _StoppedError):
            raise
        except Exception as error:  # noqa: BLE001 - one gate's message must not keep out all the others
            if len(arrived) > 1:
                for piece in arrived:
                    yield from self._stored(store, [piece])
                return
            self._metrics.poison.inc()
            _log.error("dropped a message that cannot be stored: %r", arrived[0], exc_info=error)

    def _patiently(self, work: Callable[[int], T]) -> T:
        """Do something with the store, again and again while it cannot be used. _StoppedError."""
        failures = 0
        while True:
            self._turn()
            try:
                done = work(self._clock.now_ms())
            except StoreError as error:
                self._metrics.store_failures.inc()
                pause_s = self._uniform(0.5, 1.0) * min(_RETRY_S_MAX, 0.5 * 2.0 ** min(failures, 6))
                self._trouble(f"{error}; nothing is acknowledged until it is back")
                failures += 1
                if self._clock.wait(self._stopped, pause_s):
                    raise _StoppedError from error
            else:
                self._relief()
                return done

    def _trouble(self, words: str) -> None:
        if not self._troubled:
            _log.error("%s", words)
        self._troubled = True

    def _relief(self) -> None:
        if self._troubled:
            _log.warning("the store can be used again")
        self._troubled = False

    # What is said in answer

    def _note_records(self, ingested: Ingested, answers: "_Answers") -> None:
        self._metrics.records.inc(len(ingested.new))
        self._metrics.duplicates.inc(ingested.duplicates)
        self._metrics.conflicts.inc(ingested.conflicts)
        self._metrics.rejects.inc(ingested.rejects)
        for progress in ingested.progress:
            if progress.advanced or progress.ask is not Ask.NOTHING:
                answers.add(progress.state, progress.ask)
        if ingested.new:
            for listener in self._audience:
                listener.stored(ingested)
        self._note_alarms(ingested.raised)

    def _note_checkpoint(self, outcome: Outcome, answers: "_Answers") -> None:
        if outcome.trust is Trust.TRUSTED and outcome.state is not None:
            self._metrics.checkpoints.inc()
            answers.add(outcome.state, outcome.ask)
        self._note_alarms(outcome.raised)

    def _note_alarms(self, alarms: Sequence[Alarm]) -> None:
        for alarm in alarms:
            about = alarm.about
            _log.warning("alarm %d: %s", alarm.id, in_words(about))
        if alarms:
            for listener in self._audience:
                listener.alarmed(alarms)

    def _answer(self, answers: "_Answers") -> None:
        now_ms = self._clock.now_ms()
        receipts: list[SignedReceipt] = []
        for state, ask in answers:
            allowed = ask is not Ask.NOTHING and self._asks.allowed(state, now_ms)
            receipts += self._signer.sign(state, ask if allowed else Ask.NOTHING, now_ms)
        self._send(receipts)

    def _send(self, receipts: Sequence[SignedReceipt]) -> None:
        """Keep receipts, then publish them: what a gate can show was kept here first."""
        receipts = [receipt for receipt in receipts if self._alone or self._still_holds(receipt.receipt)]
        if not receipts:
            return
        kept = [(receipt.receipt, receipt.message) for receipt in receipts]
        self._patiently(lambda _: self._store.keep_receipts(kept))
        for receipt in receipts:
            self._subscriber.publish(receipt.topic, receipt.message, retain=receipt.retain)
        self._metrics.receipts.inc(len(receipts))

    def _still_holds(self, receipt: Receipt) -> bool:
        """Tell whether another centre has meanwhile proved more, and so has signed for it, or will.

        A receipt bears the time of its signing, and every centre signs after its commit. So one that still
        holds when it has been signed is earlier than the one for whatever is committed later.
        """
        state = self._patiently(lambda _: self._store.stream(receipt.site, receipt.gate, receipt.epoch))
        return state is not None and state.proved == receipt.upto

    # Once a second

    def _look_around(self) -> None:
        """Raise and clear alarms, ask for what is missing, show figures; seldomer when it takes long."""
        began = self._clock.monotonic()
        try:
            self._examine(self._clock.now_ms())
        except StoreError as error:
            self._metrics.store_failures.inc()
            self._trouble(str(error))
        else:
            self._relief()
        now = self._clock.monotonic()
        self._look_at = now + max(_LOOK_EVERY_S, (now - began) / _LOOK_SHARE)

    def _examine(self, now_ms: int) -> None:
        states, keys, standing = self._store.streams(), self._store.gates(), self._store.alarms()
        self._know(frozenset((key.site, key.gate) for key in keys if key.revoked_ms is None))
        self._states.keep({names: (said.state, said.mode) for names, said in self._reports.items()}, now_ms)
        judgement = self._watch.examine(
            states, keys, self._reports, standing, stopped=self._absences.stopped(states, now_ms),
            listening_since_ms=self._listen(now_ms), now_ms=now_ms,
        )  # fmt: skip
        raised = [self._store.raise_alarm(about, now_ms) for about in judgement.raised]
        new = [alarm for alarm in raised if alarm is not None]
        self._note_alarms(new)
        for alarm in judgement.over:
            self._store.clear_alarm(alarm.id, now_ms, by="centre", reason="over")
            _log.info("alarm %d is over: %s", alarm.id, in_words(alarm.about))
        if self._listening:
            due = self._asks.due(states, now_ms)
            self._send([self._signer.ask(state, ask, now_ms) for state, ask in due])
        over = {alarm.id for alarm in judgement.over}
        self._metrics.alarms_stand([*(alarm for alarm in standing if alarm.id not in over), *new])

    def _know(self, known: frozenset[Names]) -> None:
        self._known = known
        heard = self._reports | self._strangers
        self._reports = {names: report for names, report in heard.items() if names in known}
        self._strangers = {names: report for names, report in heard.items() if names not in known}
        states = (self._reports[names].state if names in self._reports else "unknown" for names in known)
        self._metrics.gates_are(states)

    def _listen(self, now_ms: int) -> int | None:
        """Return since when the centre has been listening without a break; None when it is not."""
        heard = self._subscriber.status()
        self._metrics.connected.set(heard.connected)
        if not heard.connected:
            self._listening = None
        elif self._listening is None or self._listening[0] != heard.connections:
            self._listening = (heard.connections, now_ms)
        return self._listening[1] if self._listening else None

    def _hear(self, states: Iterable[Stated]) -> None:
        """Remember what gates are said to do; of those that may be registered later only the newest."""
        now_ms = self._clock.now_ms()
        for stated in states:
            names = stated.site, stated.gate
            reports = self._reports if names in self._known else self._strangers
            reports[names] = self._watch.report(reports.get(names), stated.state, stated.mode, now_ms)
            if names in self._known and stated.state == READY:
                self._on_ready(*names)
        for names in list(self._strangers)[:-_STRANGERS_MAX]:  # they could fill the memory
            del self._strangers[names]


class _Answers:
    """The newest state of each stream that is to be answered, and whether anything is asked for."""

    def __init__(self) -> None:
        self._due: dict[int, tuple[StreamState, Ask]] = {}

    def add(self, state: StreamState, ask: Ask) -> None:
        """Note an answer; an earlier one for the same stream is replaced, but not what it asked for."""
        _, asked = self._due.get(state.id, (state, Ask.NOTHING))
        self._due[state.id] = (state, asked if ask is Ask.NOTHING else ask)

    def __iter__(self) -> Iterator[tuple[StreamState, Ask]]:
        return iter(self._due.values())
