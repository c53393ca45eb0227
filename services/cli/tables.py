"""Terminal tables that truncate nothing, however narrow the terminal."""

from collections.abc import Collection, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

UNLIMITED = 100_000  # cells


class Fitted:
    """Rows under headings.

    If they are too wide, headings and free text wrap between words; if that is not enough, each row becomes a list of
    its cells.

    Args:
        columns: the headings.
        free: columns that may wrap; numbers never do.
        right: right-aligned columns.
        caption: a line below the table.
    """

    def __init__(
        self, columns: Sequence[str], *, free: Collection[str] = (), right: Collection[str] = (), caption: str = ""
    ) -> None:
        self._columns = columns
        self._free = free
        self._right = right
        self._caption = caption
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row; a string cell may contain Rich markup."""
        self._rows.append([Text.from_markup(cell) if isinstance(cell, str) else cell for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table as wide as the console allows."""
        natural = [_widest(column, cells) for column, cells in self._by_column()]
        frame = console.measure(self._table(natural), options=options.update(width=UNLIMITED)).maximum - sum(natural)
        widths = self._widths(natural, options.max_width - frame)
        if widths is None:
            yield from self._records()
        else:
            yield self._table(widths)
        if self._caption:
            yield Text(self._caption, style="dim")

    def _by_column(self) -> list[tuple[str, list[str]]]:
        return [(column, [row[index].plain for row in self._rows]) for index, column in enumerate(self._columns)]

    def _widths(self, natural: Sequence[int], room: int) -> list[int] | None:
        """Column widths that fit into ``room`` cells; None if not even single words fit."""
        least = [
            _widest(*(_words(column), _words(*cells) if column in self._free else cells))
            for column, cells in self._by_column()
        ]
        left = room - sum(least)
        if left < 0:
            return None
        widths = list(least)
        # Cells first: a heading that wraps costs one line, a cell one a row.
        cells = [_widest("", cells) for _, cells in self._by_column()]
        for goals in (cells, natural):
            for column, wanted in enumerate(goals):
                more = min(left, max(0, wanted - widths[column]))
                widths[column] += more
                left -= more
        return widths

    def _table(self, widths: Sequence[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column, width in zip(self._columns, widths, strict=True):
            justify = "right" if column in self._right else "left"
            table.add_column(column, width=width, overflow="fold", justify=justify)  # type: ignore[arg-type]
        for row in self._rows:
            table.add_row(*row)
        return table

    def _records(self) -> RenderResult:
        yield Text()
        for row in self._rows:
            yield row[0]
            named = zip(self._columns[1:], row[1:], strict=True)
            yield Padding(facts_table([(column, cell) for column, cell in named if cell.plain]), (0, 0, 1, 0))


def facts_table(pairs: Sequence[tuple[str, str | Text]]) -> Padding:
    """Names and values, one pair per line; long values wrap."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", overflow="fold")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(name, Text(value) if isinstance(value, str) else value)
    return Padding(grid, (0, 0, 0, 2))


def _words(*texts: str) -> list[str]:
    return [word for text in texts for word in text.split()]


def _widest(heading: str | Sequence[str], cells: Sequence[str]) -> int:
    """The width of the widest line of a heading and its cells."""
    texts = [heading] if isinstance(heading, str) else heading
    return max((cell_len(line) for text in [*texts, *cells] for line in text.splitlines()), default=1)
