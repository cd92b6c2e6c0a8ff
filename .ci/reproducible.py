"""Do the same work twice and compare bit for bit, then with other processes, threads and instructions, and measure by
how much it differs: `uv run .ci/reproducible.py [--write]`.

A case is right when the same seed in a fresh process, with nothing else changed, gave the same bits; how far the others
are apart is written down and judges nothing. With --write the
table goes to outputs/reference/trust/reproducible.csv.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import trust
from tqdm import tqdm

from cellgan.core.config import make_config, project_root
from cellgan.core.generators import KEPT_GENERATOR
from cellgan.data.folds import make_folds
from cellgan.data.patches import load_patches
from cellgan.evaluation.classifier import predict, train_cell_classifier
from cellgan.study.workers import run_study
from cellgan.training.checkpoint import load_checkpoint
from cellgan.training.loop import train
from cellgan.training.processes import launch
from cellgan.training.synthesis import load_synthesizer

ROOT = project_root()
SMALL = dict(image_size=32, batch_size=4, phantom_patches=400, ema_start=0)
AVX2 = dict(ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2")


def patches():
    return load_patches("phantom", 32, SMALL["phantom_patches"], cache=False, progress=False)


def numbers(tensors):
    return np.concatenate([tensor.detach().float().numpy().ravel() for tensor in tensors])


def of_run(folder):
    "Weights of all networks of a run, and what its generator draws."
    state = load_checkpoint(folder / "checkpoint.pt")["state"]
    weights = numbers(value for name in ("generator", "discriminator", "ema") for value in state[name].values())
    pixels = load_synthesizer(folder / "generator.safetensors").grid(4)
    return {"weights": weights, "pixels": pixels.numpy()}


def training(iterations, processes=1):
    "A run of the demo's settings at 32x32."
    config = make_config("demo", run="run", iterations=iterations, processes=processes, **SMALL)
    config = replace(config, threads=torch.get_num_threads())
    return of_run(launch(config) if processes > 1 else train(config, patches(), progress=False))


def sampling():
    "Cells of the kept generator, 128x128."
    return {"pixels": load_synthesizer(KEPT_GENERATOR).grid(4).numpy()}


def folds():
    return {"members": np.concatenate([np.concatenate(fold) for fold in make_folds(patches(), 5)])}


def judge():
    "A small judge, and its answers."
    data = patches()
    classifier = train_cell_classifier(data.images, data.labels, data.classes, epochs=2, progress=False)
    return {"weights": numbers(classifier.state_dict().values()), "answers": predict(classifier, data.images).numpy()}


def study():
    "Two runs of a study, with papermill, kernels and two workers."
    runs = pd.DataFrame([dict(notebook="train", preset="demo", seed=seed, iterations=10, **SMALL) for seed in (0, 1)])
    folders = run_study("study", runs, workers=2, progress=False).folder
    found = [of_run(Path(folder)) for folder in folders]
    return {name: np.concatenate([each[name].ravel() for each in found]) for name in found[0]}


WORK = {"training, 1 step": lambda: training(1), "training, 50 steps": lambda: training(50),
        "sampling": sampling, "folds": folds, "judge": judge,
        "training, 1 step, two processes": lambda: training(1, 2),
        "training, 50 steps, two processes": lambda: training(50, 2), "study": study}
PAIRS = [name for name in WORK if "two processes" in name]
ALONE = [name for name in WORK if name not in PAIRS and name != "study"]
OTHERWISE = {"two threads": dict(OMP_NUM_THREADS="2"), "AVX2 instructions": AVX2}


def done(names, environment):
    "Does some of the work in a fresh process, and a project folder of its own each; returns name -> arrays."
    with tempfile.TemporaryDirectory(prefix="reproducible-") as folder:
        variables = os.environ | dict(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONPATH=str(ROOT)) | environment
        command = [sys.executable, __file__, "--work", *names]
        ended = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
        if ended.returncode: raise RuntimeError(f"{names}: {ended.stderr[-2000:]}")
        return {name: dict(np.load(Path(folder) / f"{name}.npz")) for name in names}


def do(names):
    "What `done` starts: keeps the arrays of each work in the current folder."
    here = Path.cwd()
    for name in names:
        home = here / name.replace(" ", "_")
        (home / "outputs").mkdir(parents=True)
        (home / "settings.ini").write_text("[DEFAULT]\nlib_name = cellgan\n")
        (home / "nbs").symlink_to(ROOT / "nbs")
        os.chdir(home)
        np.savez(here / f"{name}.npz", **WORK[name]())


def compared(first, again, against):
    "A line for each kind of result of each work that both have."
    for name, part in ((name, part) for name in first if name in again for part in first[name]):
        one, other = first[name][part], again[name][part]
        same = one.shape == other.shape and one.tobytes() == other.tobytes()
        largest = np.abs(one.astype(float) - other.astype(float)).max()
        yield {"what": f"{name}: {part}", "against": against, "equal": same, "largest difference": f"{largest:.2g}"}


def rows():
    "The table."
    groups, bar = (ALONE, PAIRS, ["study"]), tqdm(total=8, unit="process")
    def next_done(names, environment):
        found = done(names, environment)
        bar.update()
        return found
    first = {name: arrays for names in groups for name, arrays in next_done(names, {}).items()}
    for names in groups: yield from compared(first, next_done(names, {}), "fresh processes")
    pairs = {name.removesuffix(", two processes"): first[name] for name in PAIRS}
    yield from compared(first, pairs, "two processes")
    for against, environment in OTHERWISE.items(): yield from compared(first, next_done(ALONE, environment), against)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", nargs="+", choices=WORK, help="do this here, and keep what comes of it in files")
    parser.add_argument("--write", action="store_true", help="keep the table in outputs/reference/trust")
    arguments = parser.parse_args()
    if arguments.work:
        do(arguments.work)
        return 0
    table = pd.DataFrame(rows())
    print(table.to_string(index=False))
    if arguments.write: trust.keep(table, "reproducible.csv")
    return int(not table[table.against.str.contains("fresh")].equal.all())


if __name__ == "__main__":
    sys.exit(main())
