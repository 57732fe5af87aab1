"""A report as one printable page (HTML, A4), which needs nothing but itself.

Whatever comes from a gate or from the configuration is escaped; the page may run no script and fetch nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from html import escape
from typing import Any, Final

from central.reports import layout
from central.reports.layout import Cell, Table
from central.reports.words import Words

Document = Mapping[str, Any]

_STYLE: Final = """
@page { size: A4; margin: 14mm 12mm; }
* { box-sizing: border-box; }
body { font: 10.5pt/1.45 "Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC",
  "Droid Sans Fallback", Arial, sans-serif;
  color: #1a1a1a; max-width: 190mm; margin: 0 auto; padding: 6mm 0; }
h1 { font-size: 19pt; text-align: center; margin: 0 0 3mm; letter-spacing: .06em; }
h2 { font-size: 12pt; margin: 7mm 0 2mm; padding-left: 2.5mm; border-left: 1.2mm solid #1f4e79;
  break-after: avoid; }
dl { display: grid; grid-template-columns: max-content 1fr max-content 1fr; gap: .8mm 4mm; margin: 0 0 4mm; }
dt { color: #555; } dd { margin: 0; font-weight: 600; }
.notes { display: grid; grid-template-columns: 1fr 1fr; gap: 3mm; margin: 3mm 0; }
.note { padding: 2mm 3.5mm; border: .3mm solid; font-weight: 600; break-inside: avoid; }
.note strong { display: block; font-size: 8.5pt; font-weight: 400; }
.good { color: #14532d; border-color: #14532d; background: #effaf1; }
.bad { color: #8a1c12; border-color: #8a1c12; background: #fdf0ee; }
table { width: 100%; border-collapse: collapse; font-size: 9pt; }
table.wide { font-size: 7.5pt; } .wide th, .wide td { padding: .6mm 1mm; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
th { background: #e8eef5; text-align: left; font-weight: 600; }
th, td { border: .2mm solid #b5bdc7; padding: .8mm 1.6mm; vertical-align: top; }
th, td { word-break: keep-all; }
td.long { word-break: normal; overflow-wrap: anywhere; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.n { text-align: right; } td.t, td.word { white-space: nowrap; }
td.zero { color: #9aa1a9; }
.small table { font-size: 7pt; } .small td { font-family: "DejaVu Sans Mono", Consolas, monospace; }
.half table { width: auto; min-width: 60%; }
.empty { color: #555; margin: 0; }
.chart { display: flex; align-items: flex-end; gap: .6mm; height: 26mm; border-bottom: .3mm solid #555; }
.chart div { flex: 1; display: flex; flex-direction: column; justify-content: flex-end; height: 100%; }
.chart i { display: block; } .in { background: #1f4e79; } .out { background: #9db8d3; }
.refused { background: #b3261e; }
.chart { margin-left: 16mm; }
table.hours { font-size: 7pt; table-layout: fixed; } .hours th:first-child { width: 16mm; }
.hours th, .hours td { padding: .5mm .6mm; text-align: right; } .hours th:first-child { text-align: left; }
.key { font-size: 8pt; color: #555; margin: 1mm 0; text-align: right; }
.key i { display: inline-block; width: 3mm; height: 3mm; }
.signing { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 8mm; margin-top: 12mm;
  break-inside: avoid; }
.signing div { border-top: .3mm solid #333; padding-top: 1.5mm; color: #555; }
footer { margin-top: 6mm; font-size: 7.5pt; color: #555; overflow-wrap: anywhere; }
@media print { body { padding: 0; } .bad, .good, th, .chart i, .key i { print-color-adjust: exact; } }
"""


_WIDE: Final = 7
"""More columns than that take smaller letters."""

_LONG: Final = 20
"""Words up to this width stay in one piece; longer texts may break anywhere, so that none widens the page."""

_ALWAYS: Final = frozenset({layout.summary, layout.cases, layout.gates, layout.proofs})
"""Tables of which also is said that they are empty; nobody misses the others."""

_CLASSES: Final[Mapping[Callable[[Document, Words], Table], str]] = {
    layout.proofs: "small",
    layout.modes: "half",
    layout.refusals: "half",
}


def page(document: Document, lang: str) -> bytes:
    """Return the page; `lang`: zh or en."""
    words = Words(lang)
    body = "\n".join(_body(document, words))
    text = f"""<!DOCTYPE html>
<html lang="{"zh-CN" if lang == "zh" else "en"}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(layout.title(document, words))}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""
    return text.encode(errors="replace")


def _body(document: Document, words: Words) -> Iterator[str]:
    yield f"<h1>{escape(words('title'))}</h1>"
    facts = layout.facts(document, words)
    yield f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(said)}</dd>' for name, said in facts)}</dl>"
    yield from _notes(document, words)
    for table_of in layout.TABLES:
        table = table_of(document, words)
        if table.rows or table_of in _ALWAYS:
            kind = _CLASSES.get(table_of, "")
            yield f'<section class="{kind}">' if kind else "<section>"
            yield from _hours(document, words) if table_of is layout.hours else _section(table, words)
            yield "</section>"
    yield from _signing(document, words)


def _notes(document: Document, words: Words) -> Iterator[str]:
    yield '<div class="notes">'
    for note in layout.notes(document, words):
        kind = "good" if note.good else "bad"
        yield f'<div class="note {kind}"><strong>{escape(note.name)}</strong>{escape(note.text)}</div>'
    yield "</div>"


def _section(table: Table, words: Words) -> Iterator[str]:
    yield f"<h2>{escape(table.title)}</h2>"
    if not table.rows:
        yield f'<p class="empty">{escape(words("none"))}</p>'
        return
    first = zip(table.heads, table.rows[0], strict=True)
    wide = ' class="wide"' if len(table.heads) > _WIDE else ""
    yield (
        f"<table{wide}><thead><tr>"
        + "".join(f'<th class="{_side(value)}">{escape(head)}</th>' for head, value in first)
        + "</tr></thead>"
    )
    yield "<tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(map(_cell, row)) + "</tr>"
    yield "</tbody></table>"


def _side(value: Cell) -> str:
    return "n" if isinstance(value, int | float) else "t"


def _cell(value: Cell) -> str:
    match value:
        case None:
            return "<td></td>"
        case datetime():
            return f'<td class="t">{value:%m-%d %H:%M:%S}</td>'
        case float():
            return f'<td class="n">{value:.1f}</td>'
        case int():
            return f'<td class="n{"" if value else " zero"}">{value}</td>'
        case str():
            return f'<td class="{_wrapping(value)}">{escape(value)}</td>'


def _wrapping(text: str) -> str:
    if layout.width(text) > _LONG:
        return "long"
    return "text" if " " in text else "word"


def _hours(document: Document, words: Words) -> Iterator[str]:
    """Draw people by the hour, with the figures below: the table lies on its side, an hour a column."""
    table = layout.hours(document, words)
    yield f"<h2>{escape(table.title)}</h2>"
    yield from _chart(document, words)
    hour, *kinds = table.heads
    begins = "".join(f"<th>{layout.at(shown['from']):%H}</th>" for shown in document["hours"])
    yield f'<table class="hours"><thead><tr><th>{escape(hour)}</th>{begins}</tr></thead><tbody>'
    for column, kind in enumerate(kinds, 1):
        figures = "".join(_cell(row[column]) for row in table.rows)
        yield f"<tr><th>{escape(kind)}</th>{figures}</tr>"
    yield "</tbody></table>"


def _chart(document: Document, words: Words) -> Iterator[str]:
    kinds = ("refused", "out", "in")
    hours = document["hours"]
    top = max((sum(hour[kind] for kind in kinds) for hour in hours), default=0)
    if not top:
        return
    yield '<div class="chart">'
    for hour in hours:
        bars = "".join(
            f'<i class="{kind}" style="height:{hour[kind] * 100 / top:.1f}%"></i>' for kind in kinds
        )
        yield f"<div>{bars}</div>"
    yield "</div>"
    key = " ".join(f'<i class="{kind}"></i> {escape(words(kind))}' for kind in reversed(kinds))
    yield f'<p class="key">{key} · {escape(words("busiest", count=top))}</p>'


def _signing(document: Document, words: Words) -> Iterator[str]:
    people = ("filled_by", "checked_by", "received_by")
    yield f'<div class="signing">{"".join(f"<div>{escape(words(who))}</div>" for who in people)}</div>'
    yield f"<footer>{escape(words('sha256'))}: {escape(document['sha256'])}<br>"
    yield f"{escape(words('check'))}</footer>"
