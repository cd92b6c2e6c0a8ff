"""The seconds of a training step of two commits, in turns.

    python outputs/reference/step/seconds.py BEFORE [AFTER [ROUNDS]]

A process of each commit waits for its turn, makes one step, and says what it took: seconds that passed and seconds of
the processor. The two steps of a round follow each other at once, in changing order, so that whatever else the machine
does hits both alike, and each round gives one ratio. Steps of `cellgan.training.bench` with R1 at 256x256, width 8,
batch 8, in float32 and in bfloat16 through torch.compile, on two threads and on one.

Writes `rounds.csv`, and `seconds.csv`: the median ratio, and the interval that holds the median of all such rounds in
95 of 100 cases (the order statistics of a sign test).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
KINDS = {
    "float32": dict(precision="float32", compiled=False),
    "bfloat16, compiled": dict(precision="bfloat16", compiled=True),
}
WARMING = 3  # steps before the first that counts


def answer(kind):
    "What the process of one commit does: makes a step for each line that it reads."
    import time

    from cellgan.core.config import make_config
    from cellgan.core.machine import keep_memory
    from cellgan.training.bench import package_variant

    config = make_config("paper", image_size=256, width=8, batch_size=8, device="cpu")
    keep_memory()
    step = package_variant(config, True, **KINDS[kind])
    for _ in range(WARMING):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        passed, used = time.perf_counter(), time.process_time()
        step()
        taken = time.perf_counter() - passed, time.process_time() - used
        print("took", json.dumps(taken), flush=True)


def listen(process, word):
    "The rest of the next line that begins with a word."
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word)
    raise SystemExit("a process of a commit has ended early")


def start(commit, kind, threads, folder):
    "The process of a commit, ready for its first step."
    if not folder.exists():
        folder.mkdir()
        archive = subprocess.run(["git", "archive", commit, "cellgan"], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    count = str(threads)
    environment = os.environ | dict(PYTHONPATH=str(folder), OMP_NUM_THREADS=count, MKL_NUM_THREADS=count)
    process = subprocess.Popen(
        [sys.executable, __file__, "answer", kind],
        env=environment,
        cwd=folder,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    listen(process, "ready")
    return process


def take_step(process):
    "Seconds that passed, and the processor's."
    process.stdin.write("step\n")
    process.stdin.flush()
    return json.loads(listen(process, "took"))


def measured(commits, kind, threads, rounds, held):
    "One row for each round."
    both = [start(commit, kind, threads, held / f"{k}") for k, commit in enumerate(commits)]
    rows = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        taken = {k: take_step(both[k]) for k in order}
        row = dict(step=kind, threads=threads, round=number)
        for name, k in (("before", 0), ("after", 1)):
            row |= {f"passed_{name}": taken[k][0], f"processor_{name}": taken[k][1]}
        rows.append(row)
    for process in both:
        process.stdin.close()
        process.wait()
    return rows


def median_with_interval(ratios):
    "Median, and the order statistics between which the true median lies with 95%."
    from scipy.stats import binom

    ordered = sorted(ratios)
    n = len(ordered)
    k = int(binom.ppf(0.025, n, 0.5))
    low, high = ordered[max(0, k - 1)], ordered[min(n - 1, n - k)]
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return dict(ratio=middle, low=low, high=high)


def compare(before, after="HEAD", rounds="15"):
    import pandas as pd

    names = [
        subprocess.run(["git", "rev-parse", "--short", c], cwd=ROOT, capture_output=True, text=True, check=True)
        for c in (before, after)
    ]
    commits = dict(before=names[0].stdout.strip(), after=names[1].stdout.strip())
    rows = []
    with tempfile.TemporaryDirectory() as held:
        for kind in KINDS:
            for threads in (1, 2):
                rows += measured(list(commits.values()), kind, threads, int(rounds), Path(held))
                table = pd.DataFrame(rows).assign(**commits)
                table.round(4).to_csv(HERE / "rounds.csv", index=False)
                print(table[table.step == kind].tail(int(rounds)).to_string(), flush=True)
    found = []
    for (kind, threads), own in table.groupby(["step", "threads"], sort=False):
        for clock in ("passed", "processor"):
            ratios = own[f"{clock}_after"] / own[f"{clock}_before"]
            seconds = {name: own[f"{clock}_{name}"].median() for name in ("before", "after")}
            row = dict(step=kind, threads=threads, clock=clock, seconds_before=seconds["before"])
            row |= dict(seconds_after=seconds["after"], **median_with_interval(ratios), rounds=len(own))
            found.append(row)
    summary = pd.DataFrame(found).assign(**commits)
    summary.round(4).to_csv(HERE / "seconds.csv", index=False)
    print(summary.round(3).to_string())


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        answer(sys.argv[2])
    else:
        compare(*sys.argv[1:])
