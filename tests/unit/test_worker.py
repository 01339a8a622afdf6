"""What workers take and leave, and when launching them again is hopeless; no process is started."""

import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from fmnist import machine
from fmnist.config import Config, UserError
from fmnist.identity import Signatures
from fmnist.run import Outcome
from fmnist.schema import Status
from fmnist.study.plan import PlannedRun
from fmnist.tracking import StoredRun
from fmnist.training import locking
from fmnist.training.locking import exclusively
from fmnist.work import worker
from fmnist.work.launcher import HopelessError, _cause
from fmnist.work.sweeper import StudySweeper
from fmnist.work.worker import Worker, next_runs


def planned(folder, seeds=(0, 1), rungs=(1, 3), done=()):
    """The runs of a plan, rung by rung, signed `1-0` for rung 1 and seed 0."""
    return [
        PlannedRun(Config(epochs=rung, seed=seed, store=str(folder)), (), signed, signed.run in done, 0, 1.0)
        for rung in rungs
        for seed in seeds
        for signed in [Signatures(f"{rung}-{seed}", f"path {seed}", "variant")]
    ]


@dataclass
class Records:
    """A store that knows runs by their signatures alone, and counts how often it is asked."""

    runs: dict[str, tuple[Status, int]] = field(default_factory=dict)  # signature -> status and ms of its end
    asked: list[str] = field(default_factory=list)

    def find(self, signature):
        self.asked.append(signature)
        return self._record(signature) if signature in self.runs else None

    def ended_after(self, moment):
        return [self._record(signature) for signature, (_, ended) in self.runs.items() if ended > moment]

    def _record(self, signature):
        status, ended = self.runs[signature]
        return StoredRun(f"id {signature}", signature, status, 0, ended, {"fmnist.signature": signature})


@pytest.fixture
def records(monkeypatch, tmp_path):
    """The store of every worker here, in which a run that is carried out is finished, or fails if it says so."""
    store = Records()
    store.carried_out, store.failing = [], set()
    store.is_free = lambda trajectory: locking.is_free(str(tmp_path), trajectory)

    def execute(config, listener, wait, store, given_up, **marks):
        key = f"{config.epochs}-{config.seed}"
        attempt = store.find(key)
        if attempt is not None and (attempt.status == Status.FINISHED or given_up(attempt)):
            return Outcome(attempt.run_id, {}, 0, was_stored=True, status=attempt.status)
        store.carried_out.append(key)
        store.runs[key] = (Status.FAILED if key in store.failing else Status.FINISHED, 1000)
        if key in store.failing:
            raise ValueError(key)
        return Outcome(key, {}, 1)

    monkeypatch.setattr("fmnist.work.worker.Store", lambda *arguments, **options: store)
    monkeypatch.setattr(worker, "execute", execute)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    return store


def test_the_next_runs_are_the_lowest_open_rung_of_every_path_that_has_not_failed(tmp_path):
    plan = planned(tmp_path, seeds=(0, 1, 2), done=("1-0",))
    assert [run.signatures.run for run in next_runs(plan, {"1-1"}, {"path 2"})] == ["3-0", "3-1"]


def test_a_worker_carries_out_all_that_is_left_and_asks_nothing_about_what_the_plan_says_is_done(records, tmp_path):
    records.runs["1-1"] = (Status.FINISHED, 5)  # by another worker
    Worker(planned(tmp_path, done=("1-0",)))()
    assert sorted(records.carried_out) == ["3-0", "3-1"] and "1-0" not in records.asked


def test_what_others_have_finished_meanwhile_is_learned_at_once_and_not_asked_about(records, tmp_path):
    later = 1000 * int(time.time()) + 60_000
    records.runs |= {f"1-{seed}": (Status.FINISHED, later + seed) for seed in range(5)}
    Worker(planned(tmp_path, seeds=range(6)))()
    assert records.asked == ["1-5", *(f"3-{seed}" for seed in range(6))]
    assert sorted(records.carried_out) == sorted(records.asked)


@pytest.mark.parametrize("clock", [-3_600_000, 0, 3_600_000])  # ms by which the other machine's is wrong
def test_what_failed_before_the_sweep_is_tried_again_and_what_failed_since_is_not(clock, records, tmp_path):
    records.runs |= {"1-0": (Status.FAILED, 500), "1-1": (Status.FAILED, 900 + clock)}
    Worker(planned(tmp_path), failed_before=frozenset({("id 1-0", 500)}))()
    assert records.carried_out == ["1-0", "3-0"]


