"""The heat maps and the radar: their bytes, what they show, and what must not break them."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from training import charts
from training.evaluation.schema import Matrix
from training.pictures import GAINS, SHARES, SPOKES, matrices, radar, radius
from training.schema import ScoreLine, Verdict

NAMES = {"glordon": "Glordon", "olga": "Olga", "grigon": "Lord Grigon"}
SHARED = Matrix(rows=("Glordon v2", "Olga v1"), columns=("glordon", "olga"), values=((1.0, 0.0), (0.25, 0.75)))
GAINED = Matrix(rows=("Glordon v2", "Olga v1"), columns=("glordon", "olga"), values=((0.4, -0.4), (None, 0.1)))


def line(name: str, value: float | None, verdict: Verdict, reference: float | None = None) -> ScoreLine:
    return ScoreLine.model_validate({"id": name, "value": value, "verdict": verdict, "reference": reference})


NOW = [
    line("facts", 0.8, Verdict.PASS),
    line("voice", 0.6, Verdict.PASS, 0.7),
    line("held_out_fit", 0.2, Verdict.PASS),
    line("general", 0.2, Verdict.WARN),
    line("breaks", 0.05, Verdict.FAIL),
    line("degeneracy", 0.0, Verdict.PASS),
    line("copying", 0.02, Verdict.PASS),
    line("version", 0.1, Verdict.PASS),
]


def size(png: bytes) -> tuple[int, int]:
    wide, high = struct.unpack(">II", png[16:24])
    return wide, high


def near(png: bytes, colour: object) -> int:
    """How many pixels are of about that colour."""
    picture = imread(BytesIO(png))[:, :, :3]
    return int((np.abs(picture - to_rgb(colour)).max(axis=2) < 0.02).sum())  # type: ignore[arg-type]


def of_size(count: int, name: str) -> tuple[Matrix, dict[str, str]]:
    slugs = tuple(f"p{i}" for i in range(count))
    values = tuple(tuple(float(i == j) for j in range(count)) for i in range(count))
    return Matrix(rows=slugs, columns=slugs, values=values), {slug: f"{name} {slug}" for slug in slugs}


# --- heat maps -----------------------------------------------------------------------------------------------------


def test_equal_input_gives_equal_bytes() -> None:
    png = matrices(SHARED, GAINED, NAMES)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert matrices(SHARED, GAINED, NAMES) == png
    assert matrices(SHARED, SHARED, NAMES) != png
    assert matrices(SHARED, GAINED, {**NAMES, "olga": "Ольга"}) != png


def test_cells_have_the_colour_of_their_value_and_what_was_not_measured_is_grey() -> None:
    png = matrices(SHARED, GAINED, NAMES)
    for colour in (SHARES(1.0), SHARES(0.0), GAINS(1.0), GAINS(0.0), charts.GRID):
        assert near(png, colour) > 2000
    known = Matrix(rows=GAINED.rows, columns=GAINED.columns, values=((0.4, -0.4), (0.0, 0.1)))
    # But for edges of letters.
    assert near(matrices(SHARED, known, NAMES), charts.GRID) < 500
    assert near(matrices(SHARED, known, NAMES), GAINS(0.5)) > 2000


def test_colours_stay_apart_in_grey_and_for_the_colour_blind() -> None:
    """Shares rise in lightness all the way; gains and losses of one size differ in blue, which hardly anybody lacks."""

    def lightness(colour: tuple[float, ...]) -> float:
        return float(np.dot(colour[:3], (0.2126, 0.7152, 0.0722)))

    steps = [lightness(SHARES(share)) for share in np.linspace(0, 1, 9)]
    assert all(one + 0.02 < other for one, other in pairwise(steps))
    for part in (0.1, 0.2, 0.3, 0.4):
        assert GAINS(0.5 + part)[2] > GAINS(0.5 - part)[2] + 0.1


@pytest.mark.parametrize("count", [1, 7, 20])
@pytest.mark.parametrize("name", ["Ambassador Questa of Nowhere", "语言模型"])
def test_any_number_of_personas_fits(count: int, name: str) -> None:
    matrix, labels = of_size(count, name)
    png = matrices(matrix, matrix, labels)
    wide, high = size(png)
    # Two pixels a unit, and a cell of 46 × 30 units.
    assert wide >= 2 * 46 * count
    assert high >= 2 * 30 * count * (2 if count == 20 else 1)
    assert max(wide, high) < 4000
    assert len(png) < 2_000_000
    assert near(png, SHARES(1.0)) > 2 * 1000 * count / 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["", r"$\frac{", "🐛 \u0e01\u0e02", "a\nb\t" + "long " * 50])
def test_any_name_is_drawn(name: str) -> None:
    assert matrices(SHARED, GAINED, {"glordon": name}).startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "matrix",
    [
        Matrix(),
        Matrix(rows=("a",), columns=("b",), values=((None,),)),
        Matrix(rows=("a",), columns=("b",), values=((math.nan,),)),
        Matrix(rows=("a",), columns=("b",), values=((0.0,),)),
    ],
    ids=["empty", "not measured", "not a number", "nothing gained"],
)
def test_odd_matrices_are_drawn(matrix: Matrix) -> None:
    assert matrices(matrix, matrix, {}).startswith(b"\x89PNG")


# --- radar ---------------------------------------------------------------------------------------------------------


def test_the_radar_shows_both_versions_in_their_own_colours() -> None:
    both, alone = radar(NOW, NOW[:3]), radar(NOW, ())
    assert both == radar(NOW, NOW[:3])
    assert near(both, charts.HELD_OUT) > 500
    assert near(alone, charts.HELD_OUT) == 0
    assert near(alone, charts.TRAIN) > 500


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "lines",
    [
        [],
        [line("voice", None, Verdict.NOT_APPLICABLE)],
        NOW[:1],
        NOW[:2],
        [line("held_out_fit", math.inf, Verdict.FAIL)],
        [line("voice", 0.2, Verdict.FAIL, 0.0)],
    ],
    ids=["none", "not applicable", "one", "two", "not finite", "no ceiling"],
)
def test_odd_scorecards_are_drawn(lines: list[ScoreLine]) -> None:
    assert radar(lines, lines).startswith(b"\x89PNG")
    assert radar(lines, NOW).startswith(b"\x89PNG")


def test_a_line_lies_in_the_band_of_its_verdict_and_further_out_if_it_is_better() -> None:
    for name, spoke in SPOKES.items():
        worst, fails, passes, best = spoke.stops
        found = [radius(line(name, value, verdict)) for value, verdict in (
            (worst, Verdict.FAIL), ((worst + fails) / 2, Verdict.FAIL), ((fails + passes) / 2, Verdict.WARN),
            ((passes + best) / 2, Verdict.PASS), (best, Verdict.PASS))]  # fmt: skip
        assert found == sorted(found)
        assert found[0] == 0
        assert found[1] < 1 / 3 < found[2] < 2 / 3 < found[3] < found[4] == 1
        # A verdict knows more than the value, such as its interval.
        assert radius(line(name, best, Verdict.WARN)) == pytest.approx(2 / 3)
        assert radius(line(name, best, Verdict.FAIL)) == pytest.approx(1 / 3)


def test_a_voice_is_measured_by_what_people_reach() -> None:
    assert radius(line("voice", 0.5, Verdict.PASS, 0.5)) == 1
    assert radius(line("voice", 0.5, Verdict.PASS, 1.0)) < 1


def test_pictures_need_neither_torch_nor_pyplot() -> None:
    code = "import training.pictures, sys; assert not {'torch', 'matplotlib.pyplot', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
