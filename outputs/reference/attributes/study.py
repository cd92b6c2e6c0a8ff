"""How well a generator that is conditioned on attributes follows them.

    python outputs/reference/attributes/study.py
    python outputs/reference/attributes/study.py cric
    python outputs/reference/attributes/study.py cric 6

The first is about the phantom, whose truth is known: it trains `attributes` (the preset demo, wider and longer,
conditioned on four attributes) and `demo` (which has none) where they are not trained yet, and measures both. Writes
`ranks.csv` (a row per way of control, class and attribute), `effects.csv` (a row per attribute), `variety.csv` (a row
per class), `cells.jpg` and `figure.png`. The second is about real cells, of CRIC, whose attributes are what is
measured: it trains `attributes-cric` on four fifths of the fields, and writes the same but for the figure, with
`cric-` before the names. The third is the second with another `attribute_weight`, whose files begin with
`cric-weight-6-`.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import matplotlib.pyplot as plt
import pandas as pd
import torch

from cellgan.core.config import Config, make_config, run_folder
from cellgan.core.plotting import set_style
from cellgan.data.attributes import measured_attributes
from cellgan.data.batches import keyed_generator
from cellgan.data.folds import training_patches
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
        attribute_measured=8,
        attribute_weight=6.0,
        threads=1,
    )


def settings_on_cric(weight):
    "The same for real cells: the preset real, smaller, with the two attributes that matter most."
    return make_config(
        "real",
        run=f"attributes-{named(weight)}",
        data="data/cric",
        folds=5,
        fold=3,
        image_size=64,
        width=4,
        iterations=4000,
        r1_weight=5e-4,
        compile=False,
        precision="float32",
        attributes="nuclear_area, stain",
        attribute_measured=8,
        attribute_weight=weight,
        threads=1,
    )


def named(weight):
    "What the run and the files about real cells are called after."
    return "cric" if weight == Config.attribute_weight else f"cric-weight-{weight:g}"


def trained(config):
    "The generator of a run, trained where it is not there."
    file = run_folder(config.run) / "generator.safetensors"
    if not file.exists():
        train(config, training_patches(config))
    return load_synthesizer(file)


def all_ranks(conditioned, plain, patches):
    "Every way of control: rank correlations within each class."
    requested, labels, followed = follows(conditioned)
    tables = {"ceiling": measurement_ceiling(patches), "conditioned": followed}
    for way in ("regression", "singular vectors"):
        tables[way] = direction_ranks(plain, requested, labels, way)
    return in_rows(tables)


def follows(conditioned):
    "Requested attributes, labels, and the rank correlations with what is measured."
    labels = torch.arange(len(conditioned.classes)).repeat_interleave(PER_CLASS)
    requested, measured = requested_and_measured(conditioned, labels)
    return requested, labels, ranks_by_class(requested, measured, labels, conditioned.classes)


def in_rows(tables):
    "A row per way of control, class and attribute."
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


@torch.no_grad()
def variety_of(conditioned):
    "By how much pixels differ between cells of a class: with other latents alone, and with other attributes, too."
    network, rows = conditioned.network, []
    latent = torch.randn(32, network.latent_dim, generator=keyed_generator(0, "variety"))
    for number, name in enumerate(conditioned.classes):
        labels = torch.full((32,), number)
        images = network(latent, labels).add(1).mul(127.5), conditioned.sample(labels).float()
        alone, both = (image.std(0).mean().item() for image in images)
        rows.append({"class": name, "other latents": round(alone, 2), "and attributes": round(both, 2)})
    return pd.DataFrame(rows)


def keep(ranks, conditioned, patches, judged, prefix=""):
    "Writes what both parts have; the judge is that of the ruler for the settings `judged`."
    ranks.to_csv(HERE / f"{prefix}ranks.csv", index=False)
    few = patches.subset(torch.arange(0, len(patches), max(1, len(patches) // 1500)))
    judge = make_ruler(real_data(judged), 100).judge
    labels = torch.arange(len(patches.classes)).repeat_interleave(80)
    effects = side_effects(conditioned, measured_attributes(few), few.labels, labels, agreement_of(judge))
    effects.round(4).to_csv(HERE / f"{prefix}effects.csv", index_label="attribute")
    variety_of(conditioned).to_csv(HERE / f"{prefix}variety.csv", index=False)
    picture = control_figure(conditioned, "LSIL", seed=3)
    picture.savefig(HERE / f"{prefix}cells.jpg", dpi=110, pil_kwargs=dict(quality=88))
    print(ranks.pivot_table(index=["way", "class"], columns="attribute", values="rank", sort=False), effects, sep="\n")


def on_cric(weight=Config.attribute_weight):
    "The part about real cells."
    weight = float(weight)
    conditioned = trained(settings_on_cric(weight))
    ranks = in_rows({"conditioned": follows(conditioned)[2]})
    keep(ranks, conditioned, training_patches(conditioned.config), conditioned.config, f"{named(weight)}-")


def main():
    "The part about the phantom."
    conditioned, plain = trained(settings()), trained(make_config("demo"))
    patches = patches_of(conditioned.config)
    ranks = all_ranks(conditioned, plain, patches)
    draw(ranks)
    keep(ranks, conditioned, patches, plain.config)


if __name__ == "__main__":
    torch.set_num_threads(1)
    on_cric(*sys.argv[2:]) if "cric" in sys.argv else main()
