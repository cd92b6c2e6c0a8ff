"""Give every reader damaged and hostile input, and count what it makes of it: `uv run .ci/faults.py [--write]`.

With --data data/cric, a folder in CRIC's layout, its own images and table are damaged instead, in a copy of two fields.

A case is right when the input is refused by an error of ours, or, for a folder of images, when the damaged part is left
out and reported. Anything else (another exception, success, more than ten seconds of a processor, more than two minutes
on the clock) is a miss, and listed by its name.
With --write the rows are kept in outputs/reference/trust. The same seed gives the same cases.
"""

import argparse
import csv
import io
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

import pandas as pd
import torch
import trust
from crashes import some_fields
from PIL import Image

from cellgan.core.config import config_from_json, make_config, run_folder
from cellgan.core.files import load_sealed, save_sealed, save_tensors
from cellgan.core.names import BETHESDA, check_class_names
from cellgan.core.parameters import RULES, Choice, InputError, Range, check_value
from cellgan.data.patches import load_patches
from cellgan.training.checkpoint import BackgroundWriter, load_checkpoint, resume_state, save_checkpoint, save_generator
from cellgan.training.models import make_state
from cellgan.training.synthesis import load_synthesizer

SECONDS, WAITING = 10, 120  # longest that a case may take of a processor, and on the clock of a busy machine
CHANCE = random.Random(0)
RESULTS = defaultdict(list)  # kind -> (name of the case, "" or what went wrong)
ONLY = set()  # kinds to try; empty: all


class TooLong(BaseException):  # readers turn every other exception into an unusable image
    "A case has taken longer than allowed."


def out_of_time(*_):
    raise TooLong


def case(kind, name, call, may_skip=None):
    "Tries one input; `may_skip` says of a result whether it reports what was left out."
    if ONLY and kind not in ONLY:
        return
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, out_of_time)
    signal.alarm(WAITING)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        result = call()
        problem = "" if may_skip and may_skip(result) else "accepted"
    except InputError as error:
        problem = "" if "\n" not in str(error) and len(str(error)) < 2000 else "the message is not one line"
    except BaseException as error:
        problem = f"{type(error).__name__}: {str(error)[:80]}"
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    RESULTS[kind].append((name, problem))


def parameter_cases():
    for name, rule in RULES.items():
        if isinstance(rule, Range):
            kind = type(rule.low)
            for value in (rule.low - 1, rule.high * 2 + 1, -(10**30), 10**30):
                case("parameters: numbers", f"{name}={value:.3g}", lambda: check_value(name, kind(value), kind))
            for value in (math.nan, math.inf, "1", True, None, [1]):
                case("parameters: types", f"{name}={value!r}", lambda: check_value(name, value, kind))
        if isinstance(rule, Choice):
            case(
                "parameters: choices", name, lambda: check_value(name, type(rule.values[0])("7"), type(rule.values[0]))
            )
    wrong = (
        "../x",
        "/x",
        "a/../b",
        "",
        ".",
        "a b",
        "a\0",
        "x" * 300,
        "a//b",
        "-x",
        "C:\\x",
        "a\nb",
        "~/x",
        "${HOME}",
        "a/b/c/d/e/f/g/h",
    )
    for value in wrong:
        case("names of runs", repr(value)[:40], lambda: run_folder(value))


def name_cases():
    wrong = [
        "../x",
        "/etc/x",
        "a/b",
        "a\\b",
        "c:",
        "",
        ".",
        "..",
        ".x",
        "x.",
        " x",
        "x ",
        "nul",
        "NUL.png",
        "com1",
        "a\0b",
        "a\nb",
        "x" * 101,
        "x" * 100_000,
        None,
        3,
        ["NILM"],
        "<b>",
        "a|b",
        "a?b",
        "a*b",
        'a"b',
        "\x7f",
        "lpt9",
    ]
    for name in wrong:
        case("names of classes", repr(name)[:40], lambda: check_class_names(["NILM", name], "data"))
    case("names of classes", "differ in case alone", lambda: check_class_names(["NILM", "nilm"], "data"))


