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


def side(pixels):
    """Where the frame of a matrix begins and how long its sides are: the first and the last line of black."""
    black = (pixels == 0).all(axis=2)
    (top, bottom), (left, right) = (np.flatnonzero(black.mean(axis=axis) > 0.7)[[0, -1]].tolist() for axis in (1, 0))
    return top, left, bottom - top, right - left


def cells(pixels):
    """What is within the lines of each of 10 x 10 cells."""
    top, left, height, width = side(pixels)
    ys, xs = (
        start + np.linspace(0, length, 11).round().astype(int) for start, length in ((top, height), (left, width))
    )
    return {
        (row, column): pixels[ys[row] + 3 : ys[row + 1] - 2, xs[column] + 3 : xs[column + 1] - 2]
        for row, column in np.ndindex(10, 10)
    }


def bands(ink):
    """How many times lines with ink follow a line without."""
    return sum(below and not above for above, below in pairwise(ink.any(axis=1).tolist()))


def with_ink(pixels):
    """The cells in which something is written."""
    return {place for place, cell in cells(pixels).items() if (cell != cell[0, 0]).any()}


@pytest.mark.parametrize("empty", [None, 3])
def test_a_confusion_matrix_has_numbers_where_there_are_counts_and_a_class_without_images_a_blank_row(empty):
    counts = matrix()
    if empty is not None:
        counts[empty] = 0
    written = set(map(tuple, np.argwhere(counts).tolist()))  # row: actual, column: predicted; (6, 0) is among them
    pictures = [run_pictures.confusion(counts, CLASSES, ""), run_pictures.small_confusion(counts, CLASSES)]
    pictures.append(run_pictures.confusion_beside(counts, None, CLASSES, ""))
    for picture in pictures:
        assert with_ink(picture) == written and (6, 0) in written
        assert all((cell == 255).all() for place, cell in cells(picture).items() if place not in written)


def test_the_numbers_of_a_confusion_matrix_are_the_count_and_the_share_of_the_actual_class():
    counts = matrix()
    same, more = counts.copy(), counts.copy()
    same[4, 4], more[4, 4], more[4, 5] = 900, 81, 9  # of Coat: other counts of the same share; the other way round
    before, others = cells(run_pictures.confusion(counts, CLASSES, "")), {}
    for name, changed in (("same", same), ("more", more)):
        after = cells(run_pictures.confusion(changed, CLASSES, ""))
        others[name] = {place for place in after if not np.array_equal(after[place], before[place])}
    assert others == {"same": {(4, 4)}, "more": {(4, 4), (4, 5)}}
    assert bands((before[6, 0] < 128).any(axis=2)) == 2  # clear of each other
    halves = [np.array_split(cells(run_pictures.confusion(each, CLASSES, ""))[4, 4], 2) for each in (counts, same)]
    assert (halves[0][0] != halves[1][0]).any() and (halves[0][1] == halves[1][1]).all()  # "100.0 %" stays


