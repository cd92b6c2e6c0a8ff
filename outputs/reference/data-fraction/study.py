"""How a generator grows with its data: trained on 0 to 4 fifths of the fields of a folder, measured on the fifth.

    python outputs/reference/data-fraction/study.py data/cric [seeds]

Each run is `outputs/data-fraction-<fifths>-<seed>`, at 64x64, for 2,500 steps of 8 images of the preset `real`, so that
only the data differ. A fifth is a fold, which splits no field; two fifths hold the first one, and so on. 0 is a
generator before its first step. Writes `table.csv` (a row per run) and `figure.png`. What is finished is kept.
"""

import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import matplotlib.pyplot as plt
import pandas as pd
import torch

from cellgan.core.config import make_config
from cellgan.core.plotting import set_style
from cellgan.data.folds import make_folds
from cellgan.data.patches import patches_of
from cellgan.evaluation.reference import real_data
from cellgan.evaluation.ruler import make_ruler, real_scores, score
from cellgan.training.loop import train
from cellgan.training.models import make_state
from cellgan.training.synthesis import load_synthesizer

FOLDS, FOLD = 5, 3
SCORES = {"FD-cell all": "FD-cell", "agreement all": "recognised", "recall all": "recall", "precision all": "precision"}


def settings(data, fifths, seed):
    "What a run is trained with."
    return make_config("real", data=data, image_size=64, iterations=2500, folds=FOLDS, fold=FOLD, seed=seed,
                       run=f"data-fraction-{fifths}-{seed}")


def some_fifths(patches, fifths):
    "The patches of so many folds, that which is left out not among them."
    tests = [test for _, test in make_folds(patches, FOLDS)]
    others = [tests[(FOLD + 1 + i) % FOLDS] for i in range(FOLDS - 1)]
    return patches.subset(torch.cat(others[:fifths]).sort().values)


def scores_of(ruler, sample):
    "What the ruler says about a generator; `sample` draws images of labels."
    labels = ruler.labels()
    found = score(ruler, sample(labels), labels)
    return {short: round(found[name], 4) for name, short in SCORES.items()}


@torch.no_grad()
def untrained(config, classes):
    "Draws from a generator before its first step."
    network = make_state(config, classes).ema
    noise = torch.Generator().manual_seed(config.seed)
    def sample(labels):
        parts = [network(torch.randn(len(part), network.latent_dim, generator=noise), part) for part in labels.split(64)]
        return torch.cat(parts).add(1).mul(127.5).round().clamp(0, 255).byte()
    return sample


def measure_all(data, seeds):
    "Trains and measures every run; a row each."
    whole = patches_of(settings(data, 4, 0))
    ruler, rows = make_ruler(real_data(settings(data, 4, 0)), 400), []
    rows.append(dict(fifths="real", seed=0, **{SCORES[k]: round(v, 4) for k, v in real_scores(ruler).items() if k in SCORES}))
    for seed in range(seeds):
        for fifths in (0, 1, 2, 3, 4):
            config, own = settings(data, fifths, seed), some_fifths(whole, max(fifths, 1))
            if fifths: sample = load_synthesizer(train(config, own)/"generator.safetensors").sample
            else: sample = untrained(config, len(whole.classes))
            seen = dict(patches=len(own), fields=len(own.groups.unique())) if fifths else dict(patches=0, fields=0)
            rows.append(dict(fifths=fifths, seed=seed, **seen, **scores_of(ruler, sample)))
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(HERE/"table.csv", index=False)
    return pd.DataFrame(rows)


def draw(table):
    "The scores against the data, a point per seed and a line through their means."
    set_style()
    floor, runs = table[table.fifths == "real"].iloc[0], table[table.fifths != "real"].astype({"fifths": int})
    fig, axes = plt.subplots(1, len(SCORES), figsize=(11, 2.8), layout="constrained")
    for ax, name in zip(axes, SCORES.values()):
        ax.plot(runs.groupby("fifths")[name].mean())
        ax.scatter(runs.fifths, runs[name], s=14)
        ax.axhline(floor[name], color="0.5", linestyle="--")
        ax.set(title=name, xlabel="fifths of the fields", xticks=range(5))
        if name == "FD-cell": ax.set_yscale("log")
    axes[0].annotate("real cells", (4, floor["FD-cell"]), (0, 4), textcoords="offset points", ha="right", color="0.4")
    fig.savefig(HERE/"figure.png", dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    draw(measure_all(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2))
