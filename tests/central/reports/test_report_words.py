"""What the forms say, a reader understands: all of it in one language, each thing by a name of its own."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from central.alerts.codes import CODES
from central.reports import layout, zh
from central.reports.figures import GROUPS
from central.reports.sealing import sealed
from central.reports.words import LANGS, Words
from central.store import Code, Store
from central.watch import Code as Watched
from drivers.mlx90614 import Outcome as Measured
from gate.core import events
from gate.core.commands import Name, Refusal
from gate.core.delivery import PreviousEpoch
from gate.core.documents import Kind as Paper
from gate.core.documents import Taken
from gate.core.evidence import THERMOMETER_FAULTS
from gate.core.inputs import Device
from gate.core.mode import Mode
from gate.sinks.receipts import Meaning
from tests.central.reports.town import CENTRE_KEY, SETTINGS, TownGate, busy_day, ms, report

Document = dict[str, Any]
ANOMALIES = [
    *("document_refused", "records_lost", "inbox_overflowed", "policy_rejected", "receipt_went_back"),
    *("receipt_disagreed", "health_service", "called_back"),
]
NAMES = r"north-hall|west-hall|g-\d|epoch\d|county|township-routine|\b[0-9a-f]{16}\b|\b[0-9a-f]{64}\b"
RULES = r"\b[A-Z]{2}-\d\b"


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'central.db'}"


@pytest.fixture
def document(store: Store) -> Document:
    busy_day(store)
    return sealed(report(store, "2022-04-11", "2022-04-11T17:00"), CENTRE_KEY)


def said(document: Document, words: Words) -> Iterable[str]:
    """Return every text of the forms."""
    yield layout.title(document, words)
    yield from (text for pair in layout.heading(document, words) for text in pair)
    for table_of in layout.TABLES:
        table = table_of(document, words)
        yield from (table.title, *table.heads)
        yield from (cell for row in table.rows for cell in row if isinstance(cell, str))


def test_a_busy_day_fills_every_table(document: Document) -> None:
    empty = [table_of for table_of in layout.TABLES if not table_of(document, Words("zh")).rows]
    assert empty == []


def test_in_chinese_all_that_is_not_a_name_is_chinese(document: Document) -> None:
    bare = (re.sub(f"{NAMES}|{RULES}|SHA-256", "", text) for text in said(document, Words("zh")))
    assert [text for text in bare if re.search("[A-Za-z]", text)] == []


def test_in_english_all_of_it_is_english(document: Document) -> None:
    assert [text for text in said(document, Words("en")) if re.search("[\u3000-\u9fff]", text)] == []


def test_a_ledger_has_one_name_in_chinese() -> None:
    words = {*zh.WORDS.values(), *(word for code in CODES.values() for word in code)}
    assert [word for word in words if "账本" in word] == []
    assert Words("zh")("hash") == "链尾哈希"


def test_whatever_a_gate_can_say_has_words() -> None:
    expected: dict[str, Iterable[str]] = {
        **{group: known for group, known in GROUPS.items() if group != "code_abnormal"},
        "device": Device,
        "anomaly": ANOMALIES,
        "unmeasured": {*THERMOMETER_FAULTS, *Measured, "not_measured", "implausible"} - {Measured.OK},
        "stale": Paper,
        "document": (*Taken, "stale"),
        "order": Name,
        "outcome": events.Outcome,
        "refusal": (*Refusal, Taken.OLDER, Taken.CONFLICT, "too_many", "not_recorded", "busy"),
        "mode": (*Mode, "stopped", "unknown"),
    }
    wanted = {f"{group}.{word}" for group, words in expected.items() for word in words}
    assert wanted - zh.WORDS.keys() == set(), "the English ones have the same keys"
    seen = {*Code, *Watched, "report_late", "command_unanswered"}
    assert seen - CODES.keys() == set()


def test_every_anomaly_of_the_gate_is_among_those() -> None:
    source = Path(events.__file__).parents[1]
    found = {
        what
        for path in source.rglob("*.py")
        for what in re.findall(r'events\.anomaly\(\s*"(\w+)"', path.read_text())
    }
    assert found == set(ANOMALIES)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("first start", "首次启动"),
        (Meaning.BEYOND.value, "中心的记录多于本台账"),
        (f"record 9: {Meaning.DIFFERS.value}", "第 9 号记录，中心在该处的记录与本台账不同"),
        ("does not answer (Errno 121); check the wires", "无应答"),
        ("换卡", "换卡"),
        ("record 9: nobody knows", "原文见该号记录"),
        ("", ""),
    ],
)
def test_a_sentence_of_a_gate_is_told_in_chinese_or_by_its_record(text: str, told: str) -> None:
    assert Words("zh").told(text) == told
    assert Words("en").told(text) == text


@pytest.mark.parametrize("lang", LANGS)
def test_no_two_columns_and_no_two_figures_have_one_name(document: Document, lang: str) -> None:
    words = Words(lang)
    for table_of in layout.TABLES:
        heads = table_of(document, words).heads
        assert len(set(heads)) == len(heads), heads
    figures = [row[0] for row in layout.summary(document, words).rows]
    assert len(set(figures)) == len(figures)
    counted = [row[:2] for row in layout.details(document, words).rows]
    assert len(set(counted)) == len(counted)
    assert len({words.known("verdict", "refer"), words("visits.referred"), words("stage.referred")}) == 3
    assert len({words.known("direction", "out"), words.known("result", "left")}) == 2


@pytest.mark.parametrize(
    ("previous", "zh_said", "word"),
    [
        (PreviousEpoch("", 0, "", "first start"), "启用台账：首次启动", "first_epoch"),
        (
            PreviousEpoch("e0", 3, "ab" * 32, Meaning.BEYOND.value),
            "换新台账：中心的记录多于本台账",
            "new_epoch",
        ),
    ],
)
def test_a_first_ledger_is_no_exchanged_one(
    store: Store, previous: PreviousEpoch, zh_said: str, word: str
) -> None:
    gate = TownGate(store)
    gate.register()
    gate.write(events.epoch_started(previous), ms("2022-04-11T07:00"))
    gate.deliver(ms("2022-04-11T16:59:30"))
    found = report(store, "2022-04-11", "2022-04-11T17:00")
    assert [Words("zh").case(case) for case in found["incidents"]] == [zh_said]
    assert found["totals"]["day"]["service"][word] == 1
    assert found["zero"], "nobody was abnormal"


@pytest.mark.parametrize(
    ("code", "said"),
    [("unknown_gate", "存疑"), ("unknown_key", "存疑"), ("clock", "存疑"), ("altered", "谎报")],
)
def test_who_is_only_not_registered_is_not_accused(code: str, said: str) -> None:
    assert Words("zh").alarm("false", code) == said


def test_one_gate_is_said_in_the_singular(store: Store) -> None:
    gate = TownGate(store)
    gate.register()
    words = Words("en")
    (doubted,) = [note.text for note in layout.notes(report(store, "2022-04-11", "2022-04-11T17:00"), words)][
        1:2
    ]
    assert doubted == "The one gate cannot be vouched for"
    gate.write(events.device_failed("camera", "gone"), ms("2022-04-11T12:00"))
    gate.deliver(ms("2022-04-11T16:59:30"))
    notes = layout.notes(report(store, "2022-04-11", "2022-04-11T17:00"), words)
    assert [note.text for note in notes] == [
        "Zero report: nobody abnormal in this time",
        "The records of the one gate are proved to be complete",
        "1 technical event, see the list",
        "no check in the day at the one gate: north/g-1",
    ]
    assert [note.good for note in notes] == [True, True, False, False]


def test_without_a_gate_nothing_has_checked_itself(store: Store) -> None:
    notes = layout.notes(report(store, "2022-04-11", "2022-04-11T17:00", settings=SETTINGS), Words("en"))
    assert (notes[3].text, notes[3].good) == ("No gate is registered", False)
