"""How the numbers were come by, and what the seeds can and cannot show: sentences to stand below a leaderboard."""

import numpy as np
import pandas as pd

from fmnist import words
from fmnist.analysis import stats
from fmnist.analysis.budgets import common_budget
from fmnist.analysis.leaderboard import ALPHA, BETTER, CHOSEN, OPEN, PUBLISHED, WORSE, measured
from fmnist.analysis.searched import is_named_by

_NAMED = 3  # open questions that are spoken of


def notes(board: pd.DataFrame) -> list[str]:
    """What a reader has to know of a leaderboard's intervals, p-values, ranks and seeds.

    Args:
        board: what `leaderboard` returned.
    """
    ours = board[board["rank"].notna()]
    if ours.empty:
        return _searched(board)
    said = []
    if ours["seeds"].max() > 1:
        said.append("[ ]: 95 % intervals of the mean over the seeds (Student's t).")
    if ours["seeds"].min() == 1:
        said.append(
            "Rows of 1 seed: [ ] is Wilson's 95 % interval, of the images alone. Differences between single trainings "
            "include training noise that one seed cannot show; more seeds do: study.seeds=[0,1,2]."
        )
    compared = ours[ours["verdict"].isin([BETTER, WORSE, OPEN])]
    tested = compared[compared["p_value"].notna()]
    if len(tested):
        families = tested.groupby("epochs").size()
        amount = "up to" if families.nunique() > 1 else "the"
        unit = "points" if "val_accuracy" in board else "nats"
        said.append(
            f"difference: in {unit} from the baseline on the same seeds; p: paired t test, corrected (Holm) over "
            f"{amount} {words.plural(int(families.max()), 'comparison')} at the same number of epochs; better and "
            f"worse: p < {ALPHA}."
        )
        said += _power(tested[tested["epochs"] == common_budget(measured(board))])
    if len(ours) > 1 and ours["rank"].duplicated().any():
        said.append("Rows that share a rank cannot be told from the first of them.")
    if (board["verdict"] == PUBLISHED).any():
        said.append("published: one training of the article, whose validation images were augmented.")
    said += _searched(board)
    return [text.replace(words.NARROW, " ") for text in said]


def _searched(board: pd.DataFrame) -> list[str]:
    """What was found by searches, and why the score that it was chosen by does not count."""
    said = []
    ranked = board[board["rank"].notna()]
    found = {
        name: changes
        for name, by, changes in zip(ranked["variant"], ranked["found_by"], ranked["changes"], strict=True)
        if is_named_by(name, by)
    }
    if found:
        named = "; ".join(f"{name} is {changes}" for name, changes in list(found.items())[:_NAMED])
        rest = f"; and {len(found) - _NAMED} more (column changes of --format csv)" if len(found) > _NAMED else ""
        said.append(
            "Found by search, and judged by seeds alone that it was not chosen by: the best of many trials has been "
            f"the luckiest too. {named}{rest}."
        )
    if (board["verdict"] == CHOSEN).any():
        said.append(
            f"{CHOSEN}: trials of a search that no fresh seed has confirmed, neither ranked nor compared; "
            "tuner.confirm_seeds=3 has a search train its best on fresh seeds, beside the baseline."
        )
    return said


def _power(tested: pd.DataFrame) -> list[str]:
    """What a difference must be to be found with these seeds, and how many would settle what is open."""
    if "val_accuracy" not in tested or tested.empty:
        return []
    alpha = ALPHA / len(tested)  # as Holm begins
    half = tested["difference_high"] - tested["difference"]
    seeds = tested["pairs"].to_numpy()
    sd = (half / _quantile(seeds) * np.sqrt(seeds)).to_numpy(dtype=float)
    least = int(np.min(seeds))
    found = stats.detectable(float(np.nanmedian(sd)), least, alpha) if np.isfinite(sd).any() else float("nan")
    said = []
    if np.isfinite(found):
        said.append(
            f"At {words.plural(int(tested['epochs'].max()), 'epoch')} {least} seeds show a difference of "
            f"{100 * found:.2f} points or more (80 % power, median spread of the differences "
            f"{100 * float(np.nanmedian(sd)):.2f})."
        )
    unsettled = tested.assign(spread=sd)[(tested["verdict"] == OPEN).to_numpy() & np.isfinite(sd)]
    unsettled = unsettled.reindex(unsettled["difference"].abs().sort_values(ascending=False).index)
    needs = []
    for row in unsettled.head(_NAMED).to_dict("records"):
        count = stats.pairs_needed(row["difference"], row["spread"], alpha)
        number = f"over {stats.MOST_PAIRS:,}" if count is None else f"{count}"
        needs.append(f"{row['variant']} ({words.points(row['difference'])}) {number}")
    if needs:
        said.append(
            "Seeds to settle what is open, if the differences are as large as they look: " + "; ".join(needs) + "."
        )
    return said


def _quantile(seeds: np.ndarray) -> np.ndarray:
    from scipy.stats import t

    return np.asarray(t.ppf(0.975, np.maximum(seeds - 1, 1)))
