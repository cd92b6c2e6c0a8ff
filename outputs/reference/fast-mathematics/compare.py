"""Does the `fast` preset's arithmetic cost quality? `python outputs/reference/fast-mathematics/compare.py [iterations]
[seeds]`

Trains the demo's networks on the phantom at 64x64 twice a seed, from the same seed and over the same images: with the
paper's mathematics (float32, R1 in every step) and with the `fast` preset's (bfloat16, compiled, lazy R1). Everything
else is the demo's recipe. Both are judged by one classifier on slides of its own; writes table.csv beside this file.
"""

import sys
from pathlib import Path

import pandas as pd
import torch
from cellgan.core.config import PRESETS, make_config
from cellgan.core.names import BETHESDA
from cellgan.data.patches import load_patches
from cellgan.evaluation.classifier import (
    balanced_accuracy,
    class_agreement,
    features,
    predict,
    split_by_group,
    train_cell_classifier,
)
from cellgan.evaluation.distances import frechet
from cellgan.training.synthesis import load_synthesizer
from cellgan.training.loop import train


def main():
    iterations, seeds = (int(a) for a in (*sys.argv[1:], *("2000", "3")[len(sys.argv) - 1 :]))
    mathematics = {"paper": dict(precision="float32", compile=False, r1_every=1), "fast": PRESETS["fast"]}

    real = load_patches("phantom", 64, 4000, seed=1)
    train_on, held_out = split_by_group(real.groups, 0.2, seed=0)
    classifier = train_cell_classifier(real.images[train_on], real.labels[train_on], BETHESDA)
    accuracy = balanced_accuracy(real.labels[held_out], predict(classifier, real.images[held_out]))
    patches = load_patches("phantom", 64, PRESETS["demo"]["phantom_patches"])
    labels = torch.arange(1000) % 5
    others = load_patches("phantom", 64, 6000, seed=2)
    judged_against = torch.cat([others.images[others.labels == c][:200] for c in range(5)])

    rows = []
    for seed in range(seeds):
        for name, settings in mathematics.items():
            config = make_config(
                "demo",
                run=f"fast-mathematics-{name}-{seed}",
                iterations=iterations,
                seed=seed,
                resume=False,
                **settings,
            )
            folder = train(config, patches)
            images = load_synthesizer(folder / "generator.safetensors").sample(labels, seed=0)
            rows.append(
                dict(
                    mathematics=name,
                    seed=seed,
                    kimg=iterations * config.batch_size / 1000,
                    agreement=class_agreement(classifier, images, labels).share,
                    fd=frechet(features(classifier, judged_against).numpy(), features(classifier, images).numpy()),
                )
            )
            pd.DataFrame(rows).to_csv(Path(__file__).with_name("table.csv"), index=False)
    print(f"classifier, slides kept out: {accuracy:.3f}")
    print(
        pd.DataFrame(rows).groupby("mathematics", sort=False)[["fd", "agreement"]].agg(["mean", "min", "max"]).round(3)
    )


if __name__ == "__main__":
    main()  # the phantom is rendered by worker processes that import this file