def test_a_confusion_matrix_names_classes_on_both_axes_and_the_accuracy_in_its_title():
    first = run_pictures.confusion(matrix(), CLASSES, "filters=64")
    second = run_pictures.confusion(matrix(), ["Boat" if name == "Coat" else name for name in CLASSES], "filters=64")
    rows, columns = np.nonzero((first != second).any(axis=2))
    top, left, height, width = side(first)
    beside, below = columns < left, rows > top + height
    assert beside.any() and below.any() and (beside | below).all()
    assert ((rows[beside] - top) * 10 // height == 4).all() and ((columns[below] - left) * 10 // width == 4).all()
    assert run_pictures.with_accuracy("filters=64", matrix()) == "filters=64 · accuracy 98.90 %"
    third = run_pictures.confusion(10 * matrix() - matrix(), CLASSES, "filters=65")
    assert (first[:top] != third[:top]).any()


def test_a_difference_is_signed_and_coloured_and_none_is_blank():
    fewer = matrix()
    fewer[6] = [0] * 6 + [100] + [0] * 3
    picture = run_pictures.small_confusion(fewer, CLASSES, matrix())
    assert with_ink(picture) == {(6, 0), (6, 6)}
    less, more = (np.median(cells(picture)[place].reshape(-1, 3), axis=0) for place in ((6, 0), (6, 6)))
    assert less[0] > less[2] and more[0] < more[2]  # red, and blue


def test_beside_the_matrix_stand_the_baseline_s_and_the_difference():
    other = matrix()
    other[6] = [0] * 6 + [100] + [0] * 3
    panels = np.split(run_pictures.confusion_beside(other, matrix(), CLASSES, "filters=64"), 3, axis=1)
    assert [len(with_ink(panel)) for panel in panels] == [10, 11, 2]
    assert run_pictures.confusion_beside(matrix(), matrix(), CLASSES, "").shape == panels[0].shape


def test_a_confusion_matrix_is_square_and_its_names_do_not_touch():
    pixels = run_pictures.confusion(matrix(), CLASSES, "filters=64")
    assert pixels.shape[0] == pixels.shape[1] and pixels.shape[0] >= 900
    top, left, height, width = side(pixels)
    below = pixels[top + height + 2 : top + height + 45]
    for number in range(9):
        between = left + width * (number + 0.5) / 10, left + width * (number + 1.5) / 10
        blank = (below[:, slice(*map(round, between))] == 255).all(axis=(0, 2))
        assert "11111" in "".join(map(str, blank.astype(int)))  # wider than between two letters


def test_a_matrix_that_does_not_fit_the_classes_is_refused():
    with pytest.raises(ValueError, match=r"10 classes .* but got \(9, 10\)"):
        run_pictures.confusion(matrix()[1:], CLASSES, "")


def test_samples_show_originals_first_and_a_name_for_each_row():
    images = np.zeros((2, 3, 28, 28), np.float32)
    images[:, 0] = 200
    picture = run_pictures.samples(images, ["Bag", "Coat"], "augment=strong")
    other = run_pictures.samples(images, ["Bag", "Boat"], "augment=strong")
    (first, last), (left, right) = (
        np.flatnonzero((picture == 200).all(axis=2).mean(axis=axis) > 0.1)[[0, -1]] for axis in (1, 0)
    )
    assert (last - first, right - left) == (2 * 110 + 7, 109)  # two images of an inch, and what is between them
    assert (picture[first + 1 : first + 109, left + 143 : left + 250] == 0).all()
    rows, columns = np.nonzero((picture != other).any(axis=2))
    assert rows.min() > first + 110 and columns.max() < left  # beside the second row
    heads = np.flatnonzero((picture[first - 20 : first] < 128).any(axis=(0, 2)))
    assert heads.min() > left and heads[-1] > left + 140  # "original" and "augmented"


def test_samples_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(2, columns, 28, 28\), but got \(3, 3, 28, 28\)"):
        run_pictures.samples(np.zeros((3, 3, 28, 28)), ["Bag", "Coat"], "")


@pytest.mark.parametrize(
    "draw",
    [
        lambda title: run_pictures.to_image(run_pictures.curves(history(3), title)),
        lambda title: run_pictures.confusion(matrix(), CLASSES, title),
        lambda title: run_pictures.samples(np.zeros((1, 2, 28, 28)), ["Bag"], title),
    ],
    ids=["curves", "confusion", "samples"],
)
def test_a_long_title_is_wrapped_within_the_picture_and_above_all_else(draw):
    long, short = ((draw(title) < 128).any(axis=2) for title in (LONG, "filters=64"))
    assert not long[:, [0, -1]].any() and not long[0].any() and long.shape[1] == short.shape[1]
    assert bands(long) > bands(short)  # of lines that nothing touches


def test_an_image_is_rgb_bytes_whose_size_follows_the_dots_per_inch():
    figure = run_pictures.curves(history(2), "baseline")
    small, large = run_pictures.to_image(figure, dpi=50), run_pictures.to_image(figure, dpi=100)
    assert small.dtype == np.uint8 and small.shape == (230, 550, 3) and large.shape == (460, 1100, 3)
    assert (small[0, 0] == 255).all()


def test_threads_draw_the_same_pixels_as_one():
    def draw(_):
        return run_pictures.confusion(matrix(), CLASSES, "baseline", dpi=40)

    with ThreadPoolExecutor(3) as threads:
        first, *others = threads.map(draw, range(3))
    assert all((first == other).all() for other in others)


@pytest.mark.parametrize("title", ["$x_{ $", "a\x1b[31m\x00b", "\\frac", "数字", "x" * 500])
def test_a_title_is_text_whatever_stands_in_it(title):
    figure = run_pictures.curves(history(2), title)
    run_pictures.to_image(figure)
    assert figure.texts[0].get_text() == drawing.clean(title)
