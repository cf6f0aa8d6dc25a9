import inspect
import io
from functools import partial
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from memx.report import agreement_figures, curve_figures, figures, scaling_figures
from memx.report.curve_figures import Course, Curve
from memx.report.scaling_figures import Growth
from memx.report.style import DARK, LIGHT

FRAMES = [np.full((20, 30, 3), 40 * place, np.uint8) for place in range(5)]
NAN = [float("nan")]
DRAWS = {
    "learning": partial(
        figures.learning_curves, [1, 2, 3, 4], [1.0, 0.7, 0.6, 0.5], val_iterations=[2, 4], val_dice=[0.5, 0.8]
    ),
    "learning, no validation": partial(figures.learning_curves, [1], [1.0]),
    "area": partial(curve_figures.time_curves, [Curve("area", "cm²", [5.0, 3.0, 2.0, 4.0])], fps=30.0, ed=0, es=2),
    "area and volume, missed frames": partial(
        curve_figures.time_curves,
        [Curve("area", "px", [5.0, 0.0, float("nan"), 4.0], {0: 5.0, 3: 4.0}), Curve("volume", "ml", [9.0, 8, 7, 6])],
    ),
    "area, one frame": partial(curve_figures.time_curves, [Curve("area", "px", [5.0])], ed=0, es=0),
    "course": partial(
        curve_figures.dice_course,
        {
            "LV": Course([0, 1], [0.9, 0.8], [0.85, 0.7], [0.95, 0.9]),
            "LA": Course([0], [0.5], NAN, NAN),
        },
    ),
    "dice": partial(figures.dice_distribution, {"LV": [("a", 0.9), ("b", 0.95)], "LA": [("a", 0.0), ("b", 1.0)]}),
    "dice, one mask": partial(figures.dice_distribution, {"LV": [("a", 1.0)]}),
    "dice, one missed": partial(
        figures.dice_distribution, {"LV": [(str(i), 0.9 + 0.001 * i) for i in range(30)] + [("x", 0.0)]}
    ),
    "scatter": partial(agreement_figures.ef_scatter, [50.0, 60.0, 40.0], [52.0, 58.0, 45.0], method="Simpson biplane"),
    "scatter, one patient": partial(agreement_figures.ef_scatter, [50.0], [50.0], method="area-length"),
    "bland-altman": partial(
        agreement_figures.ef_bland_altman, [50.0, 60.0, 40.0], [52.0, 58.0, 45.0], method="Simpson biplane"
    ),
    "bland-altman, one patient": partial(agreement_figures.ef_bland_altman, [50.0], [50.0], method="area-length"),
    "growth": partial(
        scaling_figures.growth,
        {
            "ms a frame": {"linear": Growth([10, 100], [0.1, 0.1]), "softmax": Growth([10], [0.7])},
            "state, KiB": {"linear": Growth([10, 100], [8, 8]), "softmax": Growth([], [])},
        },
        axis="frames seen",
    ),
    "worst": partial(figures.worst_cases, FRAMES, list("abcde"), columns=3),
}


def test_every_public_figure_is_drawn_here():
    public = {
        name
        for module in (figures, agreement_figures, curve_figures, scaling_figures)
        for name, item in vars(module).items()
        if inspect.isfunction(item) and item.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public == {draw.func.__name__ for draw in DRAWS.values()}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DRAWS)
def test_is_an_svg_that_loads_nothing_and_repeats(name):
    data = DRAWS[name](format="svg", dark=False)
    root = ElementTree.fromstring(data)
    assert root.tag.endswith("svg")
    links = [value for node in root.iter() for key, value in node.attrib.items() if key.endswith("href")]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert data == DRAWS[name](format="svg", dark=False)
    assert data != DRAWS[name](format="svg", dark=True)


@pytest.mark.parametrize("name", ["dice", "worst"])
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_a_png_stands_on_the_background_of_its_theme(name, theme):
    image = Image.open(io.BytesIO(DRAWS[name](format="png", dark=theme is DARK))).convert("RGB")
    assert image.width > 500
    assert image.getpixel((1, 1)) == tuple(bytes.fromhex(theme.background[1:]))
    colours = image.getcolors(maxcolors=1 << 20)
    assert colours is not None
    assert len(colours) > 5


def test_drawing_leaves_no_setting_behind():
    before = dict(mpl.rcParams)
    DRAWS["area"](format="svg", dark=True)
    assert dict(mpl.rcParams) == before


def test_refuses_by_name():
    with pytest.raises(ValueError, match="iterations has 2 items and train_loss 1"):
        figures.learning_curves([1, 2], [0.5])
    with pytest.raises(ValueError, match="es is 4; the curve has frames 0 to 2"):
        curve_figures.time_curves([Curve("area", "px", [1.0, 2.0, 3.0])], ed=0, es=4)
    with pytest.raises(ValueError, match="truth is -1; the curve has frames 0 to 0"):
        curve_figures.time_curves([Curve("area", "px", [1.0], {-1: 2.0})])
    with pytest.raises(ValueError, match="all of one length"):
        curve_figures.time_curves([Curve("area", "px", [1.0]), Curve("volume", "ml", [1.0, 2.0])])
    with pytest.raises(ValueError, match="at least one structure"):
        curve_figures.dice_course({})
    with pytest.raises(ValueError, match="nothing was reached"):
        scaling_figures.growth({"ms": {"softmax": Growth([], [])}}, axis="frames")
    with pytest.raises(ValueError, match="at least one pair"):
        agreement_figures.ef_scatter([], [], method="Simpson biplane")
    with pytest.raises(ValueError, match="truth has 2 items and prediction 1"):
        agreement_figures.ef_scatter([1.0, 2.0], [1.0], method="Simpson biplane")
    with pytest.raises(ValueError, match="at least one structure"):
        figures.dice_distribution({"LV": []})
    with pytest.raises(ValueError, match="wants 'svg' or 'png'"):
        agreement_figures.ef_scatter([1.0], [1.0], method="x", format="pdf")
