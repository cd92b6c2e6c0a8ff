"""A folder of 100,000 files, and as many generated images as five minutes allow: how much memory they take, and what a
kill costs: `uv run .ci/load.py [--files 100000] [--images 1000000] [--minutes 5] [--write]`.

Each piece of work runs in a process of its own, which is watched from outside: its resident memory at the start, with
everything imported, at the end, and how it grew on the way. A case is right when the folder took less than 1 GiB beside
the patches themselves, when writing took less than 1 KiB more memory for each image that it wrote, and when writing
that was killed goes on with what was there, and ends as if nobody had disturbed it. Nothing is extrapolated. With
--write the table goes to outputs/reference/trust/load.csv.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
import trust
from forks import forked
from PIL import Image
from tqdm import tqdm

from cellgan.core.config import make_config
from cellgan.core.names import BETHESDA
from cellgan.data.patches import load_patches
from cellgan.training.checkpoint import save_generator
from cellgan.training.images import write_images
from cellgan.training.models import make_state
from cellgan.training.synthesis import load_synthesizer

MIB, GIB = 2**20, 2**30
SIDE = 32  # pixels
TINIEST = make_config("demo", image_size=SIDE, width=1)


def write_files(home, n):
    "So many PNG files of 8x8 pixels, in a folder for each class; no two are the same."
    rng = np.random.default_rng(0)
    for name in BETHESDA: (home / "cells" / name).mkdir(parents=True)
    for k in tqdm(range(n), desc="files", unit="file", unit_scale=True):
        pixels = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        pixels.save(home / "cells" / BETHESDA[k % 5] / f"{k}.png", compress_level=1)


def scan(home):
    found = load_patches(home / "cells", SIDE, progress=False)
    (home / "reached").write_text(str(len(found)))


def write(home, n, name="images"):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    write_images(load_synthesizer(home / "generator.safetensors"), home / name, n // 5, progress=False)


def resident(process):
    try: return process.memory_info().rss
    except psutil.NoSuchProcess: return 0


def watched(home, work, seconds=None, until=None):
    "Forks a process for work, to its end, for some seconds or until something is so; (seconds, memory) as it went."
    process, begun, seen = psutil.Process(forked(home, work)), time.monotonic(), []
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        seen.append((time.monotonic() - begun, resident(process)))
        if (seconds and seen[-1][0] > seconds) or (until and until()): process.kill()
        time.sleep(0.2)
    status = process.wait()
    if status > 0: raise RuntimeError((home / "error").read_text())
    return np.array([line for line in seen if line[1]])


def row(what, requested, reached, seen, grew, right, missed=""):
    return {"what": what, "requested": requested, "reached": reached, "seconds": round(seen[-1, 0]),
            "rss at start, MiB": round(seen[0, 1] / MIB), "rss at end, MiB": round(seen[-1, 1] / MIB),
            "most, MiB": round(seen[:, 1].max() / MIB), "growth": grew, "right": right,
            "missed": "" if right else missed}


def of_folder(home, n):
    "The row of a folder of so many files."
    write_files(home, n)
    seen = watched(home, lambda: scan(home))
    reached, store = int((home / "reached").read_text()), n * 3 * SIDE**2
    beside = seen[:, 1].max() - seen[0, 1] - store
    text = f"{beside / MIB:.0f} MiB at most beside the patches' {store / MIB:.0f}"
    return row("files of a folder, read", n, reached, seen, text, beside < GIB and reached == n, text)


def images_in(folder):
    return sum(name.endswith(".png") for _, _, names in os.walk(folder) for name in names)


def of_writing(home, n, minutes):
    "The row of a set that may take so many minutes; the memory counts from when the first images were there."
    seen = watched(home, lambda: write(home, n), 60 * minutes)
    reached = images_in(home / ".images.partial") or images_in(home / "images")
    late = seen[seen[:, 0] > 0.2 * seen[-1, 0]]
    slope = np.polyfit(late[:, 0], late[:, 1], 1)[0] * seen[-1, 0] / reached
    text = f"{slope:.0f} bytes for each image"
    return row(f"images written, {minutes:g} minutes at most", n, reached, seen, text, slope < 1024, text)


def times(folder):
    "File -> when it was written; copying and moving a file keeps that."
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.png")}


def digests(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


def of_kill(home, n):
    "The row of a set that is killed half way, and then requested again."
    watched(home, lambda: write(home, n, "whole"))
    watched(home, lambda: write(home, n, "killed"), until=lambda: images_in(home / ".killed.partial") >= n // 2)
    there = times(home / ".killed.partial")
    seen = watched(home, lambda: write(home, n, "killed"))
    same = digests(home / "whole") == digests(home / "killed")
    kept = len(there.items() & times(home / "killed").items())
    text = f"{kept} of {len(there)} images were kept, the set is {'the same' if same else 'ANOTHER'}"
    return row("images, killed half way and requested again", n, images_in(home / "killed"), seen, text,
               same and kept > 0, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000, help="PNG files in the folder")
    parser.add_argument("--images", type=int, default=1_000_000, help="images that are requested")
    parser.add_argument("--minutes", type=float, default=5, help="after which writing them is stopped")
    parser.add_argument("--write", action="store_true", help="keep the table in outputs/reference/trust/load.csv")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        home = Path(folder)
        (home / "settings.ini").write_text("[DEFAULT]\nlib_name = cellgan\n")
        torch.set_num_threads(1)
        save_generator(home / "generator.safetensors", make_state(TINIEST, 5).ema, TINIEST, BETHESDA)
        table = pd.DataFrame([of_folder(home, arguments.files), of_writing(home, arguments.images, arguments.minutes),
                              of_kill(home, max(10, arguments.images // 100))])
        print(table.to_string(index=False))
        if arguments.write: trust.keep(table, "load.csv")
    return int(not table.right.all())


if __name__ == "__main__":
    sys.exit(main())