def test_the_later_rungs_of_a_run_that_fails_are_left_and_with_fail_fast_all_is(records, tmp_path):
    records.failing.add("1-0")
    Worker(planned(tmp_path))()
    assert records.carried_out == ["1-0", "1-1", "3-1"]
    records.runs.clear()
    records.carried_out.clear()
    Worker(planned(tmp_path), fail_fast=True)()
    assert records.carried_out == ["1-0"]


def test_on_another_machine_the_time_is_over_when_the_sweep_says_so_whatever_the_clock_says(records, tmp_path):
    answers = iter([False, False, True])
    records.sweeps = SimpleNamespace(time_is_over=lambda sweep: next(answers))
    Worker(planned(tmp_path), until=5.0, sweep="its record", process="elsewhere 1 1.0")()
    assert len(records.carried_out) == 2
    Worker(planned(tmp_path), until=5.0, sweep="its record", process=machine.this_process())()
    assert len(records.carried_out) == 2


def test_a_path_that_another_process_works_on_is_not_asked_about(records, tmp_path):
    one = Worker(planned(tmp_path))
    with exclusively(str(tmp_path), "path 0", wait=False):
        assert not one._settles(one.runs[0], records) and records.asked == []
        assert one._settles(one.runs[1], records)
    assert one._settles(one.runs[0], records)


def test_three_launches_that_come_no_further_are_hopeless_and_progress_begins_the_count_again():
    progress, epochs, told = iter((False, False, True, False, False, False)), [], []
    workers = sweeper({"n_jobs": 2})
    workers.say = told.append

    def launch():
        if next(progress):
            epochs.append(1)
        raise OSError("gone\nmore")

    recovered = []
    with pytest.raises(HopelessError, match=r"died 3 times without finishing an epoch.*last: OSError: gone; what"):
        workers.in_spite_of_deaths(
            launch,
            lambda: recovered.append(1),
            count=lambda: len(epochs),
            progress="finishing an epoch",
            remedy="fewer",
        )
    assert len(told) == 5 and len(recovered) == 6 and all("a worker died (OSError: gone)" in line for line in told)


DEATH = "A worker died. This could be caused by excessive memory usage.\nThe exit codes of the workers are {%s}"


@pytest.mark.parametrize(
    ("error", "killed_for_memory", "cause"),
    [
        (OSError(DEATH % "SIGKILL(-9)"), False, "OSError: SIGKILL(-9)"),
        (OSError(DEATH % "SIGKILL(-9)"), True, "OSError: SIGKILL(-9), for lack of memory"),
        (OSError(DEATH % "SIGSEGV(-11)"), True, "OSError: SIGSEGV(-11)"),
        (MemoryError(), False, "MemoryError: , for lack of memory"),
        (ValueError("one\nmore"), True, "ValueError: one"),
    ],
)
def test_memory_is_to_blame_only_where_the_system_or_the_worker_says_so(error, killed_for_memory, cause):
    assert _cause(error, killed_for_memory) == cause


def sweeper(launcher, overrides=()):
    """As Hydra makes one, with these options of its launcher."""
    made = StudySweeper()
    made.setup(hydra_context=None, task_function=None, config=OmegaConf.create({"hydra": {"launcher": launcher}}))
    made.overrides = list(overrides)
    return made


@pytest.mark.parametrize("jobs", [0, -2])
def test_a_number_of_workers_that_is_none_is_refused(jobs):
    launcher = sweeper({"n_jobs": jobs})
    with pytest.raises(UserError, match=rf"hydra.launcher.n_jobs must be from 1 to 512, or -1 .* but got {jobs}"):
        launcher.workers(9)


def test_a_cluster_has_a_worker_for_each_trajectory_and_its_jobs_go_by_what_is_theirs():
    launcher = sweeper({}, ["seed=0", "data.limit=600"])
    assert launcher.workers(9) == 9 and not launcher.is_local
    assert launcher._merged(["model.filters=4", "seed=1"]) == ["data.limit=600", "model.filters=4", "seed=1"]
