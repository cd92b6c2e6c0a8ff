"""More than memory: a store four times as large as this process may be is read, kept and trained from.

`uv run .ci/large_store.py [--patches 12900] [--megabytes 600]` draws a few fields, cuts patches of 256x256 around as
many nuclei (196,608 bytes each), and does the following in a process of its own in a temporary project, under a hard
limit of the memory that it may allocate (`RLIMIT_DATA`): reads the fields into the cache, opens the cache again, leaves
a fold of the groups out, draws batches of 64 by index, in turn from memory and from the file (compared within each of
sixty rounds, since others use the machine as well), and trains a few steps. What it holds is sampled every hundredth of
a second, apart from what it held after its imports: *own* is memory that nobody else can have (`RssAnon`), *file* what
it looks at in files (`RssFile`), which the operating system may take back at any moment. It fails where own and file
together were ever more than allowed, and removes all that it wrote. Four minutes on two busy cores; 100,000 patches
(19.7 GB, with `--megabytes 4096`) need 23 GB of disk. The rows of this many patches in `memory.csv` and `draws.csv` of
`outputs/reference/reading/` are replaced.
"""

import argparse
import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep

import numpy as np

SIZE, CELLS, FIELD = 256, 60, (960, 1280)  # pixels of a patch; cells of a field; its height and width
DRAWN = 50  # fields; further ones are copies with cells at other places
MIB = 2**20
ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "outputs" / "reference" / "reading"


