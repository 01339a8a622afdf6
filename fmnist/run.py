"""One run, from config to record: advance the trajectory, score it, log what it leaves."""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fmnist import machine, provenance, tracking, words
from fmnist.checks import check
from fmnist.config import Config
from fmnist.identity import RECIPE, Signatures, command, recorded, run_name, sign, variant_name
from fmnist.network import flops_per_image, parameter_count
from fmnist.schema import COLUMNS, TEST_ACCURACY, VAL_ACCURACY, Status
from fmnist.training.data import Dataset, check_rows, load, part_sizes
from fmnist.training.locking import BusyError, checkpoint_folder

if TYPE_CHECKING:
    from fmnist.training.evaluation import Evaluation
    from fmnist.training.trajectory import Trajectory


@dataclass
class Listener:
    """Who is called while a run goes on; the defaults do nothing."""

    on_start: Callable[[int], None] = lambda epoch: None  # the epoch it continues from
    on_step: Callable[[int, int], None] = lambda step, steps: None
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, record: None
    on_same: Callable[[tracking.StoredRun], None] | None = None  # is told of such a run that was computed otherwise
    reference: Callable[[], float | None] = lambda: None  # what the baseline's run of the same seed and epochs came to


@dataclass(frozen=True)
class Outcome:
    """Where a run ended up."""

    run_id: str
    metrics: dict[str, float]
    trained: int  # epochs trained for it; 0 if the store had it or its trajectory was already there
    was_stored: bool = False  # the store had it
    status: str = Status.FINISHED  # another where it was given up


def execute(
    config: Config,
    listener: Listener | None = None,
    wait: bool = True,
    store: tracking.Store | None = None,
    *,
    variant: str = "",
    parent: str = "",
    given_up: Callable[[tracking.StoredRun], bool] = lambda attempt: False,
) -> Outcome:
    """Carry out one run and leave it in the store; a run that is already there costs nothing.

    Args:
        config: the run.
        listener: is called while it goes on.
        wait: for another process that works on the run's trajectory.
        store: the config's, if it is open already.
        variant: what the run's study calls its variant.
        parent: id of the record below which MLflow's UI is to show the run.
        given_up: whether a run is left as it is whose last attempt is this.

    Raises:
        BusyError: another process works on its trajectory, and we do not wait.
        AwayError: the store's server has been away for too long; what was trained stays in checkpoints.
        UserError: the config is impossible or the data cannot be read; nothing is recorded.
        DivergedError: the loss is no longer a number; the run is recorded as FAILED.
    """
    config = machine.resolve(check(config))
    machine.use_backend(config)
    dataset = load(config.data)
    check_rows(config, dataset)
    signatures = sign(config, dataset.digest)
    store, listener = store or tracking.Store(config.store, config.patience), listener or Listener()
    while True:
        try:
            with store.holding(signatures.trajectory, wait) as held:
                attempt = held.find(signatures.run)
                if attempt is not None and (attempt.status == Status.FINISHED or given_up(attempt)):
                    return Outcome(attempt.run_id, attempt.metrics, 0, was_stored=True, status=attempt.status)
                return _recorded(
                    config, signatures, dataset, listener, held, variant=variant, parent=parent, attempt=attempt
                )
        except BusyError:  # now, or since another has it whom this process seemed dead to
            if not wait:
                raise


def _recorded(
    config: Config,
    signatures: Signatures,
    dataset: Dataset,
    listener: Listener,
    store: tracking.Store,
    *,
    variant: str,
    parent: str,
    attempt: tracking.StoredRun | None,
) -> Outcome:
    """Carry out a run whose trajectory this process holds, or go on with an attempt at it."""
    if listener.on_same and (same := _same(config, signatures, store)):
        listener.on_same(same)
    name, description = run_name(config, variant), describe(config, signatures, dataset) | {"parent": parent or None}
    writer = store.begin(name, signatures.run, recorded(config), description, attempt)
    with _closing(config, writer, store):
        folder = checkpoint_folder(config.store, signatures.trajectory)
        return _carry_out(config, dataset, folder, writer, listener, shared=store.checkpoints)


def _same(config: Config, signatures: Signatures, store: tracking.Store) -> tracking.StoredRun | None:
    """The finished run of the same seed and epochs that was computed in another way, with other threads say."""
    of_variant = store.runs(f"tags.`{COLUMNS['variant_signature'].tag}` = '{signatures.variant}'")
    wanted = {"epochs": str(config.epochs), "seed": str(config.seed)}
    return next(
        (run for run in of_variant if run.status == Status.FINISHED and wanted.items() <= run.params.items()), None
    )


@contextmanager
def _closing(config: Config, writer: tracking.RunWriter, store: tracking.Store) -> Iterator[None]:
    """Close a run's record with its true status, whatever becomes of the run."""
    try:
        yield
    except BaseException as error:
        # The error tells more; the next sweep closes what stands as running, and what is another's by now goes on.
        with suppress(tracking.StoreError, BusyError):
            if isinstance(error, KeyboardInterrupt | SystemExit):
                store.stop_waiting()
                writer.end(Status.KILLED)
            elif not isinstance(error, tracking.AwayError | BusyError):
                reason = words.harmless(words.without_passwords(f"{type(error).__name__}: {error}"))
                writer.fail(words.without_passwords(traceback.format_exc()), note(config, f"**Failed**: {reason}"))
        raise
    writer.end(Status.FINISHED)


