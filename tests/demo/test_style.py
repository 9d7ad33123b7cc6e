"""Pictures are drawn for light and for dark pages, and their text can be read on both."""

import pytest
from subjects import available

if not available("matplotlib"):
    pytest.skip("matplotlib is not installed here", allow_module_level=True)
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from anydrop.demo.pictures import style


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("colours", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_text_stands_out_from_the_page(colours):
    page = luminance(colours[style.PAPER])
    for name, contrast in (
        (style.INK, 7),
        (style.QUIET, 4.5),
        (style.BLUE, 4.5),
        (style.ORANGE, 3),
    ):
        dim, bright = sorted((page, luminance(colours[name])))
        assert (bright + 0.05) / (dim + 0.05) >= contrast, name


def test_each_colour_has_a_dark_one():
    assert style.LIGHT.keys() == style.DARK.keys()
    assert to_rgb(style.INK) == to_rgb(style.LIGHT[style.INK])
    with style.dark():
        assert to_rgb(style.INK) == to_rgb(style.DARK[style.INK])
    assert to_rgb(style.INK) == to_rgb(style.LIGHT[style.INK])


def test_a_picture_is_written_twice(tmp_path):
    def picture():
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([0, 1], color=style.BLUE)
        return figure

    style.write(picture, tmp_path / "line.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["line-dark.png", "line.png"]
    for name, colours in (("line", style.LIGHT), ("line-dark", style.DARK)):
        pixels = imread(tmp_path / f"{name}.png")[..., :3]
        assert np.allclose(pixels[0, 0], to_rgb(colours[style.PAPER]), atol=0.01)
        blue = np.abs(pixels - to_rgb(colours[style.BLUE])).max(axis=-1)
        assert blue.min() < 0.03
