"""The wheel outside of a clone: `python .ci/wheel.py` builds it, installs it without its dependencies into an
environment of its own, and runs the command `cellgan` in an empty folder. Python sees only the packages that the
work needs; what lies below site-packages must be the same afterwards. Needs uv; takes half a minute.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The six packages, and what these import of their own.
SAMPLING = "torch torchvision numpy PIL safetensors tqdm torchgen functorch typing_extensions sympy mpmath".split()
TRAINING = SAMPLING + "accelerate huggingface_hub packaging psutil yaml pandas dateutil pytz".split()

# Python runs it at every start of the environment, by a .pth file.
HIDE = """
import os, sys

class Only:
    "A finder that does not find what is not allowed."
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in sys.stdlib_module_names or top.startswith("_") or top in os.environ["ALLOWED"].split()
        return self.finder.find_spec(name, path, target) if known else None

sys.meta_path[:] = map(Only, sys.meta_path)
"""


def run(*arguments, **options):
    return subprocess.run(arguments, text=True, capture_output=True, **options)


def built_wheel(folder):
    "Built from what git lists, so that nothing else gets into it."
    source = folder / "source"
    for name in run("git", "ls-files", cwd=ROOT, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    run(
        "uv",
        "build",
        "--quiet",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "--out-dir",
        folder,
        source,
        check=True,
    )
    return next(folder.glob("*.whl"))


def environment(folder):
    "An environment with the wheel, which sees our packages behind it; returns the environment and its site-packages."
    run("uv", "venv", "--quiet", "--no-config", "--python", sys.executable, folder / "env", check=True)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(
        "uv",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--compile-bytecode",
        "--python",
        python,
        built_wheel(folder),
        check=True,
    )
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", check=True).stdout.strip())
    (site / "hide_packages.py").write_text(HIDE)
    (site / "behind.pth").write_text(f"{sysconfig.get_path('purelib')}\nimport hide_packages\n")
    return python.parent, site


def content(folder):
    "What lies below a folder: name and digest of every file."
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def failures():
    "Yields what is wrong, a sentence each."
    with tempfile.TemporaryDirectory() as held:
        folder, empty = Path(held).resolve(), Path(held).resolve() / "empty"
        programs, site = environment(folder)
        empty.mkdir()

        def cellgan(allowed, *arguments):
            variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
            return run(
                programs / "cellgan",
                *arguments,
                cwd=empty,
                env=variables | {"ALLOWED": " ".join(["cellgan", "hide_packages", *allowed])},
            )

        cellgan(SAMPLING, "--help")  # writes hide_packages' bytecode
        before = content(site)
        drawn = cellgan(SAMPLING, "generate", "--counts", "HSIL=3, NILM=2")
        images = sorted(file.relative_to(empty).as_posix() for file in empty.rglob("*.png"))
        expected = [
            f"outputs/kept/synthetic/{name}/{name}_0000{i}.png"
            for name, n in (("HSIL", 3), ("NILM", 2))
            for i in range(n)
        ]
        if drawn.returncode or images != expected:
            yield f"generate: status {drawn.returncode}, {images}\n{drawn.stderr[-2000:]}"
        small = "--run small --image_size 32 --width 2 --iterations 4 --batch_size 4 --phantom_patches 100 --device cpu"
        trained = cellgan(TRAINING, "train", *small.split())
        if trained.returncode or not (empty / "outputs/small/generator.safetensors").is_file():
            yield f"train: status {trained.returncode}\n{trained.stderr[-2000:]}"
        needs = {"train": "train", "report --data nowhere": "train", "evaluate --run small": "evaluate"}
        for command, extra in needs.items():
            said = cellgan(SAMPLING, *command.split())
            if (
                said.returncode != 1
                or len(said.stderr.splitlines()) != 1
                or f"pip install 'cellgan[{extra}]'" not in said.stderr
            ):
                wrong = f"status {said.returncode}, not one line that names the extra"
                yield f"{command} without its packages: {wrong}\n{said.stderr[-2000:]}"
        if changed := sorted(set(before.items()) ^ set(content(site).items())):
            yield f"below site-packages changed: {', '.join(sorted({name for name, _ in changed})[:5])}"


if __name__ == "__main__":
    found = list(failures())
    print("\n".join(found) or "the wheel draws and trains outside of a clone, and leaves site-packages as it was")
    sys.exit(bool(found))
