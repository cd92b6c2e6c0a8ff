"""Let a disk fill up, or become read-only, while the project writes to it: `uv run .ci/disks.py [--write]`.

The folders that a project writes to lie on a file system in memory, which has only so much room left, a random part
of what the work needs, or which is made read-only at a random moment. The work is right when it stops with one line
of ours, has harmed nothing that was there, and leaves no part of a file where it can be removed; and when, as soon as
the disk is well again, the same words give bit for bit what undisturbed work gives. Work that ends well on such a
disk has to have all its results.
Most work is forked with its imports done, so that the fault falls into the work itself; the workflows are started with
papermill, as people do. Where mounting is not allowed, nothing is tried. With --write the rows go to
outputs/reference/trust/disks.csv; the same seed gives the same moments, as far as clocks do.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import torch
import trust
from crashes import ENVIRONMENT, ROOT, TINY, Checkpoints, Generate, Train, digest, of_run, started
from tqdm import tqdm

from cellgan.core.config import make_config
from cellgan.core.names import BETHESDA
from cellgan.evaluation.answer import evaluate_generator, write_fidelity
from cellgan.evaluation.generated import generated_patches
from cellgan.study.commands import run_command
from cellgan.study.compare import SPENT
from cellgan.training.checkpoint import save_generator
from cellgan.training.images import write_images
from cellgan.training.models import make_state
from cellgan.training.synthesis import load_synthesizer

POINTS = ("outputs", "data", "written")  # folders of a project that lie on the disk
LARGE = "1g"
SECONDS = 900  # longest that work may take on a disk that fails


def mount(*words):
    return subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)


def can_mount():
    "Whether this process may mount a file system in memory."
    with tempfile.TemporaryDirectory() as folder:
        if not shutil.which("mount") or mount("-t", "tmpfs", "tmpfs", folder).returncode: return False
        subprocess.run(["umount", folder], check=True)
    return True


class Disk:
    "A file system in memory, seen in all folders that the project in `home` writes to."

    def __init__(self, home):
        self.home, self.whole, self.frozen = home, Path(tempfile.mkdtemp(prefix="disk-")), False
        mount("-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", self.whole)
        for name in POINTS:
            (self.whole / name).mkdir()
            (home / name).mkdir()
            mount("--bind", self.whole / name, home / name)

    def used(self):
        found = os.statvfs(self.whole)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def leave(self, room):
        "Leaves so many bytes."
        mount("-o", f"remount,size={self.used() + room}", self.whole)

    def freeze(self):
        "Covers every folder by a read-only view of itself; files that are open, such as those of locks, stay so."
        self.frozen = True
        for name in POINTS:
            mount("--bind", self.whole / name, self.home / name)
            mount("-o", "remount,bind,ro", self.home / name)

    def heal(self):
        mount("-o", f"remount,size={LARGE}", self.whole)
        for name in POINTS if self.frozen else (): subprocess.run(["umount", "--lazy", self.home / name], check=True)
        self.frozen = False

    def contents(self):
        return {str(path.relative_to(self.home)): digest(path) for name in POINTS
                for path in (self.home / name).rglob("*") if path.is_file()}

    def remove(self):
        self.heal()
        for path in (*(self.home / name for name in POINTS), self.whole):
            subprocess.run(["umount", "--lazy", path], check=True)
        self.whole.rmdir()


class Images(Generate):
    "Writing images, into a folder on the disk."

    def work(self, home):
        os.chdir(home / "written")
        super().work(home / "written")

    def result(self, home):
        return super().result(home / "written")


class Evaluate:
    "The evaluation of an untrained generator."

    def prepare(self, home):
        folder = home / "outputs" / "run"
        folder.mkdir()
        config = make_config("demo", image_size=32, width=2)
        save_generator(folder / "generator.safetensors", make_state(config, 5).ema, config, BETHESDA)

    def work(self, home):
        generated = generated_patches(home / "outputs" / "run" / "generator.safetensors", 8)
        found = evaluate_generator(generated, per_class=8, phantom_patches=200)
        write_fidelity(found, home / "outputs" / "run" / "fidelity.json", data="phantom", split=0.5, seed=0)

    def result(self, home):
        return {"fidelity": (home / "outputs" / "run" / "fidelity.json").read_text()}


class Report:
    "`cellgan report`, with a table and a picture of what it has read."

    def prepare(self, home):
        Generate().prepare(home)
        write_images(load_synthesizer(home / "generator.safetensors"), home / "cells", 12, 0, progress=False)

    def work(self, home):
        for name in ("cells.csv", "sheet.png"): (home / "written" / name).unlink(missing_ok=True)
        files = ["--out", str(home / "written" / "cells.csv"), "--sheet", str(home / "written" / "sheet.png")]
        run_command("report", ["--data", str(home / "cells"), "--image_size", "32", *files])

    def result(self, home):
        table = (home / "written" / "cells.csv").read_text().replace(str(home), "")
        return {"table": table, "sheet": (home / "written" / "sheet.png").is_file()}


def without_times(table):
    "The lines of a table but for those that say what a run took."
    return [line for line in table.read_text().splitlines() if not any(name in line for name in SPENT)]


class Typed:
    "A workflow, started with papermill."

    def __init__(self, notebook, generator=False, **values):
        self.notebook, self.generator, self.values = notebook, generator, values

    def prepare(self, home):
        (home / "nbs").symlink_to(ROOT / "nbs")
        shutil.copytree(ROOT / "outputs" / "reference", home / "outputs" / "reference")
        if self.generator: Evaluate().prepare(home)

    def start(self, home):
        given = [text for name, value in self.values.items() for text in ("-p", name, str(value))]
        command = [sys.executable, "-m", "papermill", f"nbs/{self.notebook}.ipynb",
                   f"outputs/typed/{self.notebook}.ipynb", *given, "--no-progress-bar"]
        with open(home / "printed", "w") as printed:
            return psutil.Popen(command, cwd=home, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=printed,
                                start_new_session=True)

    def result(self, home):
        trained = {path.parent.name: of_run(path.parent) for path in (home / "outputs").rglob("generator.safetensors")
                   if (path.parent / "checkpoint.pt").exists()}
        kept = {str(path.relative_to(home)): digest(path) for path in (home / "outputs").glob("*/synthetic/**/*.png")}
        kept |= {str(path.relative_to(home)): without_times(path) for path in (home / "outputs").glob("*/table.csv")}
        return {f"{run}: {key}": value for run, found in trained.items() for key, value in found.items()} | kept


def kinds():
    "Name -> work."
    small = dict(preset="demo", image_size=32)
    return {
        "training": Train(), "checkpoint": Checkpoints(), "generate": Images(), "evaluate": Evaluate(),
        "report": Report(),
        "train.ipynb": Typed("train", run="run", **TINY, preset="demo"),
        "generate.ipynb": Typed("generate", True, run="run", per_class=20),
        "evaluate.ipynb": Typed("evaluate", True, run="run", per_class=8, patches=200),
        "ablation.ipynb": Typed("ablation", **small, width=2, batch_size=4, iterations=8, seeds=1, per_class=8),
        "compare.ipynb": Typed("compare", **small, models="cellgan biggan", seeds=1, unit="images", budget=32,
                               per_class=8),
        "augmentation.ipynb": Typed(
            "augmentation", **small, phantom_patches=300, arms="real, classical, cellgan", folds=2, seeds=1, ratios="",
            real_per_class=20, synthetic_per_class=20, epochs=1, iterations=8),
    }  # fmt: skip


def new_home(work):
    "A project, its disk, and what was there before the work: a folder that must not change."
    home = Path(tempfile.mkdtemp(prefix="project-"))
    (home / "settings.ini").write_text("[DEFAULT]\nlib_name = cellgan\n")
    disk = Disk(home)
    (home / "outputs" / "before").mkdir()
    (home / "outputs" / "before" / "generator.safetensors").write_bytes(random.Random(0).randbytes(50_000))
    work.prepare(home)
    return home, disk


def said(home):
    "The lines of the error that the work ended with."
    if (home / "error").exists():
        kind, _, text = (home / "error").read_text().partition(": ")
        return text.splitlines() if kind in ("InputError", "WriteError") else [kind, text]
    printed = re.sub(r"\x1b\[[0-9;]*m", "", (home / "printed").read_text())
    error = re.split(r'Exception encountered at "In \[\d+\]":\n|^Error: ', printed, flags=re.MULTILINE)
    return [line for line in error[-1].splitlines() if line.strip()] if len(error) > 1 else ["", *printed.splitlines()]


def finish(work, home, during=lambda process: None):
    "Does the work to its end; returns its exit status."
    for name in ("error", "printed"): (home / name).unlink(missing_ok=True)
    process = started(work, home)
    during(process)
    try: return process.wait(SECONDS)
    except psutil.TimeoutExpired:
        for each in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.NoSuchProcess): each.kill()
        return "no end"


def result_of(work, home):
    "What the work left; some of it is read as from the project's folder."
    with contextlib.chdir(home): return work.result(home)


def problem_of(status, home, disk, before):
    "What is wrong with how work stopped on a disk that failed."
    if status == "no end": return f"it goes on after {SECONDS} s"
    after, lines = disk.contents(), said(home)
    harmed = [path for path, content in before.items() if after.get(path) != content]
    parts = [path for path in after if path.endswith(".part") and not disk.frozen]  # from which nothing can be removed
    if len(lines) != 1: return f"{len(lines)} lines, such as {' '.join(lines)[-150:]!r}"
    if not re.search("No space left|Read-only|GiB|MiB", lines[0]): return f"it says {lines[0][:120]!r}"
    if harmed: return f"{harmed[0]} is not what it was"
    return f"{parts[0]} is left" if parts else ""


def trial(work, wanted, fault):
    "One disk that fails; returns whether it stopped the work, and what was wrong."
    home, disk = new_home(work)
    try:
        before = disk.contents()
        status = finish(work, home, fault(disk))
        problem = problem_of(status, home, disk, before) if status else ""
        disk.heal()
        again = finish(work, home) if status else 0
        if again and not problem: problem = f"again, on a disk that is well: {' '.join(said(home))[-120:]!r}"
        if not problem:
            found = result_of(work, home)
            wrong = [str(key) for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)]
            if wrong: problem = f"results differ, such as {sorted(wrong)[:2]}"
    finally:
        disk.remove()
        shutil.rmtree(home, ignore_errors=True)
    return bool(status), problem


def undisturbed(work):
    "What the work leaves on a disk that is well, the bytes and the seconds that it takes."
    home, disk = new_home(work)
    try:
        used, begun = disk.used(), time.monotonic()
        if status := finish(work, home): raise SystemExit(f"undisturbed, it ends with {status}: {said(home)}")
        return result_of(work, home), disk.used() - used, time.monotonic() - begun
    finally:
        disk.remove()
        shutil.rmtree(home, ignore_errors=True)


def filling(room):
    "A disk with so much room left."
    def fault(disk):
        disk.leave(room)
        return lambda process: None
    return fault


def freezing(after):
    "A disk that becomes read-only so many seconds after the start."
    def fault(disk):
        def during(process):
            try: process.wait(after)
            except psutil.TimeoutExpired: disk.freeze()
        return during
    return fault


def trials(name, work, n, chance):
    "The table's rows for one kind of work: a disk that fills up, and one that becomes read-only."
    wanted, size, seconds = undisturbed(work)
    rows = []
    for what in ("full", "read-only"):
        stopped, wrong = 0, []
        for _ in tqdm(range(n), desc=f"{name}, {what}", unit="disk"):
            share = chance.uniform(0, 0.95)
            fault = filling(int(share * size)) if what == "full" else freezing(share * seconds)
            stops, problem = trial(work, wanted, fault)
            stopped += stops
            if problem: wrong.append(problem.replace("; ", ", "))
        for problem in wrong: print(f"{name}, {what}: {problem}")
        rows.append(dict(work=name, disk=what, tried=n, stopped=stopped, right=n - len(wrong),
                         missed="; ".join(f"{name}, {what}: {problem}" for problem in wrong)))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--disks", type=int, default=20, help="of each kind, for work in a forked process")
    parser.add_argument("--typed", type=int, default=2, help="of each kind, for each workflow")
    parser.add_argument("--only", default="", help="the names of the kinds to try, with commas between")
    parser.add_argument("--write", action="store_true", help="keep the rows in outputs/reference/trust/disks.csv")
    arguments = parser.parse_args()
    if not can_mount():
        print("file systems cannot be mounted here: nothing was tried")
        return 0
    torch.set_num_threads(1)  # threads do not survive a fork
    chance, rows = random.Random(0), []
    wanted = arguments.only.split(",") if arguments.only else list(kinds())
    for name, work in kinds().items():
        if name not in wanted: continue
        rows += trials(name, work, arguments.typed if isinstance(work, Typed) else arguments.disks, chance)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if arguments.write: trust.keep(table, "disks.csv", "work")
    return int(table.right.sum() < table.tried.sum())


if __name__ == "__main__":
    sys.exit(main())
