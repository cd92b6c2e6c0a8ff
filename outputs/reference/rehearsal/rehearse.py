"""Counts what training takes at the paper's size, without a GPU: `python outputs/reference/rehearsal/rehearse.py`.

Writes `memory.csv` and `compute.csv` beside itself; some minutes on one core.
"""

from pathlib import Path

import pandas as pd

from cellgan.study.rehearsal import compute_row, memory_rows

FOLDER = Path(__file__).parent
MODELS = ("cellgan", "biggan", "ldm")

if __name__ == "__main__":
    pd.DataFrame([compute_row(model) for model in MODELS]).to_csv(FOLDER / "compute.csv", index=False)
    pd.DataFrame([row for model in MODELS for row in memory_rows(model)]).to_csv(FOLDER / "memory.csv", index=False)