def draw_fields(folder, n):
    "Smooth fields, and `cells.csv` with `CELLS` places in each; a field is a group, and a fifth of them one class."
    from PIL import Image

    folder.mkdir()
    rng, rows = np.random.default_rng(0), ["path,label,group,x,y"]
    for field in range(-(-n // CELLS)):
        if field < DRAWN:
            coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
            coarse.resize(FIELD[::-1]).save(folder / f"{field}.png", compress_level=1)
        else:
            shutil.copyfile(folder / f"{field % DRAWN}.png", folder / f"{field}.png")
        for place in rng.choice(
            (FIELD[0] - SIZE) * (FIELD[1] - SIZE), CELLS, replace=False
        ):  # a place twice is one cell
            y, x = np.array(divmod(place, FIELD[1] - SIZE)) + SIZE // 2
            rows.append(f"{field}.png,class {field % 5},field {field},{x},{y}")
    (folder / "cells.csv").write_text("\n".join(rows[: n + 1]) + "\n")


def held():
    "RssAnon and RssFile of this process, in MiB."
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return np.array([int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")])


class Sampler(threading.Thread):
    "The most that was held since the last question, above what was held at the beginning."

    def __init__(self):
        super().__init__(daemon=True)
        self.base = self.most = held()
        self.together = 0.0
        self.start()

    def run(self):
        while True:
            now = held()
            self.most = np.maximum(self.most, now)
            self.together = max(self.together, (now - self.base).sum())
            sleep(0.01)

    def answer(self):
        own, file = self.most - self.base
        found = own, file, self.together
        self.most, self.together = held(), 0.0
        return found


def draws(filed, rounds=60):
    "Medians, for the bytes of 64 patches and for a batch: milliseconds, and the ratio to memory in the same round."
    import torch

    from cellgan.data.batches import take
    from cellgan.data.store import in_memory

    few = filed.subset(torch.arange(500))
    ram = replace(few, images=in_memory(few.images))
    sources = {"500 patches in memory": ram, "the same in the file": few, "all in the file": filed}
    flips, generator = torch.zeros(64, 2, dtype=torch.bool), torch.Generator().manual_seed(0)
    times = {name: ([], []) for name in sources}
    for _ in range(rounds):
        for name, patches in sources.items():
            rows = torch.randint(len(patches), (64,), generator=generator)
            begun = perf_counter()
            in_memory(patches.images.index_select(0, rows))
            middle = perf_counter()
            take(patches, torch.randint(len(patches), (64,), generator=generator), flips)
            times[name][0].append(middle - begun)
            times[name][1].append(perf_counter() - middle)

    def paired(mine, reference):
        return float(np.median(mine)) * 1e3, float(np.median(np.array(mine) / reference))

    return {name: [paired(*pair) for pair in zip(both, times["500 patches in memory"])] for name, both in times.items()}


def keep(file, rows):
    "Puts rows into a table, in place of those with as many patches; all rows have the same columns."
    others = []
    if file.is_file():
        with open(file, newline="") as lines:
            others = [row for row in csv.DictReader(lines) if row["patches"] != str(rows[0]["patches"])]
    with open(file, "w", newline="") as lines:
        table = csv.DictWriter(lines, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(sorted([*others, *rows], key=lambda row: int(row["patches"])))


def inside(n, megabytes):
    "The work, in the limited process."
    import torch

    from cellgan.core.config import make_config
    from cellgan.data.patches import load_patches
    from cellgan.training.loop import train

    torch.set_num_threads(1)
    config = make_config(
        "demo", run="run", image_size=SIZE, width=2, batch_size=8, iterations=6, device="cpu", data="cells"
    )
    sampler, rows = Sampler(), []
    data = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (data + megabytes * MIB + 512 * MIB,) * 2)  # address space of stacks

    def step(name, work):
        begun = perf_counter()
        result = work()
        rows.append((name, perf_counter() - begun, *sampler.answer()))
        print("{:34s} {:7.1f} s {:7.0f} own {:7.0f} file {:7.0f} together".format(*rows[-1]), flush=True)
        return result

    settings = dict(field_of_view=SIZE, progress=False)
    first = step("read the fields into the cache", lambda: load_patches("cells", SIZE, **settings))
    filed = step("open the cache, check every pixel", lambda: load_patches("cells", SIZE, **settings))
    assert filed.fingerprint == first.fingerprint and len(filed) == n
    print(
        f"a store of {filed.images.nbytes / MIB:,.0f} MiB, {filed.images.nbytes / MIB / megabytes:.1f} times the "
        f"{megabytes} allowed"
    )
    fold = step("leave a fold out", lambda: filed.subset(filed.groups % 5 != 0))
    times = step("draw batches", lambda: draws(filed))
    step(f"train {config.iterations} steps on the rest", lambda: train(config, fold, progress=False))
    for name, (pixels, batch) in times.items():
        print(
            "{:34s} 64 by index {:5.2f} ms, ratio {:.2f}; as a batch {:6.2f} ms, ratio {:.2f}".format(
                name, *pixels, *batch
            )
        )
    most = max(row[-1] for row in rows)
    size = dict(patches=n, store=round(filed.images.nbytes / MIB), allowed=megabytes)
    names = "seconds", "own", "file", "together"
    keep(
        KEPT / "memory.csv",
        [size | dict(step=name) | {key: round(value, 1) for key, value in zip(names, found)} for name, *found in rows],
    )
    keep(
        KEPT / "draws.csv",
        [
            dict(
                patches=n,
                source=name,
                pixels_ms=round(pixels[0], 2),
                pixels_ratio=round(pixels[1], 2),
                batch_ms=round(batch[0], 2),
                batch_ratio=round(batch[1], 2),
            )
            for name, (pixels, batch) in times.items()
        ],
    )
    print(f"most held at once: {most:.0f} MiB above the {sampler.base.sum():.0f} of the imports", flush=True)
    return (
        0
        if most <= megabytes and n * SIZE**2 * 3 >= 4 * megabytes * MIB
        else "more was held than allowed, or the store is less than four times as large"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patches", type=int, default=12_900)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        return inside(chosen.patches, chosen.megabytes)
    with tempfile.TemporaryDirectory(prefix="cellgan-large-") as home:
        (Path(home) / "settings.ini").write_text("[DEFAULT]\nlib_name = cellgan\n")
        draw_fields(Path(home) / "cells", chosen.patches)
        command = [
            sys.executable,
            __file__,
            "--inside",
            "--patches",
            str(chosen.patches),
            "--megabytes",
            str(chosen.megabytes),
        ]
        return subprocess.run(command, cwd=home, env=os.environ | dict(PYTHONPATH=str(ROOT))).returncode


if __name__ == "__main__":
    sys.exit(main())
