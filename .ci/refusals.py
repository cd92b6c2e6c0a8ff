"""Start every workflow with values that it must refuse, for every parameter: `uv run .ci/refusals.py [--write]`.

A case is right when the workflow stops within six seconds of a processor's time, which other programs on the machine
hardly change, with one line that names the parameter (or the path that was given), and nothing on disk has changed.
Every case runs the notebook's own cells, with papermill's cell of parameters among them, in a forked process that has
its imports done; and of all cases that stop in the same cell of a notebook, the first is also started as a user types
it, with papermill, where `seconds` are those from its start to its end. With --write the table goes to
outputs/reference/trust/refusals.csv.
"""

import argparse
import json
import math
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pandas as pd
import torch
import trust
from click import ClickException
from forks import forked
from papermill.translators import PythonTranslator
from tqdm import tqdm

import cellgan.augmentation.pool  # what the notebooks import, so that a forked process has it  # noqa: F401
import cellgan.evaluation.answer  # noqa: F401
import cellgan.evaluation.panel  # noqa: F401
import cellgan.study.claims  # noqa: F401
import cellgan.study.compare  # noqa: F401
import cellgan.training.bench  # noqa: F401
from cellgan.core.config import make_config, project_root
from cellgan.core.names import BETHESDA
from cellgan.core.outputs import check_parameter_names
from cellgan.core.parameters import RULES, Choice, InputError, Range
from cellgan.training.checkpoint import save_generator
from cellgan.training.models import make_state

ROOT = project_root()
WORKFLOWS = "train generate evaluate explore ablation compare augmentation results bench".split()
SECONDS = 6  # longest that a refusal may take
LONG, HUGE = "x" * 300, 10**400
NO_NUMBER = ("x", "1 2", LONG, True, [1], {})
OF_TYPE = {
    bool: ("false", "yes", 0, 1, 1.0, math.nan, LONG, [True]),
    int: (*NO_NUMBER, 1.5, math.nan, math.inf, -math.inf, 2**64, -(2**64), HUGE),
    float: (*NO_NUMBER, math.nan, math.inf, -math.inf, HUGE, -HUGE, -1),
    str: (7, 2**64, 1.5, True, math.nan, "x" * 5000, "a\0b", "a\nb", ["a"], {}),
}
PATHS = ("data", "generator", "weights", "start_from")
NO_PATHS = ("no/such/folder", LONG, "/dev/null", "x/" * 900, "~nobody/x")
OF_NAME = {  # beside wrong types and what lies outside a rule
    "run": ("", ".", "..", "../x", "/x", "a/../b", "a b", "_x", "-x", "a//b", "~/x", LONG, "漢" * 100, "a/" * 7 + "b"),
    "device": ("gpu", "CPU", "cuda:", "cuda:1000", "cuda:99", "mps:1", LONG),
    "partition": ("", "_x", "a b", "-x", LONG),
    "out": ("/proc/x", "/dev/null", LONG, "settings.ini"),
    "counts": ("NILM", "NILM=", "NILM=-1", "NILM=1.5", "NILM=nan", "nilm_=1", "NILM=1, NILM=2", f"NILM={2**64}", LONG),
    "models": ("", ",", "celgan", "cellgan cellgan", "cell_gan", LONG),
    "classifiers": ("", ",", "smal", "small, resnet_34", LONG),
    "arms": ("", "cellgan", "real, real", "real, celgan", "real, cellgan widht=3", "real, cellgan width=0", LONG),
    "selections": ("", "al", "all, chosn", LONG),
    "ratios": ("x", "0", "-1", "nan", "inf", "1e400", "1,,x", LONG),
    "fold": (1, 5),
    "folds": (1,),
}
TOGETHER = {"weights": dict(extractor="inception"), "partition": dict(engine="slurm")}  # they are not read otherwise
NOT_NAMES = ("class", "_", "__annotations__", "In", "globals", "print", "notebook_parameters", "InputError", "x" * 300)


def cells_of(notebook):
    "The code cells of a workflow, and which of them holds the parameters."
    cells = [cell for cell in nbformat.read(ROOT / "nbs" / f"{notebook}.ipynb", 4).cells if cell.cell_type == "code"]
    return [cell.source for cell in cells], [cell.metadata.get("tags") == ["parameters"] for cell in cells].index(True)


