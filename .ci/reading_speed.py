"""How fast a folder of small images is read, beside Pillow alone: `uv run .ci/reading_speed.py [FOLDER]`.

Writes 10,000 PNGs of 64x64 phantom cells into a temporary folder (or reads those in FOLDER), and reads them in turn
with Pillow on every core, which only decodes, and with `load_patches`, which also finds them, checks them, hashes
their pixels for duplicates, counts, and stores them. Five rounds in turn, so that what else the machine does hits
both alike; the best round of each is compared. The table goes to `outputs/reference/reading/speed.csv`. A minute on
two cores.
"""

import csv
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from PIL import Image

from cellgan.data.patches import load_patches
from cellgan.data.phantom import Phantom, render

ROOT = Path(__file__).resolve().parent.parent
N, SIZE, ROUNDS = 10_000, 64, 5


def write_images(folder):
    "10,000 PNGs in five classes; of 500 scenes, each written twenty times with one pixel changed."
    rendered = render(Phantom(SIZE), 500, progress=False)
    for i in range(N):
        pixels = rendered.images[i % 500].transpose(1, 2, 0).copy()
        pixels[0, 0] = (i // 500, i % 251, i % 13)
        path = folder / f"class {rendered.labels[i % 500]}" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, compress_level=1)


def decode(path):
    with Image.open(path) as image:
        image.load()


def with_pillow(folder):
    paths = sorted(folder.glob("*/*.png"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(1 for _ in pool.map(decode, paths))


def with_load_patches(folder):
    return len(load_patches(folder, SIZE, cache=False, progress=False))


def rate(read, folder):
    "Images a second."
    begun = perf_counter()
    return read(folder) / (perf_counter() - begun)


def main(folder):
    readers = {"Pillow, decoding alone": with_pillow, "load_patches": with_load_patches}
    rates = {name: [] for name in readers}
    for _ in range(ROUNDS):
        for name, read in readers.items():
            rates[name].append(rate(read, folder))
    best = {name: max(found) for name, found in rates.items()}
    pillow, ours = best.values()
    out = ROOT / "outputs" / "reference" / "reading"
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "speed.csv", "w", newline="") as file:
        rows = [(name, os.cpu_count(), round(best[name]), *map(round, found)) for name, found in rates.items()]
        csv.writer(file, lineterminator="\n").writerows(
            [("reader", "cores", "images a second", *(f"round {i + 1}" for i in range(ROUNDS))), *rows]
        )
    print(f"{pillow:,.0f} images a second with Pillow, {ours:,.0f} with load_patches: a factor of {pillow / ours:.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as made:
        write_images(Path(made))
        main(Path(made))
