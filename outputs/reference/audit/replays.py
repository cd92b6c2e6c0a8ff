"""What the audits find: the tables of this folder, on two CPU cores in minutes.

    python outputs/reference/audit/replays.py

`replays.csv`: copies of each kind among generated patches, with and without groups and with and without duplicates in
the training data. `null.csv`: generators of new scenes, 20 seeds. `leaks.csv`: the same copies planted between folds.
`time.csv`: both audits, for 2,000 patches against 5,000.
"""

import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import pandas as pd
import torch

from cellgan.data.copies import find_copies, find_near_duplicates
from cellgan.data.patches import load_patches
from cellgan.data.planted import REPLAYS, plant, spoil
from cellgan.evaluation.memorisation import audit_memorisation, pixel_code

TRAINING, COPIES, SIZE = 1500, 40, 64


def phantom(n, seed):
    return load_patches("phantom", SIZE, n, seed=seed, cache=False, progress=False)


def audited(images, data):
    "Whether an audit flags these images, and their copies; pixel codes stand in for a judge's features."
    audits = audit_memorisation(images, pixel_code(images), data, pixel_code(data.images))
    return any(audit.leaks for audit in audits.values()), find_copies(images, data.images)


def replays(known, fresh):
    "Of `COPIES` copies of each kind, the share that is named, and whether the rate test flags a generator of them."
    rows = []
    for groups in (True, False):
        for duplicates in (True, False):
            data = spoil(known, groups, duplicates)
            for i, (name, kinds) in enumerate(REPLAYS.items()):
                copies = plant(known.images[100:100 + COPIES], kinds, seed=i)
                flagged, found = audited(torch.cat([copies, fresh[:COPIES]]), data)
                named = {copy.query for copy in found}
                rows.append(dict(replay=name, groups=groups, duplicates=duplicates, copies=COPIES,
                                 found=sum(query < COPIES for query in named) / COPIES,
                                 wrong=sum(query >= COPIES for query in named), rate_test=flagged))
                print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def null(known, seeds=20, n=100):
    "New scenes are no copies: what is flagged, for each seed."
    rows = []
    for seed in range(seeds):
        flagged, found = audited(phantom(n, 1000 + seed).images, known)
        rows.append(dict(seed=seed, patches=n, rate_test=flagged, copies=len(found)))
    return pd.DataFrame(rows)


def leaks(known):
    "Copies under group names of their own: the share whose pair is found, so that folds keep both sides together."
    originals, rows = known.subset(torch.arange(6 * COPIES)), []
    n = len(originals)
    for i, (name, kinds) in enumerate(REPLAYS.items()):
        images = torch.cat([originals.images, plant(originals.images[:COPIES], kinds, seed=50 + i)])
        groups = torch.cat([originals.groups, 100_000 + torch.arange(COPIES)])
        pairs = {(copy.query, copy.reference) for copy in find_near_duplicates(images, groups)}
        rows.append(dict(planted=name, copies=COPIES, found=sum((k, n + k) in pairs for k in range(COPIES)) / COPIES))
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def times(queries=2000, references=5000):
    "Seconds of both audits."
    known, fresh = phantom(references, 1), phantom(queries, 2).images
    codes, known_codes = pixel_code(fresh), pixel_code(known.images)
    begun, cpu = time.perf_counter(), time.process_time()
    audit_memorisation(fresh, codes, known, known_codes)
    find_copies(fresh, known.images)
    return pd.DataFrame([dict(patches=queries, against=references, threads=torch.get_num_threads(),
                              seconds=time.perf_counter() - begun, cpu_seconds=time.process_time() - cpu)])


if __name__ == "__main__":
    known, fresh = phantom(TRAINING, 7), phantom(COPIES, 8).images
    wanted = sys.argv[1:] or ["replays", "null", "leaks", "time"]
    made = dict(replays=lambda: replays(known, fresh), null=lambda: null(known), leaks=lambda: leaks(known), time=times)
    for name in wanted:
        table = made[name]()
        table.round(4).to_csv(HERE / f"{name}.csv", index=False)
        print(table.to_string(), flush=True)
