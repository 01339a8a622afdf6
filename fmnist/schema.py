"""The vocabulary that all parts share: statuses, verdicts, metrics, and the columns in which runs are described."""

from dataclasses import dataclass
from enum import StrEnum

BASELINE = "baseline"  # the variant that changes nothing
ALIASES = CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"  # of versions of the registered model


class Status(StrEnum):
    """How a run, a sweep or a search stands; MLflow's words."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class Comparison(StrEnum):
    """What the seeds say of a leaderboard's row, beside the baseline at the same epochs."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference that matters"  # its interval lies within the margin
    OPEN = "open"
    ONE_SEED = "one seed"  # shared with the baseline: nothing tells luck from difference
    SEEDS_FAILED = "seeds failed"  # of the row or of the baseline: those that are left may be the lucky ones
    BASELINE = "baseline"
    PUBLISHED = "published"  # a row of the article's own figures
    CHOSEN = "chosen by this score"  # trials of a search that no fresh seed confirms
    NONE = ""  # there is no baseline to compare with


class Judgement(StrEnum):
    """What the runs say of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    NO_DIFFERENCE = "no difference that matters"  # so it does not hold either
    OPEN = "open"
    ONE_SEED = "one seed"
    SEEDS_FAILED = "seeds failed"
    NOT_RUN = "not yet run"


@dataclass(frozen=True)
class Metric:
    """A number that runs are measured by; its key is MLflow's, its column a leaderboard's."""

    key: str
    label: str
    higher_is_better: bool
    unit: str = "share"  # share (0..1) | nats
    images: str = ""  # the column with the number of images that a share was counted on
    ranks: bool = False  # may order a leaderboard: never a test metric

    @property
    def column(self) -> str:
        """`val_accuracy`."""
        return self.key.replace("/", "_")

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self.higher_is_better else -1


VAL_ACCURACY = Metric("val/accuracy", "validation accuracy", True, images="validation_images", ranks=True)
LATE = 3  # epochs at the end of a run over which the mean below is taken
LATE_ACCURACY = Metric(  # of no single record: worked out from the curves
    "val/accuracy_late",
    f"validation accuracy, mean of the last {LATE} epochs",
    True,
    images="validation_images",
    ranks=True,
)
VAL_LOSS = Metric("val/loss", "validation loss", False, unit="nats", ranks=True)
TEST_ACCURACY = Metric("test/accuracy", "test accuracy", True, images="test_images")
METRICS = {metric.key: metric for metric in (VAL_ACCURACY, LATE_ACCURACY, VAL_LOSS, TEST_ACCURACY)}
RANKING = {key: metric for key, metric in METRICS.items() if metric.ranks}  # the first is the usual one
REPORTED = [metric for metric in METRICS.values() if not metric.ranks]  # on the test set, once, at the end of a run
PER_EPOCH = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "time/epoch_s")


# The pictures that every run leaves, by their names in the store, in the order in which they are shown.
PICTURES = CONFUSION_MATRIX, CURVES, SAMPLES = "confusion_matrix", "curves", "samples"


def recall(class_name: str) -> str:
    """The metric of a class's recall on the test set."""
    return f"test/recall/{class_name}"


@dataclass(frozen=True)
class Column:
    """What a record says of a run beside its options and metrics; kept as an MLflow tag, read as a frame's column."""

    name: str
    type: type = str  # str | int | bool; without a record an empty text, 0, or False

    @property
    def tag(self) -> str:
        """`fmnist.variant`; what has a group of its own, as machine.cpu, goes by its name."""
        return self.name if "." in self.name else f"fmnist.{self.name}"

    def read(self, tags: dict[str, str]) -> str | int | bool:
        """Its value in a record's tags.

        Raises:
            ValueError: a number that is none.
        """
        text = tags.get(self.tag, "")
        if self.type is bool:
            return text == "true"
        return int(text or 0) if self.type is int else text


COLUMNS = {
    column.name: column
    for column in (
        Column("variant"),  # its name: `filters=64`
        Column("variant_signature"),
        Column("trajectory_signature"),
        Column("signature"),
        Column("data_digest"),
        Column("study"),  # the last that asked for the run
        Column("search"),  # names of all searches that used it
        Column("trial"),  # its number in the first of them
        Column("confirms", bool),  # they used it only to compare what was chosen before with the baseline
        Column("machine.cpu"),
        Column("machine.instructions"),
        Column("machine.gpu"),
        Column("parameters", int),
        Column("flops_per_image", int),
        Column("test_images", int),
        Column("validation_images", int),
        Column("recipe", int),
    )
}
LOCK = Column("lock")  # the digest of the lock file that a run's packages came from
