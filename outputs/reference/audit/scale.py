"""What the search for copies takes, with many patches: seconds and memory of a few queries against 5,000 to 20,000.

    python outputs/reference/audit/scale.py

The references are 500 phantom patches, each shifted by forty different steps, so that they are pictures of their own.
Every query is compared with every reference, so the time of a search of all patches among each other follows from that
of a few: `seconds_all` of `scale.csv`. Memory (`RssAnon`, nobody else's) is sampled while the search runs, and counted
from before its begin. One thread; a minute of one core. Each size runs in a process of its own.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import pandas as pd
import torch

from cellgan.data.copies import find_copies
from cellgan.data.phantom import Phantom, render

SIZES, QUERIES, DRAWN = (5_000, 10_000, 20_000), 32, 500


def held():
    "RssAnon of this process, in MiB."
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def watch(most):
    "Keeps the most that was held, every hundredth of a second."
    while True:
        most[0] = max(most[0], held())
        time.sleep(0.01)


def pictures(n):
    "n different pictures, uint8 (n, 3, 64, 64)."
    drawn = torch.from_numpy(render(Phantom(64, seed=1), DRAWN, workers=1, progress=False).images)
    return torch.cat([drawn.roll((3 * k, 5 * k), (2, 3)) for k in range(n // DRAWN)])


def measured(n):
    "One row of the table."
    known = pictures(n)
    queries = torch.from_numpy(render(Phantom(64, seed=2), 2 * QUERIES, workers=1, progress=False).images)
    find_copies(queries[:8], known[:50])  # libraries are loaded
    before, seconds, most = held(), [], [held()]
    threading.Thread(target=watch, args=(most,), daemon=True).start()
    for end in (QUERIES, 2 * QUERIES):  # the difference is that of the queries alone, without describing the references
        begun = time.process_time()
        find_copies(queries[:end], known)
        seconds.append(time.process_time() - begun)
    each = (seconds[1] - seconds[0]) / QUERIES
    return dict(
        references=n,
        milliseconds_per_query=1e3 * each,
        microseconds_per_pair=1e6 * each / n,
        seconds_all=each * n,
        memory=most[0] - before,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        print(pd.DataFrame([measured(int(sys.argv[1]))]).round(2).to_csv(index=False), end="")
        sys.exit()
    rows = [
        subprocess.run([sys.executable, __file__, str(n)], capture_output=True, text=True, check=True).stdout
        for n in SIZES
    ]
    lines = [rows[0].splitlines()[0], *(row.splitlines()[1] for row in rows)]
    (HERE / "scale.csv").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
