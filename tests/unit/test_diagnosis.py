import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from fmnist.analysis.budgets import common_budget
from fmnist.analysis.classes import class_changes
from fmnist.analysis.diagnosis import Finding, Kind, diagnose
from fmnist.analysis.rule import Rule
from fmnist.analysis.stats import ONE_LOOK, paired
from fmnist.config import CLASSES, Config
from fmnist.identity import parameters
from fmnist.report.diagnosis import Statement, statement
from fmnist.training.evaluation import confusion

DEFAULTS = {key: str(value) for key, value in parameters(Config()).items()}
LABELS = np.repeat(np.arange(10, dtype=np.uint8), 100)
SHIRT, TSHIRT, BAG = CLASSES.index("Shirt"), CLASSES.index("T-shirt/top"), CLASSES.index("Bag")


def run(variant="baseline", val=0.9, epochs=10, seed=0, **changes):
    name = f"{variant}·{epochs}·{seed}".replace(" ", "_")
    return {
        "run_id": name,
        "signature": name,
        "status": "FINISHED",
        "variant": variant,
        **DEFAULTS,
        "epochs": epochs,
        "seed": seed,
        "val/accuracy": val,
        **changes,
    }


def board(runs):
    """What diagnose needs of a leaderboard."""
    ranked = runs[runs["status"] == "FINISHED"]
    groups = ranked.groupby(["variant", "epochs"], sort=False)
    found = groups.agg(val_accuracy=("val/accuracy", "mean"), run_id=("run_id", " ".join)).reset_index()
    found = found.sort_values("val_accuracy", ascending=False, ignore_index=True)
    found["rank"] = pd.Series(range(1, len(found) + 1), dtype="Int64")
    return found.assign(verdict=np.where(found["variant"] == "baseline", "baseline", ""))


def diagnosed(*rows, axes=None, histories=None, predictions=None, labels=LABELS, rule=ONE_LOOK):
    runs = pd.DataFrame(rows)
    rows, known = board(runs), {"histories": histories or {}, "predictions": predictions or {}, "labels": labels}
    known["rule"] = rule
    return diagnose(runs, rows, axes or {}, budget=common_budget(rows), **known)


def texts(findings, kind):
    return [each.text for each in map(statement, findings) if each.kind == kind]


def kinds(findings):
    return [statement(finding).kind for finding in findings]


def history(accuracy, val_loss=None, train_loss=None):
    epochs = len(accuracy)
    return pd.DataFrame(
        {
            "val/accuracy": accuracy,
            "val/loss": np.full(epochs, 0.3) if val_loss is None else val_loss,
            "train/loss": np.linspace(0.5, 0.1, epochs) if train_loss is None else train_loss,
        },
        index=pd.RangeIndex(1, epochs + 1, name="epoch"),
    )


def curves(*accuracies, **losses):
    """Findings about one variant with these curves, a seed each."""
    runs = [run(epochs=len(accuracy), seed=seed) for seed, accuracy in enumerate(accuracies)]
    histories = {row["run_id"]: history(curve, **{name: np.asarray(loss) * (1 + seed / 1000) for name, loss in
                 losses.items()}) for seed, (row, curve) in enumerate(zip(runs, accuracies, strict=True))}  # fmt: skip
    return diagnosed(*runs, histories=histories)


# ---- Failures -------------------------------------------------------------------------------------------


def test_failed_and_diverged_runs_are_counted_among_those_that_ended():
    found = diagnosed(
        run(),
        run("learning_rate=1", np.nan, status="FAILED"),
        run("learning_rate=1", np.nan, seed=1),
        run("filters=32", np.nan, status="FAILED"),
        run("filters=64", status="RUNNING"),
    )
    numbers = {"failed": 3, "ended": 4, "variants": {"learning_rate=1": 2, "filters=32": 1}}
    assert found == [Finding(Kind.FAILED, "all runs", numbers)]
    text = "3 of 4 runs failed or diverged (75.00 %): learning_rate=1 (2), filters=32 (1)"
    assert statement(found[0]) == Statement("failed runs", "all runs", text)


def test_a_run_that_was_repeated_with_success_has_not_failed():
    assert diagnosed(run(), run(run_id="first", status="FAILED", val=np.nan)) == []


