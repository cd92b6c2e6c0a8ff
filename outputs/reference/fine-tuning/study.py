"""What fine-tuning saves: the phantom's ASC-US and HSIL, from random weights and from those of its other three classes.

    python outputs/reference/fine-tuning/study.py [seeds]

First a source is trained with the settings of the preset `real`, smaller, on NILM, LSIL and ASC-H. Then each seed
trains the other two classes three times: from random weights, and for half as many steps from the source's generator,
and from its checkpoint, which has the discriminator too. FD-cell is measured at each save, against phantom patches of
new slides. Runs are kept in `outputs/fine-tuning/`. Writes `curves.csv` (a row per run and save), `table.csv` (images
until a run is as good as the best save of the one from random weights, and the share of the images which that one
needed) and `figure.png`.
"""

import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from cellgan.core.config import make_config, run_folder
from cellgan.core.plotting import set_style
from cellgan.data.patches import patches_of
from cellgan.evaluation.best import distance_of
from cellgan.evaluation.judge import split_three
from cellgan.evaluation.reference import RealData, unseen_phantom
from cellgan.evaluation.ruler import make_ruler
from cellgan.training.loop import train

STEPS = 2000  # of 8 images: of the source, and from random weights
OLD, NEW = ("NILM", "LSIL", "ASC-H"), ("ASC-US", "HSIL")
STARTS = {
    "random weights": "",
    "its generator": "fine-tuning/source/generator.safetensors",
    "its checkpoint": "fine-tuning/source",
}


def of_classes(patches, names):
    "The patches of some classes, numbered anew."
    places = torch.tensor([patches.classes.index(name) for name in names])
    own = patches.subset(torch.isin(patches.labels, places))
    labels = (own.labels[:, None] == places).long().argmax(1)
    return replace(own, labels=labels, classes=names)


def settings(**more):
    "The preset `real` at 64x64 with half its width; learning rates stay, so that every save can be compared."
    return make_config("real", image_size=64, width=4, r1_weight=5e-4, decay_from=1.0, compile=False, threads=1, **more)


def curve(name, seed, ruler, patches):
    "A run's distance at each save: rows of seed, start, thousands of images, FD-cell."
    start = STARTS[name]
    config = settings(
        run=f"fine-tuning/{name.split()[-1]}-{seed}",
        iterations=STEPS // 2 if start else STEPS,
        seed=seed,
        start_from=str(run_folder("x").parent / start) if start else "",
        resume=False,
    )
    rows = []

    def measure(state, report):
        distance = distance_of(state, config, ruler)
        rows.append(
            dict(seed=seed, start=name, kimg=state.iteration * config.batch_size / 1000, distance=round(distance, 3))
        )

    train(config, patches, on_save=measure)
    return rows


def images_needed(curves):
    "Thousands of images until a run is as good as the one from random weights at its best, which a run would keep."
    rows = []
    for seed, of_seed in curves.groupby("seed"):
        scratch = of_seed[of_seed.start == "random weights"]
        best = scratch.loc[scratch.distance.idxmin()]
        for start, run in of_seed.groupby("start", sort=False):
            reached = run[run.distance <= best.distance]
            kimg = reached.kimg.min() if len(reached) else np.nan
            rows.append(dict(seed=seed, start=start, level=best.distance, kimg=kimg, share=round(kimg / best.kimg, 2)))
    return pd.DataFrame(rows)


def draw(curves):
    "The distance over the images seen: a line per seed, a colour per start."
    set_style()
    fig, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
    for number, (start, runs) in enumerate(curves.groupby("start", sort=False)):
        for seed, run in runs.groupby("seed"):
            ax.plot(run.kimg, run.distance, color=f"C{number}", alpha=0.8, label=start if seed == 0 else None)
    ax.set(xlabel="thousand images seen", ylabel="FD-cell", yscale="log")
    ax.legend(title="begins with")
    fig.savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    source = settings(run="fine-tuning/source", iterations=STEPS, phantom_patches=6000)
    whole, new_slides = patches_of(source), of_classes(unseen_phantom(3000, 64), NEW)
    train(source, of_classes(whole, OLD))
    ruler = make_ruler(RealData(new_slides, split_three(new_slides), "no"), 200)
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    curves = pd.DataFrame(
        [row for seed in seeds for name in STARTS for row in curve(name, seed, ruler, of_classes(whole, NEW))]
    )
    curves.to_csv(HERE / "curves.csv", index=False)
    images_needed(curves).to_csv(HERE / "table.csv", index=False)
    draw(curves)
