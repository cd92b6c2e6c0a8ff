"""What truncation does to a trained BigGAN:

    python outputs/reference/compare/truncation.py outputs/biggan/generator.safetensors

Writes `truncation-demo.csv`: a row per threshold, measured on phantom patches that the generator did not see.
"""

import math
import sys
from pathlib import Path

import pandas as pd
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from cellgan.evaluation.classifier import class_agreement, features
from cellgan.evaluation.judge import make_judge, split_three
from cellgan.evaluation.reference import unseen_phantom
from cellgan.training.synthesis import load_synthesizer

PER_CLASS, CLASSES = 200, 5
THRESHOLDS = (math.inf, 1.5, 1.0, 0.7, 0.5, 0.2)


def features_by_class(classifier, images, labels):
    "Features of the first images of each class."
    return [features(classifier, images[labels == c][:PER_CLASS]) for c in range(CLASSES)]


def mean_distance(found):
    "The mean distance between two images of one class, over the classes."
    return sum(torch.pdist(f).mean().item() for f in found) / len(found)


def measured(synthesizer, threshold, classifier, real):
    "A row of the table."
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    synthesizer.network.threshold = threshold
    generated = synthesizer.sample(labels)
    found = features_by_class(classifier, generated, labels)
    near = prc_features_to_metric(torch.cat(found), torch.cat(real), verbose=False)
    return dict(threshold=threshold, precision=near["precision"], recall=near["recall"],
                spread=mean_distance(found) / mean_distance(real),
                agreement=class_agreement(classifier, generated, labels).share)


def main(path):
    phantom = unseen_phantom(6000, 64)
    sides = split_three(phantom)
    classifier = make_judge(phantom, sides).classifier
    reference = phantom.subset(sides.reference)
    real = features_by_class(classifier, reference.images, reference.labels)
    synthesizer = load_synthesizer(path)
    rows = [measured(synthesizer, threshold, classifier, real) for threshold in THRESHOLDS]
    pd.DataFrame(rows).to_csv(Path(__file__).with_name("truncation-demo.csv"), index=False, float_format="%.3f")


if __name__ == "__main__":
    main(sys.argv[1])
