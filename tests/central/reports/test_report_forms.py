"""The printed forms: readable by whoever gets them, harmless whatever a gate has written."""

import io
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from central.reports.command import _tell
from central.reports.layout import heading
from central.reports.page import page
from central.reports.scopes import Scope
from central.reports.sealing import sealed
from central.reports.settings import ReportSettings
from central.reports.words import Words
from central.reports.workbook import workbook
from central.store import Store
from gate.core import events
from gate.core.events import Result, Stage
from gate.core.evidence import Evidence
from tests.central.reports.town import CENTRE_KEY, FEVER, HOT, MINUTE, TownGate, busy_day, code, ms, report

Document = dict[str, Any]
NOON = ms("2022-04-11T12:00")
FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "#N/A")
HOSTILE = (*FORMULAS, "<script>alert(1)</script>", "\x07bell\x00\uffff", "a" * 200)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """One database is enough here."""
    return f"sqlite:///{tmp_path / 'central.db'}"


@pytest.fixture
def document(store: Store) -> Document:
    gate = TownGate(store)
    gate.register()
    TownGate(store, gate="g-2").register()
    gate.visit(NOON, (Stage.REFUSED, FEVER), evidence=HOT, result=Result.LEFT)
    for number, words in enumerate(HOSTILE):
        gate.write(events.anomaly(words, words), NOON + number * MINUTE)
        evidence = Evidence(code=code(subject=words[:64]))
        gate.visit(NOON + number * MINUTE, (Stage.REFUSED, FEVER), evidence=evidence)
    gate.deliver(ms("2022-04-11T16:59:30"))
    settings = ReportSettings(name="<b>County</b> & =Co")
    everything = Scope(1, settings.name)
    found = report(store, "2022-04-11", "2022-04-11T17:00", settings=settings, scope=everything)
    return sealed(found, CENTRE_KEY)


class Tags(HTMLParser):
    """Collects the elements of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_page_runs_nothing_and_fetches_nothing(document: Document, lang: str) -> None:
    tags = Tags()
    tags.feed(page(document, lang).decode())
    tags.close()
    assert tags.open == []
    assert not tags.seen & {"script", "b", "img", "link", "iframe", "a", "object"}
    assert not tags.attributes & {"src", "href", "onload", "onclick"}
    assert "<script>alert(1)</script>" in tags.text and "<b>County</b> & =Co" in tags.text


@pytest.mark.parametrize(("lang", "said"), [("zh", "2 台闸机"), ("en", "1 of 2 gates cannot be vouched for")])
def test_a_page_says_what_counts_first(document: Document, lang: str, said: str) -> None:
    text = page(document, lang).decode()
    words = Words(lang)
    assert (said if lang == "en" else "1 台闸机的记录无法担保完整（共 2 台）") in text
    assert words("doubt.never_heard") in text
    assert words("not_zero", count=len(document["cases"])) in text
    assert "1a2b3c4d5e6f7a8b" in text and "38.0" in text and document["sha256"] in text


def test_an_empty_day_prints_as_a_zero_report(store: Store) -> None:
    found = sealed(report(store, "2022-04-11", "2022-04-11T17:00"), CENTRE_KEY)
    assert "零报告：本时段无异常人员；本时段没有任何记录" in page(found, "zh").decode()
    sheets = load_workbook(io.BytesIO(workbook(found, "zh")))
    assert sheets["异常名单"].max_row == 1
    assert {row[4].value for row in sheets["汇总"].iter_rows(min_row=2)} == {0}


def test_a_workbook_opens_with_figures_as_numbers_and_times_as_times(document: Document) -> None:
    sheets = load_workbook(io.BytesIO(workbook(document, "en")))
    cases = sheets["Abnormal cases"]
    assert cases.freeze_panes == "A2" and cases["A1"].value == "Time"
    assert str(cases["A2"].value) == "2022-04-11 12:00:00"
    assert cases["A2"].number_format == "yyyy-mm-dd hh:mm:ss"
    assert cases["E2"].value == 38 and cases["E2"].number_format == "0.0"
    summary = {row[0].value: row[4].value for row in sheets["Summary"].iter_rows(min_row=2)}
    assert summary["Fever"] == 1 + len(HOSTILE)
    assert all(1 < column.width <= 90 for sheet in sheets for column in sheet.column_dimensions.values())


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_nothing_in_a_workbook_is_a_formula(document: Document, lang: str) -> None:
    sheets = load_workbook(io.BytesIO(workbook(document, lang)))
    cells = [cell for sheet in sheets for row in sheet.iter_rows() for cell in row]
    assert not [cell.coordinate for cell in cells if cell.data_type in {"f", "e"}]
    texts = {cell.value: cell for cell in cells}
    for words in FORMULAS:
        assert words in texts and texts[words].data_type == "s"
    assert texts["=1+1"].quotePrefix


def test_the_same_report_gives_the_same_workbook(document: Document) -> None:
    assert workbook(document, "zh") == workbook(document, "zh")


# --- the three forms say the same


class Page(HTMLParser):
    """Reads a page as it is seen: its tables by title, and all its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: list[str] = []
        self._tags: list[str] = []
        self._title = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tags.append(tag)
        if tag == "tr":
            self.tables.setdefault(self._title, []).append([])
        elif tag in {"td", "th"}:
            self.tables[self._title][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._tags.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())
        if self._tags[-1:] == ["h2"]:
            self._title = data
        elif self._tags[-1:] in (["td"], ["th"]):
            self.tables[self._title][-1][-1] = data


