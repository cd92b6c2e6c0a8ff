"""What the project stands on: every direct dependency, its licence, and why it is there: `uv run .ci/dependencies.py`.

Writes outputs/reference/trust/dependencies.csv from pyproject.toml and the installed packages' own metadata. With
--vulnerabilities it looks up every installed package in the newest database of known vulnerabilities that comes as a
package, so that no network is needed once it is there, and writes vulnerabilities.csv beside that table.
"""

import json
import re
import subprocess
import sys
import tomllib
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, distributions, metadata
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
    "voila": "explore as an app, opened by .ci/browser.py",
}


SCANNER = {"safety": "1.10.3", "safety-db": "2021.7.17", "setuptools": "80.10.2"}  # safety needs pkg_resources
SCAN = """
import json, sys
from collections import namedtuple
from importlib.util import find_spec
from pathlib import Path
from safety.safety import check
Package = namedtuple("Package", "key version")
folder = Path(find_spec("safety_db").origin).parent
advisories = json.loads((folder / "insecure_full.json").read_text())
packages = [Package(*each) for each in json.load(sys.stdin)]
found = check(packages, "", str(folder), False, (), None)
listed = [package.key for package in packages if package.key in advisories]
known = sum(len(advisories[key]) for key in listed)
print(json.dumps(dict(packages=len(packages), listed=len(listed), advisories=known,
                      found=len(found), made=advisories["$meta"]["timestamp"],
                      names=sorted({f"{each.name} {each.version}: {each.advisory}" for each in found}))))
"""


def look_up(packages):
    "What safety finds for a list of (name, version) in the database of safety-db."
    tools = [text for name, version in SCANNER.items() for text in ("--with", f"{name}=={version}")]
    command = ["uv", "run", "--quiet", "--no-project", *tools, "python", "-c", SCAN]
    done = subprocess.run(command, input=json.dumps(packages), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def vulnerabilities():
    "A row for the installed packages, and one for a release known to be vulnerable, which the scan has to find."
    installed = {re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(): each.version for each in distributions()}
    rows = {"all that is installed": installed, "control: pillow 8.1.0 alone": {"pillow": "8.1.0"}}
    table = []
    for name, packages in rows.items():
        result = look_up([[key, version] for key, version in packages.items() if key != "cellgan"])
        made = datetime.fromtimestamp(result.pop("made"), timezone.utc).date()
        names = [text.replace("; ", ", ") for text in result.pop("names")]  # the page has a line for each
        table.append(
            dict(looked_up=name, database=str(made), **result, missed="; ".join(names) if packages is installed else "")
        )
    return pd.DataFrame(table)


def declared():
    "Package -> pinned version, and the group of pyproject.toml that names it."
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = {
        "sampling": project["project"]["dependencies"],
        **project["project"]["optional-dependencies"],
        **project["dependency-groups"],
    }
    lines = [(group, line.partition(";")[0].strip()) for group, lines in groups.items() for line in lines]
    return [(group, *line.split("==")) for group, line in lines if not line.startswith("cellgan")]


def licence(package):
    "What the installed package says of itself."
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return "not installed here"
    classifiers = about.get_all("Classifier") or []
    classifier = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License")]
    text = about.get("License-Expression") or (classifier or [about.get("License") or "not stated"])[0]
    return re.sub(r"\s+", " ", text)[:80]


def every_dependency_says_why():
    names = {package for _, package, _ in declared()}
    missing, gone = sorted(names - set(WHY)), sorted(set(WHY) - names)
    return "\n".join(
        [f"{name}: say in .ci/dependencies.py why it is there" for name in missing]
        + [f"{name} is explained in .ci/dependencies.py, and no longer a dependency" for name in gone]
    )


if __name__ == "__main__":
    rows = [
        dict(package=package, version=version, of=group, licence=licence(package), why=WHY[package])
        for group, package, version in declared()
    ]
    table = pd.DataFrame(rows).sort_values("package")
    trust.keep(table, "dependencies.csv")
    print(table.to_string(index=False))
    if "--vulnerabilities" in sys.argv:
        table = vulnerabilities()
        trust.keep(table, "vulnerabilities.csv")
        print(table.to_string(index=False))
