"""Kill the project's long work at random moments, start it again, and compare the result bit for bit with that of work
that nobody disturbed: `uv run .ci/crashes.py [--moments 50] [--write] [--data data/cric]`.

A moment is a SIGKILL to every process of the work, as when the power fails, at a random time between its start and its
usual end; the work is killed once or twice and then started again as a user would, with the same words. Most moments
hit a forked process that has its imports done, so that the kills fall into the work itself; the launchers (the
`cellgan` command, papermill, a kernel and uv where it is there) are started whole and killed with everything below
them. Where the launcher alone is killed, what it had started has to end by itself. With --data, training, generating
and caching are also tried on real cells, twelve fields of a folder in CRIC's layout. With --write the rows go to
outputs/reference/trust/crashes.csv. The same seed gives the same moments, as far as clocks do.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import subprocess
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

from cellgan.core.config import make_config, project_root
from cellgan.core.names import BETHESDA
from cellgan.data.patches import load_patches
from cellgan.training import loop
from cellgan.training.checkpoint import load_checkpoint, save_generator
from cellgan.training.images import write_images
from cellgan.training.metrics import read_metrics
from cellgan.training.models import make_state
from cellgan.training.synthesis import load_synthesizer

ROOT = project_root()
TINY = dict(image_size=32, width=2, batch_size=4, iterations=40, phantom_patches=200)
ENVIRONMENT = os.environ | dict(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONPATH=str(ROOT))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flat(value, name=""):
    "Every tensor and number of nested dicts and lists, by name; seconds are left out."
    if isinstance(value, dict):
        return {k: v for key in value for k, v in flat(value[key], f"{name}/{key}").items() if key != "seconds"}
    if isinstance(value, (list, tuple)):
        return {k: v for i, each in enumerate(value) for k, v in flat(each, f"{name}/{i}").items()}
    return {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() if torch.is_tensor(value) else repr(value)}


def of_run(folder):
    "What a run leaves, less its times: state, generator, pictures, metrics."
    metrics = read_metrics(folder).drop(columns=["seconds", "images_per_second"])
    pictures = {path.name: digest(path) for path in sorted((folder / "samples").glob("*.png"))}
    parts = sorted(path.name for path in folder.rglob("*.part*"))
    return flat(load_checkpoint(folder / "checkpoint.pt")["state"]) | pictures | dict(
        generator=digest(folder / "generator.safetensors"), metrics=metrics.to_csv(), parts=parts)


def some_fields(data, folder, number):
    "A copy of a few fields of a folder in CRIC's layout, those with the most classes, and of their cells."
    cells = pd.read_csv(Path(data) / "classifications.csv")
    fields = cells.groupby("image_filename").bethesda_system.nunique().nlargest(number).index
    (folder / "fields").mkdir(parents=True)
    for path in (Path(data) / "fields").iterdir():
        if path.name in set(fields): shutil.copyfile(path, folder / "fields" / path.name)
    cells[cells.image_filename.isin(fields)].to_csv(folder / "classifications.csv", index=False)
    return folder


class Train:
    "Training, which saves twenty times."
    width, iterations, saves = 2, 40, 20

    def __init__(self, data="phantom"):
        self.data, self.patches = data, None

    def prepare(self, home):
        self.patches = self.patches or load_patches(self.data, 32, 200, cache=False, progress=False)

    def work(self, home):
        loop.SAVES_PER_RUN = self.saves
        settings = TINY | dict(width=self.width, iterations=self.iterations, data=str(self.data))
        loop.train(make_config("demo", run="run", **settings), self.patches, progress=False)

    def result(self, home):
        return of_run(home / "outputs" / "run")


class Checkpoints(Train):
    "Training that saves in every iteration, with networks so large that most of the time is writing."
    width, iterations, saves = 8, 12, 12


class Generate:
    "Writing images of untrained networks, or of networks that have seen a few of the cells in a folder."

    def __init__(self, data=None):
        self.data, self.generator = data, None

    def prepare(self, home):
        if self.data and not self.generator:
            config = make_config("demo", run="seen", data=str(self.data), **TINY)
            with contextlib.chdir(home):
                folder = loop.train(config, load_patches(self.data, 32, cache=False, progress=False), progress=False)
                self.generator = (folder / "generator.safetensors").read_bytes()
                shutil.rmtree(folder)
        if self.data: (home / "generator.safetensors").write_bytes(self.generator)
        else:
            config = make_config("demo", image_size=64, width=4)
            save_generator(home / "generator.safetensors", make_state(config, 5).ema, config, BETHESDA)
        self.synthesizer = load_synthesizer(home / "generator.safetensors")

    def work(self, home):
        write_images(self.synthesizer, home / "images", 60, 0, progress=False)

    def result(self, home):
        return {str(path.relative_to(home)): digest(path) for path in sorted((home / "images").rglob("*"))
                if path.is_file()}


class Cache:
    "Reading a folder of images into the cache."

    def __init__(self, data=None):
        self.data = data

    def prepare(self, home):
        if self.data:
            shutil.copytree(self.data, home / "cells")
            return
        rng = np.random.default_rng(0)
        for name in ("NILM", "HSIL"):
            (home / "cells" / name).mkdir(parents=True)
            for k in range(150):
                pixels = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(home / "cells" / name / f"{k}.png")

    def work(self, home):
        load_patches(home / "cells", 64, progress=False)

    def result(self, home):
        patches = load_patches(home / "cells", 64, progress=False)
        files = sorted(path.name for path in (home / "data" / "cache").rglob("*") if path.is_file())
        return dict(fingerprint=patches.fingerprint, images=flat(patches.images), files=files)


class Launched:
    "Training through a launcher, killed with everything below it."

    def __init__(self, *command):
        self.command = command

    def prepare(self, home):
        (home / "nbs").symlink_to(ROOT / "nbs")
        (home / "outputs").mkdir()

    def start(self, home):
        return psutil.Popen(self.command, cwd=home, env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, start_new_session=True)

    def result(self, home):
        return of_run(home / "outputs" / "run")


def is_kernel(process):
    with contextlib.suppress(psutil.Error):  # it may have ended
        return "ipykernel_launcher" in " ".join(process.cmdline())
    return False


class LauncherAlone(Launched):
    "Training in two processes, of which only the launcher is killed: papermill, or the kernel that it started."

    def __init__(self, *command):
        super().__init__(*command, "-p", "processes", "2")
        self.kernel = False

    def kill(self, process):
        "Returns what outlives its launcher for more than two minutes."
        others = process.children(recursive=True)
        kernels = [each for each in others if is_kernel(each)]
        self.kernel = not self.kernel
        (kernels[0] if self.kernel and kernels else process).kill()
        alive = psutil.wait_procs([process, *others], 120)[1]
        for each in alive: kill(each)
        return f"{len(alive)} processes outlive their launcher" if alive else ""


class Study(Launched):
    "A study of two runs, two at a time."

    def __init__(self):
        super().__init__(sys.executable, "-c", "import pandas as pd; from cellgan.study.workers import run_study; "
                         "run_study('study', pd.read_json('runs.json'), workers=2, retries=99, progress=False)")

    def prepare(self, home):
        super().prepare(home)
        runs = [dict(notebook="train", preset="demo", seed=seed, **TINY) for seed in (0, 1)]
        pd.DataFrame(runs).to_json(home / "runs.json")

    def result(self, home):
        folders = sorted((home / "outputs" / "study" / "runs").glob("*/done.json"))
        return {f"{path.parent.name}: {key}": value for path in folders for key, value in of_run(path.parent).items()}


def launchers():
    "Training as people start it: name -> work."
    values = dict(preset="demo", run="run", **TINY)
    given = [text for name, value in values.items() for text in ("-p", name, str(value))]
    command = "import sys; from cellgan.study.commands import main; sys.exit(main())"  # what the script `cellgan` does
    words = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    notebook = ["nbs/train.ipynb", "outputs/run/train.ipynb", *given, "--no-progress-bar"]
    kernel = "import papermill; papermill.execute_notebook('nbs/train.ipynb', 'outputs/run/train.ipynb', " \
             f"parameters={values!r}, progress_bar=False)"
    found = {"papermill": Launched(sys.executable, "-m", "papermill", *notebook),
             "kernel": Launched(sys.executable, "-c", kernel),
             "cellgan": Launched(sys.executable, "-c", command, "train", *words)}
    if shutil.which("uv"):
        found["uv"] = Launched("uv", "run", "--no-project", "--python", sys.executable, "papermill", *notebook)
    found["launcher of two"] = LauncherAlone(sys.executable, "-m", "papermill", *notebook)
    return found


def started(work, home):
    "A process that does the work in a project folder of its own."
    if hasattr(work, "start"): return work.start(home)
    def in_session():
        os.setsid()
        work.work(home)
    return psutil.Process(forked(home, in_session))


def kill(process):
    "Kills a process and all below it; they are halted first, so that none starts another meanwhile."
    halted = []
    with contextlib.suppress(psutil.NoSuchProcess):
        while new := [each for each in [process, *process.children(recursive=True)] if each not in halted]:
            halted += new
            for each in new:
                with contextlib.suppress(psutil.NoSuchProcess): each.suspend()
    for each in halted:
        with contextlib.suppress(psutil.NoSuchProcess): each.kill()


def new_home(work):
    home = Path(tempfile.mkdtemp(prefix="crash-"))
    (home / "settings.ini").write_text("[DEFAULT]\nlib_name = cellgan\n")
    work.prepare(home)
    return home


def finish(work, home):
    "Does the work to its end; returns the seconds that it took, or an error."
    begun, process = time.monotonic(), started(work, home)
    status = process.wait(1800)
    if status: raise RuntimeError((home / "error").read_text() if (home / "error").exists() else f"status {status}")
    return time.monotonic() - begun


def moments(name, work, n, chance):
    "Kills the work at so many moments, in as many rounds as that takes; returns the table's row."
    home = new_home(work)
    takes, here = finish(work, home), os.getcwd()
    os.chdir(home)
    wanted = work.result(home)
    os.chdir(here)
    hits, wrong, end = 0, [], getattr(work, "kill", kill)
    with tqdm(total=n, desc=name, unit="kill") as bar:
        while hits < n:
            home, killed = new_home(work), 0
            for _ in range(min(chance.choice((1, 1, 2)), n - hits)):
                process = started(work, home)
                try: status = process.wait(chance.uniform(0.02, 0.98) * takes)
                except psutil.TimeoutExpired: status = None
                if status is not None:  # done before its moment came; that is no kill, and has to have gone well
                    if status: wrong.append(f"started again, it ended with status {status}")
                    break
                if problem := end(process): wrong.append(problem)
                process.wait()
                killed += 1
            problem, again = check(work, home, wanted)
            takes = min(takes, again)  # another program may have slowed the first time down
            hits += killed
            if problem: wrong.append(problem)
            bar.update(killed)
            shutil.rmtree(home, ignore_errors=True)
    for problem in wrong: print(f"{name}: {problem}")
    return dict(work=name, tried=hits, right=hits - len(wrong), seconds=round(takes, 1), missed="; ".join(wrong))


def check(work, home, wanted):
    "Ends the work and compares; returns what is wrong, or nothing, and the seconds that ending took."
    here, begun = os.getcwd(), time.monotonic()
    try:
        seconds = finish(work, home)
        os.chdir(home)
        found = work.result(home)
    except Exception as error:
        return f"{type(error).__name__}: {error}", time.monotonic() - begun
    finally:
        os.chdir(here)
    different = sorted(str(key) for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    return (f"{len(different)} results differ, such as {different[:3]}" if different else ""), seconds


def kinds(arguments):
    "Name -> work and number of kills."
    works = {"training": Train(), "checkpoint": Checkpoints(), "generate": Generate(), "cache": Cache()}
    if arguments.data:
        data = some_fields(arguments.data, Path(tempfile.mkdtemp(prefix="cells-")), 12)
        works |= {"training on CRIC": Train(data), "generate on CRIC": Generate(data), "cache on CRIC": Cache(data)}
    started = {"study": Study(), **launchers()}
    return {name: (work, arguments.moments) for name, work in works.items()} | {
        name: (work, arguments.launched) for name, work in started.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=50, help="kills of each kind of work in a forked process")
    parser.add_argument("--launched", type=int, default=4, help="kills of each launcher, and of a study")
    parser.add_argument("--only", default="", help="the names of the kinds to try, with commas between")
    parser.add_argument("--data", help="a folder in CRIC's layout, for the kinds on real cells")
    parser.add_argument("--write", action="store_true", help="keep the rows in outputs/reference/trust/crashes.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = kinds(arguments)
    rows = []
    for name in arguments.only.split(",") if arguments.only else plan:
        rows.append(moments(name, *plan[name], random.Random(name)))
        if arguments.write: trust.keep(pd.DataFrame(rows[-1:]), "crashes.csv", "work")
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    sys.exit(int(table.right.sum() < table.tried.sum()))