def as_printed(cell: Any) -> str:
    """Return a cell of a workbook as the page shows it."""
    if isinstance(cell.value, datetime):
        return f"{cell.value:%m-%d %H:%M:%S}"
    if cell.number_format == "0.0":
        return f"{cell.value:.1f}"
    return "" if cell.value is None else str(cell.value)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_page_workbook_and_text_say_the_same(
    store: Store, lang: str, capsys: pytest.CaptureFixture[str]
) -> None:
    busy_day(store)
    found = sealed(report(store, "2022-04-11", "2022-04-11T17:00"), CENTRE_KEY)
    words = Words(lang)
    page_seen = Page()
    page_seen.feed(page(found, lang).decode())
    front, *sheets = load_workbook(io.BytesIO(workbook(found, lang)))
    of_book = {
        sheet.title: [[as_printed(cell) for cell in row] for row in sheet.iter_rows()]
        for sheet in sheets
        if sheet.max_row > 1
    }
    of_page = page_seen.tables
    # An hour is a row in the workbook and a column on the page, where it is said without its day.
    hours = of_book[words("hours")]
    of_book[words("hours")] = [[hours[0][0], *(row[0][6:8] for row in hours[1:])]] + [
        [hours[0][column], *(row[column] for row in hours[1:])] for column in range(1, len(hours[0]))
    ]
    assert list(of_page) == list(of_book)
    for title, rows in of_book.items():
        assert of_page[title] == rows, title
    facts = [[str(cell.value) for cell in row] for row in front.iter_rows()]
    assert facts == [list(pair) for pair in heading(found, words)]
    for name, text in facts[:-1]:
        assert name in page_seen.texts and text in page_seen.texts, name
    assert any(found["sha256"] in text for text in page_seen.texts)
    _tell(found, lang)
    told = capsys.readouterr().out.splitlines()
    assert told[: len(facts)] == [words("colon").join(pair) for pair in facts]
    doubts, figures = of_book[words("doubts")][1:], of_book[words("summary")][1:]
    assert told[len(facts) :] == [
        *("  " + " ".join(row) for row in doubts),
        *(f"{row[-1]:>8}  {row[0]}" for row in figures),
        words("in_short"),
    ]


def test_a_terminal_obeys_nothing_that_a_gate_has_written(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = TownGate(store)
    odd = "\x1b[2J\x1b[31mcounty\x07\u202e"
    gate.write(events.gate_started("1", "run", odd, "1f" * 32), NOON)
    gate.deliver(NOON)
    found = sealed(report(store, "2022-04-11", "2022-04-11T17:00"), CENTRE_KEY)
    _tell(found, "en")
    told = capsys.readouterr().out
    assert "[31mcounty" in told and all(line.isprintable() for line in told.splitlines())
    assert "\u202e" not in page(found, "en").decode()


def test_every_word_of_a_form_is_there_in_both_languages(document: Document) -> None:
    zh, en = Words("zh"), Words("en")
    assert zh.count("refused", "x") == "x", "what has no text is shown as it is"
    for group in document["totals"]["day"]:
        assert group in {"refused_for", "referred_for"} or zh(f"group.{group}") != en(f"group.{group}")