def _carry_out(
    config: Config,
    dataset: Dataset,
    folder: Path,
    writer: tracking.RunWriter,
    listener: Listener,
    *,
    shared: tracking.SharedCheckpoints | None,
) -> Outcome:
    from fmnist.training.trajectory import Trajectory

    began = time.monotonic()
    writer.texts(provenance.files(config))
    trajectory = Trajectory(config, dataset, folder)
    writer.data(dataset.source, trajectory.parts())
    if shared:
        shared.fetch(folder, config.epochs)
    resumed = trajectory.resume(config.epochs)
    writer.epochs(trajectory.history)
    listener.on_start(resumed)

    def on_epoch(epoch: int, record: dict[str, float]) -> None:
        writer.epochs(trajectory.history)
        if shared:
            shared.offer(folder, epoch)
        listener.on_epoch(epoch, record)

    trajectory.advance(config.epochs, listener.on_step, on_epoch)
    writer.epochs(trajectory.history, wait=True)  # what could not be sent while the store was away
    if shared:
        shared.offer(folder, config.epochs, at_rung=True)
    from fmnist import artifacts  # with Matplotlib, for which no first epoch has to wait

    test, validation = scored(trajectory)
    pictures = artifacts.pictures(trajectory, test)
    writer.images({name: tracking.encoded(*picture) for name, picture in pictures.items()})
    writer.texts(artifacts.tables(trajectory, test))
    writer.arrays(tracking.PREDICTIONS, **artifacts.predictions(trajectory, test, validation))
    images = dataset.test_images[:2].astype(np.float32)
    with trajectory.engine.averaged() as model:
        writer.model(model, images, test.probabilities[:2], provenance.requirements(config))
    metrics = {
        **test.metrics("test"),
        "model/parameters": float(trajectory.engine.model.count_params()),
        **_times(trajectory, resumed, time.monotonic() - began),
    }
    came_to = {**trajectory.history[-1], **metrics}
    writer.metrics(metrics, note(config, _result(came_to, config.epochs, listener.reference())))
    return Outcome(writer.run_id, came_to, trained=config.epochs - resumed)


def scored(trajectory: "Trajectory") -> tuple["Evaluation", "Evaluation"]:
    """What a trajectory is worth where it stands, on the test images and in validation."""
    from fmnist.training.evaluation import evaluate

    dataset = trajectory.dataset
    validation = evaluate(trajectory.validation_logits(), dataset.train_labels[trajectory.val_rows])
    return evaluate(trajectory.test_logits(), dataset.test_labels), validation


def _times(trajectory: "Trajectory", resumed: int, wall: float) -> dict[str, float]:
    """Seconds of the whole trajectory and of this run alone; what compiling takes is no part of the pace."""
    epochs = [record["time/epoch_s"] for record in trajectory.history]
    trained = sum(epochs[resumed:]) - trajectory.compiling if len(epochs) > resumed else 0.0
    images = trajectory.steps_per_epoch * trajectory.config.batch_size
    return {
        "time/train_s": sum(epochs),
        "time/images_per_s": images * (len(epochs) - resumed) / trained if trained > 0 else images / min(epochs),
        "time/wall_s": wall,
        "time/overhead_s": wall - trained,
    }


def describe(config: Config, signatures: Signatures, dataset: Dataset) -> dict[str, Any]:
    """What a resolved run's record says of it from the start, besides its options, as `tracking.as_tags` takes it."""
    _, validation_images = part_sizes(len(dataset.train_labels), config.data)
    return {
        "variant": variant_name(config),
        "trajectory_signature": signatures.trajectory,
        "variant_signature": signatures.variant,
        "data_digest": dataset.digest,
        "test_images": len(dataset.test_labels),
        "validation_images": validation_images,
        "recipe": RECIPE,
        "parameters": parameter_count(config.model),
        "flops_per_image": flops_per_image(config.model),
        **machine.describe(),
        "source": "fmnist.train",
        "source_type": "LOCAL",
        "user": machine.user(),
        "commit": provenance.commit(),
        "lock": provenance.lock(),
        "note": note(config),
        "study": config.study.name or None,
    }


def note(config: Config, came_to: str = "") -> str:
    """What a run's page says, in Markdown: its result, its variant, how to repeat it."""
    return "\n\n".join(filter(None, (came_to, f"Variant: {variant_name(config)}", f"Again: `{command(config)}`")))


def _result(metrics: Mapping[str, float], epochs: int, reference: float | None) -> str:
    """What a run came to, beside the baseline's of the same seed where that is known."""
    accuracy, test = metrics[VAL_ACCURACY.key], metrics[TEST_ACCURACY.key]
    text = f"**Validation accuracy {words.percent(accuracy)}** after {words.plural(epochs, 'epoch')}"
    text += f", test accuracy {words.percent(test)}"
    if reference is None:
        return text
    return (
        f"{text}; {words.points(accuracy - reference)} points in validation against the baseline's run of the same seed"
    )
