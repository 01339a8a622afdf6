import numpy as np
import pytest
from scipy.stats import ks_2samp

from fmnist.config import AugmentConfig
from fmnist.training import augment
from fmnist.training.engine import keras  # without JAX, which it would look for
from fmnist.training.streams import stream

legacy = keras.src.legacy.preprocessing.image
WIDE = AugmentConfig(rotation=60, width_shift=0.3, height_shift=0.3, shear=40, zoom=0.5, horizontal_flip=True)
ARTICLE = AugmentConfig()


def images(count):
    rng = np.random.default_rng(1)
    smooth = rng.uniform(0, 255, (count, 28, 28, 1))
    return smooth.astype(np.float32)


@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")  # Keras's own old import
def test_a_warp_equals_keras_s_own_generator_over_wide_ranges():
    draws = augment.draw(WIDE, 1000, np.random.default_rng(0))
    pictures = images(1000)
    ours = np.asarray(augment.warp(pictures, augment.transforms(draws)))
    worst = 0.0
    for i, picture in enumerate(pictures):
        theirs = legacy.apply_affine_transform(
            picture,
            theta=draws.theta[i],
            tx=draws.tx[i],
            ty=draws.ty[i],
            shear=draws.shear[i],
            zx=draws.zx[i],
            zy=draws.zy[i],
            row_axis=0,
            col_axis=1,
            channel_axis=2,
            fill_mode="nearest",
            order=1,
        )
        theirs = theirs[:, ::-1] if draws.flip[i] else theirs
        worst = max(worst, float(np.abs(ours[i] - theirs).max()))
    assert worst < 0.01


@pytest.mark.parametrize("ranges", [ARTICLE, WIDE])
def test_parameters_are_distributed_as_the_generator_s(ranges):
    generator = legacy.ImageDataGenerator(
        rotation_range=ranges.rotation,
        width_shift_range=ranges.width_shift,
        height_shift_range=ranges.height_shift,
        shear_range=ranges.shear,
        zoom_range=ranges.zoom,
        horizontal_flip=ranges.horizontal_flip,
        data_format="channels_last",
    )
    theirs = [generator.get_random_transform((28, 28, 1), seed=i) for i in range(2000)]
    ours = augment.draw(ranges, 2000, np.random.default_rng(0))
    for name in ("theta", "tx", "ty", "shear", "zx", "zy"):
        assert ks_2samp([entry[name] for entry in theirs], getattr(ours, name)).pvalue > 1e-3, name
    assert np.mean([entry["flip_horizontal"] for entry in theirs]) == pytest.approx(ours.flip.mean(), abs=0.05)


def test_without_ranges_images_stay_as_they_are():
    nothing = AugmentConfig(0, 0, 0, 0, 0)
    assert not augment.augments(nothing)
    rows = augment.transforms(augment.draw(nothing, 5, np.random.default_rng(0)))
    np.testing.assert_array_equal(np.asarray(augment.warp(images(5), rows)), images(5))


def test_a_mirror_image_is_exact():
    mirror = AugmentConfig(0, 0, 0, 0, 0, horizontal_flip=True)
    draws = augment.draw(mirror, 50, np.random.default_rng(0))
    warped = np.asarray(augment.warp(images(50), augment.transforms(draws)))
    expected = np.where(draws.flip[:, None, None, None], images(50)[:, :, ::-1], images(50))
    np.testing.assert_array_equal(warped, expected)


def test_variants_with_the_same_seed_share_their_draws():
    light = AugmentConfig(rotation=4, horizontal_flip=True)
    one = augment.draw(ARTICLE, 10, stream(3, "augment", 2))
    other = augment.draw(light, 10, stream(3, "augment", 2))
    np.testing.assert_allclose(one.theta, 2 * other.theta)
    np.testing.assert_array_equal(one.tx, other.tx)


def test_each_epoch_and_purpose_draws_anew():
    draws = {tuple(stream(*key).random(3)) for key in [(0, "a", 0), (0, "a", 1), (0, "b", 0), (1, "a", 0)]}
    assert len(draws) == 4
