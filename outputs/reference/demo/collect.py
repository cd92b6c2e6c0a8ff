"""The demo over seeds and kinds of processor:

    python outputs/reference/demo/collect.py AVX-512 outputs/demo-0 outputs/demo-1 outputs/demo-2

puts runs of `train` with its defaults and a `-p seed` each, after `evaluate` on each, into `table.csv`, in the place of
rows with the same instructions of the processor.
"""

import json
import sys
from pathlib import Path

import pandas as pd

CLASSES = ("NILM", "ASC-US", "LSIL", "ASC-H", "HSIL")
TABLE = Path(__file__).with_name("table.csv")


def row_of(instructions, folder):
    "How `evaluate` found a run."
    found = json.loads((folder / "fidelity.json").read_text())
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    metrics, config = found["metrics"], json.loads((folder / "config.json").read_text())
    agreement = {name: round(metrics["agreement"][name]["value"], 4) for name in (*CLASSES, "all")}
    distance = metrics["FD-cell"]["all"]
    return dict(instructions=instructions, seed=config["seed"], iterations=last["iteration"],
                judge=round(found["judge"]["accuracy"][0], 4),
                fd=round(distance["value"], 3), floor=round(distance["floor"], 3), copies=found["audit"]["copies"],
                **{f"agreement {name}": share for name, share in agreement.items()})


def main(instructions, *folders):
    kept = pd.read_csv(TABLE)
    rows = pd.DataFrame([row_of(instructions, Path(folder)) for folder in folders])
    pd.concat([kept[kept.instructions != instructions], rows]).to_csv(TABLE, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
