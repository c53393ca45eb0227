"""AutoAugment's policy against Pillow and the published table, cutout, and programs that use neither."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from workers.config import to_dict
from workers.data import Dataset, augmentation, autoaugment
from workers.data.augment import Augment
from workers.data.digits import Digits
from workers.data.operations import operate
from workers.models.small_cnn import SmallCnn
from workers.optimizers.sgd import Sgd
from workers.tasks import compiled
from workers.tasks.classify import Classify, ClassifyProgram

# Table 7 of arXiv 1805.09501: operation, probability, magnitude; twice in each row.
PUBLISHED = """
Invert 0.1 7        Contrast 0.2 6
Rotate 0.7 2        TranslateX 0.3 9
Sharpness 0.8 1     Sharpness 0.9 3
ShearY 0.5 8        TranslateY 0.7 9
AutoContrast 0.5 8  Equalize 0.9 2
ShearY 0.2 7        Posterize 0.3 7
Color 0.4 3         Brightness 0.6 7
Sharpness 0.3 9     Brightness 0.7 9
Equalize 0.6 5      Equalize 0.5 1
Contrast 0.6 7      Sharpness 0.6 5
Color 0.7 7         TranslateX 0.5 8
Equalize 0.3 7      AutoContrast 0.4 8
TranslateY 0.4 3    Sharpness 0.2 6
Brightness 0.9 6    Color 0.2 8
Solarize 0.5 2      Invert 0.0 3
Equalize 0.2 0      AutoContrast 0.6 0
Equalize 0.2 8      Equalize 0.6 4
Color 0.9 9         Equalize 0.6 6
AutoContrast 0.8 4  Solarize 0.2 8
Brightness 0.1 3    Color 0.7 0
Solarize 0.4 5      AutoContrast 0.9 3
TranslateY 0.9 9    TranslateY 0.7 9
AutoContrast 0.9 2  Solarize 0.8 3
Equalize 0.8 8      Invert 0.1 3
TranslateY 0.7 9    AutoContrast 0.9 1
"""
ROWS = [line.split() for line in PUBLISHED.split("\n") if line]
TABLE = [((a, float(p), int(m)), (b, float(q), int(n))) for a, p, m, b, q, n in ROWS]
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
NAMES = (*SIGNED, "Color", "Contrast", "Brightness", "Sharpness")
NAMES += ("Invert", "Solarize", "Posterize", "AutoContrast", "Equalize")
FILL = (125, 123, 114)  # CIFAR-10's mean is 0.4914, 0.4822, 0.4465


def by_pillow(image: Any, name: str, level: int, sign: int = 1) -> Any:
    """An RGBA image after an operation of the original code, at one of its levels."""

    def affine(*matrix: Any) -> Any:
        return image.transform(image.size, Image.Transform.AFFINE, matrix)

    def opaque(change: Callable[..., Any], *rest: Any) -> Any:
        return change(image.convert("RGB"), *rest).convert("RGBA")

    slope, pixels = sign * level * 0.3 / 10, sign * int(level * 10 / 10)
    match name:
        case "ShearX":
            return affine(1, slope, 0, 0, 1, 0)
        case "ShearY":
            return affine(1, 0, 0, slope, 1, 0)
        case "TranslateX":
            return affine(1, 0, pixels, 0, 1, 0)
        case "TranslateY":
            return affine(1, 0, 0, 0, 1, pixels)
        case "Rotate":
            return image.rotate(sign * int(level * 30 / 10))
        case "Solarize":
            return opaque(ImageOps.solarize, 256 - int(level * 256 / 10))
        case "Posterize":
            return opaque(ImageOps.posterize, 4 - int(level * 4 / 10))
        case "Invert" | "AutoContrast" | "Equalize":
            return opaque(getattr(ImageOps, name.lower()))
    return getattr(ImageEnhance, name)(image).enhance(level * 1.8 / 10 + 0.1)


def natural(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image with large shapes, soft shades and a limited range: a lit ball on a slanted, slightly noisy ground."""
    drawn = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    middle_y, middle_x = drawn.uniform(0.3, 0.7, 2)
    ball = np.clip(1 - 9 * ((y - middle_y) ** 2 + (x - middle_x) ** 2), 0, 1)
    ground = 0.2 + 0.4 * (drawn.uniform(-1, 1) * x + drawn.uniform(0, 1) * y)
    colours = drawn.uniform(0.1, 0.6, (2, 3))
    image = ground[..., None] * colours[0] + ball[..., None] * colours[1] + drawn.normal(0, 0.01, (height, width, 3))
    return np.uint8(np.clip(255 * image, 8, 240))


