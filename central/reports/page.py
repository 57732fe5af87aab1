"""A report as one printable page (HTML, A4), which needs nothing but itself.

Whatever comes from a gate or from the configuration is escaped; the page may run no script and fetch nothing.
"""

from collections.abc import Iterator, Mapping
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
.note { padding: 2.5mm 3.5mm; border: .3mm solid; font-weight: 600; break-inside: avoid; }
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
td.t { white-space: nowrap; }
td.zero { color: #9aa1a9; }
.small table { font-size: 7pt; } .small td { font-family: "DejaVu Sans Mono", Consolas, monospace; }
.pair { columns: 2; column-gap: 6mm; } .pair table { break-inside: auto; }
.empty { color: #555; margin: 0; }
.chart { display: flex; align-items: flex-end; gap: .6mm; height: 26mm; border-bottom: .3mm solid #555; }
.chart div { flex: 1; display: flex; flex-direction: column; justify-content: flex-end; height: 100%; }
.chart i { display: block; } .in { background: #1f4e79; } .out { background: #9db8d3; }
.refused { background: #b3261e; }
.scale { display: flex; gap: .6mm; font-size: 7pt; color: #555; } .scale span { flex: 1; text-align: center; }
.key { font-size: 8pt; color: #555; margin: 1mm 0 0; }
.key i { display: inline-block; width: 3mm; height: 3mm; }
.signing { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 8mm; margin-top: 12mm;
  break-inside: avoid; }
.signing div { border-top: .3mm solid #333; padding-top: 1.5mm; color: #555; }
footer { margin-top: 6mm; font-size: 7.5pt; color: #555; overflow-wrap: anywhere; }
@media print { body { padding: 0; } .bad, .good, th, .chart i, .key i { print-color-adjust: exact; } }
"""


_WIDE: Final = 9
"""More columns than that take smaller letters."""

_LONG: Final = 16
"""Texts up to here stay in one piece; longer ones may break anywhere, so that no name widens the page."""


def page(document: Document, lang: str) -> bytes:
    """Return the page; `lang`: zh or en."""
    words = Words(lang)
    body = "\n".join(_body(document, words))
    title = f"{words('title')} {document['date']} {document['unit']}"
    text = f"""<!DOCTYPE html>
<html lang="{"zh-CN" if lang == "zh" else "en"}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
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
    heading = list(layout.heading(document, words))[:7]
    yield f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(said)}</dd>' for name, said in heading)}</dl>"
    yield from _notes(document, words)
    yield from _wanted(layout.doubts(document, words))
    yield from _section(layout.summary(document, words), words)
    yield from _section(layout.cases(document, words), words)
    if document["cases_left_out"]:
        yield f"<p>{escape(words('cases_more', count=document['cases_left_out']))}</p>"
    yield from _wanted(layout.refusals(document, words))
    yield from _chart(document, words)
    if len(document["units"]) > 1:
        yield from _section(layout.units(document, words), words)
    yield from _section(layout.gates(document, words), words)
    for table in (layout.modes, layout.details, layout.alarms):
        yield from _wanted(table(document, words))
    yield '<div class="small">'
    yield from _section(layout.proofs(document, words), words)
    yield "</div>"
    yield from _signing(document, words)


def _notes(document: Document, words: Words) -> Iterator[str]:
    vouched = bool(document["gates"]["all"]) and not document["gates"]["not_vouched"]
    # That nothing abnormal is known is no good news where something may be missing.
    notes = (
        (layout.case_note(document, words), document["zero"] and vouched),
        (layout.vouch_note(document, words), vouched),
    )
    yield '<div class="notes">'
    for text, good in notes:
        yield f'<div class="note {"good" if good else "bad"}">{escape(text)}</div>'
    yield "</div>"


def _section(table: Table, words: Words) -> Iterator[str]:
    yield f"<h2>{escape(table.title)}</h2>"
    if not table.rows:
        yield f'<p class="empty">{escape(words("none"))}</p>'
        return
    wide = ' class="wide"' if len(table.heads) > _WIDE else ""
    yield (
        f"<table{wide}><thead><tr>"
        + "".join(f"<th>{escape(head)}</th>" for head in table.heads)
        + "</tr></thead>"
    )
    yield "<tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(map(_cell, row)) + "</tr>"
    yield "</tbody></table>"


def _wanted(table: Table) -> Iterator[str]:
    """Show a table that nobody misses when it is empty."""
    return _section(table, Words("en")) if table.rows else iter(())


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
            return f'<td class="{"long" if len(value) > _LONG else "word"}">{escape(value)}</td>'


def _chart(document: Document, words: Words) -> Iterator[str]:
    """Draw people by the hour; the figures stand in the workbook and in the JSON."""
    kinds = ("refused", "out", "in")
    hours = document["hours"]
    top = max((sum(hour[kind] for kind in kinds) for hour in hours), default=0)
    if not top:
        return
    yield f'<h2>{escape(words("hours"))}</h2><div class="chart">'
    for hour in hours:
        bars = "".join(
            f'<i class="{kind}" style="height:{hour[kind] * 100 / top:.1f}%"></i>' for kind in kinds
        )
        yield f"<div>{bars}</div>"
    yield '</div><div class="scale">'
    yield "".join(f"<span>{layout.at(hour['from']):%H}</span>" for hour in hours)
    key = " ".join(f'<i class="{kind}"></i> {escape(words(kind))}' for kind in reversed(kinds))
    yield f'</div><p class="key">{key} · max {top}/h</p>'


def _signing(document: Document, words: Words) -> Iterator[str]:
    people = ("filled_by", "checked_by", "received_by")
    yield f'<div class="signing">{"".join(f"<div>{escape(words(who))}</div>" for who in people)}</div>'
    yield f"<footer>{escape(words('sha256'))}: {escape(document['sha256'])}<br>"
    yield f"{escape(words('check'))}</footer>"
