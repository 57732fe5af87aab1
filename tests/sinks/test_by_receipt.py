"""Delivery to a centre without a network and in virtual time: what is sent, and what receipts do."""

import base64
import json
import random
from collections.abc import Callable
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytest import approx, mark, raises

from gate.core.batches import unpack
from gate.core.commands import Address, Command, Name
from gate.core.delivery import Ask, Checkpoint, Receipt, Why
from gate.core.signed import SignedError
from gate.sinks.by_receipt import ByReceipt
from gate.sinks.delivery import Message
from tests.brokers import MemoryOutbox
from tests.centre import CENTRE_KEY, DEVICE_KEY, GATE, SITE, Heard, SmallCentre, public

WINDOW = 20
NO_LIMIT = 2**28


class Gate:
    """One delivery on a connection that takes everything, with a clock to turn."""

    def __init__(
        self,
        outbox: MemoryOutbox,
        heard: Heard | None = None,
        device_key: Ed25519PrivateKey | None = DEVICE_KEY,
    ) -> None:
        self.outbox = outbox
        self.heard = heard or Heard()
        self.now = 1000.0
        self.delivery = ByReceipt(outbox, SITE, GATE, self.heard.centre(device_key))
        self.delivery.look(self.now)
        self.delivery.begin(WINDOW, NO_LIMIT)

    def sends(self) -> list[Message]:
        """Hand over everything that is to be sent now; all of it is acknowledged."""
        self.delivery.look(self.now)
        sent = []
        while message := self.delivery.next(self.now):
            sent.append(message)
            self.delivery.taken(message)
        self.delivery.settle(self.now, window_empty=True)
        return sent

    def records(self) -> list[int]:
        return [seq for message in self.sends() for seq in seqs(message)]

    def waits(self, seconds: float) -> list[int]:
        """Let time pass as the sink does, which looks at least once a second; return what is sent."""
        until, sent = self.now + seconds, []
        while self.now < until:
            self.now = min(until, self.now + 1.0)
            sent += self.records()
        return sent

    def gets(self, receipt: bytes) -> None:
        self.delivery.receive(receipt, self.now)

    def tells(self, centre: SmallCentre) -> list[bytes]:
        """Send everything to a centre; return its receipts."""
        return [receipt for message in self.sends() for receipt in centre.take(message.leaf, message.body)]


def seqs(message: Message) -> list[int]:
    bodies = {"ev": lambda: [message.body], "ev/batch": lambda: unpack(message.body)}
    return [json.loads(body)["seq"] for body in bodies.get(message.leaf, list)()]


def checkpoints(messages: list[Message]) -> list[Checkpoint]:
    return [
        Checkpoint.opened(message.body, (public(DEVICE_KEY),))
        for message in messages
        if message.leaf == "checkpoint"
    ]


def put_in(centre: SmallCentre, message: Message) -> list[int]:
    """Let a centre have a message, whatever it answers."""
    list(centre.take(message.leaf, message.body))
    return seqs(message)


