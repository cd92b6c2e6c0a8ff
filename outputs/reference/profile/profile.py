"""Where the time of the three studies and of `evaluate` goes, and how much of it a commit takes beside another.

    python outputs/reference/profile/profile.py phases [ROUNDS]
    python outputs/reference/profile/profile.py compare COMMIT COMMIT ...

Each workflow is run as a user types it, with papermill on two cores, small, in a temporary project of its own whose
cache is empty. `phases` writes `phases.csv`: the seconds of each phase, summed over all processes of a workflow.
`compare` runs the same workflows of commits in the given order, such as BEFORE AFTER BEFORE AFTER, and writes
`before-after.csv`; the digest of a result is the same where no number has changed.

The processor's seconds are those of all processes of a workflow (`RUSAGE_CHILDREN`). They do not count the time in
which another program had the core, so they are what to compare on a machine that others use; seconds that passed are
written beside them.
"""

import ctypes
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SIZE = dict(preset="demo", image_size=32)
WORKFLOWS = {  # parameters that every commit knows; latent diffusion did not draw 32x32 at first
    "ablation": dict(SIZE, width=4, batch_size=4, iterations=20, seeds=1, per_class=20),
    "compare": dict(SIZE, models="cellgan biggan", seeds=1, unit="images", budget=80, per_class=20),
    "augmentation": dict(
        SIZE, phantom_patches=300, arms="real, classical, cellgan", folds=2, seeds=1, ratios="", real_per_class=20,
        synthetic_per_class=20, epochs=1, iterations=20,
    ),
    "evaluate": dict(run="ablation", per_class=20, patches=400),
}  # fmt: skip


def environment_of(home, profile=None):
    "Variables of a user's shell: the project's code, compiled Python kept outside of it, a thread for each process."
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    paths = [str(home), *([str(HERE / "hooks")] if profile else [])]
    return kept | dict(
        OMP_NUM_THREADS="1",  # threads that wait for one another spin: where others use the cores, that would count
        MKL_NUM_THREADS="1",
        PYTHONPATH=os.pathsep.join(paths),
        PYTHONPYCACHEPREFIX=str(Path(tempfile.gettempdir()) / "profile-compiled"),
        **({"PROFILE_FOLDER": str(profile)} if profile else {}),
    )


def project_of(commit, home):
    "A project with the code of a commit (None: as it is now), and without results."
    home.mkdir()
    kept = ["cellgan", "nbs", "settings.ini", "outputs/reference"]
    if commit is None:
        for name in kept[:2]:
            shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "settings.ini", home)
        shutil.copytree(ROOT / "outputs/reference/paper", home / "outputs/reference/paper")
        return home
    archive = subprocess.run(["git", "archive", commit, *kept], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", home], input=archive.stdout, check=True)
    return home


def adopt_orphans():
    "Makes this process the parent of processes whose parent has ended: they count, too."
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def processor_seconds():
    "Of all processes that this one has started, and they in turn; waits until all of them have ended."
    try:
        while True:
            os.wait()
    except ChildProcessError:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime


def run(name, home, profile=None):
    "Runs a workflow; returns the seconds that passed, and those of all its processes."
    folder = home / "outputs" / name
    if name == "evaluate":  # a generator of the study that was run before it
        made = min((home / "outputs/ablation/runs").glob("*/generator.safetensors"))
        shutil.copy(made, home / "outputs/ablation/generator.safetensors")
        shutil.copy(made.with_name("config.json"), home / "outputs/ablation/config.json")
    parameters = [text for pair in WORKFLOWS[name].items() for text in ("-p", *map(str, pair))]
    command = [sys.executable, "-m", "papermill", f"nbs/{name}.ipynb", f"outputs/{name}/{name}.ipynb", *parameters]
    folder.mkdir(parents=True, exist_ok=True)
    before, started = processor_seconds(), time.perf_counter()
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, env=environment_of(home, profile))
    passed = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{name} in {home} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return passed, processor_seconds() - before


def phases_of(profile):
    "Phase -> (seconds passed, processor's seconds), over all processes; and how many processes there were."
    passed, used, files = Counter(), Counter(), list(profile.glob("*.json"))
    for file in files:
        process = json.loads(file.read_text())
        for phase, (wall, cpu) in process["taken"].items():
            name = process["program"] if phase == "rest" else phase
            passed[name] += wall
            used[name] += cpu
    return passed, used, len(files)


def profile_workflows(rounds):
    "Writes `phases.csv`."
    rows = []
    for number in range(rounds + 1):  # the first round compiles Python's files
        with tempfile.TemporaryDirectory() as held:
            home = project_of(None, Path(held) / "project")
            for name in WORKFLOWS:
                profile = Path(held) / name
                profile.mkdir()
                wall, cpu = run(name, home, profile)
                passed, used, processes = phases_of(profile)
                print(number, name, f"{wall:.1f} s passed, {cpu:.1f} s of the processor, {processes} processes")
                found = {phase: (passed[phase], used[phase]) for phase, _ in used.most_common()}
                found["not seen"] = (float("nan"), cpu - used.total())
                found["all"] = (wall, cpu)
                rows += [
                    dict(round=number, workflow=name, phase=phase, passed=w, processor=c, share=c / cpu)
                    for phase, (w, c) in found.items()
                ]
    table = pd.DataFrame(rows)
    table = table[table["round"] > 0].drop(columns="round")
    table = table.groupby(["workflow", "phase"], sort=False).mean().reset_index()
    table.round(4).to_csv(HERE / "phases.csv", index=False)
    print(table.round(3).to_string())


def digest_of(name, home):
    "A few digits that change with any number that a workflow has found, seconds aside."
    folder = home / "outputs" / name
    if name == "evaluate":
        numbers = json.loads((home / "outputs/ablation/fidelity.json").read_text())["metrics"]
        return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:8]
    table = pd.read_csv(folder / "table.csv")
    if "score" in table:
        table = table[table.score != "seconds of training"]
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()[:8]


def compare(commits):
    "Runs each workflow of these commits, one after the other, and writes `before-after.csv`."
    rows = []
    with tempfile.TemporaryDirectory() as held:
        homes = [project_of(commit, Path(held) / f"{turn}") for turn, commit in enumerate(commits)]
        for workflow in WORKFLOWS:
            for commit, home in zip(commits, homes):
                wall, cpu = run(workflow, home)
                found = dict(workflow=workflow, commit=commit, passed=wall, processor=cpu)
                rows.append(found | dict(digest=digest_of(workflow, home)))
                print(rows[-1], flush=True)
                pd.DataFrame(rows).round(2).to_csv(HERE / "before-after.csv", index=False)


if __name__ == "__main__":
    adopt_orphans()
    if sys.argv[1] == "phases":
        profile_workflows(int((sys.argv[2:] or [1])[0]))
    else:
        names = [["git", "rev-parse", "--short", name] for name in sys.argv[2:]]
        compare([subprocess.check_output(name, cwd=ROOT, text=True).strip() for name in names])
