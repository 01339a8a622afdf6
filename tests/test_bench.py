"""The invented runs that reading is measured on are like real ones."""

from itertools import islice

import pandas as pd

from bench.store import Copier, configs, write
from fmnist import tracking


def test_a_copied_run_reads_like_one_that_was_written(tmp_path):
    book = tracking.Book(str(tmp_path))
    first, *_, other = islice(configs(17), 1, 17)  # of 3 epochs both
    pattern, written = write(book, first), write(book, other)
    copier = Copier(book)
    copied = copier.copy(pattern, other)
    copier.close()
    rows = tracking.frame(book).set_index("run_id").drop(columns="start_time")
    assert (
        len(rows) == 3 and rows.loc[copied].equals(rows.loc[written]) and not rows.loc[copied].equals(rows.loc[pattern])
    )
    histories = book.histories([written, copied])
    pd.testing.assert_frame_equal(histories[written], histories[copied])
    one, two = (book.client.get_run(run_id) for run_id in (written, copied))
    assert one.data.tags == two.data.tags
    for run in (one, two):
        assert run.inputs.dataset_inputs[0].dataset.name == "fashion-mnist"
        assert run.inputs.dataset_inputs[0].tags[0].value == "training"
        assert len(run.outputs.model_outputs) == 1
