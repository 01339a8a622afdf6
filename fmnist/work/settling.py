"""A sweep that goes on seed by seed until the questions of a study are settled, or the time is over."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from fmnist import words
from fmnist.config import RunError
from fmnist.report import claims
from fmnist.schema import Status
from fmnist.study.findings import Findings, answer
from fmnist.study.plan import PlannedRun, estimate
from fmnist.study.question import Question
from fmnist.study.settle import Contrast, Point, Run, Step, contrasts, next_block, spread_of, steps
from fmnist.tracking import StoreError
from fmnist.work.display import table
from fmnist.work.launcher import HopelessError, LaunchingSweeper
from fmnist.work.sweep import Sweep


@dataclass
class Settling:
    """All runs that a study may have, of which blocks are trained until more seeds could settle nothing."""

    planned: list[PlannedRun]  # with every seed that the study may have
    question: Question
    digest: str  # of the data
    launcher: LaunchingSweeper
    workers: int
    images: int  # that validate
    until: float  # time.time()
    _failed: set[Run] = field(default_factory=set)  # in this settling; those of before are tried again
    _settled: set[str] = field(default_factory=set)  # names of what was settled at the last look

    def __post_init__(self) -> None:
        """Look at what the store has."""
        self._runs = {self._key(run): run for run in self.planned}
        self.rule = self._look().selection.rule

    def carry_out(self) -> None:
        """Train the next block, and look again.

        Raises:
            RunError: runs failed; the others are done.
        """
        failures, block = list[str](), list[Run]()
        while time.time() < self.until:
            last, block = block, next_block(self.steps, self.rule, self.workers, self._seconds)
            if not block or block == last:  # or the last has changed nothing
                break
            runs = sorted((self._runs[key] for key in block), key=lambda run: (run.config.epochs, -run.seconds))
            self._announce(runs)
            failures += self._train(runs)
            self._look()
            self._tell_news()
        self._sum_up()
        if failures:
            raise RunError(words.some(failures))

    def _train(self, runs: list[PlannedRun]) -> list[str]:
        """Carry out a block; says what failed, and raises what is no failure of runs."""
        sweep = Sweep(
            runs,
            int(time.time() * 1000),
            self.workers,
            self.launcher,
            self.until,
            is_block=True,
            question=self.question,
        )
        try:
            sweep.carry_out()
        except (HopelessError, StoreError):
            raise
        except RunError as error:
            failed = {run.signature for run in sweep.failed()}
            self._failed |= {self._key(run) for run in runs if run.signatures.run in failed}
            if sweep.study.fail_fast:
                raise
            return [str(error)]
        return []

    @staticmethod
    def _key(run: PlannedRun) -> Run:
        return (run.signatures.variant, run.config.epochs), run.config.seed

    def _look(self) -> Findings:
        """What the store says now."""
        self.findings = answer(self.question, self.digest)
        own = self.findings.selection.own
        finished = set(own.loc[own["status"] == Status.FINISHED, "signature"])
        self._finished = {key for key, run in self._runs.items() if run.signatures.run in finished}
        names = {run.signatures.variant: run.variant for run in self.planned}
        self.contrasts = contrasts(self.findings, names)
        self.steps = steps(self.contrasts, self.findings.selection.rule, self._seconds, self.images, self._failed)
        return self.findings

    def _seconds(self, point: Point, seed: int) -> float:
        key = point, seed
        return 0.0 if key in self._finished or key not in self._runs else max(0.1, self._runs[key].seconds)

    # ---- What people see

    @property
    def _open(self) -> list[Contrast]:
        return [contrast for contrast in self.contrasts if contrast.is_open]

    def forecast(self) -> None:
        """Print what is settled, what is expected to be settled when, and by which spreads."""
        self._settled = {contrast.name for contrast in self.contrasts if not contrast.is_open}
        spread = spread_of(self.contrasts, self.images)
        measured = any(contrast.sd > 0 for contrast in self.contrasts)
        kind = "measured, the median" if measured else f"assumed, by the {self.images:,} images that validate"
        facts = f"spread from seed to seed {100 * spread:.2f} points ({kind}); {words.plural(self.workers, 'worker')}"
        self.launcher.say(f"{self._count}; {facts}" if self.steps else self._count)
        self._print_open()

    def _print_open(self) -> None:
        """Each open question with the seeds and the time that it is expected to need, the cheapest first."""
        rows, now = table("question", "seeds", "expected", "after", box=None, pad_edge=False), time.time()
        total = 0.0
        for step in self.steps:
            total += step.seconds / self.workers
            after, expected = words.DASH, f"not by {words.plural(self.rule.most, 'seed')}"
            if step.seeds is not None:
                expected = words.plural(step.seeds, "seed")
                after = words.clock(total) + (" (too late)" if now + total > self.until else "")
            rows.add_row(step.contrast.name, str(len(step.contrast.seeds)), expected, after)
        if self.steps:
            self.launcher.console.print(rows)

    @property
    def _count(self) -> str:
        return f"{len(self._settled)} of {words.plural(len(self.contrasts), 'question')} settled"

    def _announce(self, runs: Sequence[PlannedRun]) -> None:
        seeds = sorted({run.config.seed for run in runs})
        took = words.clock(estimate(runs, self.workers))
        of_seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
        left = "" if self.until == float("inf") else f"; {words.clock(max(0.0, self.until - time.time()))} left"
        self.launcher.say(
            f"\n{len(self._open)} open; next {words.plural(len(runs), 'run')} of {of_seeds}, about {took}{left}"
        )

    def _tell_news(self) -> None:
        """What the last block has settled, or opened again."""
        settled = {contrast.name: contrast for contrast in self.contrasts if not contrast.is_open}
        for name in settled.keys() - self._settled:
            self.launcher.say(f"settled: {name}: {settled[name].verdict}, {_effect(settled[name])}")
        for name in self._settled - settled.keys():
            self.launcher.say(f"open again: {name}")
        self._settled = set(settled)
        self.launcher.say("\n" + self._count)
        self._print_open()

    def _sum_up(self) -> None:
        """The verdicts, what is open, and how long that would take."""
        self.launcher.say("\n" + claims.render(self.findings.claims, "table"))
        left: list[Step] = [step for step in self.steps if step.seeds is not None]
        hopeless = [contrast.name for contrast in self._open if contrast.name not in {s.contrast.name for s in left}]
        lines = [self._count]
        if left:
            seconds = sum(step.seconds for step in left) / self.workers
            names = words.some([step.contrast.name for step in left])
            lines.append(f"about {words.clock(seconds)} more would settle {names}: the same command goes on")
        if hopeless:
            names = words.some(hopeless)
            most = words.plural(self.rule.most, "seed")
            lines.append(f"{most} (study.most_seeds) would hardly settle {names}")
        self.launcher.say("; ".join(lines))


def _effect(contrast: Contrast) -> str:
    effect = "" if math.isnan(contrast.mean) else f"{words.points(contrast.mean)} points, "
    return f"{effect}{words.plural(len(contrast.seeds), 'seed')}"
