"""Processor minutes until generated cells are near real ones: the paper's recipe, `fast`, `real`, and lightweight-gan.

    python outputs/reference/time-to-quality/study.py [minutes] [phantom,cric] [recipes] [seeds]

Everything at 64x64 with one thread, from the first import of the network to the last step, compilation included, and
without what judging takes. CRIC's cells (`data/cric`) are those of all fields but one fifth, with which generated ones
are compared; the phantom's are compared with patches of new slides. FD-cell is taken over all classes together, with
as many images of each class as there are real ones in the reference: lightweight-gan knows no classes, gets the same
images in one folder and draws what it likes. It runs in an environment of its own, which `uv` makes. Runs are kept in
`outputs/time-to-quality/`; recipes and seeds that are not named keep their rows. Writes `curves.csv` (a row per save),
`table.csv` (a row per run: minutes until a level is reached) and `figure.png`.
"""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from PIL import Image

from cellgan.core.config import make_config, run_folder
from cellgan.core.plotting import set_style
from cellgan.data.batches import keyed_generator
from cellgan.data.patches import patches_of
from cellgan.evaluation.reference import real_data
from cellgan.evaluation.ruler import make_ruler, real_scores, score
from cellgan.training.loop import train
from cellgan.training.models import model_of
from cellgan.training.synthesis import Synthesizer

SIZE, PER_CLASS = 64, 300
DATA = {"phantom": dict(data="phantom", phantom_patches=6000), "cric": dict(data="data/cric", folds=5, fold=3)}
PRESETS = {"paper": dict(width=8), "fast": dict(width=8), "real": dict(width=8, r1_weight=5e-4, decay_from=1.0)}
OTHER = "lightweight-gan"
PINNED = ("lightweight-gan==1.2.1", "torch==2.15.0", "torchvision==0.29.2")
LEVELS = 20, 10, 5
COLOURS = dict(zip([*PRESETS, OTHER], ("#d98c3f", "#7f6fb0", "#1f77b4", "0.3")))


def spent():
    "Seconds of a processor that this process took, and what it started and has ended."
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def settings(data, preset, minutes=5.0, seed=0):
    "One run; its budget is the clock's, and so has the time of judging in it."
    return make_config(
        preset,
        run=f"time-to-quality/{data}-{preset}-{seed}",
        image_size=SIZE,
        seconds=60 * minutes,
        threads=1,
        seed=seed,
        resume=False,
        **DATA[data],
        **PRESETS[preset],
    )


def labels_of(ruler):
    "As many of each class as the ruler compares."
    counts = torch.tensor(ruler.counts)
    return torch.arange(len(counts)).repeat_interleave(counts)


def distance(ruler, images):
    "FD-cell of all classes together."
    return round(score(ruler, images, labels_of(ruler))["FD-cell all"], 3)


def curve(data, preset, minutes, seed, ruler):
    "Trains with a recipe of this project: rows of processor minutes, thousands of images, FD-cell."
    config, rows = settings(data, preset, minutes, seed), []
    patches = patches_of(config)
    begun, elsewhere = spent(), 0.0

    def measure(state, report):
        nonlocal elsewhere
        before = spent()
        used = round((before - begun - elsewhere) / 60, 3)
        network = model_of(config).final_generator(state, config).eval()
        images = Synthesizer(network, patches.classes, SIZE, config, "").sample(labels_of(ruler))
        kimg = state.iteration * config.batch_size / 1000
        found = dict(minutes=used, kimg=kimg, distance=distance(ruler, images))
        rows.append(dict(data=data, recipe=preset, seed=seed, **found))
        elsewhere += spent() - before

    train(config, patches, on_save=measure)
    return rows


def lightweight(data, minutes, seed, ruler):
    "The same with lightweight-gan, on the same images."
    folder = run_folder(f"time-to-quality/{data}-{OTHER}-{seed}")
    shutil.rmtree(folder, ignore_errors=True)
    images = folder / "images"
    patches = patches_of(settings(data, "real"))
    images.mkdir(parents=True)
    for i, image in enumerate(patches.images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(images / f"{i:06d}.png")
    drawn = int(sum(ruler.counts))
    packages = [word for package in PINNED for word in ("--with", package)]
    command = ["uv", "run", "--no-project", *packages, "python", str(HERE / "lightweight.py")]
    subprocess.run([*command, str(images), str(folder), str(SIZE), str(minutes), str(drawn), str(seed)], check=True)
    rows = []
    for file in sorted(folder.glob("*.npy"), key=lambda file: float(file.stem)):
        made = torch.from_numpy(np.load(file)).permute(0, 3, 1, 2)
        order = torch.randperm(len(made), generator=keyed_generator(0, "order"))
        at = round(float(file.stem) / 60, 3)
        found = dict(minutes=at, kimg=np.nan, distance=distance(ruler, made[order]))
        rows.append(dict(data=data, recipe=OTHER, seed=seed, **found))
    return rows


def times(curves, floors):
    "Minutes until FD-cell is at a level and below, and the lowest that was reached."
    rows = []
    for (data, recipe, seed), run in curves.groupby(["data", "recipe", "seed"], sort=False):
        row = dict(data=data, recipe=recipe, seed=seed, floor=floors[data], lowest=run.distance.min())
        for level in LEVELS:
            row[f"minutes to {level}"] = run[run.distance <= level].minutes.min()
        rows.append(row)
    return pd.DataFrame(rows)


def draw(curves, floors):
    "FD-cell over processor minutes, a panel for each data set."
    set_style()
    fig, axes = plt.subplots(1, len(floors), figsize=(8, 3), layout="constrained", squeeze=False)
    for ax, (data, floor) in zip(axes.flat, floors.items()):
        for (recipe, seed), run in curves[curves.data == data].groupby(["recipe", "seed"], sort=False):
            ax.plot(run.minutes, run.distance, "o-", ms=3, color=COLOURS[recipe], label="_" * seed + recipe)
        ax.axhline(floor, color="0.5", ls=":", label="real patches")
        ax.set(title=data, xlabel="minutes of one processor", ylabel="FD-cell, all classes", yscale="log")
    axes.flat[0].legend(fontsize=8)
    fig.savefig(HERE / "figure.png", dpi=110)


def main(minutes=5.0, data="phantom,cric", recipes=",".join([*PRESETS, OTHER]), seeds="0,1,2"):
    "Trains what is named, keeps the other rows, and writes the files."
    torch.set_num_threads(1)
    kept = HERE / "curves.csv"
    curves = pd.read_csv(kept) if kept.exists() else pd.DataFrame(columns=["data", "recipe", "seed"])
    chosen = [(recipe, int(seed)) for seed in seeds.split(",") for recipe in recipes.split(",")]
    floors = {}
    for name in DATA:
        real = real_data(settings(name, "real"), phantom_patches=3000)
        ruler = make_ruler(real, PER_CLASS)
        floors[name] = round(real_scores(ruler)["FD-cell all"], 3)
        for recipe, seed in chosen if name in data.split(",") else ():
            if recipe == OTHER:
                new = lightweight(name, minutes, seed, ruler)
            else:
                new = curve(name, recipe, float(minutes), seed, ruler)
            old = curves[(curves.data != name) | (curves.recipe != recipe) | (curves.seed != seed)]
            curves = pd.concat([old, pd.DataFrame(new)], ignore_index=True)
            curves.to_csv(kept, index=False)
    times(curves, floors).to_csv(HERE / "table.csv", index=False)
    draw(curves, floors)


if __name__ == "__main__":
    main(*sys.argv[1:])
