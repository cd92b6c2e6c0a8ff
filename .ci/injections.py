"""Put NaN or infinity into a training run, and see whether it notices: `uv run .ci/injections.py [--write]`.

A case is right when the run stops with an error of ours at the next line of metrics at the latest, and the checkpoint
that stays is from before. With --write the table goes to outputs/reference/trust/injections.csv.
"""

import argparse
import math
import os
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
import trust
from tqdm import tqdm

from cellgan.core.config import InputError, make_config
from cellgan.data.patches import load_patches
from cellgan.training import cellgan, loop
from cellgan.training.checkpoint import load_checkpoint

RUN = make_config("demo", run="run", image_size=32, width=1, batch_size=4, iterations=200, phantom_patches=60,
                  resume=False)
LINE = RUN.iterations // loop.LOGS_PER_RUN  # iterations between two lines of metrics


def put(tensor, value):
    "Makes the first number of a tensor another."
    with torch.no_grad(): tensor[(0,) * tensor.dim()] = value


def into_gradient(value):
    "A context in which an update finds the value in the gradient."
    update = cellgan.update_weights
    def spoilt(network, *others):
        put(next(network.parameters()).grad, value)
        update(network, *others)
    return patch.object(cellgan, "update_weights", spoilt)


def moment_of(optimizer):
    return next(iter(optimizer.state.values()))["exp_avg_sq"]


WHERE = {
    "a latent, and so the loss": None,
    "a gradient": into_gradient,
    "a weight of the generator": lambda state: next(state.generator.parameters()),
    "a weight of the discriminator": lambda state: next(state.discriminator.parameters()),
    "the average": lambda state: list(state.ema.parameters())[-1],
    "a moment of the generator's optimizer": lambda state: moment_of(state.generator_optimizer),
    "a moment of the discriminator's": lambda state: moment_of(state.discriminator_optimizer),
    "a loss as it is reported": None,
}


def spoilt_step(place, value, at, step, seen):
    "A training step that puts the value into the place in one iteration."
    def training_step(state, batch, *others):
        now, seen["iteration"] = state.iteration == at, state.iteration + 1
        if now and place == "a latent, and so the loss": batch = replace(batch, latent=batch.latent * value)
        if now and place == "a gradient":
            with into_gradient(value): return step(state, batch, *others)
        parts = step(state, batch, *others)
        if now and place == "a loss as it is reported": return parts | dict(loss_g=parts["loss_g"] * value)
        if now and WHERE[place] not in (None, into_gradient): put(WHERE[place](state), value)
        return parts
    return training_step


def outcome(patches, precision, place, value, at):
    "What the run made of it: nothing where that was right."
    seen, config = {}, replace(RUN, precision=precision)
    with patch.object(cellgan, "training_step", spoilt_step(place, value, at, cellgan.training_step, seen)):
        try: loop.train(config, patches, progress=False)
        except InputError as error: message = str(error)
        except BaseException as error: return f"{type(error).__name__}: {str(error)[:60]}"
        else: return "not noticed"
    if seen["iteration"] - at > LINE + 1: return f"noticed after {seen['iteration'] - at} iterations"
    if "Try" not in message: return f"the message does not say what to do: {message[:60]}"
    kept = load_checkpoint(Path("outputs/run/checkpoint.pt"))["state"]["iteration"]
    return f"the checkpoint is of iteration {kept}, after the injection" if kept > at else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=5, help="iterations in which each is tried")
    parser.add_argument("--write", action="store_true", help="keep the table in outputs/reference/trust/injections.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    home = Path(tempfile.mkdtemp())
    (home / "settings.ini").write_text("[DEFAULT]\nlib_name = cellgan\n")
    os.chdir(home)
    patches, chance, rows = load_patches("phantom", 32, 60, progress=False), random.Random(0), []
    cases = [(precision, place, value, chance.randrange(12, 60)) for precision in ("float32", "bfloat16")
             for place in WHERE for value in (math.nan, math.inf) for _ in range(arguments.moments)]
    for case in tqdm(cases, unit="case"):
        if problem := outcome(patches, *case): print(*case, problem)
        rows.append(dict(into=case[1], precision=case[0], tried=1, right=int(not problem)))
    table = pd.DataFrame(rows).groupby(["into", "precision"], sort=False).sum().reset_index()
    print(table.to_string(index=False))
    if arguments.write: trust.keep(table, "injections.csv")
    return int(table.right.sum() < table.tried.sum())


if __name__ == "__main__":
    sys.exit(main())
