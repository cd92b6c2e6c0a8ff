"""What the project stands on: every direct dependency, its licence, and why it is there: `uv run .ci/dependencies.py`.

Writes outputs/reference/trust/dependencies.csv from pyproject.toml and the installed packages' own metadata.
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pandas as pd
import trust

ROOT = Path(__file__).resolve().parents[1]
WHY = {
    "accelerate": "several processes and GPUs share a batch; trackers",
    "diffusers": "U-Net and solvers of the latent diffusion baseline",
    "execnb": "executes notebooks for nbdev's tests",
    "fastcore": "test functions of nbdev's pages",
    "filelock": "locks on Windows, where fcntl is missing",
    "furo": "the site's theme",
    "ghapi": "nbdev needs it at import",
    "ipykernel": "the kernel of every notebook",
    "ipywidgets": "sliders of explore, progress bars in notebooks",
    "jupyterlab": "where users read and run the notebooks",
    "matplotlib": "figures",
    "myst-nb": "the site's pages from notebooks as they are",
    "nbconvert": "the HTML report beside an executed notebook",
    "nbdev": "the package is exported from the notebooks, and tested in them",
    "numpy": "arrays",
    "openslide-bin": "the library behind openslide-python",
    "openslide-python": "whole slides",
    "pandas": "tables: manifests, metrics, results",
    "papermill": "notebooks with parameters from the command line",
    "pillow": "reads and writes images",
    "psutil": "which processes live, how busy the machine is",
    "safetensors": "weights in a file that runs no code",
    "scikit-image": "morphology: labelled regions, thresholds, stain separation",
    "scikit-learn": "folds by group, logistic regression",
    "scipy": "statistics, sparse graphs, matrix square roots",
    "seaborn": "figures of distributions",
    "selenium": "drives JupyterLab in a browser",
    "sphinx": "builds the site",
    "statsmodels": "the tests compare our corrections for multiple testing with its own",
    "tensorboard": "a training run's metrics beside those of other runs, where asked for",
    "submitit": "the workers of studies, on one machine and on Slurm",
    "tifffile": "writes the pyramidal TIFF of the slides' test, reads TIFF slides",
    "torch": "networks and their training",
    "torch-fidelity": "FID as others compute it",
    "torchvision": "ResNet-34 and DenseNet-121, image transforms",
    "tqdm": "progress bars",
}


def declared():
    "Package -> pinned version, and the group of pyproject.toml that names it."
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = {"sampling": project["project"]["dependencies"], **project["project"]["optional-dependencies"],
              **project["dependency-groups"]}
    lines = [(group, line.partition(";")[0].strip()) for group, lines in groups.items() for line in lines]
    return [(group, *line.split("==")) for group, line in lines if not line.startswith("cellgan")]


def licence(package):
    "What the installed package says of itself."
    try: about = metadata(package)
    except PackageNotFoundError: return "not installed here"
    classifiers = about.get_all("Classifier") or []
    classifier = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License")]
    text = about.get("License-Expression") or (classifier or [about.get("License") or "not stated"])[0]
    return re.sub(r"\s+", " ", text)[:80]


def every_dependency_says_why():
    names = {package for _, package, _ in declared()}
    missing, gone = sorted(names - set(WHY)), sorted(set(WHY) - names)
    return "\n".join([f"{name}: say in .ci/dependencies.py why it is there" for name in missing]
                     + [f"{name} is explained in .ci/dependencies.py, and no longer a dependency" for name in gone])


if __name__ == "__main__":
    rows = [dict(package=package, version=version, of=group, licence=licence(package), why=WHY[package])
            for group, package, version in declared()]
    table = pd.DataFrame(rows).sort_values("package")
    table.to_csv(trust.FOLDER / "dependencies.csv", index=False)
    trust.write_readme()
    print(table.to_string(index=False))
