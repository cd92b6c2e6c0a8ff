"""Writes the files of this folder from a run of the preset `real` on CRIC, trained to the end or still training.

    python outputs/reference/cric-128/publish.py outputs/cric-128 data/cric

The averaged generator goes in half precision, with the list of images that it saw; then it is measured on the fields
of which it saw nothing, and searched for copies of what it saw. `README.md` is written by hand.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

from PIL import Image, ImageDraw, ImageFont

from cellgan.core.config import config_from_json, config_to_json
from cellgan.core.files import read_weights_only
from cellgan.evaluation.answer import compared_morphology, evaluate_generator, morphology_by_class, write_fidelity
from cellgan.evaluation.generated import generated_patches
from cellgan.training.card import write_cards
from cellgan.training.checkpoint import save_generator
from cellgan.training.models import model_of
from cellgan.training.synthesis import load_synthesizer

CLASSES = ("NILM", "ASC-US", "LSIL", "ASC-H", "HSIL")
COLUMNS, SIDE, GAP, LEFT, TOP = 3, 112, 2, 62, 22  # of a block of pictures, in pixels but for the first


def keep_generator(run):
    "The average of the weights, in half precision; returns the iteration."
    content = read_weights_only(run / "checkpoint.pt")
    config = config_from_json(json.dumps(content["config"]))
    config = replace(config, data="data/cric", preset="real")
    network = model_of(config).make_generator(config, len(CLASSES))
    network.load_state_dict(content["state"]["ema"])
    if not all(p.isfinite().all() and p.abs().max() < 6e4 for p in network.parameters()):
        raise SystemExit("the weights do not fit half precision")
    save_generator(HERE / "generator.safetensors", network.half(), config, CLASSES)
    (HERE / "config.json").write_text(config_to_json(config).rstrip() + "\n")
    return content["state"]["iteration"]


def keep_metrics(run, iteration, lines=100):
    "About so many lines of the metrics, the last among them."
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = [line for line in found if line["iteration"] <= iteration]
    kept = found[::-max(1, len(found) // lines)][::-1]
    (HERE / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))


def keep_pictures(run, batch_size, points=5):
    "Generated cells at about equal ratios of images seen, a block of columns for each point in time."
    files = sorted((run / "samples").glob("*.png"))[1:]
    ratio = (int(files[-1].stem) / int(files[0].stem)) ** (1 / (points - 1))
    wanted = [int(files[0].stem) * ratio**i for i in range(points)]
    chosen = [min(files, key=lambda file: abs(int(file.stem) - want)) for want in wanted]
    block = COLUMNS * (SIDE + GAP) + 10
    sheet = Image.new("RGB", (LEFT + points * block, TOP + len(CLASSES) * (SIDE + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, file in enumerate(chosen):
        grid = Image.open(file, formats=["PNG"]).convert("RGB")
        draw.text((LEFT + i * block, 3), f"{int(file.stem) * batch_size:,} images", fill="black", font=font)
        for row in range(len(CLASSES)):
            for column in range(COLUMNS):
                cell = grid.crop((column * 130, row * 130, column * 130 + 128, row * 130 + 128))
                place = LEFT + i * block + column * (SIDE + GAP), TOP + row * (SIDE + GAP)
                sheet.paste(cell.resize((SIDE, SIDE), Image.LANCZOS), place)
    for row, name in enumerate(CLASSES):
        draw.text((2, TOP + row * (SIDE + GAP) + SIDE // 2 - 8), name, fill="black", font=font)
    sheet.save(HERE / "training.jpg", quality=88, optimize=True)


def keep_cells(per_class=9):
    "Generated cells, one row per class, each with a latent of its own, the first seeds."
    made = load_synthesizer(HERE / "generator.safetensors").grid(per_class).permute(0, 1, 3, 4, 2).numpy()
    sheet = Image.new("RGB", (LEFT + per_class * (128 + GAP), len(CLASSES) * (128 + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, name in enumerate(CLASSES):
        draw.text((2, row * (128 + GAP) + 56), name, fill="black", font=font)
        for column in range(per_class):
            cell = Image.fromarray(made[row, column])
            sheet.paste(cell, (LEFT + column * (128 + GAP), row * (128 + GAP)))
    sheet.save(HERE / "cells.jpg", quality=88, optimize=True)


def measure(data, per_class=400):
    "`fidelity.json` and `morphology.csv`, on fields that the generator saw nothing of."
    generated = generated_patches(HERE / "generator.safetensors", per_class)
    found = evaluate_generator(generated, data, per_class=per_class)
    written = write_fidelity(found, HERE / "fidelity.json", data="data/cric", split=None, seed=0)
    morphology_by_class(compared_morphology(found, per_class), CLASSES).to_csv(HERE / "morphology.csv", index=False)
    print(*written["sentences"], sep="\n")


def publish(run, data):
    iteration = keep_generator(run)
    (HERE / "images.csv").write_text((run / "images.csv").read_text())  # with plain ends of lines
    keep_metrics(run, iteration)
    keep_pictures(run, json.loads((HERE / "config.json").read_text())["batch_size"])
    keep_cells()
    measure(data)
    write_cards(HERE)


if __name__ == "__main__":
    publish(Path(sys.argv[1]), sys.argv[2])
