"""What truncation does to a trained BigGAN: `python outputs/reference/compare/truncation.py outputs/biggan/generator.safetensors`."""
import math, sys
from pathlib import Path
import pandas as pd
import torch
from torch_fidelity.metric_prc import prc_features_to_metric
from cellgan.evaluation.classifier import class_agreement, features
from cellgan.evaluation.judge import make_judge, split_three
from cellgan.evaluation.reference import unseen_phantom
from cellgan.training.synthesis import load_synthesizer


def main(path):
    real, per_class = unseen_phantom(6000, 64), 200
    sides = split_three(real)
    classifier = make_judge(real, sides).classifier
    reference, asked = real.subset(sides.reference), torch.arange(5).repeat_interleave(per_class)
    def embed(images, labels): return [features(classifier, images[labels == c][:per_class]) for c in range(5)]
    def spread(found): return sum(torch.pdist(f).mean().item() for f in found) / len(found)
    known, synthesizer, rows = embed(reference.images, reference.labels), load_synthesizer(path), []
    for threshold in (math.inf, 1.5, 1.0, 0.7, 0.5, 0.2):
        synthesizer.network.threshold = threshold
        generated = synthesizer.sample(asked)
        found = embed(generated, asked)
        near = prc_features_to_metric(torch.cat(found), torch.cat(known), verbose=False)
        rows.append(dict(threshold=threshold, precision=near["precision"], recall=near["recall"], spread=spread(found) / spread(known),
                         agreement=class_agreement(classifier, generated, asked).share))
    pd.DataFrame(rows).to_csv(Path(__file__).with_name("truncation-demo.csv"), index=False, float_format="%.3f")


if __name__ == "__main__": main(sys.argv[1])
