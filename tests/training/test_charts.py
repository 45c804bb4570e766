"""The loss chart: its bytes, and what must not break it."""

import math
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from training import charts
from training.charts import loss_chart
from training.schema import LossPoint

CURVE = [
    LossPoint(step=i, train_loss=1 + math.exp(-i / 20), eval_loss=1.2 + abs(i - 60) / 100 if i % 10 == 0 else None)
    for i in range(100)
]


def pixels(png: bytes) -> np.ndarray:
    return imread(BytesIO(png))[:, :, :3]


def near(picture: np.ndarray, color: str) -> np.ndarray:
    return np.argwhere(np.abs(picture - to_rgb(color)).max(axis=2) < 0.02)


def test_the_chart_is_a_wide_png_and_the_same_every_time() -> None:
    png = loss_chart(CURVE, title="glordon_v1")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (1600, 900)
    assert len(png) < 500_000
    assert loss_chart(CURVE, title="glordon_v1") == png
    assert loss_chart(CURVE[:50], title="glordon_v1") != png


def test_the_held_out_curve_is_there_and_its_ring_sits_at_the_lowest_point() -> None:
    picture = pixels(loss_chart(CURVE, title="t"))
    below_legend = near(picture[200:], charts.HELD_OUT)
    lowest = below_legend[below_legend[:, 0] == below_legend[:, 0].max()][:, 1].mean()
    # Step 60 of 0 to 99; the axes take up most of the picture's width.
    assert 0.55 < (lowest - below_legend[:, 1].min()) / (99 / 90 * np.ptp(below_legend[:, 1])) < 0.67
    without = [point.model_copy(update={"eval_loss": None}) for point in CURVE]
    assert not len(near(pixels(loss_chart(without, title="t")), charts.HELD_OUT))


@pytest.mark.parametrize(
    "curve",
    [
        [],
        [LossPoint(step=0)],
        [LossPoint(step=3, train_loss=2.0)],
        [LossPoint(step=3, eval_loss=2.0)],
        [LossPoint(step=1, train_loss=math.nan, eval_loss=math.inf), LossPoint(step=2, train_loss=1e30)],
        [LossPoint(step=i, train_loss=2.0, eval_loss=2.0) for i in range(5)],
    ],
    ids=["empty", "no losses", "one train", "one held out", "not finite", "flat"],
)
def test_odd_curves_are_drawn(curve: list[LossPoint]) -> None:
    assert loss_chart(curve, title="t").startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("title", ["", "语言模型 · 日本語", "🐛 \u0e01\u0e02", r"$\frac{", "a\nb\t" + "long " * 50])
def test_any_title_is_drawn(title: str) -> None:
    assert loss_chart(CURVE, title=title).startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_without_a_chinese_font_boxes_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "CJK_FAMILIES", ())
    charts._families.cache_clear()
    try:
        assert loss_chart(CURVE, title="语言") == loss_chart(CURVE, title="模型")
    finally:
        charts._families.cache_clear()


def test_with_a_chinese_font_characters_are_told_apart() -> None:
    if len(charts._families()) == 1:
        pytest.skip("no font with Chinese characters is installed here")
    assert loss_chart(CURVE, title="语言") != loss_chart(CURVE, title="模型")


def test_threads_may_draw_at_the_same_time() -> None:
    expected = loss_chart(CURVE, title="t")
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(lambda _: loss_chart(CURVE, title="t"), range(6))) == {expected}


def test_charts_need_neither_torch_nor_pyplot() -> None:
    code = "import training.charts, sys; assert not {'torch', 'matplotlib.pyplot', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
