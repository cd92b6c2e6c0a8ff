"""Trains CellGAN at 256x256 on the CRIC patches, in as many calls as the machine allows, with torch and this package alone.

    python outputs/reference/cric-256/train.py pack PATH_TO_CRIC          # once, where the fields are: data/cric-256.safetensors
    python outputs/reference/cric-256/train.py train --minutes 9          # again and again, where the GPU is
    python outputs/reference/cric-256/train.py publish                    # writes the files of this folder

Every fifth field is kept out. `train` goes on from the checkpoint in outputs/cric-256/. More settings as `name=value`, such
as `iterations=20000 batch_size=64`; say the same ones each time.
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
os.chdir(ROOT)

import torch

from cellgan.config import Config, make_config
from cellgan.data import load_patches, read_cache, save_grid, write_cache
from cellgan.files import read_weights_only
from cellgan.generator import make_generator
from cellgan.synthesis import load_synthesizer
from cellgan.training import save_generator, train

HERE, RUN, PACKED = Path(__file__).resolve().parent, ROOT / "outputs/cric-256", ROOT / "data/cric-256.safetensors"


def pack(source, config):
    "Cuts the patches and keeps those of four fields in five."
    patches = load_patches(source, config.image_size, field_of_view=config.field_of_view)
    kept = patches.subset(patches.groups % 5 != 4)
    write_cache(kept, PACKED)
    print(f"{PACKED}: {PACKED.stat().st_size / 2**20:.1f} MiB, {kept.counts()}, {len(patches) - len(kept)} patches kept out")


def go_on(config, minutes):
    "Trains until the time is over, then saves as after Ctrl-C."
    if minutes:
        timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    begun = time.perf_counter()
    try: train(config, read_cache(PACKED))
    except KeyboardInterrupt as stopped: print(stopped)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0
    print(json.dumps(dict(gpu=gpu, torch=torch.__version__, minutes=(time.perf_counter() - begun) / 60, peak_GiB=memory)))
    print((RUN / "metrics.jsonl").read_text().splitlines()[-1:])


def publish(per_class=8):
    "The averaged generator in half precision, the metrics, and the class grid over the images seen."
    saved = read_weights_only(RUN / "checkpoint.pt")
    config, classes = Config(**saved["config"]), read_cache(PACKED).classes
    generator = make_generator(config, len(classes))
    generator.load_state_dict(saved["state"]["ema"])
    save_generator(HERE / "generator.safetensors", generator.half(), config, classes)
    assert (HERE / "generator.safetensors").stat().st_size < 16_000_000
    save_grid(load_synthesizer(HERE / "generator.safetensors").grid(per_class), HERE / "grid.png")
    shutil.copy(RUN / "metrics.jsonl", HERE)
    shutil.copytree(RUN / "samples", HERE / "samples", dirs_exist_ok=True)
    print(sorted(path.name for path in HERE.iterdir()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "train", "publish"))
    parser.add_argument("source", nargs="?", help="pack: the folder with classifications.csv")
    parser.add_argument("--minutes", type=float, help="train: stop and save after so long")
    words, settings = parser.parse_known_args()
    if words.what != "pack" and words.source: settings.insert(0, words.source)
    named = dict(setting.split("=", 1) for setting in settings)
    def value(text):
        try: return ast.literal_eval(text)
        except (ValueError, SyntaxError): return text
    config = make_config("fast", run=RUN.name, data="cric", **{"balanced": True, **{name: value(text) for name, text in named.items()}})
    dict(pack=lambda: pack(words.source, config), train=lambda: go_on(config, words.minutes), publish=publish)[words.what]()


if __name__ == "__main__": main()
