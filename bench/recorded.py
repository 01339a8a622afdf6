"""The runs of study article that are recorded here, by the processor that trained them."""

from pathlib import Path

H100 = Path("experiments/article/runs.zip")
XEON = Path("experiments/article/xeon/runs.zip")
