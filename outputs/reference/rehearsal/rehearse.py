"""Counts what training takes at the paper's size, without a GPU: `python outputs/reference/rehearsal/rehearse.py`.

Writes `memory.csv`, `compute.csv` and `counted.csv` beside itself; some minutes on one core.
"""

from pathlib import Path

import pandas as pd

from cellgan.core.config import make_config
from cellgan.study.ablation import MODELS as PARTS
from cellgan.study.rehearsal import compute_row, counted_run, memory_rows, settings_that_matter

FOLDER = Path(__file__).parent
MODELS = ("cellgan", "biggan", "ldm")


def counted_row(config):
    gflop, gib = counted_run(config)
    return dict(settings=settings_that_matter(config), GFLOP=gflop, GiB=gib)


if __name__ == "__main__":
    (FOLDER / "counted.csv").unlink(missing_ok=True)
    configs = [make_config("fast", **parts) for parts in PARTS.values()]
    configs += [make_config("fast", model=model) for model in MODELS[1:]]
    pd.DataFrame([counted_row(config) for config in configs]).to_csv(FOLDER / "counted.csv", index=False)
    pd.DataFrame([compute_row(model) for model in MODELS]).to_csv(FOLDER / "compute.csv", index=False)
    pd.DataFrame([row for model in MODELS for row in memory_rows(model)]).to_csv(FOLDER / "memory.csv", index=False)
