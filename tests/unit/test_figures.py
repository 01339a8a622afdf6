from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from fmnist.report import drawing, run_pictures

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
LONG = "rotation=15 height_shift=0.1 filters=[32,64] dropout=0.25 learning_rate=0.0003" + 2 * " · 10 epochs"


def history(epochs):
    falling = 1 / np.arange(1, epochs + 1)
    return pd.DataFrame(
        {
            "train/loss": falling,
            "train/accuracy": 0.9 - falling / 4,
            "val/loss": falling + 0.1,
            "val/accuracy": 0.91 - falling / 4,
            "time/epoch_s": 1.0,
        },
        index=pd.RangeIndex(1, epochs + 1, name="epoch"),
    )


def matrix():
    counts = 90 * np.eye(10, dtype=np.int64)
    counts[6, 0] = 10
    return counts


def bounds(text):
    return text.get_window_extent(text.figure.canvas.get_renderer())


def test_curves_show_training_and_validation_in_both_panels_with_the_last_values():
    accuracy, loss = run_pictures.curves(history(3), "filters=64").axes
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == [
        "training 81.67 %",
        "validation 82.67 %",
    ]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == [
        "training 0.3333",
        "validation 0.4333",
    ]
    np.testing.assert_array_equal(accuracy.lines[1].get_ydata(), history(3)["val/accuracy"])
    assert accuracy.lines[0].get_color() != accuracy.lines[1].get_color()


@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 50])
def test_epoch_ticks_are_whole_numbers_from_one_on(epochs):
    figure = run_pictures.curves(history(epochs), "baseline")
    low, high = figure.axes[0].get_xlim()
    ticks = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
    assert ticks and all(tick == int(tick) and 1 <= tick <= epochs for tick in ticks)


def test_few_epochs_are_marked_so_that_a_single_one_can_be_seen_and_many_are_plain_lines():
    assert run_pictures.curves(history(1), "baseline").axes[0].lines[0].get_marker() == "o"
    assert run_pictures.curves(history(50), "baseline").axes[0].lines[0].get_marker() == ""
    one, none = run_pictures.to_image(run_pictures.curves(history(1), "")), history(1)
    none[:] = np.nan
    assert (one != run_pictures.to_image(run_pictures.curves(none, ""))).any()


def test_curves_of_no_epoch_are_refused():
    with pytest.raises(ValueError, match="at least 1 epoch, but got 0"):
        run_pictures.curves(history(0), "baseline")


def test_a_confusion_matrix_shows_count_and_share_of_the_actual_class_but_no_zeros():
    figure = run_pictures.confusion(matrix(), CLASSES, "filters=64")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert len(texts) == 2 * np.count_nonzero(matrix())
    assert texts.count("90") == 10 and "10.0 %" in texts and "90.0 %" in texts and "0" not in texts
    at = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert at["10"][0] == 0 and round(at["10"][1]) == 6  # row: actual Shirt, column: predicted T-shirt/top


def test_a_confusion_matrix_names_classes_on_both_axes_and_the_accuracy_in_its_title():
    figure = run_pictures.confusion(matrix(), CLASSES, "filters=64")
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        assert [label.get_text().replace("/\n", "/").replace("\n", " ") for label in labels] == list(CLASSES)
    assert figure.texts[0].get_text() == "filters=64 · accuracy 98.90 %"


def test_a_confusion_matrix_is_square_and_its_names_do_not_touch():
    figure = run_pictures.confusion(matrix(), CLASSES, "filters=64")
    pixels = run_pictures.to_image(figure)
    assert pixels.shape[0] == pixels.shape[1] and pixels.shape[0] >= 900
    names = [bounds(label) for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(names))


def test_a_class_without_images_leaves_its_row_blank():
    counts = matrix()
    counts[3] = 0
    texts = [text.get_text() for text in run_pictures.confusion(counts, CLASSES, "").axes[0].texts]
    assert len(texts) == 2 * np.count_nonzero(counts) and not any("nan" in text for text in texts)


def test_a_matrix_that_does_not_fit_the_classes_is_refused():
    with pytest.raises(ValueError, match=r"10 classes .* but got \(9, 10\)"):
        run_pictures.confusion(matrix()[1:], CLASSES, "")


def test_samples_show_originals_first_and_a_name_for_each_row():
    images = np.zeros((2, 3, 28, 28), np.float32)
    images[:, 0] = 255
    figure = run_pictures.samples(images, ["Bag", "Coat"], "augment=strong")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Bag", "Coat"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["original", "augmented"]
    shown = axes.images[0].get_array()
    assert (shown[:28, :28] == 255).all() and np.nanmax(shown[:, 28:].filled(np.nan)) == 0
    assert run_pictures.to_image(figure).std() > 0


def test_samples_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(2, columns, 28, 28\), but got \(3, 3, 28, 28\)"):
        run_pictures.samples(np.zeros((3, 3, 28, 28)), ["Bag", "Coat"], "")


@pytest.mark.parametrize(
    "draw",
    [
        lambda title: run_pictures.curves(history(3), title),
        lambda title: run_pictures.confusion(matrix(), CLASSES, title),
        lambda title: run_pictures.samples(np.zeros((1, 2, 28, 28)), ["Bag"], title),
    ],
    ids=["curves", "confusion", "samples"],
)
def test_a_long_title_is_wrapped_within_the_figure_and_above_the_panels(draw):
    figure = draw(LONG)
    run_pictures.to_image(figure)
    title = bounds(figure.texts[0])
    assert "\n" in figure.texts[0].get_text()
    assert title.x0 >= 0 and title.x1 <= figure.bbox.width and title.y1 <= figure.bbox.height
    assert all(title.y0 > axes.get_window_extent().y1 for axes in figure.axes)


def test_an_image_is_rgb_bytes_whose_size_follows_the_dots_per_inch():
    figure = run_pictures.curves(history(2), "baseline")
    small, large = run_pictures.to_image(figure, dpi=50), run_pictures.to_image(figure, dpi=100)
    assert small.dtype == np.uint8 and small.shape == (230, 550, 3) and large.shape == (460, 1100, 3)
    assert (small[0, 0] == 255).all()


def test_threads_draw_the_same_pixels_as_one():
    def draw(_):
        return run_pictures.to_image(run_pictures.confusion(matrix(), CLASSES, "baseline"), dpi=40)

    with ThreadPoolExecutor(3) as threads:
        first, *others = threads.map(draw, range(3))
    assert all((first == other).all() for other in others)


@pytest.mark.parametrize("title", ["$x_{ $", "a\x1b[31m\x00b", "\\frac", "数字", "x" * 500])
def test_a_title_is_text_whatever_stands_in_it(title):
    figure = run_pictures.curves(history(2), title)
    run_pictures.to_image(figure)
    assert figure.texts[0].get_text() == drawing.clean(title)
