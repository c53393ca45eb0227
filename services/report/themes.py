"""Colours of figures, empty figures in them, and figures as bytes.

Figures are drawn in the light theme; for dark pages, a drawn SVG is recoloured, which costs no second drawing.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from io import BytesIO
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

TITLE_LETTERS_PER_INCH = 9.8
SEQUENCE = (0.35, 0.9)  # the part of the viridis map, blue to yellow, with enough contrast to both backgrounds
WHITE = "#fefefe"  # white that stays white: that of the background becomes dark
DASHED, DOTTED, DASH_DOTTED = (0, (4, 3)), (0, (1, 1.5)), (0, (5, 2, 1, 2))


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours that colour-blind readers can distinguish: blue, red and grey also differ in lightness."""

    background: str
    text: str
    muted: str
    rule: str
    error: str
    norm: str
    abel: str
    arms: tuple[str, ...]


LIGHT = Theme(
    background="#ffffff",
    text="#1b1f24",
    muted="#5b6470",
    rule="#e3e6ea",
    error="#0060a8",
    norm="#9aa1a9",
    abel="#d0342c",
    arms=("#1b1f24", "#0072b2", "#b8860b", "#cc79a7", "#009e73", "#56b4e9"),
)
DARK = Theme(
    background="#15181c",
    text="#e8eaed",
    muted="#a3abb5",
    rule="#2c3138",
    error="#62b5f0",
    norm="#7a828c",
    abel="#ff7466",
    arms=("#e8eaed", "#62b5f0", "#e6b422", "#e39bc4", "#2bc79a", "#9cd3f5"),
)


def png(figure: Figure) -> bytes:
    """The figure as a PNG for a page or a run."""
    return _saved(figure, "png")


def svg(figure: Figure) -> bytes:
    """The figure as an SVG; equal figures give equal bytes."""
    with mpl.rc_context({"svg.hashsalt": "abel"}):
        return _saved(figure, "svg")


def darkened(drawn: bytes) -> bytes:
    """An SVG from :func:`svg` in the dark theme."""
    dark = dict(zip(_colors(LIGHT), _colors(DARK), strict=True))  # roles that share a colour share one in both themes
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: dark.get(found[0], found[0]), drawn.decode()).encode()


def _colors(theme: Theme) -> tuple[str, ...]:
    *plain, arms = astuple(theme)
    return *plain, *arms


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(buffer, format=kind, dpi=200, facecolor=figure.get_facecolor(), metadata=metadata)
    figure.set_layout_engine("none")  # it is laid out now; the same figure in another format keeps the layout
    return buffer.getvalue()


def canvas(title: str, inches: tuple[float, float]) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes."""
    figure = blank(title, inches)
    return figure, figure.add_subplot()


def blank(title: str, inches: tuple[float, float]) -> Figure:
    """An empty figure."""
    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        lines = textwrap.fill(title, int(TITLE_LETTERS_PER_INCH * figure.get_figwidth()))
        figure.suptitle(lines, x=0.01, ha="left", fontweight="bold", fontsize=12, parse_math=False)
    return figure


def fitted_legend(
    figure: Figure,
    handles: Mapping[str, Artist],
    place: Literal["outside upper left", "outside lower left"],
    *,
    columns: int = 4,
    handlelength: float = 2.0,
) -> None:
    """Draw a legend outside the axes, with at most so many columns: fewer if they are wider than the figure.

    Args:
        handles: what stands beside each label.
    """
    for fewer in range(min(columns, len(handles)), 0, -1):
        legend = figure.legend(
            list(handles.values()), list(handles), loc=place, ncols=fewer, frameon=False, handlelength=handlelength
        )
        if legend.get_window_extent().width <= figure.bbox.width or fewer == 1:
            return
        legend.remove()


@contextmanager
def themed() -> Iterator[None]:
    """Matplotlib's settings in the light theme."""
    style: dict[Any, Any] = {
        "figure.facecolor": LIGHT.background,
        "axes.facecolor": LIGHT.background,
        "axes.edgecolor": LIGHT.rule,
        "axes.labelcolor": LIGHT.text,
        "axes.spines.top": False,
        "text.color": LIGHT.text,
        "xtick.color": LIGHT.muted,
        "ytick.color": LIGHT.muted,
        # Comes with Matplotlib; of the default family, ten fonts are searched for at every text.
        "font.family": ["DejaVu Sans"],
        "font.size": 10.5,
        "legend.fontsize": 9.5,
        "lines.solid_capstyle": "round",
    }
    with mpl.rc_context(style):
        yield
