"""How the quality of generated cells grows with the data: trained with none to four fifths of CRIC's fields.

    python outputs/reference/data-share/study.py [seeds]

The settings of the preset `real`, smaller (64x64, width 4), with a step count that is the same whatever the data. One
fifth of the fields is never learned from, and every generator is compared with it; the other four are added one by
one, in an order of the seed's own. No fifth at all is the generator before its first step. Runs are kept in
`outputs/data-share/`, and a seed whose rows are in `curves.csv` is not trained again. Writes `curves.csv` (a row per
run and save), `table.csv` (a row per run: its data, its last and its best save) and `figure.png`.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import matplotlib.pyplot as plt
import pandas as pd
import torch

from cellgan.core.config import make_config
from cellgan.core.plotting import set_style
from cellgan.data.batches import keyed_generator
from cellgan.data.folds import make_folds
from cellgan.data.patches import patches_of
from cellgan.evaluation.best import scores_of
from cellgan.evaluation.judge import split_around
from cellgan.evaluation.reference import RealData
from cellgan.evaluation.ruler import make_ruler, real_scores
from cellgan.training.loop import train
from cellgan.training.models import make_state

STEPS, PER_CLASS = 3000, 300
FOLDS, LEFT_OUT = 5, 3
SCORES = {"FD-cell all": "FD-cell", "recall all": "recall", "agreement all": "agreement"}


def settings(share, seed):
    "One run."
    return make_config(
        "real",
        run=f"data-share/{share}-fifths-seed-{seed}",
        data="data/cric",
        image_size=64,
        width=4,
        iterations=STEPS,
        r1_weight=5e-4,
        compile=False,
        precision="float32",
        threads=1,
        seed=seed,
        resume=False,
    )


def fifths(folds, share, seed):
    "Indices of the patches in the first `share` fifths, in this seed's order."
    others = torch.tensor([fold for fold in range(FOLDS) if fold != LEFT_OUT])
    order = others[torch.randperm(len(others), generator=keyed_generator(seed, "fifths"))]
    return torch.cat([folds[fold][1] for fold in order[:share].tolist()]).sort().values


def measured(state, config, ruler):
    "What the averaged generator reaches on the fifth that no run saw."
    scores = scores_of(state, config, ruler)
    return {name: round(scores[key], 4) for key, name in SCORES.items()}


def curve(patches, rows, share, seed, ruler):
    "Trains one generator: rows of data, images seen, and what was measured."
    config, found, seen = settings(share, seed), [], patches.subset(rows)
    data = dict(fifths=share, seed=seed, fields=len(seen.groups.unique()), patches=len(seen))

    def measure(state, report):
        found.append(data | dict(kimg=state.iteration * config.batch_size / 1000) | measured(state, config, ruler))
        print(found[-1], flush=True)

    train(config, seen, on_save=measure)
    return found


def untrained(patches, seed, ruler):
    "The generator before its first step."
    config = settings(0, seed)
    state = make_state(config, len(patches.classes), "cpu")
    return dict(fifths=0, seed=seed, fields=0, patches=0, kimg=0.0) | measured(state, config, ruler)


def summary(curves):
    "The last and the best save of each run."
    rows = []
    for _, run in curves.groupby(["seed", "fifths"]):
        last, best = run.iloc[-1], run.loc[run["FD-cell"].idxmin()]
        kept = {name: last[name] for name in ("seed", "fifths", "fields", "patches", "kimg", *SCORES.values())}
        rows.append(kept | {"best FD-cell": best["FD-cell"], "best at kimg": best.kimg})
    return pd.DataFrame(rows).astype(dict(seed=int, fifths=int, fields=int, patches=int))


def draw(table, floor):
    "The scores over the fifths of the fields: a point per run, a line through their means."
    set_style()
    fig, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
    for ax, name in zip(axes, SCORES.values()):
        ax.plot(table.fifths, table[name], ".", color="#1f77b4")
        ax.plot(table.groupby("fifths")[name].mean(), color="#1f77b4", label="generated, last save")
        ax.axhline(floor[name], color="0.5", ls=":", label="real patches in its place")
        ax.set(xlabel="fifths of the fields", ylabel=name, xticks=range(FOLDS))
    axes[0].set_yscale("log")
    axes[0].legend(fontsize=8)
    fig.savefig(HERE / "figure.png", dpi=110)


def main(seeds=3):
    "Trains what has no rows yet, and writes the files."
    torch.set_num_threads(1)
    patches = patches_of(settings(0, 0))
    folds = make_folds(patches, FOLDS)
    seen = torch.ones(len(patches), dtype=torch.bool)
    seen[folds[LEFT_OUT][1]] = False
    ruler = make_ruler(RealData(patches, split_around(patches, seen.numpy()), "no"), PER_CLASS)
    kept = HERE / "curves.csv"
    curves = pd.read_csv(kept) if kept.exists() else pd.DataFrame(columns=["seed", "fifths"])
    for seed in range(int(seeds)):
        for share in range(FOLDS):
            if ((curves.seed == seed) & (curves.fifths == share)).any():
                continue
            rows = fifths(folds, share, seed) if share else None
            new = curve(patches, rows, share, seed, ruler) if share else [untrained(patches, seed, ruler)]
            curves = pd.concat([curves, pd.DataFrame(new)], ignore_index=True) if len(curves) else pd.DataFrame(new)
            curves.to_csv(kept, index=False)
    table, real = summary(curves), real_scores(ruler)
    floor = {name: round(real[key], 4) for key, name in SCORES.items()}
    table.to_csv(HERE / "table.csv", index=False)
    pd.DataFrame([floor]).to_csv(HERE / "floor.csv", index=False)
    draw(table, floor)


if __name__ == "__main__":
    main(*sys.argv[1:])