def damaged(path, kind, read, flips):
    "Flips of single bits, cuts and additions of a file."
    good = path.read_bytes()
    copy = path.with_name(f"copy{path.suffix}")
    places = [CHANCE.randrange(8 * len(good)) for _ in range(flips)]
    for place in [*places, 0, 8 * len(good) - 1]:
        changed = bytearray(good)
        changed[place // 8] ^= 1 << place % 8
        copy.write_bytes(changed)
        case(f"{kind}: one bit flipped", f"bit {place}", lambda: read(copy))
    for length in [0, 1, 7, 8, 100, len(good) // 2, len(good) - 1, *(CHANCE.randrange(len(good)) for _ in range(5))]:
        copy.write_bytes(good[:length])
        case(f"{kind}: cut", f"{length} bytes", lambda: read(copy))
    copy.write_bytes(good + b"\0")
    case(f"{kind}: cut", "a byte more", lambda: read(copy))


def not_files(folder, kind, read):
    pipe = folder / f"pipe of {kind.replace(' ', '_')}"
    os.mkfifo(pipe)
    for path in (pipe, folder, Path("/dev/zero"), Path("/dev/null"), folder / "absent", folder / "x\0y"):
        case(f"{kind}: not a file", repr(path.name), lambda: read(path))


def checkpoint_cases(folder):
    config = make_config("demo", image_size=32, width=2)
    with BackgroundWriter() as writer:
        save_checkpoint(folder, make_state(config, 5), config, "data", writer)
    path = folder / "checkpoint.pt"
    damaged(path, "checkpoint.pt", load_checkpoint, 60)
    not_files(folder, "checkpoint.pt", load_checkpoint)

    def first_weight(content):
        return next(iter(content["state"]["generator"].values())).view(-1)

    changes = {
        "state is None": lambda c: c.update(state=None),
        "config is a list": lambda c: c.update(config=[]),
        "config is None": lambda c: c.update(config=None),
        "data is a number": lambda c: c.update(data=3),
        "nan in a weight": lambda c: first_weight(c).fill_(math.nan),
        "infinite weight": lambda c: first_weight(c).fill_(math.inf),
        "iteration -1": lambda c: c["state"].update(iteration=-1),
        "iteration is text": lambda c: c["state"].update(iteration="7"),
        "seconds nan": lambda c: c["state"].update(seconds=math.nan),
        "flops 1e300": lambda c: c["state"].update(flops=1e300),
        "no average": lambda c: c["state"].pop("ema"),
        "no sums": lambda c: c["state"].pop("sums"),
        "no moments": lambda c: c["state"].update(generator_optimizer={}),
        "width 0": lambda c: c["config"].update(width=0),
        "unknown setting": lambda c: c["config"].update(colour=1),
        "run ../x": lambda c: c["config"].update(run="../x"),
    }
    for name, change in changes.items():
        content = load_sealed(path)
        change(content)
        crafted = folder / "crafted"
        crafted.mkdir(exist_ok=True)
        save_sealed(content, crafted / "checkpoint.pt")
        case("checkpoint.pt: crafted", name, lambda: resume_state(crafted, make_state(config, 5), config, "data"))


def generator_cases(folder):
    config = make_config("demo", image_size=32, width=2)
    network, path = make_state(config, 5).ema, folder / "generator.safetensors"
    save_generator(path, network, config, BETHESDA)
    damaged(path, "generator.safetensors", load_synthesizer, 60)
    not_files(folder, "generator.safetensors", load_synthesizer)
    tensors = network.state_dict()
    metadata = dict(model="cellgan", image_size="32", classes=json.dumps(BETHESDA), config=json.dumps(vars(config)))
    first = next(iter(tensors))
    crafted = {
        "no metadata": (tensors, {}),
        "classes are text": (tensors, metadata | dict(classes='"NILM"')),
        "class leads out": (tensors, metadata | dict(classes='["../../x", "b", "c", "d", "e"]')),
        "classes nested 1000 deep": (tensors, metadata | dict(classes="[" * 1000 + "]" * 1000)),
        "config is a list": (tensors, metadata | dict(config="[]")),
        "width 4096": (tensors, metadata | dict(config=json.dumps(vars(config) | dict(width=4096)))),
        "a tensor is missing": ({k: v for k, v in tensors.items() if k != first}, metadata),
        "a tensor has another shape": (tensors | {first: torch.zeros(7)}, metadata),
        "one tensor more": (tensors | dict(more=torch.zeros(7)), metadata),
        "nan in a weight": (tensors | {first: torch.full_like(tensors[first], math.nan)}, metadata),
        "of another model": (tensors, metadata | dict(config=json.dumps(vars(config) | dict(model="biggan")))),
    }
    for name, (weights, about) in crafted.items():
        save_tensors(weights, folder / "crafted.safetensors", about)
        case("generator.safetensors: crafted", name, lambda: load_synthesizer(folder / "crafted.safetensors"))


def picture(path, format="PNG", size=(40, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 60).convert("RGB").save(path, format)
    return path.read_bytes()


def image_cases(folder):
    good = picture(folder / "good.png")
    jpeg = picture(folder / "good.jpg", "JPEG")
    bad = {f"png cut at {n}": (".png", good[:n]) for n in (0, 1, 8, 30, 100, len(good) // 2, len(good) - 20)}
    bad |= {f"jpeg cut at {n}": (".jpg", jpeg[:n]) for n in (0, 2, 20, 200, len(jpeg) // 2)}
    bad |= {
        "text as png": (".png", b"not an image"),
        "EPS as png": (".png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "PDF as jpg": (".jpg", b"%PDF-1.4\n"),
        "zeros": (".png", bytes(1000)),
        "html as tif": (".tif", b"<html></html>"),
    }
    for k in range(20):
        changed = bytearray(good)
        for _ in range(3):
            changed[CHANCE.randrange(8, len(changed))] ^= 1 << CHANCE.randrange(8)
        bad[f"png with three flips, {k}"] = (".png", bytes(changed))
    for k, (name, (suffix, content)) in enumerate(bad.items()):
        data = folder / f"data{k}"
        for i in range(3):
            picture(data / "NILM" / f"{i}.png")
            picture(data / "HSIL" / f"{i}.png")
        (data / "NILM" / f"bad{suffix}").write_bytes(content)
        case(
            "images in a folder",
            name,
            lambda: load_patches(data, 32, progress=False, cache=False),
            lambda patches: len(patches) in (6, 7) and bool(repr(patches.report)),
        )


def json_cases():
    for k, text in enumerate(
        (
            "",
            "{",
            "[]",
            "null",
            "3",
            '"x"',
            "[" * 100_000,
            '{"width": 1e999}',
            '{"width": NaN}',
            '{"width": "2"}',
            '{"seed": true}',
            '{"run": null}',
            '{"": 1}',
        )
    ):
        case("config.json", f"{k}: {text[:20]}", lambda: config_from_json(text, "config.json"))


def read_real(folder):
    return load_patches(folder, 32, progress=False, cache=False)


def real_image_cases(whole, home):
    "Damage to one field of a copy; every cell of it has to be left out and reported, or the folder refused."
    name = sorted(path.name for path in (whole / "fields").iterdir())[0]
    content, n = (whole / "fields" / name).read_bytes(), len(read_real(whole))
    inside = sum(source.startswith(name) for source in read_real(whole).sources)

    def left_out(patches):
        return len(patches) == n - inside and name in repr(patches.report)

    def tried(kind, label, damage, may_skip=left_out):
        folder = Path(tempfile.mkdtemp(dir=home))
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        damage(folder / "fields" / name)
        case(f"images of CRIC: {kind}", label, lambda: read_real(folder), may_skip)

    def replaced(make):
        return lambda path: (path.unlink(), make(path))

    for length in (0, 1, 12, 30, 100, len(content) // 3, len(content) // 2, len(content) - 1000):
        tried("cut", f"{length} bytes", lambda path: path.write_bytes(content[:length]))
    for k in range(20):  # WebP has no checksum: a flip that leaves it readable cannot be seen, and changes a few pixels
        changed = bytearray(content)
        for _ in range(3):
            changed[CHANCE.randrange(len(changed))] ^= 1 << CHANCE.randrange(8)
        tried(
            "bits flipped",
            f"three bits, {k}",
            lambda path: path.write_bytes(changed),
            lambda patches: len(patches) == n or left_out(patches),
        )
    for label, text in {"zeros": bytes(9999), "text": b"no image", "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n"}.items():
        tried("something else", label, lambda path: path.write_bytes(text))
    frames = [Image.new("RGB", (1280, 949), colour) for colour in ("white", "red")]
    huge = Image.new("1", (13_000, 9000))
    tried("something else", "two frames", lambda path: frames[0].save(path, save_all=True, append_images=frames[1:]))
    tried("something else", "117 million pixels", lambda path: huge.save(path, "PNG"))
    tried("something else", "7 pixels", lambda path: frames[0].resize((7, 7)).save(path))
    tried("something else", "a folder", replaced(Path.mkdir))
    tried("something else", "a pipe", replaced(os.mkfifo))
    tried("something else", "a link to itself", replaced(lambda path: path.symlink_to(path)))
    tried("names", "gone", Path.unlink)
    tried("names", "another name", lambda path: path.rename(path.with_name("another.webp")))
    tried("names", "no image's ending", lambda path: path.rename(path.with_suffix(".dat")))
    tried("names", "two of one name", lambda path: shutil.copytree(path.parent, path.parent.with_name("more")))


def real_table_cases(whole):
    "Damage to classifications.csv; the row has to be left out and reported, or the folder refused."
    file, n = whole / "classifications.csv", len(read_real(whole))
    text = file.read_text()
    rows = list(csv.reader(io.StringIO(text)))
    usable = {source for source in read_real(whole).sources}
    row = next(i for i, r in enumerate(rows) if f"{r[1]}@{r[5]},{r[6]}" in usable)
    column = {name: i for i, name in enumerate(rows[0])}

    def written(table):
        out = io.StringIO()
        csv.writer(out).writerows(table)
        return out.getvalue().encode()

    def with_value(name, value):
        changed = [list(r) for r in rows]
        changed[row][column[name]] = value
        return written(changed)

    def tried(kind, label, content, lost=1):
        file.write_bytes(content)
        case(
            f"classifications.csv of CRIC: {kind}",
            label,
            lambda: read_real(whole),
            lambda patches: len(patches) == n - lost and "skipped" in repr(patches.report),
        )

    for value in (
        "x",
        "",
        "nan",
        "inf",
        "1e999",
        "1_0_0",
        "\uff11\uff12",
        "0x10",
        "-5",
        "99999",
        "1e300",
        "5;6",
        "--5",
    ):
        for name in ("nucleus_x", "nucleus_y"):
            tried("values", f"{name}={value!r}", with_value(name, value))
    for value in ("", "../../x", "/etc", "a\x1b[2Jb", "nul", "x" * 300, "a\0b"):
        tried("values", f"class {value[:9]!r}", with_value("bethesda_system", value))
    for value in ("", "0"):
        tried("values", f"image_id {value!r}", with_value("image_id", value))
    for value in ("../../etc/passwd", "/etc/passwd", "a\0b.webp", "x" * 5000, ""):
        tried("values", f"field {value[:9]!r}", with_value("image_filename", value))
    other = [list(r) for r in rows]
    other[row][column["bethesda_system"]] = "LSIL" if rows[row][column["bethesda_system"]] != "LSIL" else "HSIL"
    tried("rows", "a nucleus twice", written([*rows, rows[row]]), 0)
    tried("rows", "a nucleus of two classes", written([*rows, other[row]]))
    same_field = next(r for r in rows[row + 1 :] if r[column["image_id"]] == rows[row][column["image_id"]])
    tried("rows", "a cell_id twice", with_value("cell_id", same_field[column["cell_id"]]))
    tried("rows", "the header again", written([*rows[:row], rows[0], *rows[row:]]), 0)
    tried("rows", "one value more", written([*rows[:row], [*rows[row], "1"], *rows[row + 1 :]]))
    tried("rows", "an open quote", text.replace(rows[row][1], '"' + rows[row][1], 1).encode())
    whole_rows = {
        "no header": written(rows[1:]),
        "no rows": written(rows[:1]),
        "empty": b"",
        "UTF-16": text.encode("utf-16"),
        "Latin-1": with_value("image_doi", "x").replace(b",x,", b",\xe9,"),
        "semicolons": text.replace(",", ";").encode(),
        "a column less": written([r[:-1] for r in rows]),
        "two of one name": written([[*rows[0], "cell_id"]]),
        "zeros": bytes(5000),
        "cut in its header": text[:30].encode(),
    }
    for label, content in whole_rows.items():
        tried("the whole", label, content)
    for label, make in {"a pipe": os.mkfifo, "a folder": os.mkdir}.items():
        file.rename(whole / label)
        make(file)
        case("classifications.csv of CRIC: the whole", label, lambda: read_real(whole))
        file.rmdir() if file.is_dir() else file.unlink()
        (whole / label).rename(file)


def results():
    "A row per kind of input: how many cases were tried, how many right, and the names of the others."
    rows = []
    for kind, cases in RESULTS.items():
        missed = [f"{kind}, {name}: {problem}" for name, problem in cases if problem]
        rows.append(dict(input=kind, tried=len(cases), right=len(cases) - len(missed), missed="; ".join(missed)))
    return pd.DataFrame(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a folder in CRIC's layout, whose images and table are damaged")
    parser.add_argument("--only", default="", help="the kinds of input to try, with semicolons between")
    parser.add_argument("--write", action="store_true", help="keep the rows in outputs/reference/trust/faults.csv")
    arguments = parser.parse_args()
    ONLY.update(filter(None, arguments.only.split(";")))
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as home:
        folders = [Path(home) / name for name in ("checkpoints", "generators", "images", "real")]
        for folder in folders:
            folder.mkdir()
        if arguments.data:
            real_image_cases(some_fields(arguments.data, folders[3] / "whole", 2), folders[3])
            real_table_cases(folders[3] / "whole")
        else:
            parameter_cases()
            name_cases()
            json_cases()
            checkpoint_cases(folders[0])
            generator_cases(folders[1])
            image_cases(folders[2])
    table = results()
    print(table.to_string(index=False))
    if arguments.write:
        trust.keep(table, "faults.csv", "input")
    return int(table.right.sum() < table.tried.sum())


if __name__ == "__main__":
    sys.exit(main())
