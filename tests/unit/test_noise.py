"""Scatter by source: of values whose deviation is known, and of runs that share all chance but one source's."""

import numpy as np
import pytest
from runs import frame, run

from fmnist.analysis.noise import by_source
from fmnist.config import Config, NoiseConfig, from_flat
from fmnist.report.notes import noise_lines
from fmnist.training.streams import seed_of

BASELINE = frozenset({"signed baseline"})


def test_a_source_scatters_over_its_levels_and_the_baseline_and_all_over_the_baseline_s_seeds():
    runs = frame(
        run("a", epochs=10, val=0.90), run("b", epochs=10, val=0.92, seed=1),
        run("c", "w1", epochs=10, val=0.91), run("d", "w2", epochs=10, val=0.95),
        run("e", "o1", epochs=10, val=0.90), run("f", "w1", epochs=10, val=0.5, seed=1),
    )  # fmt: skip
    axes = {"w1": "noise.weights", "w2": "noise.weights", "o1": "noise.order", "p": "model.pooling"}
    levels = {f"signed {name}": {axis: "1"} for name, axis in axes.items()}
    table = by_source(runs, levels, BASELINE).set_index("source")
    assert table["runs"].to_dict() == {"weights": 3, "all": 2, "order": 2, "images": 0}
    alone = (0.91 * 0.09 / 6000) ** 0.5  # binomial
    assert table["val_sd"].to_dict() == pytest.approx(
        {"weights": np.std([0.90, 0.91, 0.95], ddof=1), "all": 0.02 / 2**0.5, "order": 0, "images": alone}
    )
    row = table.loc["weights"]
    assert row["val_low"] == pytest.approx(row["val_sd"] * (2 / 7.37776) ** 0.5, rel=1e-4)  # chi-square tables
    assert row["val_high"] == pytest.approx(row["val_sd"] * (2 / 0.0506356) ** 0.5, rel=1e-4)
    lines = noise_lines(table.reset_index())
    assert "weights: validation 2.65 (1.38 to 16.63)" in lines[1] and "3 runs" in lines[1]
    assert lines[-1].startswith("images: those that score leave 0.37 and ")


def test_a_source_has_the_run_s_seed_or_its_own():
    config = from_flat(Config(), {"seed": 5, "noise.order": 0})
    assert [seed_of(config, source) for source in vars(NoiseConfig())] == [5, 5, 0, 5, 5]
