"""A report as a workbook (xlsx), for those who count on.

Whatever comes from a gate is text, also where it looks like a formula. The same report gives the same bytes.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.cell.cell import Cell as WorkbookCell
from openpyxl.packaging.core import DocumentProperties
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet
from openpyxl.xml.functions import tostring

from central.reports import layout
from central.reports.layout import Cell, Table
from central.reports.words import Words

_TEXT_MAX: Final = 32_767
"""Of one cell, by the file format."""

_WIDTH_MAX: Final = 60
_ILLEGAL: Final = re.compile(f"{ILLEGAL_CHARACTERS_RE.pattern}|[\ud800-\udfff\ufffe\uffff]")
"""What XML cannot hold: one of these in a cell, and no program opens the file."""
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_HEAD: Final = PatternFill("solid", fgColor="FF1F4E79")
_TIME_FORMAT: Final = "yyyy-mm-dd hh:mm:ss"

Document = Mapping[str, Any]


def workbook(document: Document, lang: str) -> bytes:
    """Return the file; `lang`: zh or en."""
    words = Words(lang)
    book = Workbook()
    front = book.active
    assert isinstance(front, Worksheet)
    _heading(front, document, words)
    for table_of in layout.TABLES:
        table = table_of(document, words)
        _fill(book.create_sheet(table.title), table)
    return _steady(book, layout.at(document["cut_off"]))


def _heading(sheet: Worksheet, document: Document, words: Words) -> None:
    sheet.title = words("title")
    for row, (name, said) in enumerate(layout.heading(document, words), 1):
        _write(sheet.cell(row, 1), name)
        _write(sheet.cell(row, 2), said)
        sheet.cell(row, 1).font = Font(bold=True)
        sheet.cell(row, 2).alignment = Alignment(wrap_text=True, vertical="top")
    sheet.column_dimensions["A"].width = 24
    sheet.column_dimensions["B"].width = 90


def _fill(sheet: Worksheet, table: Table) -> None:
    for column, head in enumerate(table.heads, 1):
        cell = sheet.cell(1, column)
        _write(cell, head)
        cell.font = Font(bold=True, color="FFFFFFFF")
        cell.fill = _HEAD
        cell.alignment = Alignment(wrap_text=True, vertical="center")
    for row, cells in enumerate(table.rows, 2):
        for column, value in enumerate(cells, 1):
            _write(sheet.cell(row, column), value)
    for column, width in enumerate(_widths(table), 1):
        sheet.column_dimensions[get_column_letter(column)].width = width
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(table.heads))}{len(table.rows) + 1}"
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.paperSize = sheet.PAPERSIZE_A4
    sheet.page_setup.fitToHeight = 0
    sheet.sheet_properties.pageSetUpPr.fitToPage = True
    sheet.print_title_rows = "1:1"


def _write(cell: WorkbookCell, value: Cell) -> None:
    if not isinstance(value, str):
        cell.value = value
        if isinstance(value, float):
            cell.number_format = "0.0"
        elif isinstance(value, datetime):
            cell.number_format = _TIME_FORMAT
        elif isinstance(value, int):
            cell.number_format = "#,##0"
        return
    cell.value = _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", value)[:_TEXT_MAX]
    # Not what the library makes of it: text that begins with = would be a formula, #N/A an error.
    cell.data_type = "s"
    if value[:1] in "=+-@":
        cell.quotePrefix = True  # so that it stays text when somebody edits the cell


def _widths(table: Table) -> Iterator[float]:
    for column, head in enumerate(table.heads):
        shown = (
            19 if isinstance(row[column], datetime) else layout.width(str(row[column])[:_WIDTH_MAX])
            for row in table.rows
        )
        yield min(_WIDTH_MAX, max([layout.width(head), *shown]) + 3)


def _steady(book: Workbook, made: datetime) -> bytes:
    """Return the file without the time of its making, which the library writes into it and its archive."""
    written, steady = io.BytesIO(), io.BytesIO()
    book.save(written)
    properties = DocumentProperties(creator="health gate", created=made, modified=made)
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(steady, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = tostring(properties.to_tree()) if name == "docProps/core.xml" else old.read(name)
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(info, content)
    return steady.getvalue()
