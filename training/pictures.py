"""Pictures of a check as PNG bytes, from plain numbers: heat maps of adapters on personas, and a radar of the lines.

Like `charts`, they need no torch, and equal input gives equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard
from unicodedata import east_asian_width

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from training.charts import BACKGROUND, GRID, HELD_OUT, INK, POINTS_PER_INCH, TRAIN, drawing, font, png, printable
from training.evaluation.schema import Matrix
from training.schema import ScoreLine, Verdict

CELL, LEFT, ABOVE, EDGE = (46, 30), 196, 46, 16
"""In units of 1/80 inch: a cell, and the room for the names of rows, for a title and at the rim."""
LEAST_WIDTH, BESIDE = 420, 1200
"""A map is at least so wide that its title fits, and the two stand side by side up to so much together."""
COLUMN_NAME, ROW_NAME, LETTER = 20, 26, 6
"""How wide the names of a column and of a row may be, in Latin letters, and how high one stands turned by 45°."""
RADAR = (760, 640)

# Both run through dark grey, as the surface is, so that much and little differ by lightness as well as by hue.
SHARES, GAINS = (
    LinearSegmentedColormap.from_list(name, colours).with_extremes(bad=GRID)
    for name, colours in (
        ("shares", ["#1e2a33", "#2f6d94", TRAIN, "#d9eefa"]),
        ("gains", ["#fff0cc", HELD_OUT, "#7a5200", "#3a3c42", "#245a7d", TRAIN, "#d9eefa"]),
    )
)


# --- heat maps -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Map:
    """One matrix and how it is shown."""

    title: str
    matrix: Matrix
    colours: Colormap
    scale: Normalize
    form: str

    columns: Sequence[str]
    rows: Sequence[str]

    @property
    def top(self) -> int:
        """How far below its upper edge the cells begin: behind the title and the names of the columns."""
        return ABOVE + 24 + LETTER * max(map(_width, self.columns), default=0)

    @property
    def size(self) -> tuple[int, int]:
        """Its width and height, with all that stands around the cells."""
        # A turned name reaches out to the right of its column.
        wide = LEFT + len(self.columns) * CELL[0] + LETTER * max(map(_width, self.columns[-2:]), default=0)
        return max(LEAST_WIDTH, wide), self.top + max(len(self.rows), 1) * CELL[1] + EDGE


def matrices(sounds_like: Matrix, gains: Matrix, labels: Mapping[str, str]) -> bytes:
    """Two heat maps in one picture: what share of each adapter's replies sounds like whom, and what it gains on whom.

    labels: how rows and columns are called; one that is not in it is called as it is. What was not measured is grey.
    """
    furthest = max((abs(value) for row in gains.values for value in row if _measured(value)), default=0.0) or 1.0
    shares, change = Normalize(0, 1), Normalize(-furthest, furthest)
    maps = [
        _map("sounds like (share of replies)", sounds_like, labels, colours=SHARES, scale=shares, form="{:.2f}"),
        _map("gain over base (nats per token)", gains, labels, colours=GAINS, scale=change, form="{:+.2f}"),
    ]
    (one_wide, one_high), (other_wide, other_high) = (shown.size for shown in maps)
    beside = one_wide + other_wide <= BESIDE
    size = (
        (one_wide + other_wide, max(one_high, other_high))
        if beside
        else (
            max(one_wide, other_wide),
            one_high + other_high,
        )
    )
    second = (one_wide, 0) if beside else (0, one_high)
    with drawing:
        figure = _figure(size)
        for shown, corner in zip(maps, ((0, 0), second), strict=True):
            _draw(figure, size, shown, corner)
        return png(figure)


def _measured(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _map(title: str, matrix: Matrix, labels: Mapping[str, str], **look: Any) -> _Map:
    columns, rows = (
        [_cut(printable(labels.get(key, key)), width) for key in keys]
        for keys, width in ((matrix.columns, COLUMN_NAME), (matrix.rows, ROW_NAME))
    )
    return _Map(title, matrix, columns=columns, rows=rows, **look)


def _width(name: str) -> int:
    """In Latin letters; a Chinese character is about as wide as two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in name)