def run(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


def complete(gate: Gate, centre: SmallCentre) -> None:
    """Exchange messages and receipts until nothing is left to say."""
    for _ in range(20):
        for receipt in gate.tells(centre):
            gate.gets(receipt)
        gate.now += 1.1
    assert gate.delivery.mark == gate.outbox.head().seq
    assert centre.bodies(gate.outbox.head().epoch) == gate.outbox.bodies()


# --- what is sent


def test_a_checkpoint_of_the_whole_ledger_goes_before_the_records() -> None:
    gate = Gate(MemoryOutbox(7))
    sent = gate.sends()
    assert [message.leaf for message in sent] == ["checkpoint", *["ev"] * 7]
    assert [message.retain for message in sent] == [True, *[False] * 7]
    (stated,) = checkpoints(sent)
    head = gate.outbox.head()
    assert (stated.site, stated.gate, stated.epoch) == (SITE, GATE, "e0")
    assert (stated.size, stated.hash, stated.receipted, stated.why) == (7, head.hash, 0, Why.START)
    assert (stated.at_ms, stated.clock_trusted, stated.boot_id) == (gate.heard.wall_ms, True, "boot")


@mark.parametrize(("records", "batches"), [(99, 0), (100, 1), (199, 1), (1050, 10)])
def test_a_hundred_or_more_go_in_batches_whole_and_in_order(records: int, batches: int) -> None:
    gate = Gate(MemoryOutbox(records))
    sent = gate.sends()
    assert [seq for message in sent for seq in seqs(message)] == run(1, records)
    assert sum(message.leaf == "ev/batch" for message in sent) == batches
    assert all(len(seqs(message)) <= 100 for message in sent)
    assert all(message.upto == seqs(message)[-1] for message in sent if message.records)


def test_a_batch_that_the_broker_would_not_take_goes_singly() -> None:
    gate = Gate(MemoryOutbox(250))
    gate.delivery.begin(WINDOW, 400)
    sent = gate.sends()
    assert {message.leaf for message in sent} == {"checkpoint", "ev"}
    assert [seq for message in sent for seq in seqs(message)] == run(1, 250)


def test_a_checkpoint_when_all_is_sent_and_at_once_when_a_hundred_are_new() -> None:
    gate = Gate(MemoryOutbox(350))
    assert [(one.why, one.size) for one in checkpoints(gate.sends())] == [(Why.START, 350), (Why.COUNT, 100)]
    gate.now += 1.0
    assert [(one.why, one.size) for one in checkpoints(gate.sends())] == [(Why.DRAINED, 350)]
    for size in (450, 550):
        gate.outbox.add(100)
        assert [(one.why, one.size) for one in checkpoints(gate.sends())] == [(Why.DRAINED, size)]
    gate.outbox.add(1)
    assert checkpoints(gate.sends()) == [], "not within the same second"
    gate.now += 1.0
    assert [(one.why, one.size) for one in checkpoints(gate.sends())] == [(Why.DRAINED, 551)]
    gate.now += 1.0
    assert checkpoints(gate.sends()) == [], "nothing is new"


def some(gate: Gate, most: int) -> list[Message]:
    """Let a connection last for so many messages."""
    sent = [message for _ in range(most) if (message := gate.delivery.next(gate.now))]
    gate.delivery.ended([])
    return sent


def test_in_a_backlog_a_checkpoint_states_what_was_sent_in_order() -> None:
    gate = Gate(MemoryOutbox(1000))
    gate.outbox.abnormal_seqs = {3, 700}
    sent: list[Message] = []
    for _ in range(7):
        sent += filter(None, (gate.delivery.next(gate.now) for _ in range(4)))
        gate.now += 1.1
    counted = [(one.size, one.hash) for one in checkpoints(sent) if one.why is Why.COUNT]
    assert counted == [(size, gate.outbox.hash_at(size)) for size in (100, 400, 700)]
    for place, message in enumerate(sent):
        for stated in checkpoints([message]):
            before = {seq for earlier in sent[:place] for seq in seqs(earlier)}
            assert stated.why is not Why.COUNT or set(run(1, stated.size)) <= before


def test_what_is_sent_again_is_stated_again() -> None:
    gate = Gate(MemoryOutbox(1000))
    gate.sends()
    gate.now += 2
    gate.delivery.send_again(300)
    counted = [one.size for one in checkpoints(gate.sends()) if one.why is Why.COUNT]
    assert counted == [400]


def test_a_backlog_is_receipted_on_the_way() -> None:
    gate, centre = Gate(MemoryOutbox(1000)), SmallCentre()
    marks = []
    for _ in range(8):
        message = gate.delivery.next(gate.now)
        assert message is not None
        for receipt in centre.take(message.leaf, message.body):
            gate.gets(receipt)
        marks.append(gate.delivery.mark)
        gate.now += 0.5
    assert marks == [0, 0, 100, 100, 200, 200, 300, 300], marks


@mark.parametrize(("messages", "singly"), [(3, False), (2, False), (8, True)])
def test_connections_that_never_last_get_a_backlog_further(messages: int, singly: bool) -> None:
    """Each ends before a receipt for what it has sent has come: the next one gets it."""
    gate, centre = Gate(MemoryOutbox(300)), SmallCentre()
    answers: list[bytes] = []
    for _ in range(150):
        gate.delivery.begin(WINDOW, 400 if singly else NO_LIMIT)
        for receipt in answers:
            gate.gets(receipt)
        if gate.delivery.mark == 300:
            break
        answers = [
            receipt for message in some(gate, messages) for receipt in centre.take(message.leaf, message.body)
        ]
        gate.now += 0.1
    assert gate.delivery.mark == 300
    assert centre.bodies() == gate.outbox.bodies()


def test_what_was_only_sent_again_because_it_is_urgent_is_not_stated_as_sent_in_order() -> None:
    gate = Gate(MemoryOutbox(1500))
    gate.outbox.abnormal_seqs = set(run(200, 900))
    sent = [gate.delivery.next(gate.now) for _ in range(702)]
    assert [message.upto for message in sent if message and message.records] == run(200, 900)
    assert [one.why for one in checkpoints([m for m in sent if m])] == [Why.START]


def test_a_checkpoint_is_the_heartbeat_of_a_gate_to_which_nobody_comes() -> None:
    gate, centre = Gate(MemoryOutbox(3)), SmallCentre()
    complete(gate, centre)
    before = len(centre.checkpoints)
    for _ in range(600):
        gate.now += 1.0
        gate.tells(centre)
    beats = centre.checkpoints[before:]
    assert [stated.why for stated in beats] == [Why.INTERVAL] * 10
    assert {stated.receipted for stated in beats} == {3}


def test_without_a_device_key_records_go_and_no_checkpoints() -> None:
    gate = Gate(MemoryOutbox(150), device_key=None)
    sent = gate.sends()
    assert [seq for message in sent for seq in seqs(message)] == run(1, 150)
    assert checkpoints(sent) == []
    assert gate.delivery.last(gate.now) is None
    assert gate.delivery.due_in_s(gate.now) is None, "nothing to get up for"


def test_the_last_word_is_a_checkpoint() -> None:
    gate = Gate(MemoryOutbox(3))
    gate.sends()
    last = gate.delivery.last(gate.now)
    assert last is not None
    assert [stated.why for stated in checkpoints([last])] == [Why.STOP]


def test_abnormal_records_of_a_backlog_go_first_and_come_again_in_their_places() -> None:
    gate = Gate(MemoryOutbox(1200))
    gate.outbox.abnormal_seqs = {5, 700, 1190}
    sent = [message for message in gate.sends() if message.records]
    assert [message.leaf for message in sent[:3]] == ["ev"] * 3
    assert [seq for message in sent for seq in seqs(message)] == [5, 700, 1190, *run(1, 1200)]


def test_no_more_than_a_thousand_abnormal_records_go_first() -> None:
    gate = Gate(MemoryOutbox(1500))
    gate.outbox.abnormal_seqs = set(run(1, 1500))
    assert gate.records() == [*run(1, 1000), *run(1, 1500)]


def test_what_fits_into_the_window_needs_no_other_order() -> None:
    gate = Gate(MemoryOutbox(WINDOW))
    gate.outbox.abnormal_seqs = {WINDOW}
    assert gate.records() == run(1, WINDOW)


@mark.parametrize("records", [30, 300])
def test_what_is_sealed_goes_right_before_its_record(records: int) -> None:
    gate = Gate(MemoryOutbox(records))
    gate.outbox.abnormal_seqs = {29}
    gate.outbox.sealed_bytes = {3: b"three \xff", 29: b"twenty-nine"}
    seen: dict[int, bytes] = {}
    for message in gate.sends():
        assert all(seq in seen for seq in seqs(message) if seq in gate.outbox.sealed_bytes)
        if message.leaf == "sealed":
            line = json.loads(message.body)
            assert (line["v"], line["epoch"], message.retain) == (1, "e0", False)
            assert b"\n" not in message.body
            seen[line["seq"]] = base64.b64decode(line["sealed"], validate=True)
    assert seen == gate.outbox.sealed_bytes


# --- receipts


def test_only_a_receipt_makes_a_record_done() -> None:
    gate, centre = Gate(MemoryOutbox(350)), SmallCentre()
    receipts = gate.tells(centre)
    assert gate.delivery.mark == 0, "the broker's acknowledgements move nothing"
    for receipt in receipts:
        gate.gets(receipt)
    complete(gate, centre)
    assert gate.outbox.receipts[-1].upto == gate.outbox.acknowledged() == 350
    assert gate.delivery.receipt_at_ms == centre.clock_ms
    assert gate.delivery.waiting_since is None


def test_a_mark_that_only_a_broker_has_moved_means_nothing_to_a_centre() -> None:
    gate = Gate(MemoryOutbox(30, acknowledged=20))
    assert gate.records() == run(1, 30)


def test_sending_resumes_behind_the_receipt_on_every_connection() -> None:
    gate, centre = Gate(MemoryOutbox(30)), SmallCentre()
    complete(gate, centre)
    gate.outbox.add(10)
    assert gate.records() == run(31, 40)
    gate.delivery.begin(WINDOW, NO_LIMIT)
    assert gate.records() == run(31, 40)
    again = Gate(gate.outbox)
    assert again.records() == run(31, 40), "and in the next run"


def test_a_receipt_that_comes_late_on_a_new_connection_saves_sending() -> None:
    gate, centre = Gate(MemoryOutbox(1000)), SmallCentre()
    gate.tells(centre)
    gate.delivery.begin(WINDOW, NO_LIMIT)
    receipt = next(centre.take("checkpoint", checkpoint_of(gate)))
    gate.gets(receipt)
    assert gate.records() == []


def checkpoint_of(gate: Gate) -> bytes:
    message = gate.delivery.last(gate.now)
    assert message is not None
    return message.body


def in_hand(records: int = 300, done: int = 200) -> tuple[Gate, SmallCentre]:
    """A gate that has sent everything, and of which so much is receipted."""
    gate, centre = Gate(MemoryOutbox(records)), SmallCentre()
    gate.tells(centre)
    centre.stream().proved = records
    gate.gets(centre.receipt(upto=done))
    assert gate.delivery.mark == done
    return gate, centre


def test_an_older_receipt_changes_nothing_however_far_it_reaches() -> None:
    gate, centre = in_hand(done=50)
    older = [centre.receipt(upto=upto) for upto in (20, 100, 300)]
    gate.gets(centre.receipt(upto=60))
    for receipt in older:
        gate.gets(receipt)
    assert gate.delivery.mark == 60
    assert gate.heard.went_back == []
    assert gate.outbox.acknowledged() == 60


def test_receipts_of_one_instant_are_taken_for_the_one_that_reaches_farthest() -> None:
    gate, centre = in_hand(done=50)
    for upto in (120, 90):
        centre.clock_ms = 1_800_000_000_000
        gate.gets(centre.receipt(upto=upto))
    assert gate.delivery.mark == 120
    assert gate.heard.went_back == []


def test_a_repeated_receipt_is_not_written_again() -> None:
    gate, centre = in_hand(done=200)
    for _ in range(5):
        gate.gets(centre.receipt(upto=200))
    assert len(gate.outbox.receipts) == 1
    assert gate.delivery.receipt_at_ms == centre.clock_ms


def test_a_centre_that_has_gone_back_gets_everything_again() -> None:
    gate, centre = in_hand(done=300)
    centre.lose(after=120)
    gate.gets(centre.receipt())
    assert gate.heard.went_back == [(300, 120)]
    assert (gate.delivery.mark, gate.outbox.acknowledged()) == (120, 120)
    assert gate.delivery.waiting_since is not None
    assert [seq for message in gate.sends() for seq in put_in(centre, message)] == run(121, 300)
    complete(gate, centre)


def test_a_centre_that_has_gone_back_behind_what_is_still_here_gets_what_there_is() -> None:
    gate, centre = in_hand(done=300)
    gate.outbox.base = 150
    centre.lose(after=120)
    gate.gets(centre.receipt())
    assert gate.heard.went_back == [(300, 120)]
    assert gate.outbox.receipts[-1].upto == gate.outbox.acknowledged() == 150
    assert gate.records() == run(151, 300)
    for _ in range(5):  # it says so at every checkpoint
        gate.gets(centre.receipt())
    assert gate.heard.went_back == [(300, 120)], "said once"
    assert gate.records() == []


@mark.parametrize("upto", [301, 2**53 - 1])
def test_a_receipt_beyond_the_head_stops_everything_until_the_ledger_is_another(upto: int) -> None:
    gate, centre = in_hand(done=200)
    gate.gets(centre.signed(upto, b"x" * 32))
    assert gate.heard.disagreed == [(upto, "the centre holds more records than this ledger has")]
    gate.outbox.add(5)
    assert gate.waits(120) == []
    assert gate.delivery.last(gate.now) is None, "nor is anything stated of this ledger any more"
    assert gate.delivery.at_end()
    gate.outbox.renew("e1", records=3)
    assert gate.records() == [1, 2, 3]
    centre.clock_ms = 0
    gate.gets(centre.signed(200, b"x" * 32))
    assert len(gate.heard.disagreed) == 1, "a receipt of another epoch means nothing"


def test_a_receipt_with_another_hash_is_a_disagreement_whenever_it_was_made() -> None:
    gate, centre = in_hand(done=200)
    centre.clock_ms -= 1000
    gate.gets(centre.signed(100, b"x" * 32))
    assert gate.heard.disagreed == [(100, "the centre holds another record in that place")]
    assert gate.delivery.mark == 200


def test_a_disagreement_is_told_again_once_a_minute_as_long_as_it_lasts() -> None:
    gate, centre = in_hand()
    for _ in range(150):
        gate.now += 1.0
        gate.gets(centre.signed(999, b"x" * 32))
    assert len(gate.heard.disagreed) == 3


def test_a_receipt_of_another_epoch_means_nothing() -> None:
    gate, centre = in_hand()
    gate.gets(centre.signed(999, b"x" * 32, epoch="e9"))
    assert gate.delivery.mark == 200
    assert gate.heard == Heard()


def not_from_the_centre() -> dict[str, tuple[bytes, str]]:
    centre, stranger = SmallCentre(), Ed25519PrivateKey.generate()
    good = centre.signed(250, b"x" * 32)
    receipt = Receipt.opened(good, (public(CENTRE_KEY),))
    command = Command("1", Address(SITE, GATE, "e0"), 1, 0, 60, Name.RESUME, {})
    return {
        "a stranger's": (receipt.signed(stranger), "unknown_key"),
        "changed": (good.replace(b'"upto":250', b'"upto":251'), "bad_signature"),
        "a command": (command.signed(CENTRE_KEY), "bad_signature"),
        "another gate's": (SmallCentre(gate="south").signed(250, b"x" * 32), "misaddressed"),
        "another site's": (SmallCentre(site="city").signed(250, b"x" * 32), "misaddressed"),
        "noise": (b"\xff" * 300, "malformed"),
        "huge": (b"x" * 70_000, "too_large"),
    }


@mark.parametrize(("message", "reason"), not_from_the_centre().values(), ids=not_from_the_centre().keys())
def test_what_the_centre_has_not_signed_for_this_gate_changes_nothing(message: bytes, reason: str) -> None:
    gate, _ = in_hand()
    with raises(SignedError, match=reason):
        gate.gets(message)
    assert (gate.delivery.mark, gate.heard, len(gate.outbox.receipts)) == (200, Heard(), 1)


# --- asking again


def test_a_receipt_may_ask_for_records_and_gets_them_at_once() -> None:
    gate, centre = in_hand()
    gate.gets(centre.receipt(upto=200, ask=Ask.RECORDS))
    assert gate.records() == run(201, 300)


def test_a_receipt_may_ask_for_a_checkpoint() -> None:
    gate, centre = in_hand()
    gate.waits(5)
    gate.gets(centre.receipt(upto=200, ask=Ask.CHECKPOINT))
    assert [stated.why for stated in checkpoints(gate.sends())] == [Why.DEMAND]


@mark.parametrize("ask", [Ask.RECORDS, Ask.CHECKPOINT])
def test_a_demand_that_somebody_repeats_does_not_keep_the_gate_busy(ask: Ask) -> None:
    gate, centre = in_hand()
    gate.waits(5)
    demand = centre.receipt(upto=200, ask=ask)
    sent: list[Message] = []
    for _ in range(1000):  # in ten seconds
        gate.now += 0.01
        gate.gets(demand)
        sent += gate.sends()
    assert sum(201 in seqs(message) for message in sent) <= 3
    assert len(checkpoints(sent)) <= 11


def test_an_old_demand_is_not_served() -> None:
    gate, centre = in_hand()
    gate.waits(5)
    old = centre.receipt(upto=200, ask=Ask.RECORDS)
    gate.gets(centre.receipt(upto=210))
    gate.gets(old)
    assert gate.records() == []


def test_without_receipts_it_sends_again_ever_less_often() -> None:
    gate = Gate(MemoryOutbox(3))
    began, times = gate.now, []
    while gate.now < began + 4000:
        times += [gate.now - began for seq in gate.waits(1) if seq == 1]
    pauses = [later - time for time, later in pairwise(times)]
    assert pauses == [approx(pause, abs=2) for pause in (30, 60, 120, 240, 480, 600, 600, 600, 600, 600)]


def test_progress_makes_it_patient_anew() -> None:
    gate, centre = Gate(MemoryOutbox(3)), SmallCentre()
    gate.tells(centre)
    gate.waits(100)
    gate.gets(next(centre.take("checkpoint", checkpoint_of(gate))))
    gate.outbox.add(1)
    assert gate.records() == [4]
    assert gate.waits(29) == []
    assert gate.waits(2) == [4]


def test_new_records_do_not_put_off_the_sending_of_old_ones() -> None:
    gate = Gate(MemoryOutbox(1))
    sent: list[int] = []
    for _ in range(40):
        gate.outbox.add(1)
        sent += gate.waits(1)
    assert sent.count(1) == 2


def test_what_is_still_under_way_is_not_sent_again() -> None:
    gate = Gate(MemoryOutbox(5))
    gate.sends()
    for _ in range(100):
        gate.now += 1.0
        gate.delivery.settle(gate.now, window_empty=False)
        message = gate.delivery.next(gate.now)
        assert message is None or not message.records


def test_if_batches_lead_to_nothing_the_next_round_goes_singly() -> None:
    gate = Gate(MemoryOutbox(200))
    kinds = [{message.leaf for message in gate.sends()}]
    for _ in range(200):
        gate.now += 1.0
        sent = {message.leaf for message in gate.sends() if message.records}
        kinds += [sent] if sent else []
    assert [kind - {"checkpoint"} for kind in kinds] == [{"ev/batch"}, {"ev"}, {"ev/batch"}]


def test_a_connection_that_ends_on_a_batch_is_followed_by_single_records_once() -> None:
    gate = Gate(MemoryOutbox(200))
    for leaf in ("ev/batch", "ev", "ev/batch"):
        sent = [message for message in gate.sends() if message.records]
        assert {message.leaf for message in sent} == {leaf}
        gate.delivery.ended([sent[-1]])
        gate.delivery.begin(WINDOW, NO_LIMIT)


def test_a_command_may_ask_for_records_that_are_done() -> None:
    gate, _ = in_hand(done=300)
    gate.delivery.send_again(120)
    assert gate.records() == run(121, 300)
    gate.delivery.send_again(5000)
    assert gate.records() == []


# --- what is kept


def test_old_records_are_deleted_once_an_hour_when_nothing_waits_and_the_time_is_known() -> None:
    gate, centre = Gate(MemoryOutbox(3)), SmallCentre()
    gate.delivery.settle(gate.now, window_empty=False)
    assert gate.outbox.pruned_before_ms == [], "not before all is sent"
    complete(gate, centre)
    assert gate.outbox.pruned_before_ms == [gate.heard.wall_ms - 30 * 86_400_000]
    gate.waits(3600)
    assert len(gate.outbox.pruned_before_ms) == 2
    gate.heard.trusted = False
    gate.waits(7200)
    assert len(gate.outbox.pruned_before_ms) == 2


def test_many_old_records_are_deleted_in_portions() -> None:
    gate = Gate(MemoryOutbox(3))
    portions = [100, 100, 17]
    gate.outbox.prune = lambda *_: portions.pop(0)  # type: ignore[method-assign]
    gate.waits(10)
    assert portions == []


# --- everything at once


class Lossy:
    """A broker that loses, repeats and reorders what it has acknowledged."""

    def __init__(self, rng: random.Random, deliver: Callable[[str, bytes], object]) -> None:
        self._rng, self._deliver = rng, deliver
        self.loses = True
        self._held: list[tuple[str, bytes]] = []

    def take(self, leaf: str, body: bytes) -> None:
        if self.loses and self._rng.random() < 0.2:
            return
        self._held += [(leaf, body)] * (1 + (self.loses and self._rng.random() < 0.2))
        if self.loses and self._rng.random() < 0.3:
            self._rng.shuffle(self._held)
        while self._held and not (self.loses and self._rng.random() < 0.3):
            self._deliver(*self._held.pop(0))


@mark.parametrize("seed", range(12))
def test_whatever_the_broker_does_everything_is_receipted_in_the_end(seed: int) -> None:
    rng = random.Random(seed)
    outbox, centre = MemoryOutbox(rng.randrange(400)), SmallCentre()
    gate = Gate(outbox)
    down = Lossy(rng, lambda _leaf, receipt: gate.gets(receipt))
    up = Lossy(rng, lambda leaf, body: [down.take("receipt", one) for one in centre.take(leaf, body)])

    def step() -> int:
        sent = gate.sends()
        for message in sent:
            up.take(message.leaf, message.body)
        gate.now += 1.0
        return sum(message.records for message in sent)

    for _ in range(300):
        outbox.add(rng.choice([0, 0, 0, 1, 2, 150]) if rng.random() < 0.3 else 0)
        step()
        if rng.random() < 0.02:
            gate.delivery.ended([])
            gate.delivery.begin(rng.randint(1, 20), rng.choice([300, NO_LIMIT]))
        if rng.random() < 0.01:
            centre.lose(after=rng.randint(0, centre.stream().linked))
        assert gate.delivery.mark == outbox.acknowledged()
    up.loses = down.loses = False
    for _ in range(2 * 600 + 130):  # the longest that it waits before it sends again, and a heartbeat
        step()
    assert gate.delivery.mark == outbox.head().seq == centre.stream().proved
    assert centre.bodies() == outbox.bodies()
    assert gate.heard.disagreed == []
    assert sum(step() for _ in range(700)) == 0, "and then it is quiet"
