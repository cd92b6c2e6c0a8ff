"""Counts the peak memory of a training step, and measures it on the CPU: `python
outputs/reference/rehearsal/measure.py`.

Three models at two sizes of image, each in one pass and in micro-batches, narrow so that they take seconds. Writes
`measured.csv` beside itself.
"""

import gc
import itertools
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from cellgan.core.config import make_config
from cellgan.training.memory import count_memory, peak_memory

FILE = Path(__file__).parent / "measured.csv"
NARROW = dict(width=8, autoencoder_width=8, batch_size=8)


def measured_peak(config):
    "The most bytes that torch's allocator had given out at a time, in the two steps that are counted."
    gc.collect()  # what is freed later must have been counted when it was made
    config = replace(config, device="cpu", adversarial_start=0.0)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        count_memory(config, 5)
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in events))


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = []
    for model in ("cellgan", "biggan", "ldm"):
        for image_size in (64, 128):
            for micro_batch in (0, 2):
                config = make_config("paper", model=model, image_size=image_size, micro_batch=micro_batch, **NARROW)
                counted, measured = peak_memory(config)[0], measured_peak(config)
                rows.append(
                    dict(
                        model=model,
                        image_size=image_size,
                        micro_batch=micro_batch,
                        counted_MiB=round(counted / 2**20, 2),
                        measured_MiB=round(measured / 2**20, 2),
                        counted_of_measured=round(counted / measured, 4),
                    )
                )
                print(rows[-1], flush=True)
                pd.DataFrame(rows).to_csv(FILE, index=False)