def _cut(name: str, width: int) -> str:
    if _width(name) <= width:
        return name
    while _width(name) >= width:
        name = name[:-1]
    return f"{name}…"


def _figure(size: tuple[int, int]) -> Figure:
    wide, high = size
    figure = Figure(figsize=(wide / POINTS_PER_INCH, high / POINTS_PER_INCH), facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    return figure


def _draw(figure: Figure, size: tuple[int, int], shown: _Map, corner: tuple[int, int]) -> None:
    """One map with its upper left corner there; places are counted from the picture's upper left."""
    (wide, high), (x, y) = size, corner
    title: dict[str, Any] = {"color": INK, "fontproperties": font(13), "va": "center"}
    figure.text((x + EDGE) / wide, 1 - (y + ABOVE / 2 + 4) / high, shown.title, **title)
    if not shown.rows or not shown.columns:
        told: dict[str, Any] = {"color": INK, "fontproperties": font(10)}
        figure.text((x + EDGE) / wide, 1 - (y + shown.top) / high, "not measured", **told)
        return
    across, down = len(shown.columns) * CELL[0], len(shown.rows) * CELL[1]
    place = ((x + LEFT) / wide, 1 - (y + shown.top + down) / high, across / wide, down / high)
    axes = figure.add_axes(place, facecolor=GRID)
    _name(axes, shown)
    _fill(axes, shown)


def _name(axes: Axes, shown: _Map) -> None:
    """The names of rows and columns, without lines but for thin gaps between the cells."""
    axes.set_xticks(range(len(shown.columns)))
    axes.set_yticks(range(len(shown.rows)))
    dressed: dict[str, Any] = {"color": INK, "fontproperties": font(9.5), "parse_math": False}
    axes.set_xticklabels(shown.columns, rotation=45, ha="left", rotation_mode="anchor", **dressed)
    axes.set_yticklabels(shown.rows, **dressed)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=6)
    axes.set_xticks(np.arange(len(shown.columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(shown.rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=BACKGROUND, linewidth=1.6)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)


def _fill(axes: Axes, shown: _Map) -> None:
    values = np.array(
        [[value if _measured(value) else np.nan for value in row] for row in shown.matrix.values], dtype=float
    )
    axes.imshow(np.ma.masked_invalid(values), cmap=shown.colours, norm=shown.scale, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        known = bool(np.isfinite(value))
        ink = _ink(shown.colours(shown.scale(value))) if known else INK
        # Adding 0 makes 0 of a −0 that rounding leaves.
        text = shown.form.format(round(value, 2) + 0.0) if known else "–"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontproperties=font(8.5))


def _ink(colour: tuple[float, ...]) -> str:
    """Dark or light, whichever is read better upon the colour (relative luminance, WCAG 2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#1e1f22" if luminance > 0.18 else "#f2f3f5"


# --- radar ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Spoke:
    """How one line of the scorecard is laid along its spoke: the values at the centre, the two rings, and the rim.

    Up to the first ring a value fails, from the second on it passes, so that lines of different units can be compared.
    """

    name: str
    stops: tuple[float, float, float, float]
    form: str = "{:.0%}"


SPOKES = {
    "facts": _Spoke("facts", (0, 0.5, 0.7, 1)),
    "voice": _Spoke("voice", (0, 0.35, 0.7, 1)),
    "held_out_fit": _Spoke("held-out fit", (-0.3, 0, 0.1, 0.5), "{:+.2f}"),
    "general": _Spoke("general ability", (0.5, 0.25, 0.1, 0), "{:+.2f}"),
    "breaks": _Spoke("out of character", (0.1, 0.02, 0.001, 0)),
    "degeneracy": _Spoke("broken replies", (0.4, 0.15, 0.05, 0)),
    "copying": _Spoke("copying", (0.4, 0.15, 0.05, 0), "{:+.0%}"),
}
PASSING = "#34373d"
RINGS = (1 / 3, 2 / 3, 1.0)
BANDS = {Verdict.FAIL: (0.0, RINGS[0]), Verdict.WARN: RINGS[:2], Verdict.PASS: RINGS[1:]}


def radar(lines: Sequence[ScoreLine], before: Sequence[ScoreLine]) -> bytes:
    """One version's lines against those of the one before, as polygons; further out is better, the outer band passes.

    Lines without a value are left out; `before` may be empty.
    """
    now, then = _measured_lines(lines), _measured_lines(before)
    kept = [name for name in SPOKES if name in now or name in then]
    with drawing:
        figure = _figure(RADAR)
        axes = figure.add_axes((0.24, 0.13, 0.52, 0.66), projection="polar", facecolor=BACKGROUND)
        assert isinstance(axes, PolarAxes)
        angles = {name: 2 * math.pi * i / max(1, len(kept)) for i, name in enumerate(kept)}
        _web(axes, angles, now, then)
        if then:
            _outline(axes, angles, then, color=HELD_OUT, label="before", linestyle="--")
        if now:
            _outline(axes, angles, now, color=TRAIN, label="now", linestyle="-")
        if kept:
            legend = {"loc": "lower left", "bbox_to_anchor": (0.02, 0.9), "bbox_transform": figure.transFigure}
            axes.legend(ncols=2, frameon=False, prop=font(11), labelcolor=INK, **legend)
        else:
            axes.text(0, 0, "not measured", ha="center", color=INK, fontproperties=font(11))
        told: dict[str, Any] = {"color": INK, "fontproperties": font(9), "ha": "left", "va": "bottom"}
        figure.text(0.02, 0.02, "further out is better: the outer band passes, the inner one fails", **told)
        return png(figure)


def _measured_lines(lines: Sequence[ScoreLine]) -> dict[str, ScoreLine]:
    return {line.id: line for line in lines if line.id in SPOKES and _measured(line.value)}


def radius(line: ScoreLine) -> float:
    """How far out a line with a value lies, 0 to 1: between the stops of its spoke, and within its verdict's band.

    A voice is taken as a part of what held-out human lines reach.
    """
    assert line.value is not None
    reached = line.reference or 1.0 if line.id == "voice" else 1.0
    sign = 1 if SPOKES[line.id].stops[0] < SPOKES[line.id].stops[-1] else -1
    value, marks = sign * line.value / reached, [sign * stop for stop in SPOKES[line.id].stops]
    found = float(np.interp(value, marks, (0.0, *RINGS)))
    low, high = BANDS.get(line.verdict, (0.0, 1.0))
    return min(max(found, low), high)


def _web(
    axes: PolarAxes, angles: Mapping[str, float], now: Mapping[str, ScoreLine], then: Mapping[str, ScoreLine]
) -> None:
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_ylim(0, 1.02)
    around = np.linspace(0, 2 * math.pi, 181)
    axes.fill_between(around, RINGS[1], RINGS[2], color=PASSING, linewidth=0)
    axes.set_yticks(RINGS, labels=[])
    axes.set_xticks(list(angles.values()), labels=[])
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines["polar"].set_visible(False)
    for name, angle in angles.items():
        side = math.sin(angle)
        placed = "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        dressed: dict[str, Any] = {"color": INK, "fontproperties": font(10), "va": "center", "parse_math": False}
        axes.text(angle, 1.16, _told(name, now.get(name), then.get(name)), ha=placed, **dressed)


def _told(name: str, line: ScoreLine | None, earlier: ScoreLine | None) -> str:
    """The spoke's name, and below it the value before and now."""
    spoke = SPOKES[name]
    shown = [spoke.form.format(one.value) if one else "–" for one in ((earlier, line) if earlier else (line,))]
    return f"{spoke.name}\n{' → '.join(shown)}"


def _outline(axes: PolarAxes, angles: Mapping[str, float], side: Mapping[str, ScoreLine], **style: Any) -> None:
    points = [(angle, radius(side[name])) for name, angle in angles.items() if name in side]
    turns, radii = zip(*points, points[0], strict=True)
    axes.fill(turns, radii, color=style["color"], alpha=0.14)
    axes.plot(turns, radii, linewidth=2.4, marker="o", markersize=5, **style)
