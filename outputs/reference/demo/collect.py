"""The demo over seeds: `python outputs/reference/demo/collect.py outputs/demo-0 outputs/demo-1 outputs/demo-2` writes
`table.csv` from runs of `train` with its defaults and another `-p seed` each, after `evaluate` on each.
"""

import json
import sys
from pathlib import Path

import pandas as pd

CLASSES = ("NILM", "ASC-US", "LSIL", "ASC-H", "HSIL")


def row_of(folder):
    "How `evaluate` found a run."
    found = json.loads((folder / "fidelity.json").read_text())
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    metrics, config = found["metrics"], json.loads((folder / "config.json").read_text())
    agreement = {name: round(metrics["agreement"][name]["value"], 4) for name in (*CLASSES, "all")}
    distance = metrics["FD-cell"]["all"]
    return dict(seed=config["seed"], iterations=last["iteration"],
                judge=round(found["judge"]["accuracy"][0], 4),
                fd=round(distance["value"], 3), floor=round(distance["floor"], 3), copies=found["audit"]["copies"],
                **{f"agreement {name}": share for name, share in agreement.items()})


if __name__ == "__main__":
    rows = [row_of(Path(folder)) for folder in sys.argv[1:]]
    pd.DataFrame(rows).to_csv(Path(__file__).with_name("table.csv"), index=False)
