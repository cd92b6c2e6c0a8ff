"""Trains CellGAN at 256x256 on CRIC fields, in as many calls as the machine allows, with torch and this package alone.

    python outputs/reference/cric-256/train.py train data/cric --minutes 9    # again and again, where the GPU is
    python outputs/reference/cric-256/train.py publish data/cric              # writes the files of this folder

The folder is in the CRIC layout. Every fifth field is kept out. `train` goes on from the checkpoint in
outputs/cric-256/. Settings that differ from the preset `fast` follow as `name=value`, the same ones each time:
`iterations=20000 batch_size=64`.
"""

import argparse
import ast
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import torch

from cellgan.core.config import Config, make_config
from cellgan.data.batches import save_grid
from cellgan.data.patches import load_patches
from cellgan.core.files import read_weights_only
from cellgan.model.generator import make_generator
from cellgan.training.checkpoint import save_generator
from cellgan.training.synthesis import load_synthesizer
from cellgan.training.loop import train

HERE, RUN = Path(__file__).resolve().parent, ROOT / "outputs/cric-256"


def known_fields(folder, config):
    "The patches of four fields in five."
    patches = load_patches(folder, config.image_size, field_of_view=config.field_of_view)
    kept = patches.subset(patches.groups % 5 != 4)
    print(f"{kept.counts()}, {len(patches) - len(kept)} patches kept out", flush=True)
    return kept


def go_on(patches, config, minutes):
    "Trains until the time is over, then saves as after Ctrl-C."
    if minutes:
        timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    begun, gpu = time.perf_counter(), torch.cuda.is_available()
    try:
        train(config, patches)
    except KeyboardInterrupt as stopped:
        print(stopped)
    print(
        json.dumps(
            dict(
                gpu=torch.cuda.get_device_name() if gpu else "none",
                torch=torch.__version__,
                minutes=(time.perf_counter() - begun) / 60,
                peak_GiB=torch.cuda.max_memory_allocated() / 2**30 if gpu else None,
            )
        )
    )
    print(*(RUN / "metrics.jsonl").read_text().splitlines()[-1:])


def publish(classes, per_class=8):
    "The averaged generator in half precision, the metrics, and the class grid over the images seen."
    saved = read_weights_only(RUN / "checkpoint.pt")
    config = Config(**saved["config"])
    generator = make_generator(config, len(classes))
    generator.load_state_dict(saved["state"]["ema"])
    save_generator(HERE / "generator.safetensors", generator.half(), config, classes)
    assert (HERE / "generator.safetensors").stat().st_size < 16_000_000
    save_grid(load_synthesizer(HERE / "generator.safetensors").grid(per_class), HERE / "grid.png")
    shutil.copy(RUN / "metrics.jsonl", HERE)
    shutil.copytree(RUN / "samples", HERE / "samples", dirs_exist_ok=True)
    print(sorted(path.name for path in HERE.iterdir()))


def value(text):
    "A setting's value from the command line."
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "publish"))
    parser.add_argument("folder", help="with classifications.csv and the fields")
    parser.add_argument("settings", nargs="*", help="name=value")
    parser.add_argument("--minutes", type=float, help="train: stop and save after so long")
    words = parser.parse_intermixed_args()
    settings = {name: value(text) for name, text in (setting.split("=", 1) for setting in words.settings)}
    config = make_config("fast", **{"run": RUN.name, "data": "cric", "balanced": True, **settings})
    patches = known_fields(words.folder, config)
    if words.what == "train":
        go_on(patches, config, words.minutes)
    else:
        publish(patches.classes)


if __name__ == "__main__":
    main()
