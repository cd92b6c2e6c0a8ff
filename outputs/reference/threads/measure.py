"""Seconds of a training step with one thread, with all, and with as many as `4_training/18_threads` chooses.

    python outputs/reference/threads/measure.py

On a quiet machine and beside a program that keeps one core busy; 256x256, width 8, batch 8, bfloat16, compiled. The
three take turns, two rounds each. `chosen` begins with all threads in each round, and its mean has its trials in it.
Writes `table.csv`: seconds of a step, its ratio to one thread in the same round.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.pop("OMP_NUM_THREADS", None)
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import pandas as pd
import torch

from cellgan.core.config import make_config
from cellgan.core.machine import available_cores
from cellgan.data.batches import BatchSampler
from cellgan.data.patches import load_patches
from cellgan.model.compiled import compile_networks
from cellgan.training.batch import sample_batch
from cellgan.training.models import make_state, model_of
from cellgan.training.state import make_accelerator
from cellgan.training.threads import ThreadChoice

CONFIG = make_config("fast", image_size=256, width=8, batch_size=8, phantom_patches=64, device="cpu")
SECONDS, ROUNDS = dict(one=15, all=15, chosen=45), 2


def make_step():
    "A function that takes one training step."
    patches = load_patches("phantom", CONFIG.image_size, CONFIG.phantom_patches, progress=False)
    state, accelerator = make_state(CONFIG, len(patches.classes)), make_accelerator(CONFIG)
    compile_networks(state.generator, state.discriminator)
    sampler = BatchSampler(patches.labels, CONFIG.batch_size, True, 0)

    def step():
        state.iteration += 1
        model_of(CONFIG).training_step(
            state, sample_batch(patches, sampler, CONFIG, state.iteration), CONFIG, accelerator
        )

    return step


def timed(step, threads, seconds):
    "Mean seconds of the steps of some seconds; `threads` is their number, or `None` for as many as are chosen."
    torch.set_num_threads(threads or available_cores())
    choice = ThreadChoice(available_cores(), report=lambda text: None) if threads is None else None
    step()  # warms up
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        if choice:
            choice.next_step()
        step()
        steps += 1
    return (time.perf_counter() - begun) / steps, torch.get_num_threads()


def measure(step, busy):
    "Rows of one condition."
    ways, rows = {"one": 1, "all": available_cores(), "chosen": None}, []
    for round in range(ROUNDS):
        found = {name: timed(step, threads, SECONDS[name]) for name, threads in ways.items()}
        rows += [
            dict(
                beside=f"{busy} busy",
                round=round,
                threads=name,
                seconds=round_to(seconds),
                at_the_end=ended,
                of_one=round_to(seconds / found["one"][0]),
            )
            for name, (seconds, ended) in found.items()
        ]
    return rows


def round_to(value):
    return float(f"{value:.3g}")


if __name__ == "__main__":
    step, rows = make_step(), []
    for threads in (1, available_cores()):  # each number of threads is compiled once
        torch.set_num_threads(threads)
        for _ in range(17):
            step()
    for busy in (0, 1):
        programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            rows += measure(step, busy)
        finally:
            for program in programs:
                program.kill()
        pd.DataFrame(rows).to_csv(HERE / "table.csv", index=False)
    print(pd.DataFrame(rows).to_string())
