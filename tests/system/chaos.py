"""Chaos: sweeps whose workers and parents are killed at random moments must end like one that nobody has touched.

.venv/bin/python tests/system/chaos.py --minutes 10 --seed 0
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from mlflow import MlflowClient
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a start by `python tests/system/chaos.py`
sys.path.insert(0, str(Path(__file__).parents[2]))

from commands import ROOT
from idx import synthetic, write_idx

from fmnist import tracking
from fmnist.training import checkpoint

WORKER, PARENT, TERM, INT, ALL = "kill -9 of a worker", "kill -9 of the parent", "SIGTERM", "SIGINT", "kill -9 of all"
DECK = (WORKER, WORKER, PARENT, TERM, INT, ALL)
PER_EPOCH = {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "time/epoch_s"}
IMAGES = {"confusion_matrix", "curves", "samples"}
ORPHAN_SECONDS = 30.0  # that workers may outlive a killed parent
POLL_SECONDS = 0.1


def study(images: Path, rungs: str) -> list[str]:
    """The study that is tormented: three trajectories, a second or less an epoch."""
    options = ["study=smoke", f"study.rungs=[{rungs}]", "data.limit=null", "model.filters=16"]
    return [*options, f"data.dir={images}", "compute.precision=float32"]


def write_images(folder: Path) -> None:
    """Enough images that kills hit training too."""
    write_idx(folder, *synthetic(2000, 500))


@dataclass
class Sweep:
    """A sweep in a session of its own, by which its processes are found even when their parent is gone."""

    arguments: list[str]
    store: Path
    settings: dict[str, str] = field(default_factory=dict)  # of its environment
    cwd: Path = ROOT
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & would have it ignored, and inherited
        environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        command = [sys.executable, "-m", "fmnist.train", *self.arguments, f"store={self.store}"]
        self.said = self.store.parent / f"{self.store.name}-{time.time_ns()}.txt"
        with self.said.open("w") as said:
            self.parent = subprocess.Popen(
                command, cwd=self.cwd, env=environment | self.settings, stdin=subprocess.DEVNULL, stdout=said,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.said.read_text()

    def processes(self) -> list[psutil.Process]:
        """Those of its session that are alive."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.parent.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """Those that train."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if any("popen_loky" in part for part in process.cmdline()):
                    found.append(process)
        return found

    def ends(self, seconds: float) -> bool:
        """Wait for the parent."""
        with suppress(subprocess.TimeoutExpired):
            self.parent.wait(seconds)
        return self.parent.poll() is not None

    def strike(self, kind: str, rng: random.Random) -> bool:
        """Do it; whether it hit anything."""
        if kind == WORKER:
            found = wait_for(lambda: self.workers() or self.parent.poll() is not None, 60)
            victims = [rng.choice(found)] if isinstance(found, list) else []
        else:
            victims = [psutil.Process(self.parent.pid)] if self.parent.poll() is None else []
            victims += self.workers() if kind == ALL and victims else []
        hit = False
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal({TERM: signal.SIGTERM, INT: signal.SIGINT}.get(kind, signal.SIGKILL))
                hit = True
        return hit

    def check_end(self, kind: str) -> None:
        """The parent has ended as it may after a strike: interrupted, killed, or done."""
        code, said = self.parent.returncode, self.output
        allowed = {0}
        if kind in (TERM, INT):  # in its first moments Python itself answers, by dying of the signal
            allowed |= {130, -signal.SIGTERM, -signal.SIGINT, 1 if said.rstrip().endswith("KeyboardInterrupt") else 0}
        if kind in (PARENT, ALL):
            allowed |= {-signal.SIGKILL}
        if kind == WORKER and "workers died 3 times without finishing an epoch" in said:
            allowed |= {1}
        assert code in allowed, f"exit code {code} after {kind}:\n{said}"
        assert "Traceback" not in said or code != 130, said


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    """The condition's value once it is true, or its last one."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return found


@dataclass
class Chaos:
    """Sweeps on one store after another, struck again and again, and what they survived."""

    arguments: list[str]
    folder: Path
    rng: random.Random
    longest: float = 15.0  # seconds from a start or strike to the next strike
    deck: tuple[str, ...] = DECK  # what comes once before anything comes again
    say: Callable[[str], None] = lambda text: None
    survived: Counter[str] = field(default_factory=Counter)
    stores: int = 0
    sweeps: list[Sweep] = field(default_factory=list)
    orphaned: list[tuple[float, Sweep]] = field(default_factory=list)
    slowest_orphan: float = 0.0

    def start(self, store: Path, *more: str) -> Sweep:
        self.sweeps.append(Sweep([*self.arguments, *more], store))
        return self.sweeps[-1]

    def undisturbed(self) -> dict[str, Any]:
        """What the study leaves when it is let alone, and carried out by one worker."""
        return self.finish(self.folder / "undisturbed", "hydra.launcher.n_jobs=1")

    def finish(self, store: Path, *more: str) -> dict[str, Any]:
        """Leave a sweep on the store alone, the last one that is struck no more if it ended well; what it holds."""
        is_over = bool(self.sweeps) and self.sweeps[-1].parent.poll() == 0
        last = self.sweeps[-1] if is_over else self.start(store, *more)
        assert not self.pause(last, 240) and last.parent.returncode == 0, f"{last.parent.poll()}: {last.output}"
        assert wait_for(lambda: not any(sweep.processes() for sweep in self.sweeps), ORPHAN_SECONDS), self.left()
        self.watch_orphans()
        self.sweeps.clear()
        return contents(store)

    def survive(self, kills: int, until: float = float("inf")) -> Path:
        """Strike so many times (or until a moment) at the sweeps on a new store, which is returned unfinished."""
        self.stores += 1
        store = self.folder / f"store{self.stores}"
        sweep = self.start(store)
        for kind, delay in self.strikes(kills):
            if self.pause(sweep, delay) and time.monotonic() < until and sweep.strike(kind, self.rng):
                self.survived[kind] += 1
                self.say(f"{time.monotonic() - sweep.began:5.1f} s after its start: {kind}")
                sweep = self.after(sweep, kind, store)
            elif sweep.parent.poll() is not None:
                sweep.check_end(WORKER)
                if sweep.parent.returncode == 0:  # it was quicker than we
                    break
                sweep = self.start(store)
        assert not self.pause(sweep, 240), f"a sweep does not come to its end:\n{sweep.output}"
        sweep.check_end(WORKER)
        return store

    def after(self, sweep: Sweep, kind: str, store: Path) -> Sweep:
        """The sweep that goes on: the same if a worker was killed, else the next one."""
        if kind == WORKER:
            return sweep
        assert sweep.ends(60), f"{kind} was not heard:\n{sweep.output}"
        sweep.check_end(kind)
        self.orphaned.append((time.monotonic(), sweep))
        return self.start(store)

    def strikes(self, kills: int) -> Iterator[tuple[str, float]]:
        """Kinds and delays; of as many strikes as the deck has every kind is one, and delays are spread evenly."""
        for number in range(kills):
            if number % len(self.deck) == 0:
                kinds, parts = list(self.deck), list(range(len(self.deck)))
                self.rng.shuffle(kinds)
                self.rng.shuffle(parts)
            yield kinds.pop(), (parts.pop() + self.rng.random()) * self.longest / len(self.deck)

    def pause(self, sweep: Sweep, seconds: float) -> bool:
        """Wait; whether the sweep is still going on."""
        deadline = time.monotonic() + seconds
        while not sweep.ends(min(1.0, max(0.0, deadline - time.monotonic()))) and time.monotonic() < deadline:
            self.watch_orphans()
        return sweep.parent.poll() is None

    def watch_orphans(self) -> None:
        """Workers end by themselves when their parent has been killed."""
        for killed, sweep in list(self.orphaned):
            lived = time.monotonic() - killed
            if not sweep.processes():
                self.orphaned.remove((killed, sweep))
                self.slowest_orphan = max(self.slowest_orphan, lived)
            else:
                assert lived < ORPHAN_SECONDS, (
                    f"orphans {lived:.0f} s after their parent: {self.left()}\n{sweep.output}"
                )

    def left(self) -> list[list[str]]:
        """Command lines of what is still there of all sweeps."""
        return [process.cmdline() for sweep in self.sweeps for process in sweep.processes()]

    def end(self) -> None:
        """Leave nothing behind when a check has failed."""
        for process in [process for sweep in self.sweeps for process in sweep.processes()]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def __str__(self) -> str:
        kinds = ", ".join(f"{self.survived[kind]} x {kind}" for kind in dict.fromkeys(self.deck))
        return (
            f"survived {self.survived.total()} kills on {self.stores} store{'s'[: self.stores != 1]}: {kinds}; "
            f"the last orphan was gone after {self.slowest_orphan:.0f} s"
        )


def contents(store: Path, *others: Path) -> dict[str, Any]:
    """All that a finished study leaves but its times, flat, once it is certain that nothing is missing or double.

    On a server other folders may have done their part: their checkpoints are among it.
    """
    client = MlflowClient(tracking.address(str(store)))
    runs = [client.get_run(run.run_id) for run in tracking.Store(str(store)).runs()]
    assert {run.info.status for run in runs} == {"FINISHED"}, Counter(run.info.status for run in runs)
    signatures = Counter(run.data.tags["fmnist.signature"] for run in runs)
    assert set(signatures.values()) == {1}, signatures
    found: dict[str, Any] = {}
    for run in runs:
        with tempfile.TemporaryDirectory() as place:
            of_run = _contents(client, run, Path(client.download_artifacts(run.info.run_id, "", place)))
        for folder in (store, *others):
            of_run["config.yaml"] = of_run["config.yaml"].replace(str(folder), "")
        found |= {f"{run.info.run_name}: {key}": value for key, value in of_run.items()}
    for path in sorted(path for folder in (store, *others) for path in (folder / "checkpoints").rglob("rung-*")):
        state, meta = checkpoint.load(path)
        meta["history"] = [
            {key: value for key, value in epoch.items() if not key.startswith("time/")} for epoch in meta["history"]
        ]
        found |= {f"{path.parent.name}/{path.name}: {key}": value for key, value in {**state, "meta": meta}.items()}
    return found


def _contents(client: MlflowClient, run: Any, artifacts: Path) -> dict[str, Any]:
    """What a run leaves."""
    tags = {key: value for key, value in run.data.tags.items() if key.startswith("fmnist.")}
    found = {
        "parameters": dict(run.data.params),
        "tags": {**tags, "images": run.data.tags["mlflow.loggedImages"]},
        "files": {
            str(path.relative_to(artifacts))
            for path in artifacts.rglob("*")
            if path.parent.name != "images" and path.name != "uncommitted.diff"  # the code may be edited meanwhile
        },
        **metrics(client, run),
        **pictures(artifacts / "images"),
        **arrays(artifacts / "predictions.npz"),
    }
    (model,) = run.outputs.model_outputs
    (kept,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert (kept.model_id, kept.status) == (model.model_id, "READY"), f"{run.info.run_name}: {kept}"
    for name in ("classification_report.json", "confusion_matrix.csv", "config.yaml"):
        found[name] = (artifacts / name).read_text()
    return found


def metrics(client: MlflowClient, run: Any) -> dict[str, Any]:
    """Every metric by name: its values, one for each epoch or one at the end; None for times."""
    found: dict[str, Any] = {}
    epochs = int(run.data.params["epochs"])
    assert set(run.data.metrics) >= PER_EPOCH, f"{run.info.run_name} lacks metrics: {set(run.data.metrics)}"
    for key in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, key)
        steps = sorted(metric.step for metric in history)
        wanted = list(range(1, epochs + 1)) if key in PER_EPOCH else [0]
        assert steps == wanted, f"{run.info.run_name}: {key} has steps {steps}, not {wanted}"
        values = [metric.value for metric in sorted(history, key=lambda metric: metric.step)]
        found[key] = None if key.startswith("time/") else values
    return found


def pictures(folder: Path) -> dict[str, Any]:
    """Every picture of the image grid, large and small, exactly one of a key."""
    names = sorted((path.name.split("+")[0], path.suffix, path) for path in folder.iterdir())
    assert [name[:2] for name in names] == sorted((key, end) for key in IMAGES for end in (".png", ".webp")), names
    assert len({path.name.removesuffix(end).removesuffix("+compressed") for _, end, path in names}) == len(IMAGES)
    return {f"{key}{end}": np.asarray(Image.open(path)) for key, end, path in names}


def arrays(path: Path) -> dict[str, Any]:
    """The arrays of an npz file."""
    with np.load(path) as archive:
        return {f"{path.name}/{name}": archive[name] for name in archive.files}


def compare(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Bit for bit.

    Raises:
        AssertionError: something differs; it is named.
    """
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    for key, value in wanted.items():
        ours = found[key]
        if isinstance(value, np.ndarray):
            assert ours.dtype == value.dtype and ours.shape == value.shape and ours.tobytes() == value.tobytes(), key
        else:
            assert ours == value, f"{key}: {ours}, not {value}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    write_images(folder / "images")
    chaos = Chaos(study(folder / "images", "1,3,6"), folder, random.Random(options.seed))
    chaos.say = lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)
    try:
        wanted = chaos.undisturbed()
        chaos.say(f"undisturbed: {len(wanted)} things to be found again")
        while (until := began + 60 * options.minutes) > time.monotonic():
            store = chaos.survive(2 * len(DECK), until)
            compare(chaos.finish(store), wanted)
            chaos.say(f"{store.name} is whole")
    except BaseException:
        print(f"what happened stands in {folder}; {chaos}", flush=True)
        raise
    finally:
        chaos.end()
    print(chaos)
    subprocess.run(["rm", "-rf", str(folder)], check=True)


if __name__ == "__main__":
    main()
