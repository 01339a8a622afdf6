import io
import json

import numpy as np
import pandas as pd
import pytest

from fmnist.analysis import leaderboard as module
from fmnist.analysis.leaderboard import NO_RUNS, leaderboard, render

COLUMNS = [
    "rank", "variant", "epochs", "seeds", "val_accuracy", "test_accuracy", "worst_class", "worst_recall",
    "parameters", "train_seconds", "run_id", "status",
]  # fmt: skip


def run(run_id, variant="baseline", val=0.9, **changes):
    return {
        "run_id": run_id,
        "run_name": variant,
        "status": "FINISHED",
        "variant": variant,
        "variant_signature": f"signed {variant}",
        "signature": f"signed {run_id}",
        "data_digest": "0123456789abcdef",
        "compute.precision": "float32",
        "epochs": 10,
        "seed": 0,
        "start_time": 1000,
        "parameters": 940170,
        "train_seconds": 100.0,
        "val/accuracy": val,
        "test/accuracy": val - 0.01,
        "test/recall/T-shirt/top": 0.85,
        "test/recall/Shirt": 0.7,
        **changes,
    }


def board(*runs):
    return leaderboard(pd.DataFrame(runs))


def test_variants_are_ranked_by_validation_accuracy_whatever_the_test_says():
    found = board(
        run("a", "filters=32", 0.88, **{"test/accuracy": 0.99}),
        run("b", "baseline", 0.91, **{"test/accuracy": 0.80}),
    )
    assert list(found.columns) == COLUMNS
    assert list(found["variant"]) == ["baseline", "filters=32"]
    assert list(found["rank"]) == [1, 2] and found["rank"].dtype == "Int64"


def test_a_row_is_the_mean_over_seeds_of_a_variant_at_an_epoch_budget():
    found = board(
        run("b", val=0.90, seed=1, train_seconds=120.0),
        run("a", val=0.92, seed=0, train_seconds=100.0),
        run("c", val=0.80, seed=0, epochs=3),
    )
    assert list(found["epochs"]) == [10, 3] and list(found["seeds"]) == [2, 1]
    assert found["val_accuracy"][0] == pytest.approx(0.91) and found["test_accuracy"][0] == pytest.approx(0.90)
    assert found["train_seconds"][0] == 110.0
    assert found["run_id"][0] == "a b"


def test_ties_go_to_fewer_parameters_then_to_the_name_then_to_fewer_epochs():
    found = board(
        run("d", "b", epochs=50, parameters=10),
        run("a", "z", parameters=5),
        run("c", "b", parameters=10),
        run("b", "a", epochs=50, parameters=10),
    )
    assert list(found["run_id"]) == ["a", "b", "c", "d"]
    assert list(found["rank"]) == [1, 2, 3, 4]


def test_the_order_in_which_seeds_are_added_up_does_not_break_a_tie():
    values = (0.1, 0.2, 0.3)
    first = [run(f"a{i}", "small", value, seed=i, parameters=1) for i, value in enumerate(values)]
    second = [run(f"b{i}", "large", value, seed=i, parameters=2) for i, value in enumerate(values[::-1])]
    assert list(board(*second, *first)["variant"]) == ["small", "large"]


@pytest.mark.parametrize("status", ["FAILED", "RUNNING", "KILLED"])
def test_runs_that_did_not_finish_come_last_one_row_each_without_rank_or_accuracy(status):
    found = board(run("a", val=0.99, status=status), run("b", val=0.98, status=status), run("c", val=0.5))
    assert list(found["run_id"]) == ["c", "a", "b"]
    assert found["rank"][0] == 1 and found["rank"][1:].isna().all()
    assert list(found["status"]) == ["FINISHED", status, status]
    assert found["val_accuracy"][1:].isna().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_finished_run_without_a_finite_accuracy_is_seen_but_not_ranked(value):
    found = board(run("a", "wild", value), run("b", val=0.5), run("c", "wild", 0.4, seed=1))
    assert list(found["run_id"]) == ["b", "c", "a"]
    assert found["rank"].tolist()[:2] == [1, 2] and found["rank"].isna().tolist() == [False, False, True]
    assert found["seeds"][1] == 1 and found["val_accuracy"][1] == 0.4


def test_nothing_finished_yet_is_a_board_without_ranks():
    waiting = {"val/accuracy": None, "test/recall/T-shirt/top": np.nan, "test/recall/Shirt": np.nan}
    found = board(run("a", status="RUNNING", **waiting))
    assert found["rank"].isna().all() and found["worst_class"].isna().all()
    assert "RUNNING" in render(found, "table") and "nan" not in render(found, "table").lower()


def test_metrics_that_no_run_has_logged_are_missing_not_an_error():
    record = {key: value for key, value in run("a").items() if not key.startswith("test/")}
    found = board(record)
    assert found["rank"][0] == 1 and found["test_accuracy"].isna().all() and found["worst_recall"].isna().all()


def test_a_seed_recorded_twice_counts_once_and_the_newest_counts():
    found = board(
        run("new", val=0.95, start_time=3000),
        run("old", val=0.50, start_time=2000),
        run("other", val=0.93, seed=1),
    )
    assert len(found) == 1 and found["seeds"][0] == 2
    assert found["val_accuracy"][0] == pytest.approx(0.94) and found["run_id"][0] == "new other"


