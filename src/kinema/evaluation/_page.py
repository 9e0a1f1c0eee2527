"""The frame of a self-contained HTML page: styles for light and dark, wide and narrow, and tables that sort by their heads."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2733; --faint: #5d6875; --grid: #dde2ea; --first: #2b6fd6; --second: #c4560f;
  --paper: #ffffff; --panel: #f4f6f9; --on-first: #ffffff; --warn: #8a4b00; --warn-panel: #fff4e2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --faint: #a2adba; --grid: #343d49; --first: #5e98f0; --second: #f08a4b;
  --paper: #14181e; --panel: #1d232b; --on-first: #0b1420; --warn: #ffc980; --warn-panel: #33270f; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 4rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: clamp(1.4rem, 4.5vw, 2rem); line-height: 1.2; margin: .2rem 0 .3rem; text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--grid); }
p { margin: .5rem 0; max-width: 46rem; }
.faint { color: var(--faint); }
.hero { display: grid; grid-template-columns: auto 1fr; gap: .4rem 2rem; align-items: center; margin: 1.4rem 0 1rem; padding: 1.2rem 1.4rem;
  background: var(--panel); border-radius: .8rem; }
.hero b { font-size: clamp(2.6rem, 10vw, 4rem); line-height: 1; font-weight: 650; letter-spacing: -.02em; }
.hero b small { font-size: .5em; font-weight: 500; }
.gauge { position: relative; height: .55rem; margin: .5rem 0; background: var(--grid); border-radius: 1rem; }
.gauge i { position: absolute; top: 0; bottom: 0; min-width: 3px; background: var(--first); border-radius: 1rem; opacity: .45; }
.gauge u { position: absolute; top: -.25rem; bottom: -.25rem; width: 3px; margin-left: -1.5px; background: var(--first); }
dl.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.2rem, 1fr)); gap: .6rem; margin: 0; }
dl.cards div { padding: .55rem .8rem; border: 1px solid var(--grid); border-radius: .6rem; }
dl.cards dt { font-size: .8rem; color: var(--faint); }
dl.cards dd { margin: 0; font-size: 1.15rem; font-weight: 600; }
ul.notes { padding-left: 1.2rem; max-width: 46rem; }
ul.notes li { margin: .3rem 0; }
.warn { padding: .6rem .9rem; background: var(--warn-panel); color: var(--warn); border-radius: .6rem; font-weight: 550; }
.wide { overflow-x: auto; margin: .6rem 0; }
.wide:focus-visible, button:focus-visible, summary:focus-visible { outline: 2px solid var(--first); outline-offset: 2px; }
svg { display: block; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; border-bottom: 1px solid var(--grid); vertical-align: top; }
td:first-child { min-width: 6.5rem; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.id { font-family: ui-monospace, Consolas, monospace; font-size: .85rem; overflow-wrap: anywhere; }
th { color: var(--faint); font-weight: 550; white-space: nowrap; }
th button { all: unset; cursor: pointer; padding: .1rem 0; border-radius: 3px; }
th button::after { content: " ↕"; opacity: .45; }
th[aria-sort=ascending] button::after { content: " ↑"; opacity: 1; }
th[aria-sort=descending] button::after { content: " ↓"; opacity: 1; }
summary { cursor: pointer; color: var(--faint); }
pre { overflow-x: auto; padding: .8rem 1rem; background: var(--panel); border-radius: .6rem; font-size: .82rem; line-height: 1.45; }
@media (max-width: 34rem) { .hero { grid-template-columns: 1fr; } th, td { padding-right: .5rem; } }
@media print { .wide { overflow: visible; } h2 { break-after: avoid; } }
"""

_SCRIPT = """
for (const table of document.querySelectorAll('table.sorts')) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
    const up = head.getAttribute('aria-sort') !== 'ascending';
    heads.forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const key = row => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const x = key(a), y = key(b);
      return x === '' || y === '' ? (x === '') - (y === '') :
        (up ? 1 : -1) * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
    });
    body.append(...rows);
  }));
}
"""


def page(title: str, body: Sequence[str]) -> str:
    """A whole page. It asks for nothing from anywhere: no fonts, no scripts, no pictures from outside."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def wide(content: str, label: str) -> str:
    """Something that may be wider than the screen: it scrolls by itself, with the keyboard too."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">{content}</div>'


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], label: str, sorts: bool = False) -> str:
    """A table. Numbers are set to the right; a cell may be `(shown, value)` to be sorted by `value`, None is an empty one."""
    numeric = [all(isinstance(_value(row[i]), int | float | None) for row in rows) for i in range(len(heads))]
    lines = ["<thead><tr>"]
    for head, right in zip(heads, numeric, strict=True):
        text = f'<button type="button">{escape(head)}</button>' if sorts else escape(head)
        lines.append(f'<th scope="col"{" class=n" if right else ""}>{text}</th>')
    lines.append("</tr></thead><tbody>")
    for row in rows:
        lines.append("<tr>" + "".join(_cell(cell, right) for cell, right in zip(row, numeric, strict=True)) + "</tr>")
    lines.append("</tbody>")
    return wide(f"<table{' class=sorts' if sorts else ''}>{''.join(lines)}</table>", label)


def _value(cell: object) -> object:
    return cell[1] if isinstance(cell, tuple) else cell


def _cell(cell: object, right: bool) -> str:
    shown, value = cell if isinstance(cell, tuple) else ("" if cell is None else str(cell), cell)
    sort_by = "" if value is None else escape(str(value))
    return f'<td{" class=n" if right else ""} data-v="{sort_by}">{escape(shown)}</td>'