# ---- Trends ---------------------------------------------------------------------------------------------


def test_a_variant_whose_accuracy_rises_to_the_end_still_improves():
    found = curves(0.80 + 0.009 * np.arange(10), 0.80 + 0.010 * np.arange(10), 0.80 + 0.011 * np.arange(10))
    assert kinds(found) == ["still improving"]
    # Slopes 0.9, 1.0, 1.1: t = 10√3, and with 2 degrees of freedom one-sided p = (1 - t / √(2 + t²)) / 2.
    assert statement(found[0]).subject == "baseline" and statement(found[0]).text == (
        "baseline still improves at epoch 10: its validation accuracy has risen by 4.00 points since epoch 6, "
        "to 89.00 % (p = 0.0017)"
    )


def test_three_epochs_show_a_trend_over_three_seeds_but_not_with_one():
    rising, wider = np.array([0.75, 0.84, 0.87]), np.array([0.01, 0.01, 0.02])
    found = texts(curves(rising, rising + wider, rising - wider), "still improving")
    assert len(found) == 1 and "12.00 points since epoch 1, to 87.00 %" in found[0]
    assert texts(curves(rising), "still improving") == []


def test_curves_that_wander_are_rarely_said_to_improve():
    rng, found = np.random.default_rng(0), 0
    for _ in range(80):
        wandering = 0.9 + np.cumsum(rng.normal(0, 0.003, (3, 20)), axis=1)  # each epoch continues the one before it
        found += bool(texts(curves(*wandering), "still improving"))
    assert found <= binom.ppf(0.99, 80, 0.05)


def test_trends_are_corrected_for_how_many_variants_are_looked_at():
    slopes, histories, rows = (0.006, 0.010, 0.014), {}, []
    for variant in range(6):
        for seed, slope in enumerate(slopes):
            rows.append(run(f"v{variant}", seed=seed))
            histories[rows[-1]["run_id"]] = history(0.8 + slope * np.arange(10))
    alone = {row["run_id"]: histories[row["run_id"]] for row in rows[:3]}
    assert texts(diagnosed(*rows[:3], histories=alone), "still improving")
    assert texts(diagnosed(*rows, histories=histories), "still improving") == []


def test_noise_around_a_plateau_is_no_improvement_but_saturation():
    plateau = 0.9 + 0.0004 * np.resize([1, -1, 0, -2, 2], 47)
    found = curves(np.concatenate([[0.7, 0.8, 0.88], plateau]))
    assert kinds(found) == ["saturated early"]
    text = statement(found[0]).text
    assert "saturated from epoch 4 of 50 on" in text and "90.04 % then and 90.08 % at" in text


def test_a_rise_too_small_to_matter_is_not_told():
    assert texts(curves(0.9 + 0.0001 * np.arange(10)), "still improving") == []


def test_validation_loss_that_rises_while_training_loss_falls_is_overfitting():
    loss = [0.5, 0.4, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65]
    flat = [np.full(10, 0.9)] * 3
    found = texts(curves(*flat, val_loss=loss, train_loss=np.linspace(1, 0.1, 10)), "overfitting")
    assert found == [
        "baseline overfits: since epoch 3 its validation loss has risen from 0.300 to 0.651, "
        "while its training loss fell from 0.801 to 0.100"
    ]


@pytest.mark.parametrize(("val_loss", "train_loss"), [("falls", "falls"), ("rises", "rises"), ("flat", "falls")])
def test_losses_that_go_the_same_way_or_nowhere_are_no_overfitting(val_loss, train_loss):
    shape = {"falls": np.linspace(1, 0.1, 10), "rises": np.linspace(0.1, 1, 10), "flat": np.full(10, 0.3)}
    found = curves(*[np.full(10, 0.9)] * 3, val_loss=shape[val_loss], train_loss=shape[train_loss])
    assert texts(found, "overfitting") == []


def test_only_the_longest_budget_of_a_variant_is_looked_at():
    rows = [run(epochs=epochs, seed=seed) for epochs in (10, 20) for seed in range(3)]
    histories = {row["run_id"]: history(0.8 + (0.005 + row["seed"] / 1e4) * np.arange(row["epochs"])) for row in rows}
    assert [text[:36] for text in texts(diagnosed(*rows, histories=histories), "still improving")] == [
        "baseline still improves at epoch 20:"
    ]