def test_a_newer_failure_does_not_displace_a_finished_run():
    found = board(run("good", start_time=1000), run("bad", status="FAILED", start_time=2000))
    assert list(found["run_id"]) == ["good", "bad"]


def test_the_worst_class_is_that_of_the_recall_averaged_over_seeds():
    shirt, top = "test/recall/Shirt", "test/recall/T-shirt/top"
    found = board(run("a", seed=0, **{shirt: 0.60, top: 0.70}), run("b", seed=1, **{shirt: 0.90, top: 0.74}))
    assert found["worst_class"][0] == "T-shirt/top" and found["worst_recall"][0] == pytest.approx(0.72)


def test_one_name_with_different_precisions_or_data_is_told_apart():
    found = board(
        run("a", val=0.9, variant_signature="s1"),
        run("b", val=0.8, variant_signature="s2", **{"compute.precision": "bfloat16"}),
        run("c", "filters=64", val=0.7, variant_signature="s3"),
        run("d", "filters=64", val=0.6, variant_signature="s4", data_digest="fedcba9876543210"),
        run("e", "filters=32", val=0.5),
    )
    assert list(found["variant"]) == [
        "baseline (float32)",
        "baseline (bfloat16)",
        "filters=64 (data 01234567)",
        "filters=64 (data fedcba98)",
        "filters=32",
    ]


def test_names_that_nothing_else_tells_apart_carry_their_signature():
    found = board(run("a", variant_signature="abcdef012345"), run("b", variant_signature="fedcba543210"))
    assert set(found["variant"]) == {"baseline (signature abcdef01)", "baseline (signature fedcba54)"}


def test_the_runs_given_are_left_as_they_were():
    runs = pd.DataFrame([run("a"), run("b", status="FAILED")])
    before = runs.copy()
    leaderboard(runs)
    pd.testing.assert_frame_equal(runs, before)


def test_csv_reads_back_to_the_same_values():
    found = board(run("a", val=0.1 + 0.2, train_seconds=1 / 3), run("b", "filters=[32,64]", status="FAILED"))
    text = render(found, "csv")
    back = pd.read_csv(io.StringIO(text), dtype={"rank": "Int64"})
    pd.testing.assert_frame_equal(back, found, check_dtype=False, rtol=1e-15)
    assert str(0.1 + 0.2) in text


def test_json_is_records_in_full_precision_with_null_where_nothing_is_known():
    first, second = json.loads(render(board(run("a", val=0.1 + 0.2), run("b", status="KILLED")), "json"))
    assert list(first) == COLUMNS
    assert first["val_accuracy"] == 0.1 + 0.2 and first["rank"] == 1
    assert second["rank"] is None and second["val_accuracy"] is None


def test_a_table_is_plain_aligned_text_with_percentages_and_short_run_ids():
    ids = ["0123456789abcdef", "fedcba9876543210"]
    text = render(board(run(ids[0], val=0.91523, seed=0), run(ids[1], val=0.91523, seed=1)), "table", width=0)
    assert text.isascii() and len({len(line.rstrip()) for line in text.splitlines()}) <= 2
    assert "91.52 %" in text and "Shirt 70.00 %" in text and "940,170" in text and "100.0 s" in text
    assert "01234567 +1" in text and ids[0] not in text


@pytest.mark.parametrize("width", [60, 80, 100, 110])
def test_a_table_keeps_to_the_width_by_leaving_out_the_run_first(width):
    found = board(run("0123456789abcdef", "filters=[32,64] scale=unit optimizer=rmsprop"))
    lines = render(found, "table", width=width).splitlines()
    assert "01234567" not in "".join(lines) and "90.00 %" in lines[2]
    assert max(map(len, lines)) <= max(width, 75)  # narrower than that is left to the terminal
    assert all(word in "".join(lines) for word in ("filters=[32,64]", "scale=unit", "optimizer=rmsprop"))


def test_markdown_is_a_github_table():
    heading, rule, row = render(board(run("a")), "md").splitlines()
    assert heading.startswith("|") and "variant" in heading and set(rule) <= set("|-:") and "90.00 %" in row


def test_an_empty_board_says_so_in_the_way_of_each_format():
    empty = leaderboard(pd.DataFrame([run("a")]).iloc[:0])
    assert render(empty, "table") == render(empty, "md") == NO_RUNS
    assert render(empty, "csv") == ",".join(COLUMNS)
    assert render(empty, "json") == "[]"
    assert render(empty, "table", empty="none match") == "none match"
    assert leaderboard(pd.DataFrame()).dtypes.equals(board(run("a")).dtypes)


def test_an_unknown_format_is_refused_with_the_nearest_known():
    with pytest.raises(ValueError, match="table, csv, md, json, but got 'cvs'; did you mean 'csv'"):
        render(board(run("a")), "cvs")


def test_the_door_offers_the_formats_that_there_are():
    from fmnist import compare

    assert compare.FORMATS == module.FORMATS