@cache
def pictures(height: int, width: int) -> np.ndarray:
    """uint8[N, H, W, 3]: noise, natural-looking images, narrow ranges, a single value, and two values."""
    drawn = np.random.default_rng(0)
    noise = drawn.integers(256, size=(4, height, width, 3), dtype=np.uint8)
    narrow = drawn.integers(90, 97, size=(1, height, width, 3), dtype=np.uint8)
    flat = np.full((1, height, width, 3), 77, np.uint8)
    two = np.uint8(200 * (noise[:1] > 128) + 3)
    return np.concatenate([noise, [natural(height, width, seed) for seed in range(8)], narrow, flat, two])


def rgba(images: np.ndarray) -> np.ndarray:
    return np.pad(images, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=255)


# --- operations


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sides", [(32, 32), (20, 29)])
def test_an_operation_equals_pillow_s_at_every_level(name: str, sides: tuple[int, int]) -> None:
    images = rgba(pictures(*sides))
    run = jax.jit(jax.vmap(operate, in_axes=(0, None)))
    for level in range(10):
        for sign, ours in zip((1, -1), autoaugment._variants(name, level, sides)[1:], strict=True):
            turned = sign if name in SIGNED else 1
            found = np.asarray(run(images, ours)).astype(int)
            wanted = [np.asarray(by_pillow(Image.fromarray(image), name, level, turned)) for image in images]
            off = np.abs(found - np.stack(wanted))
            rounds = name == "AutoContrast" or (name in ("Color", "Contrast", "Brightness", "Sharpness") and level == 6)
            assert off.max() <= rounds, level
            assert np.mean(off > 0) < 0.01, level


def test_transparent_pixels_stay_so_until_an_operation_drops_transparency() -> None:
    image = Image.fromarray(rgba(pictures(32, 32))[5]).rotate(17)
    run = jax.jit(operate)
    for name in NAMES:
        for level in (1, 3, 8):
            ours = autoaugment._variants(name, level, (32, 32))[1]
            found, wanted = np.asarray(run(np.asarray(image), ours)), np.asarray(by_pillow(image, name, level))
            np.testing.assert_array_equal(found[..., 3], wanted[..., 3], name)
            assert np.abs(found.astype(int) - wanted).max() <= (name == "AutoContrast"), name
            if name not in SIGNED:
                has_holes = name in ("Color", "Contrast", "Brightness", "Sharpness")
                assert (found[..., 3] == 0).any() == has_holes, name


# --- the policy


def test_the_sub_policies_are_those_of_the_paper() -> None:
    assert len(TABLE) == 25
    assert list(autoaugment._SUB_POLICIES) == TABLE


def outcomes(image: Any) -> dict[str, Any]:
    """The probability of each image that the policy can make of one, by Pillow; alike ones are one."""
    found = Counter()
    for row in TABLE:
        states = [(Image.fromarray(rgba(image[None])[0]), 1 / len(TABLE))]
        for name, probability, level in row:
            states = [
                (after, share * chance)
                for before, share in states
                for after, chance in (
                    (before, 1 - probability),
                    (by_pillow(before, name, level), probability / 2),
                    (by_pillow(before, name, level, -1), probability / 2),
                )
            ]
        for after, share in states:
            pixels = np.asarray(after)
            found[np.where(pixels[..., 3:] == 0, np.uint8(FILL), pixels[..., :3]).tobytes()] += share
    return {each: share for each, share in found.items() if share > 0}


def nearest(pixels: bytes, known: np.ndarray) -> int:
    """Which of the known images one is; rounding may have moved a few of its values."""
    off = (known != np.frombuffer(pixels, np.uint8)).mean(axis=1)
    assert off.min() < 0.03
    return int(off.argmin())


