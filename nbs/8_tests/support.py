"""What the tests of whole runs share: a project folder of their own, notebooks run as a user would, and comparisons.

No part of the package: pages of this chapter import it as `from support import ...`, because a page is run in its own
folder.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cellgan.core.config import project_root
from warm import WarmServer

STUDIES = ("ablation", "compare", "augmentation")
ENVIRONMENT = dict(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONPATH=str(project_root()))


@lru_cache
def warm_server():
    "One for all pages that this process tests; it ends with the process."
    return WarmServer(os.environ | ENVIRONMENT)


class Project:
    """A temporary project folder, with the notebooks of the real one and outputs of its own.

    Of each workflow notebook, one page starts the first run as a user types it, with a kernel of its own; of a study,
    which starts many kernels, with papermill of its own. All other programs are the same, in processes that have their
    imports done (`warm.py`).
    """

    def __init__(
        self,
        *notebooks: str,  # to copy into it, where a test changes them; without any, the real folder is linked
        typed: tuple = (),  # notebooks whose first run is started as a user types it
    ):
        self.root, self.home = project_root(), Path(tempfile.mkdtemp())
        self.typed, self.lock = set(typed), threading.Lock()
        self.environment = {}  # variables of the programs, beside `ENVIRONMENT`
        shutil.copy(self.root / "settings.ini", self.home)
        for kept in ("paper", "rehearsal"):
            shutil.copytree(self.root / "outputs" / "reference" / kept, self.home / "outputs" / "reference" / kept)
        if notebooks:
            (self.home / "nbs").mkdir()
        else:
            (self.home / "nbs").symlink_to(self.root / "nbs")
        for name in notebooks:
            shutil.copy(self.root / "nbs" / f"{name}.ipynb", self.home / "nbs")

    def run_folder(self, run):
        return self.home / "outputs" / run

    def command(self, notebook, output, **parameters):
        "The command line of a user who is in the project's folder."
        given = [text for name, value in parameters.items() for text in ("-p", name, str(value))]
        return [sys.executable, "-m", "papermill", f"nbs/{notebook}.ipynb", f"outputs/{output}.ipynb", *given]

    def papermill(self, notebook, output, **parameters):
        "Runs a notebook; returns the exit status and all that was printed."
        python, _, module, *arguments = self.command(notebook, output, **parameters)
        status, printed = self.start(notebook)(module, arguments)
        return status, re.sub(r"\x1b\[[0-9;]*m", "", printed)

    def start(self, notebook):
        "How this run of the notebook is started: a function of a module and its arguments, as `run_typed`."
        with self.lock:
            server = warm_server()
            if notebook in self.typed:
                self.typed.remove(notebook)
                kernels = dict(JUPYTER_PATH=str(server.folder)) if notebook in STUDIES else {}
                return lambda module, arguments: self.run_typed(module, arguments, kernels)
        return lambda module, arguments: server.run(module, arguments, self.home, self.environment)

    def run_typed(self, module, arguments, kernels):
        "Runs `python -m module arguments`; returns the exit status and all that was printed."
        command, environment = (
            [sys.executable, "-m", module, *arguments],
            os.environ | ENVIRONMENT | kernels | self.environment,
        )
        done = subprocess.run(command, cwd=self.home, capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout + done.stderr

    def succeed(self, notebook, output, **parameters):
        "Runs a notebook that must end well; returns the folder of its output."
        status, printed = self.papermill(notebook, output, **parameters)
        assert status == 0, printed[-3000:]
        return (self.home / "outputs" / output).parent

    def fail(self, notebook, output, **parameters):
        "Runs a notebook that must end in an error of ours; returns its line."
        status, printed = self.papermill(notebook, output, **parameters)
        assert status != 0, f"{notebook} with {parameters} ended well"
        said = re.search(r"^((InputError|WriteError|Error)\b.*)", printed, re.MULTILINE)
        assert said, printed[-3000:]
        return said[0]

    def remove(self):
        shutil.rmtree(self.home)


def side_by_side(function, items):
    "The results of a function for each item, two at a time: runs of notebooks wait for their kernels."
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, items))


def contents(folder):
    "Every file below a folder -> its bytes."
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_picture(path, size=40, seed=0):
    "A small picture of noise."
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def class_folders(home, counts, size=40):
    "A data folder with a folder per class; `counts` gives the number of pictures of each."
    for name, n in counts.items():
        (home / name).mkdir(parents=True, exist_ok=True)
        for k in range(n):
            write_picture(home / name / f"{k}.png", size, seed=1000 * sorted(counts).index(name) + k)
    return home


def differences(first, second, where=""):
    "The places in which two nested states differ, tensors bit for bit."
    if isinstance(first, dict) and isinstance(second, dict):
        names = sorted(set(first) | set(second), key=str)
        return [place for name in names for place in differences(first.get(name), second.get(name), f"{where}/{name}")]
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second):
        return [place for k, pair in enumerate(zip(first, second)) for place in differences(*pair, f"{where}/{k}")]
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return [] if first.dtype == second.dtype and torch.equal(first, second) else [where]
    return [] if type(first) is type(second) and first == second else [where]
