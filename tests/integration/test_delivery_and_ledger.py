"""Delivery over the real ledger: receipts, deletion of old records, a centre that went back behind them."""

from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from pytest import fixture

from gate.core.events import Event, Kind, anomaly, gate_stopped
from gate.core.moment import Moment
from gate.sinks.by_receipt import ByReceipt
from gate.store.ledger import Ledger, Outbox, verify
from tests.centre import GATE, SITE, Heard, SmallCentre

EPOCH = "ab" * 8
DAY_MS = 86_400_000


class Device:
    """A ledger of 2500 records and its delivery to a small centre, in virtual time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.ledger = Ledger(self.path, site=SITE, gate=GATE, new_epoch=EPOCH, boot_id="boot")
        self.ledger._db.execute("PRAGMA synchronous = OFF")  # no power is cut here
        self.heard = Heard()
        self.write(2500)
        self.outbox = Outbox(self.path)
        self.centre = SmallCentre()
        self.now = 0.0
        self.delivery = ByReceipt(self.outbox, SITE, GATE, self.heard.centre())
        self.delivery.look(self.now)
        self.delivery.begin(20, 2**20)

    def write(self, records: int) -> None:
        at = Moment(1, self.heard.wall_ms, clock_trusted=True)
        for _ in range(records):
            self.ledger.append(gate_stopped(), at)

    def exchange(self, seconds: int = 5) -> None:
        for _ in range(seconds):
            self.now += 1.1
            self.delivery.look(self.now)
            while message := self.delivery.next(self.now):
                for receipt in self.centre.take(message.leaf, message.body):
                    self.delivery.receive(receipt, self.now)
            self.delivery.settle(self.now, window_empty=True)

    def bodies(self) -> list[bytes]:
        return [entry.body for entry in self.outbox.pending(0, 10_000)]

    def close(self) -> None:
        self.outbox.close()
        self.ledger.close()


@fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with closing(Device(tmp_path)) as device:
        yield device


def test_old_records_go_when_the_centre_has_signed_for_them(device: Device) -> None:
    device.exchange()
    assert device.centre.bodies(EPOCH) == device.bodies()
    assert device.outbox.acknowledged() == 2500
    device.heard.wall_ms += 31 * DAY_MS
    device.exchange(3700)
    assert [len(device.bodies()), device.outbox.pending(0, 1)[0].seq] == [1000, 1501]
    assert verify(device.path).ok
    device.write(3)
    device.exchange()
    assert device.outbox.acknowledged() == 2503
    assert verify(device.path).ok


def test_nothing_goes_that_the_centre_has_not_signed_for(device: Device) -> None:
    device.heard.wall_ms += 31 * DAY_MS
    device.centre.take = lambda *_: iter(())  # type: ignore[method-assign]
    device.exchange(3700)
    assert len(device.bodies()) == 2500


def test_a_centre_that_went_back_behind_what_is_left_gets_what_is_left(device: Device) -> None:
    device.exchange()
    device.heard.wall_ms += 31 * DAY_MS
    device.exchange(3700)
    device.centre.lose(after=700, epoch=EPOCH)
    device.exchange(70)
    assert device.heard.went_back == [(2500, 700)]
    stream = device.centre.stream(EPOCH)
    assert sorted(seq for seq in stream.bodies if seq > 700) == list(range(1501, 2501))
    assert device.outbox.acknowledged() == 1500
    assert verify(device.path).ok, "the receipt that is kept fits to the file"
    device.exchange(600)
    assert device.heard.went_back == [(2500, 700)], "said once"


def test_the_same_after_a_restart(device: Device) -> None:
    device.exchange()
    again = ByReceipt(device.outbox, SITE, GATE, device.heard.centre())
    again.look(device.now)
    again.begin(20, 2**20)
    assert (again.mark, again.receipt_at_ms) == (2500, device.delivery.receipt_at_ms)
    sent = [again.next(device.now), again.next(device.now)]
    assert [message and message.leaf for message in sent] == ["checkpoint", None]


def test_what_is_sealed_and_what_is_abnormal_comes_from_the_file(device: Device) -> None:
    device.exchange()
    sealed = b"\x00sealed"
    at = Moment(1, device.heard.wall_ms, clock_trusted=True)
    event = Event(Kind.GATE_STOPPED, {"sealed": sha256(sealed).hexdigest()})
    device.ledger.append(event, at, sealed=sealed)
    device.write(50)
    device.ledger.append(anomaly("test", "abnormal"), at)
    device.delivery.look(device.now)
    device.delivery.begin(20, 2**20)
    sent = []
    while message := device.delivery.next(device.now):
        sent.append(message)
        list(device.centre.take(message.leaf, message.body))
    records = [message.upto for message in sent if message.records]
    assert records == [2552, *range(2501, 2553)], "the abnormal one first"
    assert device.centre.stream(EPOCH).sealed == {2501: sealed}