# ---- Edges ----------------------------------------------------------------------------------------------

FILTERS = {"model.filters": [32, 64, 128]}


def filters(number, val, **changes):
    name = "baseline" if number == 128 else f"filters={number}"
    return run(name, val, **{"model.filters": str(number)}, **changes)


def over_seeds(*rows):
    """Each row with three seeds, whose gains differ a little from row to row."""
    return [{**row, "run_id": f"{row['run_id']}/{seed}", "seed": seed, "val/accuracy": row["val/accuracy"] + luck}
            for number, row in enumerate(rows)
            for seed, luck in enumerate((0.0, 1e-4 * (number % 3), -1e-4 * (number % 2)))]  # fmt: skip


def test_a_best_level_at_the_end_of_an_axis_leaves_more_to_try():
    rows = over_seeds(filters(32, 0.88), filters(64, 0.89), filters(128, 0.90))
    (text,) = texts(diagnosed(*rows, axes=FILTERS), "edge of an axis")
    assert text.startswith("the largest model.filters tried, 128, is the best at 10 epochs, with 90.01 % validation")
    assert text.endswith("over 3 seeds); larger ones are untried")


def test_without_a_difference_that_the_seeds_show_there_is_no_edge():
    assert diagnosed(filters(32, 0.88), filters(64, 0.89), filters(128, 0.90), axes=FILTERS) == []
    noise = [filters(n, 0.9 + luck, seed=seed) for n, lucks in ((32, (0, 3, -2)), (64, (1, -2, 2)), (128, (4, -1, 1)))
             for seed, luck in enumerate(np.array(lucks) / 1e3)]  # fmt: skip
    assert texts(diagnosed(*noise, axes=FILTERS), "edge of an axis") == []


def test_an_edge_says_how_sure_it_is_over_the_seeds():
    gains = {0: 0.010, 1: 0.011, 2: 0.009}
    rows = [
        filters(n, 0.88 + (gain if n == 32 else 0), seed=seed) for n in (32, 64, 128) for seed, gain in gains.items()
    ]
    (text,) = texts(diagnosed(*rows, axes=FILTERS), "edge of an axis")
    # t = 0.010 / (0.001 / √3) = 10√3, and with 2 degrees of freedom p = 1 - t / √(2 + t²); twice that, for two rows.
    assert "smallest model.filters tried, 32" in text and "(p = 0.0066 over 3 seeds); smaller ones are untried" in text


def test_an_edge_is_judged_by_the_rule_that_differences_are():
    luck = np.arange(5) * 0.00125  # of 64 filters, by seed
    rows = [
        filters(n, 0.88 + 0.01 * (n == 128) + luck[seed] * (n == 64), seed=seed)
        for n in (32, 64, 128)
        for seed in range(len(luck))
    ]
    once, rule = paired(0.01 - luck[None], np.zeros(5)).p[0], Rule(20)
    valid = rule.valid(once, 5)
    assert 10 * once < valid < 0.05 / 2
    for of, p in ((ONE_LOOK, once), (rule, valid)):
        (text,) = texts(diagnosed(*rows, axes=FILTERS, rule=of), "edge of an axis")
        assert f"(p = {2 * p:.2g} over 5 seeds)" in text, "corrected for two comparisons"
    three = [row for row in rows if row["seed"] < 3]
    assert texts(diagnosed(*three, axes=FILTERS), "edge of an axis")
    assert texts(diagnosed(*three, axes=FILTERS, rule=rule), "edge of an axis") == [], "three of at most twenty seeds"


def test_a_best_level_in_the_middle_is_no_edge():
    assert diagnosed(filters(32, 0.88), filters(64, 0.91), filters(128, 0.90), axes=FILTERS) == []


def test_two_levels_or_words_or_levels_not_yet_run_have_no_edge():
    rows = [filters(32, 0.88), filters(64, 0.89), filters(128, 0.90)]
    assert diagnosed(*rows[1:], axes={"model.filters": [64, 128]}) == []
    assert diagnosed(*rows, axes={"model.filters": [32, 64, 128, 256]}) == []
    words = [run(name, val, **{"model.pooling": name}) for name, val in (("a", 0.8), ("b", 0.85), ("baseline", 0.9))]
    assert diagnosed(*words, axes={"model.pooling": ["a", "b", "max"]}) == []