def types_of(notebook):
    "Parameter -> its type and its default."
    sources, at = cells_of(notebook)
    namespace = {}
    exec(sources[at], namespace)
    return {name: (kind, namespace[name]) for name, kind in namespace["__annotations__"].items()}


def outside(rule, kind):
    "Values just outside a rule, and far outside."
    if isinstance(rule, Choice): return near_misses(rule.values) if kind is str else (0, -64, 33, 63, 2048)
    if not isinstance(rule, Range): return ()
    step = (lambda x, to: x + to) if kind is int else (lambda x, to: math.nextafter(x, to * math.inf))
    low, high = kind(rule.low), kind(rule.high)
    return (step(low, -1) if rule.with_low else low, step(high, 1) if rule.with_high else high, low - 1, 2 * high + 1)


def near_misses(names):
    near = [name for first in names for name in (first[:-1], first.upper(), f"{first}_", f" {first}")]
    return [name for name in near if name not in names]


def wrong_values(notebook, name, kind, default):
    "All values of one parameter that must be refused."
    values = [*OF_TYPE[kind], *outside(RULES.get(name), kind), *OF_NAME.get(name, ())]
    if name in PATHS: values += NO_PATHS
    if name == "ratios": values = [value for value in values if value not in (7, 1.5)]  # one ratio is a number
    if default is not None and notebook != "train": values.append(None)  # in train, None is what the preset says
    return list({repr(value): value for value in values}.values())


def cases():
    "Every case: notebook, the parameter that is wrong, its value, and all that is given."
    for notebook in WORKFLOWS:
        types = types_of(notebook)
        for name, (kind, default) in types.items():
            more = {other: value for other, value in TOGETHER.get(name, {}).items() if other in types}
            for value in wrong_values(notebook, name, kind, default): yield notebook, name, value, {name: value} | more
            for near in (name + name[-1], f"_{name}", f"{name}_", name.upper()):
                yield notebook, near, default, {near: default}
        for name in NOT_NAMES: yield notebook, name, 3, {name: 3}


def new_home():
    "A project's folder with a run `demo`, whose generator has learnt nothing."
    home = Path(tempfile.mkdtemp(prefix="refusals-"))
    shutil.copy(ROOT / "settings.ini", home)
    (home / "nbs").symlink_to(ROOT / "nbs")
    (home / "outputs" / "demo").mkdir(parents=True)
    shutil.copytree(ROOT / "outputs" / "reference", home / "outputs" / "reference")
    config = make_config("demo")
    save_generator(home / "outputs" / "demo" / "generator.safetensors", make_state(config, 5).ema, config, BETHESDA)
    return home


def contents(home):
    "Every file and folder of a project -> the size and the time of a file."
    about = {str(path): path.lstat() for path in home.rglob("*")}
    return {path: stat.S_ISDIR(found.st_mode) or (found.st_size, found.st_mtime_ns) for path, found in about.items()}


def run_cells(notebook, given):
    "Runs a workflow as papermill and its kernel do; returns the cell that refused, and the message."
    sources, at = cells_of(notebook)
    written = nbformat.read(ROOT / "nbs" / f"{notebook}.ipynb", 4)
    written.metadata.papermill = dict(parameters=given)
    try: check_parameter_names(json.dumps(written))
    except ClickException as error: return -1, error.message
    sources.insert(at + 1, PythonTranslator.codify(given))
    history = [""]
    namespace = {"__name__": "__main__", "__builtins__": __builtins__, "In": history, "_ih": history}
    for number, source in enumerate(sources):
        history.append(source)
        try: exec(compile(source, f"cell {number}", "exec"), namespace)
        except InputError as error: return number, str(error)
    return len(sources), "accepted"


def in_process(home, notebook, given):
    "Runs a case in a forked process; returns the cell, and the message of an error of ours or what else there was."
    answer = Path(f"{home}.json")
    answer.write_text(json.dumps([-2, f"accepted: at work after {SECONDS} s"]))
    def work():
        os.setsid()
        signal.alarm(SECONDS)  # its usual end is that of the process
        try: found = run_cells(notebook, given)
        except SystemExit: found = -2, "accepted"
        except BaseException as error: found = -2, f"{type(error).__name__}: {str(error)[:100]}"
        answer.write_text(json.dumps(found))
    child = forked(home, work)
    os.waitpid(child, 0)
    try: os.killpg(child, signal.SIGKILL)  # what it has started
    except ProcessLookupError: pass
    return json.loads(answer.read_text())


