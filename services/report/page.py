"""Pieces of a self-contained HTML page: all text is escaped here, and nothing is fetched from the network."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

TEMPLATE = Path(__file__).parents[1] / "templates" / "report.html"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A table's column; numbers are right-aligned."""

    name: str
    number: bool = False


class Link(NamedTuple):
    """A cell with a link."""

    text: str
    address: str


Cell = str | Link


def page(*, title: str, kicker: str, claim: str, body: Iterable[str]) -> str:
    """The whole document."""
    text = {"title": escape(title), "kicker": escape(kicker), "claim": escape(claim)}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(text, body="\n".join(body))


def section(heading: str, *parts: str) -> str:
    """A heading with its content."""
    return "\n".join((f"<section>\n<h2>{escape(heading)}</h2>", *parts, "</section>"))


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; ``kind`` is a class of the style sheet."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """Key numbers, each with its label."""
    wrapped = ((value.replace("\u00a0", " "), name) for value, name in facts)  # a tile is narrower than an interval
    shown = (f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in wrapped)
    return f'<div class="tiles">{"".join(shown)}</div>'


def picture(light: bytes, dark: bytes, *, text: str, caption: str = "") -> str:
    """An SVG for light pages and one for dark pages; ``text`` is the alternative text."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><picture><source media="screen and (prefers-color-scheme: dark)" srcset="{_data(dark)}">'
        f'<img src="{_data(light)}" alt="{escape(text)}"></picture>{below}</figure>'
    )


def table(
    columns: Sequence[Column], rows: Iterable[tuple[str, Sequence[Cell]]], kind: str = "", *, sortable: bool = False
) -> str:
    """A table; each row is an outcome, which sets its colour, and its cells. The cell with the outcome is highlighted.

    Args:
        kind: a class of the style sheet.
        sortable: a click on a heading sorts by its column.
    """
    names = ((column, escape(column.name)) for column in columns)
    head = "".join(
        f"<th{_align(column)}>" + (f'<button type="button">{name}</button>' if sortable else name) + "</th>"
        for column, name in names
    )
    kind = f"{kind} sortable".strip() if sortable else kind
    body = "\n".join(
        f'<tr class="{escape(outcome)}">'
        + "".join(_cell(column, cell, outcome) for column, cell in zip(columns, cells, strict=True))
        + "</tr>"
        for outcome, cells in rows
    )
    table_html = f'<table class="{kind}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'
    return f'<div class="scroll">{table_html}</div>'


def base_of_links(name: str, address: str) -> str:
    """A field with the base URL of the links to runs; the page's script applies changes."""
    return (
        f'<p class="note"><label>{escape(name)}: '
        f'<input class="base" type="url" size="40" value="{escape(address)}"></label></p>'
    )


def fact_list(known: Mapping[str, str]) -> str:
    """A list of names and values."""
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in known.items())
    return f"<dl>{''.join(pairs)}</dl>"


def folded(summary: str, content: str) -> str:
    """Content that is folded until a reader opens it."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def _cell(column: Column, cell: Cell, outcome: str) -> str:
    if isinstance(cell, Link):
        shown = f'<a href="{escape(cell.address)}">{escape(cell.text)}</a>'
    else:
        text = escape(cell)
        shown = f'<span class="outcome-{text}">{text}</span>' if cell and cell == outcome else text
    return f"<td{_align(column)}>{shown}</td>"


def _align(column: Column) -> str:
    return ' class="number"' if column.number else ""


def _data(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