def test_nothing_is_smaller_than_no_dropout():
    rows = [
        run("baseline" if rate == 0 else f"dropout={rate}", 0.9 - rate / 10, **{"model.dropout": str(rate)})
        for rate in (0.0, 0.2, 0.4)
    ]
    assert diagnosed(*rows, axes={"model.dropout": [0.0, 0.2, 0.4]}) == []


def test_an_axis_is_judged_around_the_baseline_though_another_axis_has_the_winner():
    rows = [filters(32, 0.88), filters(64, 0.89), filters(128, 0.90), run("scale=unit", 0.95, **{"data.scale": "unit"})]
    rows = over_seeds(*rows)
    assert "larger ones are untried" in texts(diagnosed(*rows, axes=FILTERS), "edge of an axis")[0]


def test_a_grids_axis_is_judged_where_the_winner_stands():
    rows = [filters(32, 0.90), filters(64, 0.89), filters(128, 0.88)]
    unit = [(32, 0.93), (64, 0.94), (128, 0.95)]
    rows += [run(f"filters={n} scale=unit", v, **{"model.filters": str(n), "data.scale": "unit"}) for n, v in unit]
    assert "largest model.filters" in texts(diagnosed(*over_seeds(*rows), axes=FILTERS), "edge of an axis")[0]


# ---- Rungs ----------------------------------------------------------------------------------------------


def rungs(*accuracies):
    """Accuracies of baseline, a and b at each of the rungs 1, 3, 10."""
    names = ("baseline", "a", "b")
    rows = [
        run(name, val, epochs)
        for epochs, row in zip((1, 3, 10), accuracies, strict=False)
        for name, val in zip(names, row, strict=True)
    ]
    return texts(diagnosed(*rows), "shorter budget")


def test_a_shorter_budget_may_or_may_not_pick_the_winner_of_the_longest():
    assert rungs([0.82, 0.81, 0.80], [0.83, 0.85, 0.84], [0.90, 0.92, 0.91]) == [
        "1 epoch would have picked baseline, number 3 at 10 epochs, 2.00 points of validation accuracy below a",
        "3 epochs would have picked a, the winner at 10 epochs too",
    ]


def test_the_rank_correlation_is_between_other_seeds_at_either_budget():
    """Of a seed's own path, of which ten epochs continue one, equal variants would correlate."""
    rng, rows = np.random.default_rng(0), []
    for variant in range(40):
        for seed, luck in enumerate(rng.normal(0, 0.01, 4)):
            rows += [run(f"v{variant}", 0.8 + luck, 1, seed), run(f"v{variant}", 0.9 + luck, 10, seed)]
    (text,) = texts(diagnosed(*rows), "shorter budget")
    correlation = float(text.partition("either budget: ")[2].split()[0])
    assert "over 40 variants" in text and abs(correlation) < 0.2
    better = [{**row, "val/accuracy": row["val/accuracy"] + int(row["variant"][1:]) / 100} for row in rows]
    assert "either budget: 1.00" in texts(diagnosed(*better), "shorter budget")[0]


def test_one_rung_or_equal_accuracies_have_no_order_to_compare():
    assert rungs([0.8, 0.81, 0.82]) == [] == rungs([0.8, 0.8, 0.8], [0.81, 0.82, 0.83])


# ---- Classes --------------------------------------------------------------------------------------------


def answers(shirts_taken_for_tshirts, bags_taken_for_shirts=0):
    found = LABELS.copy()
    found[np.flatnonzero(LABELS == SHIRT)[:shirts_taken_for_tshirts]] = TSHIRT
    found[np.flatnonzero(LABELS == BAG)[:bags_taken_for_shirts]] = SHIRT
    return found


def compared(ours, theirs, **options):
    rows = [run("scale=unit", 0.95, seed=seed) for seed in range(len(ours))]
    rows += [run(seed=seed) for seed in range(len(theirs))]
    predictions = {row["run_id"]: found for row, found in zip(rows, [*ours, *theirs], strict=True)}
    return texts(diagnosed(*rows, predictions=predictions, **options), "classes")


