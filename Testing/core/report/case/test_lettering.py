from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from flare_core.anatomy.organs import ORGANS
from flare_core.report.case.lettering import font, initials, plain, shortened, wrapped, write


def test_text_is_written_only_with_letters_the_font_has():
    assert plain("\u00c5ngstr\u00f6m \u2013 \u809d\u81df") == "Angstrom - ??"
    empty_box = font(20).getmask("\u809d").getbbox()
    assert font(20).getmask(plain("\u00e9")).getbbox() != empty_box


@pytest.mark.parametrize("width", [60, 200])
def test_text_is_cut_to_its_room(width):
    cut = shortened("case " * 100, width, 15)
    assert cut.endswith("...")
    assert width * 0.7 < font(15).getlength(cut) <= width
    assert shortened("short", 200, 15) == "short"


def test_wrapped_lines_fit_and_lose_no_word():
    text = "The scan shows only the upper half of the liver and none of the kidneys."
    lines = wrapped(text, 150, 14)
    assert " ".join(lines) == text
    assert all(font(14).getlength(line) <= 150 for line in lines)


def test_a_halo_darkens_what_is_around_the_letters():
    image = Image.new("RGB", (60, 40), (255, 255, 255))
    write(ImageDraw.Draw(image), (30, 20), "R", colour=(255, 255, 255), anchor="mm", halo=2)
    pixels = np.asarray(image)
    assert (pixels == 0).all(axis=2).any()
    dark = np.argwhere((pixels == 0).all(axis=2))
    assert np.abs(dark.mean(axis=0) - (20, 30)).max() < 3


def test_no_two_organs_share_their_initials():
    short = [initials(each.name) for each in ORGANS]
    assert len(set(short)) == len(short)
