"""Charts as PNG bytes, from plain numbers; needs no torch, and no pyplot with its process-wide state."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font
from matplotlib.ticker import MaxNLocator

from training.schema import LossPoint

WIDTH, HEIGHT, SCALE = 800, 450, 2
POINTS_PER_INCH = 80

# Discord's dark surface, and two of Okabe and Ito's colours that stay apart for every kind of colour blindness.
BACKGROUND, GRID, INK = "#2b2d31", "#4e5058", "#dbdee1"
TRAIN, HELD_OUT = "#56b4e9", "#e69f00"

TITLE_LENGTH = 60
CJK_FAMILIES = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC")

drawing = threading.Lock()
"""Held while a picture is made: matplotlib's text layout shares its fonts among threads and does not lock them."""


def loss_chart(curve: Sequence[LossPoint], *, title: str) -> bytes:
    """The loss curve of a run as a PNG of 1600 × 900 pixels: equal input, equal bytes.

    Train loss is light, held-out loss is bold with its best step marked. Losses that are not finite are left out.
    """
    with drawing:
        figure = Figure(figsize=(WIDTH / POINTS_PER_INCH, HEIGHT / POINTS_PER_INCH), facecolor=BACKGROUND)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(facecolor=BACKGROUND)
        _dress(axes, title)
        train = _finite((p.step, p.train_loss) for p in curve)
        held_out = _finite((p.step, p.eval_loss) for p in curve)
        if train:
            steps, losses = zip(*train, strict=True)
            axes.plot(steps, losses, color=TRAIN, linewidth=1.2, alpha=0.7, label="training", marker=_dot(train))
        if held_out:
            steps, losses = zip(*held_out, strict=True)
            axes.plot(steps, losses, color=HELD_OUT, linewidth=2.8, label="held out", marker=_dot(held_out))
            _mark_best(axes, held_out)
        if train or held_out:
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.4}
            axes.legend(ncols=3, frameon=False, prop=font(10), labelcolor=INK, **place)
        else:
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "no steps yet", transform=axes.transAxes, ha="center", color=INK)
        figure.tight_layout()
        return png(figure)


def png(figure: Figure) -> bytes:
    """A finished figure as a PNG."""
    made = BytesIO()
    figure.savefig(made, dpi=POINTS_PER_INCH * SCALE, facecolor=BACKGROUND, metadata={"Software": None})
    return made.getvalue()


def _finite(points: Iterator[tuple[int, float | None]]) -> list[tuple[int, float]]:
    return [(step, loss) for step, loss in points if loss is not None and math.isfinite(loss)]


def _dot(points: Sequence[object]) -> str:
    """A line through one point is invisible, so a lone point gets a dot."""
    return "o" if len(points) == 1 else ""


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(printable(title), color=INK, fontproperties=font(14), loc="left", pad=36, parse_math=False)
    axes.set_xlabel("step", color=INK, fontproperties=font(10))
    axes.set_ylabel("loss (nats per token)", color=INK, fontproperties=font(10))
    axes.tick_params(colors=INK, length=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.margins(x=0.02, y=0.12)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)


def _mark_best(axes: Axes, held_out: list[tuple[int, float]]) -> None:
    """A ring on the lowest held-out loss; its figures stand in the legend, where no curve can run through them."""
    step, loss = min(held_out, key=lambda point: (point[1], point[0]))
    axes.plot(
        [step],
        [loss],
        marker="o",
        markersize=11,
        markerfacecolor=BACKGROUND,
        markeredgecolor=HELD_OUT,
        markeredgewidth=2.8,
        linestyle="",
        label=f"best {loss:.2f} at step {step}",
    )


def font(size: float) -> FontProperties:
    """The fonts of all pictures."""
    return FontProperties(family=list(_families()), size=size)


@lru_cache(maxsize=1)
def _families() -> tuple[str, ...]:
    """DejaVu Sans, which matplotlib brings along, and behind it a font with Chinese characters if one is installed."""
    found = _installed()
    if not found:
        # What matplotlib knows it wrote down once; a font that was installed since then is found on the disk only.
        known = {entry.fname for entry in fontManager.ttflist}
        for path in sorted(set(findSystemFonts()) - known):
            with suppress(Exception):  # not every file there is a font that it can read
                fontManager.addfont(path)
        found = _installed()
    return ("DejaVu Sans", *found[:1])


def _installed() -> list[str]:
    """The families with Chinese characters that are known to be here."""
    names = {entry.name for entry in fontManager.ttflist}
    return [family for family in CJK_FAMILIES if family in names]


def printable(text: str, length: int = TITLE_LENGTH) -> str:
    """One line of at most so many characters, with a box for every character that no font here can draw."""
    line = " ".join(text.split())
    if len(line) > length:
        line = line[: length - 1] + "…"
    faces = [get_font(findfont(family)) for family in _families()]
    return "".join(char if any(face.get_char_index(ord(char)) for face in faces) else "□" for char in line)
