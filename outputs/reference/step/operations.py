"""The operations of a training step of two commits, one after the other, compared.

    python outputs/reference/step/operations.py BEFORE [AFTER]

What the processor or the GPU computes in a step is a list of torch's operations with the shapes of their tensors. It
does not depend on what else the machine does. Steps of `cellgan.training.bench` at 256x256, width 8, batch 8, on
tensors that have shapes and no numbers. Writes `operations.csv`: how many operations, and how many of them only one
commit has.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
KINDS = {"with R1": dict(r1_every=1), "without R1": dict(r1_every=16)}


def answer():
    "What the process of one commit does: prints the operations of each kind of step."
    from types import SimpleNamespace

    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    from cellgan.core.config import make_config
    from cellgan.training.cellgan import training_step
    from cellgan.training.memory import empty_batch, empty_state

    class Record(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.found = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            shapes = [list(x.shape) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
            self.found.append(f"{function} {shapes}")
            return function(*args, **(kwargs or {}))

    answers = {}
    for name, kind in KINDS.items():
        for precision in ("float32", "bfloat16"):
            config = make_config(
                "paper", image_size=256, width=8, batch_size=8, device="cpu", precision=precision, **kind
            )
            with FakeTensorMode():
                state, batch = empty_state(config, 5), empty_batch(config)
                state.iteration = 0 if kind["r1_every"] == 1 else 1
                with Record() as record:
                    training_step(state, batch, config, SimpleNamespace(num_processes=1))
            answers[f"{precision}, {name}"] = record.found
    print("operations", json.dumps(answers))


def operations_of(commit, folder):
    "Of each kind of step."
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit, "cellgan"], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    environment = os.environ | dict(PYTHONPATH=str(folder))
    printed = subprocess.run(
        [sys.executable, __file__, "answer"], env=environment, cwd=folder, text=True, capture_output=True
    )
    if printed.returncode:
        raise SystemExit(printed.stderr)
    return json.loads(next(line for line in printed.stdout.splitlines() if line.startswith("operations "))[11:])


def compare(before, after):
    import pandas as pd

    with tempfile.TemporaryDirectory() as held:
        found = [operations_of(commit, Path(held) / f"{i}") for i, commit in enumerate((before, after))]
    rows = []
    for kind, old in found[0].items():
        new = found[1][kind]
        gone, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
        rows.append(
            dict(
                step=kind,
                operations_before=len(old),
                operations_after=len(new),
                only_before=gone.total(),
                only_after=added.total(),
                same_order=old == new,
            )
        )
        print(
            rows[-1],
            *(f"\n  - {n} x {name}" for name, n in gone.items()),
            *(f"\n  + {n} x {name}" for name, n in added.items()),
        )
    commits = [
        subprocess.run(
            ["git", "rev-parse", "--short", name], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in (before, after)
    ]
    pd.DataFrame(rows).assign(before=commits[0], after=commits[1]).to_csv(HERE / "operations.csv", index=False)


if __name__ == "__main__":
    if sys.argv[1:] == ["answer"]:
        answer()
    else:
        compare(sys.argv[1], *(sys.argv[2:] or ["HEAD"]))
