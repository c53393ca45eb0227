"""Crops of streamed images: those of Flax's ImageNet example, each drawn from the key and the position alone."""

import numpy as np
import pytest

from workers.data.crops import Crop, Draws, centre_crop, training_crop

WORDS = (1, 2)
GOLDEN = [0.5416191840326221, 0.9288647913773511, 0.4510230162552502]  # of WORDS at position 7


def crops(height: int, width: int, side: int = 224, count: int = 2000) -> list[Crop]:
    return [training_crop(height, width, side, Draws(WORDS, position)) for position in range(count)]


@pytest.mark.parametrize("shape", [(375, 500), (500, 375), (156, 150), (64, 64), (40, 400), (7, 3), (2, 2)])
def test_a_crop_lies_in_its_image_and_keeps_the_bounds(shape: tuple[int, int]) -> None:
    height, width = shape
    middle = centre_crop(height, width, 224)
    for crop in crops(height, width):
        assert 0 <= crop.top <= height - crop.height
        assert 0 <= crop.left <= width - crop.width
        assert crop.height >= 1
        assert crop.width >= 1
        if crop[:4] == middle[:4]:
            continue
        assert 0.1 <= crop.height * crop.width / (height * width) <= 1
        assert (crop.width - 0.5) / crop.height <= 4 / 3
        assert (crop.width + 0.5) / crop.height >= 3 / 4


def test_crops_have_all_sizes_ratios_and_places() -> None:
    found = crops(375, 500)
    areas = np.array([crop.height * crop.width / (375 * 500) for crop in found])
    ratios = np.array([crop.width / crop.height for crop in found])
    assert areas.min() < 0.12
    assert areas.max() > 0.95
    assert 0.35 < np.mean(areas) < 0.45  # heights are uniform, areas are not
    assert ratios.min() < 0.77
    assert ratios.max() > 1.3
    room = [(crop.top / (375 - crop.height), crop.left / (500 - crop.width)) for crop in found if crop.height < 300]
    assert np.mean(room, axis=0) == pytest.approx([0.5, 0.5], abs=0.03)
    assert np.mean([crop.is_flipped for crop in found]) == pytest.approx(0.5, abs=0.04)


def test_an_image_that_no_rectangle_fits_shows_its_centre() -> None:
    for crop in crops(1, 500, count=50):  # a tenth of it would be 50 pixels in a row
        assert crop[:4] == centre_crop(1, 500, 224)[:4] == (0, 250, 1, 1)


def test_a_crop_follows_from_key_and_position() -> None:
    crop = training_crop(375, 500, 224, Draws(WORDS, 7))
    assert crop == training_crop(375, 500, 224, Draws(WORDS, 7))
    assert crop != training_crop(375, 500, 224, Draws(WORDS, 8))
    assert crop != training_crop(375, 500, 224, Draws((1, 3), 7))


def test_numbers_are_the_same_in_every_version_of_numpy() -> None:
    draws = Draws(WORDS, 7)
    assert [draws.uniform() for _ in range(3)] == GOLDEN
    assert {Draws(WORDS, position).below(3) for position in range(50)} == {0, 1, 2}


@pytest.mark.parametrize(
    ("shape", "side", "square"),
    [((375, 500), 224, 328), ((500, 375), 224, 328), ((256, 256), 224, 224), ((64, 64), 32, 32), ((1, 1), 224, 1)],
)
def test_the_centre_is_padded_by_32_pixels_at_the_size_shown(shape: tuple[int, int], side: int, square: int) -> None:
    height, width = shape
    assert centre_crop(height, width, side) == Crop(
        (height - square + 1) // 2, (width - square + 1) // 2, square, square
    )
