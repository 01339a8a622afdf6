"""Against the limit: how near training comes to what this machine's matrix products reach, and where the rest goes.

Workers are single-threaded processes that measure at the same time, like those of a sweep.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.measures import EPOCH, FILTERS, config, ours
from bench.processes import Workers, in_process
from bench.table import Row
from fmnist import machine
from fmnist.config import Config
from fmnist.network import flops_per_image

ROUNDS = 2  # of products and training in turn: what else the machine does meets both
SECONDS = 3.0
PROFILED = (32, 64, 128)
# The kind of a TensorFlow operation by a part of its name, the first that fits.
_KINDS = (
    ("Adam", "/adam/"),
    ("warps", "ImageProjectiveTransform"),
    ("dense", "/dense"),
    ("dense", "/logits"),
    ("pooling, ReLU", "ReluGrad"),
    ("pooling, ReLU", "/pool"),
    ("conv2", "/conv2"),
    ("conv1", "/conv1"),
    ("pooling, ReLU", "/relu"),
    ("pooling, ReLU", "/bias"),  # added after pooling
    ("dense", "/flatten"),
)


def rows() -> Iterator[Row]:
    """The baseline by one worker and by all, other filter counts by all, and profiles."""
    single, _ = _measured(config(), 1)
    for filters in FILTERS:
        point = config(model__filters=filters)
        speed, peak = _measured(point, machine.cores())
        yield _share(point, speed, peak, "at least 1.1" if filters == 128 else "")
        if filters == 128:
            yield _workers(speed, single)
    for filters in PROFILED:
        yield _profile_row(config(model__filters=filters))


def _measured(config: Config, count: int) -> tuple[float, float]:
    """Images a second, and operations a second of matrix products, of all workers together."""
    with Workers(count, ours, config) as workers:
        peaks, speeds = zip(
            *((workers.rate("products", SECONDS), workers.rate("train", SECONDS)) for _ in range(ROUNDS)), strict=True
        )
    return sum(speeds) / ROUNDS, sum(peaks) / ROUNDS


def _share(config: Config, speed: float, peak: float, goal: str) -> Row:
    reached = speed * flops_per_image(config.model)
    filters, precision = config.model.filters, config.compute.precision
    what = f"{filters} filters, {precision}, {machine.cores()} workers: {EPOCH / speed:.1f} s an epoch"
    texts = (f"{reached / 1e9:.0f} GFLOP/s", "matrix products", f"{peak / 1e9:.0f} GFLOP/s")
    return Row(what, *texts, reached / peak, goal)


def _workers(speed: float, single: float) -> Row:
    texts = (f"{speed:.0f} images/s", "one alone", f"{single:.0f} images/s")
    return Row(f"{machine.cores()} workers", *texts, speed / single, f"at least {0.9 * machine.cores():.1f}")


# ---- Where the time goes -----------------------------------------------------------------------------


def _profile_row(config: Config) -> Row:
    step, parts = in_process(profile, config)
    shares = ", ".join(f"{kind} {share:.1%}" for kind, share in parts.items())
    counted = parts["conv1"] + parts["conv2"] + parts["dense"]
    what = f"profile, {config.model.filters} filters: products of a step"
    return Row(what, f"{counted * step * 1e3:.1f} ms", shares, f"{step * 1e3:.1f} ms a step", counted)


def profile(config: Config) -> tuple[float, dict[str, float]]:
    """Seconds of a training step, and the share of each kind of operation; call it in a process of its own."""
    measures = ours(config)
    images, seconds = measures["train"]()
    spent = _traced(measures["train"])
    whole = sum(spent.values())
    return seconds / images * config.batch_size, {kind: part / whole for kind, part in spent.most_common()}


def _traced(train: Any) -> Counter[str]:
    """Picoseconds by kind of operation, as TensorFlow's profiler saw them."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        train()
        tf.profiler.experimental.stop()
        (file,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    spent: Counter[str] = Counter()
    for plane in space.planes:
        for line in plane.lines:
            if line.name.startswith("tf_Compute"):
                for event in line.events:
                    spent[_kind(plane.event_metadata[event.metadata_id].name)] += event.duration_ps
    del spent[""]
    return spent


def _kind(name: str) -> str:
    """The kind of an operation, nothing for what is none but the executor around it."""
    if "::" in name or ":" not in name or "__inference" in name:
        return ""
    return next((kind for kind, part in _KINDS if part in f"/{name}"), "everything else")