def test_images_are_drawn_as_often_as_the_table_says() -> None:
    image, count = natural(32, 32, seed=5), 6000
    possible = outcomes(image)
    assert len(possible) == 68  # fewer than four in each sub-policy: some operations do nothing twice, or to this image
    known, shares = np.stack([np.frombuffer(each, np.uint8) for each in possible]), np.array(list(possible.values()))
    np.testing.assert_allclose(shares.sum(), 1)
    found = np.asarray(autoaugment.policy(jnp.asarray(np.repeat(image[None], count, 0)), jax.random.key(0)))
    seen = np.zeros(len(known))
    for pixels, times in Counter(each.tobytes() for each in found).items():
        seen[nearest(pixels, known)] += times
    assert (np.abs(seen - count * shares) < 4.5 * np.sqrt(count * shares * (1 - shares)) + 1).all()


def test_a_key_gives_the_same_images_and_another_key_others() -> None:
    images = jnp.asarray(pictures(32, 32))
    one = np.asarray(autoaugment.policy(images, jax.random.key(1)))
    assert (one.shape, one.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(one, autoaugment.policy(images, jax.random.key(1)))
    assert np.any(one != np.asarray(autoaugment.policy(images, jax.random.key(2))))


def test_the_policy_is_the_same_under_jit_and_vmap() -> None:
    images, keys = jnp.asarray(pictures(32, 32)), jax.random.split(jax.random.key(3), 2)
    plain = autoaugment.policy(images, keys[1])
    np.testing.assert_array_equal(jax.jit(lambda key: autoaugment.policy(images, key))(keys[1]), plain)
    np.testing.assert_array_equal(jax.vmap(autoaugment.policy, in_axes=(None, 0))(images, keys)[1], plain)


def test_the_policy_comes_before_the_flip() -> None:
    images = jnp.asarray(pictures(32, 32))
    chosen, key = jnp.asarray([4, 4, 7, 2] * 8), jax.random.key(5)
    found = augmentation.select(images, chosen, Augment(policy="autoaugment", flip=True, crop=2), key)
    after = autoaugment.policy(images[chosen], jax.random.fold_in(key, 3))
    np.testing.assert_array_equal(found, augmentation.select(after, jnp.arange(32), Augment(flip=True, crop=2), key))


# --- cutout


@pytest.mark.parametrize(("side", "sides"), [(4, (8, 8)), (3, (8, 11)), (8, (8, 8)), (1, (5, 6))])
def test_cutout_zeroes_one_square_of_the_batch_around_a_uniform_centre(side: int, sides: tuple[int, int]) -> None:
    images = 1 + np.random.default_rng(0).random((3, *sides, 2), np.float32)
    cut = jax.jit(augmentation.cut_out, static_argnums=1)
    squares = {}
    for row in range(sides[0]):
        for column in range(sides[1]):
            inside = np.zeros(sides, bool)
            top, left = row - side // 2, column - side // 2
            inside[max(top, 0) : top + side, max(left, 0) : left + side] = True
            squares.setdefault(inside.tobytes(), []).append((row, column))
    seen = Counter()
    for number in range(600):
        found = np.asarray(cut(images, Augment(cutout=side), jax.random.key(number)))
        is_zero = (found == 0).all(axis=(0, 3))
        np.testing.assert_array_equal(found, np.where(is_zero[..., None], 0, images))
        seen[is_zero.tobytes()] += 1
    assert set(seen) <= set(squares)
    for square, centres in squares.items():
        share = len(centres) / (sides[0] * sides[1])
        assert abs(seen[square] - 600 * share) < 4.5 * np.sqrt(600 * share) + 1


# --- in training


def rgb_set(count: int = 40, sides: tuple[int, int] = (10, 12)) -> Dataset:
    images = np.random.default_rng(0).integers(256, size=(count + 10, *sides, 3), dtype=np.uint8)
    labels = np.arange(count + 10, dtype=np.int32) % 5
    parts = (images[:count], labels[:count], images[count:], labels[count:])
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return Dataset(name="rgb", **dict(zip(names, parts, strict=True)), classes=5, mean=(0.5,) * 3, std=(0.25,) * 3)


DATASET = rgb_set()
PROGRAM = ClassifyProgram(
    task=Classify(),
    model=SmallCnn(width=2, dropout=0.3),
    data=Digits(),
    optimizer=Sgd(),
    augment=Augment(flip=True, crop=2, roll=1, noise=0.2),
    batch_size=8,
)


def epoch(given: Augment) -> tuple[Any, Any]:
    """The state and the sums after one epoch of a program with the given augmentation, and the program's text."""
    training = PROGRAM.task.build(replace(PROGRAM, augment=given), lambda data: DATASET)
    rates, key = np.full(5, 0.1, np.float32), jax.random.key(7)
    data = compiled.Resident(*(jnp.asarray(getattr(DATASET, name)) for name in compiled.Resident._fields))
    arguments = (training.recipe, training.init(jax.random.key(0)), data, training.hyper, rates, key, 0, 5, 8)
    text = compiled.train_stretch.lower(*arguments).as_text()
    return jax.device_get(compiled.train_stretch(*arguments)), text


def former_select(images_NHWC: jax.Array, chosen_B: jax.Array, given: Any, key: Any) -> jax.Array:
    """`select` as it was before there were policies."""
    _, height, width, _ = images_NHWC.shape
    flip_key, crop_key, roll_key = jax.random.split(key, 3)
    batch = chosen_B.shape[0]
    crops = jax.random.randint(crop_key, (2, batch, 1), -given.crop, given.crop + 1)
    rolls = jax.random.randint(roll_key, (2, batch, 1), -given.roll, given.roll + 1)
    rows = augmentation._source(jnp.arange(height)[None], rolls[0], crops[0], height)
    columns = augmentation._source(jnp.arange(width)[None], rolls[1], crops[1], width)
    flipped = jax.random.bernoulli(flip_key, 0.5, (batch, 1))
    columns = jnp.where(flipped, width - 1 - columns, columns)
    at = (chosen_B[:, None, None], rows[:, :, None], columns[:, None, :])
    return images_NHWC.at[at].get(mode="promise_in_bounds")


def assert_same(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
@pytest.mark.usefixtures("lightly_optimised")
def test_a_program_with_neither_is_the_program_from_before(monkeypatch: pytest.MonkeyPatch) -> None:
    given = replace(PROGRAM.augment, policy="none", cutout=0)
    assert to_dict(given) == {"flip": True, "crop": 2, "roll": 1, "noise": 0.2}
    now, text = epoch(given)
    monkeypatch.setattr(augmentation, "select", former_select)
    monkeypatch.setattr(augmentation, "cut_out", lambda images, given, key: images)
    compiled.train_stretch.clear_cache()
    former, former_text = epoch(PROGRAM.augment)
    compiled.train_stretch.clear_cache()
    assert text == former_text
    assert_same(now, former)


@pytest.mark.slow
@pytest.mark.usefixtures("lightly_optimised")
def test_each_field_changes_an_epoch_which_can_be_repeated() -> None:
    cut = replace(PROGRAM.augment, cutout=4)
    both = replace(cut, policy="autoaugment")
    assert to_dict(both) == to_dict(PROGRAM.augment) | {"policy": "autoaugment", "cutout": 4}
    first, again = epoch(both)[0], epoch(both)[0]
    assert_same(first, again)
    losses = [first[1].loss, epoch(cut)[0][1].loss, epoch(PROGRAM.augment)[0][1].loss]
    assert np.isfinite(losses).all()
    assert all(len(set(column)) == 3 for column in zip(*losses, strict=True))


# --- what is refused


@pytest.mark.parametrize(
    ("given", "dataset", "message"),
    [
        ({"policy": "autoaugment"}, Digits().load(None), "'autoaugment' for float32 with 1 channel$"),
        (
            {"policy": "autoaugment"},
            replace(DATASET, train_images=DATASET.train_images[..., :2]),
            "augment.policy must be 'none' unless images are uint8 with 3 channels, got .* for uint8 with 2 channels$",
        ),
        ({"cutout": 11}, DATASET, r"augment.cutout must be at most the image's sides \(10, 12\), got 11"),
    ],
)
def test_what_the_images_do_not_allow_is_refused_before_training(
    given: dict[str, Any], dataset: Dataset, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PROGRAM.task.build(replace(PROGRAM, augment=Augment(**given)), lambda data: dataset)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"policy": "randaugment"}, "policy must be 'none' or 'autoaugment', got 'randaugment'"),
        ({"cutout": -1}, "cutout must be at least 0, got -1"),
    ],
)
def test_wrong_fields_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**given)