def typed(home, notebook, given):
    "Runs a case as a user types it; returns the exit status and the lines of the error."
    words = [text for name, value in given.items() for text in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", f"nbs/{notebook}.ipynb", f"outputs/tried/{notebook}.ipynb", *words,
               "--no-progress-bar"]
    environment = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    shutil.rmtree(home / "outputs" / "tried", ignore_errors=True)  # papermill's copy of the notebook, and its report
    printed = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)
    error = re.split(r'Exception encountered at "In \[\d+\]":\n|^Error: ', printed, flags=re.MULTILINE)
    return done.returncode, [line for line in error[-1].splitlines() if line.strip()] if len(error) > 1 else []


def shown(value):
    text = str(value) if isinstance(value, str) else repr(value)
    return json.dumps(text if len(text) <= 30 else f"{text[:20]}... ({len(text)} letters)", ensure_ascii=False)


def row_of(started, notebook, name, value, refused, lines, before, home, seconds, processor):
    "A line of the table; one that is wrong says why."
    text, after = " ".join(lines), contents(home)
    named = name[:60] in text or (name in PATHS + ("out",) and str(value)[:60] in text)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    problem = "; ".join(text for text, wrong in {
        f"not refused, {' '.join(lines)[:120]}": not refused, "not named": refused and not named,
        f"{len(lines)} lines": refused and len(lines) != 1,
        f"{processor:.1f} seconds of a processor": processor > SECONDS,
        f"changed {Path(changed[0]).relative_to(home) if changed else ''}": bool(changed)}.items() if wrong)
    return dict(notebook=notebook, parameter=name[:40], value=shown(value), started=started, refused=refused,
                named=named, lines=len(lines), seconds=round(seconds, 2), processor=round(processor, 2),
                problem=problem.replace("\n", " ").replace(str(home), "").replace("; ", ", "))


def can_be_typed(given):
    "Whether the command line can say all of it."
    return all(type(value) in (int, float, bool) or (type(value) is str and value.isprintable() and value.strip()
               and value[0] != "-") for value in given.values())


def forked_row(home, notebook, name, value, given):
    before, begun, worked = contents(home), time.monotonic(), processor_seconds()
    cell, message = in_process(home, notebook, given)
    return cell, row_of("forked", notebook, name, value, cell != -2 and message != "accepted", message.splitlines(),
                        before, home, time.monotonic() - begun, processor_seconds() - worked)


def typed_row(home, notebook, name, value, given):
    before, begun, worked = contents(home), time.monotonic(), processor_seconds()
    status, lines = typed(home, notebook, given)
    return row_of("typed", notebook, name, value, status != 0 and bool(lines), lines, before, home,
                  time.monotonic() - begun, processor_seconds() - worked)


def processor_seconds():
    "What the processes that this one has started and waited for took of a processor."
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="the notebooks to try, with commas between")
    parser.add_argument("--every", type=int, default=1, help="tries every so many of the cases")
    parser.add_argument("--write", action="store_true", help="keep the table in outputs/reference/trust/refusals.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    home, rows, first = new_home(), [], {}
    chosen = [case for case in cases() if not arguments.only or case[0] in arguments.only.split(",")][::arguments.every]
    for case in tqdm(chosen, unit="case"):
        cell, row = forked_row(home, *case)
        rows.append(row)
        if can_be_typed(case[3]) and not row["problem"]: first.setdefault((case[0], cell), case)
    rows += [typed_row(home, *case) for case in tqdm(first.values(), unit="start")]
    shutil.rmtree(home)
    Path(f"{home}.json").unlink()
    table = pd.DataFrame(rows)
    for row in table[table.problem != ""].itertuples():
        print(row.notebook, row.parameter, row.value, row.started, row.problem)
    print(f"{len(table)} tried, {(table.problem == '').sum()} right, the slowest typed start "
          f"{table[table.started == 'typed'].seconds.max()} s")
    if arguments.write: trust.keep(table, "refusals.csv", "notebook")
    return int((table.problem != "").any())


if __name__ == "__main__":
    sys.exit(main())
