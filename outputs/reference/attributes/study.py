"""How well a generator that is conditioned on attributes follows them, on the phantom, whose truth is known.

    python outputs/reference/attributes/study.py

Trains `attributes` (the preset demo, wider and longer, conditioned on four attributes) and `demo` (which has none)
where they are not trained yet, and measures both. Writes `ranks.csv` (a row per way of control, class and
attribute), `effects.csv` (a row per attribute), `cells.jpg` and `figure.png`.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import matplotlib.pyplot as plt
import pandas as pd
import torch

from cellgan.core.config import make_config, run_folder
from cellgan.core.plotting import set_style
from cellgan.data.attributes import measured_attributes
from cellgan.data.patches import patches_of
from cellgan.evaluation.classifier import class_agreement
from cellgan.evaluation.control import (
    control_figure,
    direction_ranks,
    measurement_ceiling,
    ranks_by_class,
    requested_and_measured,
    side_effects,
)
from cellgan.evaluation.reference import real_data
from cellgan.evaluation.ruler import make_ruler
from cellgan.training.loop import train
from cellgan.training.synthesis import load_synthesizer

NAMES = "nuclear_area, nc_ratio, stain, crowding"
WAYS = {
    "ceiling": "truth of real cells",
    "conditioned": "conditioned in training",
    "regression": "direction, regression",
    "singular vectors": "direction, singular vectors",
}
COLOURS = {"ceiling": "0.6", "conditioned": "#1f77b4", "regression": "#d98c3f", "singular vectors": "#7f6fb0"}
PER_CLASS = 150


def settings():
    "What the generator with attributes is trained with."
    return make_config(
        "demo",
        run="attributes",
        iterations=6000,
        width=6,
        batch_size=8,
        attributes=NAMES,
        attribute_measured=3,
        threads=1,
    )


def trained(config):
    "The generator of a run, trained where it is not there."
    file = run_folder(config.run) / "generator.safetensors"
    if not file.exists():
        train(config, patches_of(config))
    return load_synthesizer(file)


def all_ranks(conditioned, plain, patches):
    "Every way of control: rank correlations within each class."
    labels = torch.arange(len(patches.classes)).repeat_interleave(PER_CLASS)
    requested, measured = requested_and_measured(conditioned, labels)
    followed = ranks_by_class(requested, measured, labels, patches.classes)
    tables = {"ceiling": measurement_ceiling(patches), "conditioned": followed}
    for way in ("regression", "singular vectors"):
        tables[way] = direction_ranks(plain, requested, labels, way)
    rows = [
        dict(way=way, **{"class": name}, attribute=attribute, rank=round(value, 4))
        for way, table in tables.items()
        for name, row in table.iterrows()
        for attribute, value in row.items()
    ]
    return pd.DataFrame(rows)


def agreement_of(judge):
    "A function: images and labels -> the share that the judge recognises."

    def agreement(images, labels):
        confusion = class_agreement(judge.classifier, images, labels).confusion
        return confusion.trace() / confusion.sum()

    return agreement


def draw(ranks):
    "Means over classes, a group of bars for each attribute, and the single classes as points."
    set_style()
    names = list(dict.fromkeys(ranks.attribute))
    fig, ax = plt.subplots(figsize=(7.5, 2.8), layout="constrained")
    for k, (way, title) in enumerate(WAYS.items()):
        own = ranks[ranks.way == way].groupby("attribute", sort=False)["rank"]
        places = [i + 0.2 * (k - 1.5) for i in range(len(names))]
        ax.bar(places, own.mean()[names], 0.18, color=COLOURS[way], label=title)
        for place, name in zip(places, names):
            each = own.get_group(name)
            ax.plot([place] * len(each), each, "k.", ms=3)
    ax.set(xticks=range(len(names)), ylabel="rank correlation within a class", ylim=(-0.3, 1))
    ax.set_xticklabels([name.replace("_", " ") for name in names])
    ax.legend(fontsize=7, ncols=2)
    fig.savefig(HERE / "figure.png", dpi=110)


def main():
    "Trains what is missing, measures, and writes the files."
    torch.set_num_threads(1)
    conditioned, plain = trained(settings()), trained(make_config("demo"))
    patches = patches_of(conditioned.config)
    ranks = all_ranks(conditioned, plain, patches)
    ranks.to_csv(HERE / "ranks.csv", index=False)
    draw(ranks)
    few = patches.subset(torch.arange(1500))
    judge = make_ruler(real_data(plain.config), 100).judge
    labels = torch.arange(len(patches.classes)).repeat_interleave(80)
    effects = side_effects(conditioned, measured_attributes(few), few.labels, labels, agreement_of(judge))
    effects.round(4).to_csv(HERE / "effects.csv", index_label="attribute")
    control_figure(conditioned, "LSIL", seed=3).savefig(HERE / "cells.jpg", dpi=110, pil_kwargs=dict(quality=88))
    print(ranks.pivot_table(index=["way", "class"], columns="attribute", values="rank", sort=False), effects, sep="\n")


if __name__ == "__main__":
    main()
