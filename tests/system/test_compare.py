"""The command that shows results, in this process where that does: options, files, mistakes in a line."""

import io
import json
from dataclasses import replace

import pandas as pd
import pytest
from commands import ROOT, here, mistake
from invented import write

from fmnist import compare, tracking
from fmnist.config import Config, StudyConfig, from_flat

POOLING = ["--study", "pooling"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Study pooling with two seeds, another variant, and an attempt that was killed before it had options."""
    folder = tmp_path_factory.mktemp("store")
    store = tracking.Store(str(folder))
    store.client.create_run(store.id, run_name="killed at once", tags={"fmnist.signature": "s"})
    base = from_flat(Config(), {"compute.precision": "float32", "compute.threads": 1, "epochs": 1})
    for options in ({}, {"model.pooling": "average"}):
        for seed in (0, 1):
            write(store, from_flat(base, {**options, "seed": seed}))
    write(
        store, from_flat(base, {"model.filters": [32, 64], "model.batch_norm": True, "optimizer.learning_rate": 1e-4})
    )
    return folder


@pytest.fixture
def said(store, capsys):
    """What compare prints with these arguments, of that store."""

    def call(*arguments, code=0, where=store):
        assert compare.main(["--store", str(where), *map(str, arguments)]) == code
        found = capsys.readouterr()
        if code:
            assert found.out == "" and found.err.count("\n") == 1 and found.err.startswith("fmnist.compare: ")
        return found.err if code else found.out

    return call


def names(text):
    return [row["variant"] for row in json.loads(text)]


# ---- What is shown --------------------------------------------------------------------------------------


def test_without_a_study_all_runs_are_ranked_and_what_was_killed_is_seen(said):
    found = names(said("--format", "json"))
    assert len(found) == 4 and set(found[:3]) == {
        "baseline", "pooling=average", "filters=[32,64] batch_norm=true learning_rate=0.0001",
    }  # fmt: skip


def test_a_study_shows_its_variants_its_claims_and_how_to_read_them(said):
    text = said(*POOLING)
    assert "filters" not in text.split("Claims")[0] and "max pooling beats average pooling" in text
    assert text.index("Claims") < text.index("How to read it")
    assert said(*POOLING, "--claims").startswith(("HOLDS", "DOES NOT HOLD", "OPEN"))


def test_claims_are_data_in_every_other_format(said):
    back = pd.read_csv(io.StringIO(said(*POOLING, "--claims", "--format", "csv")))
    assert list(back["key"]) == ["pooling"] and back["seeds"][0] == 2
    assert json.loads(said(*POOLING, "--claims", "--format", "json"))[0]["epochs"] == 1
    assert said("--study", "kernel", "--claims") == "this study declares no claims\n"


def test_top_and_where_cut_rows_and_change_no_number(said):
    whole = {row["run_id"]: row for row in json.loads(said(*POOLING, "--format", "json"))}
    for cut in (["--top", 1], ["--where", "model.pooling=average"]):
        (row,) = json.loads(said(*POOLING, "--format", "json", *cut))
        assert row == whole[row["run_id"]]


@pytest.mark.parametrize(
    "condition",
    ["model.filters=[32,64]", "model.filters=[32, 64]", "optimizer.learning_rate=1e-4", "model.batch_norm=True",
     "optimizer.learning_rate=0.00010"],
)  # fmt: skip
def test_a_condition_is_met_however_its_value_is_written(said, condition):
    assert names(said("--format", "json", "--where", condition)) == [
        "filters=[32,64] batch_norm=true learning_rate=0.0001"
    ]


def test_conditions_are_all_to_be_met_and_none_that_meets_them_is_said_so(said):
    assert names(said("--format", "json", "--where", "seed=1", "--where", "model.pooling=max")) == ["baseline"]
    assert said("--where", "seed=1", "--where", "model.filters=3").startswith("of 6 recorded runs none matches")


def test_epochs_metric_baseline_and_rows_by_run(said):
    assert said("--epochs", 3).startswith("of 6 recorded runs none matches")
    assert "val/loss" in said("--metric", "val/loss") and "in nats" in said("--metric", "val/loss")
    rows = json.loads(said(*POOLING, "--format", "json", "--baseline", "pooling=average"))
    assert {row["variant"]: row["verdict"] for row in rows}["pooling=average"] == "baseline"
    assert len(names(said(*POOLING, "--by", "run", "--format", "json"))) == 4
    for form, start in (("md", "|"), ("latex", r"\begin{tabular}"), ("csv", "rank,variant")):
        assert said("--format", form).startswith(start)


def test_the_mean_over_the_last_three_epochs_ranks_runs_by_their_curves(said, tmp_path):
    store = tracking.Store(str(tmp_path))
    for epochs, seed in ((2, 0), (5, 0), (5, 1)):
        options = {"compute.precision": "float32", "compute.threads": 1, "epochs": epochs, "seed": seed}
        write(store, from_flat(Config(), options))
    text = said("--metric", "val/accuracy_late", "--by", "run", "--format", "csv", where=tmp_path)
    rows = pd.read_csv(io.StringIO(text)).set_index("run_id")["val_accuracy_late"]
    curves = {key: curve["val/accuracy"] for key, curve in store.histories(rows.index).items()}
    assert sorted(map(len, curves.values())) == [2, 5, 5] and all(curve.nunique() > 1 for curve in curves.values())
    assert rows.to_dict() == pytest.approx({key: curve.iloc[-3:].mean() for key, curve in curves.items()}, rel=1e-12)


def test_a_store_without_runs_is_no_mistake_and_stays_as_it_is(said, tmp_path):
    late = ["--metric", "val/accuracy_late"]
    for arguments in ([], POOLING, ["--where", "model.filters=64"], ["--study", "grid"], late):
        assert said(*arguments, where=tmp_path / "none").startswith("no runs yet")
    assert "NOT YET RUN" in said(*POOLING, "--claims", where=tmp_path / "none")
    said(*POOLING, "--format", "html", "--out", tmp_path / "report.html", where=tmp_path / "none")
    assert "<html" in (tmp_path / "report.html").read_text() and not (tmp_path / "none").exists()


def test_a_store_where_nothing_has_finished_is_no_mistake(said, tmp_path):
    store = tracking.Store(str(tmp_path))
    store.client.create_run(store.id, run_name="killed at once", tags={"fmnist.signature": "s"})
    assert "RUNNING" in said(where=tmp_path) and said(*POOLING, where=tmp_path).startswith("of 1 recorded run none")


# ---- Files ----------------------------------------------------------------------------------------------


def test_a_folder_gets_leaderboard_and_claims_and_with_html_the_report_and_its_figures(said, tmp_path):
    said(*POOLING, "--out", tmp_path / "plain")
    assert {file.name for file in (tmp_path / "plain").iterdir()} == {"leaderboard.csv", "leaderboard.md", "claims.csv"}
    said(*POOLING, "--format", "html", "--out", tmp_path / "deep" / "whole")
    folder = tmp_path / "deep" / "whole"
    assert {"leaderboard.csv", "leaderboard.md", "claims.csv", "report.html", "figures"} == {
        file.name for file in folder.iterdir()
    }
    figures = list((folder / "figures").iterdir())
    assert len(figures) >= 3 and all(file.read_text().lstrip().startswith("<") for file in figures)
    assert list(pd.read_csv(folder / "claims.csv")["key"]) == ["pooling"]
    assert "## Claims" in (folder / "leaderboard.md").read_text()


def test_asking_for_claims_leaves_the_leaderboards_file_what_it_is(said, tmp_path):
    said(*POOLING, "--claims", "--out", tmp_path / "a")
    assert "variant" in pd.read_csv(tmp_path / "a" / "leaderboard.csv")


def test_a_file_gets_what_would_be_printed_and_nothing_is_left_beside_it(said, tmp_path):
    file = tmp_path / "deep" / "board.csv"
    assert said("--format", "csv", "--out", file) == ""
    assert file.read_text() == said("--format", "csv") and list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("name", "start"),
    [("b.csv", "rank,"), ("b.md", "|"), ("b.json", "["), ("b.tex", "\\begin"), ("b.HTML", "<!"), ("b.txt", "  rank")],
)
def test_a_file_s_suffix_says_its_format(said, tmp_path, name, start):
    assert said("--out", tmp_path / name) == "" and (tmp_path / name).read_text().startswith(start)
    assert said("--out", tmp_path / name, "--format", "csv") == "" and (tmp_path / name).read_text().startswith("rank,")


@pytest.mark.parametrize(("format", "file"), [("json", "leaderboard.json"), ("latex", "leaderboard.tex")])
def test_a_folder_gets_the_format_that_is_asked_for_too(said, tmp_path, format, file):
    said(*POOLING, "--format", format, "--out", tmp_path / "all")
    assert {path.name for path in (tmp_path / "all").iterdir()} >= {file, "leaderboard.csv", "leaderboard.md"}


def test_a_study_that_was_run_with_other_options_says_which_and_how_to_name_them(said, store, tmp_path):
    opened = tracking.Store(str(tmp_path))
    base = from_flat(Config(), {"compute.precision": "float32", "compute.threads": 1, "epochs": 1, "data.limit": 600})
    for options in ({}, {"model.pooling": "average"}):
        write(opened, replace(from_flat(base, options), study=StudyConfig(name="pooling")))
    told = said(*POOLING, where=tmp_path)
    remedy = f'make compare STUDY=pooling ARGS="--store {tmp_path} data.limit=600 data.validation_rows=600"'
    wanted = f"study pooling has 2 runs with data.limit=600 data.validation_rows=600: {remedy}"
    assert wanted in told and wanted in said(*POOLING, "--out", tmp_path / "o", where=tmp_path, code=2)
    assert wanted not in said(*POOLING, "data.limit=600", where=tmp_path)


def test_names_do_nothing_in_any_format(said, tmp_path):
    names = ["=1+1", "a|b `c`", "<script>x</script>", "\x1b[31m\r\n&_%", "@SUM(A1)"]
    store, base = tracking.Store(str(tmp_path)), {"epochs": 1, "compute.precision": "float32", "compute.threads": 1}
    for number, name in enumerate(names):
        run_id = write(store, from_flat(Config(), {**base, "model.filters": 8 + number}))
        store.client.set_tag(run_id, "fmnist.variant", name)
    back = pd.read_csv(io.StringIO(said("--format", "csv", where=tmp_path)))
    assert set(back["variant"]) == {"'=1+1", "'@SUM(A1)", names[1], names[2], r"\x1b[31m\r\n&_%"}
    assert back["val_accuracy"].between(0.5, 1).all() and back["epochs"].tolist() == [1] * 5
    rows = json.loads(said("--format", "json", where=tmp_path))
    assert {row["variant"] for row in rows} == set(names)
    assert r"a\|b \`c\`" in said("--format", "md", where=tmp_path)
    assert r"\&\_\%" in said("--format", "latex", where=tmp_path)
    assert r"\x1b[31m\r\n&_%" in said(where=tmp_path)
    said("--format", "html", "--out", tmp_path / "page.html", where=tmp_path)
    assert names[2] not in (tmp_path / "page.html").read_text()


# ---- Mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--study", "poling"], "did you mean 'pooling'"),
        (["--where", "model.filter=3"], "did you mean 'model.filters'"),
        (["--where", "model.filters"], "must be KEY=VALUE"),
        (["--epochs", "ten"], "must be a whole number, but got 'ten'"),
        (["--epochs", "0"], "must be at least 1"),
        (["--top", "-1"], "must be at least 1"),
        (["--metric", "test/accuracy"], "val/accuracy"),
        (["--format", "cvs"], "csv"),
        (["--out", "board.xls"], "end it in one of .txt, .csv, .md, .json, .tex, .html"),
        (["--by", "seed"], "variant"),
        (["--format", "html"], "needs --out"),
        (["--claims"], "needs --study NAME"),
        (["data.limit=3000"], "needs --study NAME"),
        (["--baseline", "pooling=averag"], "did you mean 'pooling=average'"),
        ([*POOLING, "model.filter=3"], "did you mean 'model.filters'"),
        ([*POOLING, "nonsense"], "KEY=VALUE"),
        ([*POOLING, "store=other"], "--store other"),
        ([*POOLING, "study=filters"], "pooling cannot be filters too"),
        ([*POOLING, "+study.claims.x={says: s, weakest: Shrit}"], "did you mean 'Shirt'"),
        (["--nonsense"], "--nonsense"),
        (["--metric", "val/loss", "--format", "html", "--out", "x.html"], "val/accuracy"),
        (["--out", "/proc/board.csv", "--format", "csv"], "cannot write /proc/board.csv"),
        (["--out", ROOT / "README.md" / "board.csv"], "cannot write"),
        (["--out", ROOT / "README.md" / "folder"], "cannot write"),
    ],
)
def test_a_mistake_is_one_line(said, arguments, words):
    assert words in said(*arguments, code=2)


def test_a_mistake_is_one_line_whatever_stands_in_it(store):
    for option in ("--study", "--baseline", "--where", "--epochs", "--format"):
        assert r"a\nb\x1b[31m\u202ex" in mistake("compare", "--store", store, option, "a\nb\x1b[31m\u202ex=1")


def test_a_mistake_ends_the_process_with_2(store):
    assert "did you mean" in mistake("compare", "--store", store, "--study", "smoek")


def test_what_stands_in_a_folder_is_not_replaced_by_nothing(tmp_path):
    kept = tmp_path / "answers" / "report.html"
    kept.parent.mkdir()
    kept.write_text("an answer")
    said = mistake(
        "compare", "--store", tmp_path / "none", "--study", "smoke", "--format", "html", "--out", kept.parent
    )
    assert "nothing to write" in said and kept.read_text() == "an answer"


def test_a_folder_that_holds_results_of_other_runs_is_not_overwritten_without_force(store, tmp_path):
    compare_all = ["compare", "--store", str(store), "--out", str(tmp_path / "results")]
    here(*compare_all)
    before = (tmp_path / "results" / "leaderboard.csv").read_bytes()
    here(*compare_all)  # the same results may be written again
    refusal = mistake(*compare_all, "--top", "1")
    assert "that these runs do not have (" in refusal and "--force" in refusal
    assert (tmp_path / "results" / "leaderboard.csv").read_bytes() == before
    here(*compare_all, "--top", "1", "--force")
    for text in ("", "a,b\n1,2\n", "variant_signature,epochs,seeds\nx,1,many\n"):
        (tmp_path / "results" / "leaderboard.csv").write_text(text)
        assert "a leaderboard that cannot be read" in mistake(*compare_all)
    (tmp_path / "results" / "leaderboard.csv").unlink()
    assert "a leaderboard of runs that are not known" in mistake(*compare_all)