def test_the_best_variants_gains_and_losses_by_class_are_told_against_the_baseline():
    ours, theirs = [answers(9, 9), answers(10, 9), answers(11, 9), answers(10, 10)], [answers(30)] * 4
    assert compared(ours, theirs) == [
        "against the baseline at 10 epochs scale=unit gains in Shirt (+20.0 points of recall, p < 0.001, 20 fewer of "
        "100 taken for T-shirt/top) and loses in Bag (−9.2 points of recall, p < 0.001, 9.25 more of 100 taken for "
        "Shirt) (test set; paired t test over 4 seeds with Holm)"
    ]


def test_one_seed_shows_what_changed_and_nothing_for_certain():
    (text,) = compared([answers(10)], [answers(30)])
    assert "differs in no class for certain, most in Shirt (+20.0 points of recall, 20 fewer of 100" in text
    assert text.endswith("(test set; one seed, which shows no luck)")


def test_the_seeds_and_not_their_images_are_what_a_class_is_tested_over():
    ours, theirs = (np.stack([answers(count) for count in counts]) for counts in ((5, 6, 4), (11, 13, 11)))
    changes = class_changes(ours, theirs, LABELS)
    shirt = changes.iloc[0]
    assert (shirt["class"], shirt["images"], shirt["taken_for"]) == ("Shirt", 100, "T-shirt/top")
    assert (shirt["gain"], shirt["moved"]) == (pytest.approx(0.2 / 3), pytest.approx(-20 / 3))
    t = (0.2 / 3) / (np.std([0.06, 0.07, 0.07], ddof=1) / np.sqrt(3))
    assert changes["p"][0] == pytest.approx(10 * (1 - t / np.sqrt(t * t + 2)))  # Holm over the ten classes
    assert changes["p"][1:].tolist() == [1] * 9


def test_a_variant_gains_or_loses_nothing_against_itself_in_95_of_100_comparisons():
    rng, found = np.random.default_rng(0), 0
    labels = np.repeat(np.arange(10, dtype=np.uint8), 1000)
    for _ in range(50):
        skill = np.clip(rng.normal(0.85, 0.02, (2, 4, 10)), 0, 1)  # recalls scatter by seed, far more than by images
        right = rng.random((2, 4, len(labels))) < np.repeat(skill, 1000, axis=2)
        ours, theirs = np.where(right, labels, (labels + 1) % 10).astype(np.uint8)
        found += (class_changes(ours, theirs, labels)["p"] < 0.05).any()
    assert found <= binom.ppf(0.99, 50, 0.05)


def test_only_seeds_of_both_are_compared_and_none_if_there_is_none():
    rows = [run("scale=unit", 0.95, seed=1), run(seed=0)]
    predictions = {row["run_id"]: answers(3) for row in rows}
    assert diagnosed(*rows, predictions=predictions) == []
    assert compared([answers(0)], [answers(0)], labels=LABELS[:-1]) == []


def test_the_confusion_of_several_seeds_is_the_sum_of_theirs():
    found = confusion(LABELS, np.stack([answers(4), answers(6)]))
    assert found.sum() == 2 * len(LABELS) and found[SHIRT, TSHIRT] == 10 and found[SHIRT, SHIRT] == 190


# ---- Missing parts --------------------------------------------------------------------------------------


def test_of_what_is_missing_nothing_is_said():
    runs = pd.DataFrame([run()])
    none = {"budget": 10, "histories": {}, "predictions": {}, "labels": LABELS}
    assert diagnose(runs, board(runs), FILTERS, **none) == []
    assert diagnose(runs.iloc[:0], board(runs).iloc[:0], FILTERS, **none) == []
    assert diagnosed(run(), run("a", 0.8), run("b", 0.7), axes={"no.option": [1, 2, 3]}) == []


def test_rows_of_the_article_are_not_diagnosed():
    runs = pd.DataFrame(over_seeds(filters(32, 0.88), filters(64, 0.89), filters(128, 0.90)))
    published = {"variant": "article", "epochs": 50, "val_accuracy": 0.99, "run_id": "", "verdict": "published"}
    rows = pd.concat([pd.DataFrame([published]), board(runs)], ignore_index=True)
    found = diagnose(runs, rows, FILTERS, budget=10, histories={}, predictions={}, labels=LABELS)
    assert kinds(found) == ["edge of an axis"]
