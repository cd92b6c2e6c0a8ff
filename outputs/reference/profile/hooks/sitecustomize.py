"""Seconds of named functions in every process of a run.

Python loads this file at its start, where `PYTHONPATH` names its folder.

A phase is what the innermost of the functions below does, so no second counts twice: imports within the training of a
judge are imports. What no function covers is the rest of its process. Each process writes its phases, with the seconds
that passed and the processor's, into a file of the folder `PROFILE_FOLDER`.
"""

import atexit
import functools
import json
import os
import sys
import threading
import time
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from pathlib import Path

PHASES = {
    "training: steps": "training.loop.iterate",
    "training: set-up, checkpoints, pictures": "training.loop.train training.loop.save_state "
    "training.loop.save_samples "
    "training.card.write_cards",
    "sampling": "training.synthesis.sample_images training.synthesis.load_synthesizer training.models.sample_grid",
    "data: phantom drawn or read": "data.patches.patches_of data.patches.load_phantom evaluation.reference.real_data",
    "judge: trained": "evaluation.classifier.train_cell_classifier",
    "judge: assessed": "evaluation.judge.assess evaluation.judge.make_judge",
    "features": "evaluation.extractors.extract evaluation.extractors.make_extractor",
    "metrics and intervals": "evaluation.ruler.measure",
    "copies and memorisation": "evaluation.memorisation.audit_memorisation data.copies.find_copies",
    "morphology": "data.measures.morphology_table evaluation.morphology.morphology_distances",
    "classifiers: trained": "augmentation.trials.train_trial augmentation.trials.run_trial",
    "leaks looked for": "augmentation.leaks.check_copies augmentation.leaks.check_leaks "
    "augmentation.leaks.write_image_lists",
    "figures": "study.ablation.ablation_figure study.compare.models_figure study.results.write_study "
    "IPython.core.formatters.DisplayFormatter.format IPython.core.pylabtools.print_figure",
    "report in HTML": "core.outputs.write_report",
    "runs described and watched": "study.workers.run_study core.versions.notebook_version",
    "compilation": "torch._inductor.compile_fx.compile_fx",
}
PROGRAMS = {
    "multiprocessing": "data: phantom drawn or read",  # the pool of classifiers has its own phases
    "ipykernel_launcher": "notebooks, the rest",
    "papermill": "papermill, the rest",
    "submitit": "workers, the rest",
    "kernels": "workers, the rest",
}


class Recorder:
    "A stack of phases, and what each has taken so far."

    def __init__(self):
        self.main = threading.main_thread()
        self.begin()

    def begin(self, phase="rest"):
        "Starts anew, at the start of a process."
        self.taken, self.stack, self.since = {}, [phase], (time.perf_counter(), 0.0)

    def begin_in_fork(self):
        "A process that was forked within a phase works for it."
        self.begin(self.stack[-1])

    def switch(self):
        "Gives what has passed to the phase on top."
        now = time.perf_counter(), time.process_time()
        sums = self.taken.setdefault(self.stack[-1], [0.0, 0.0])
        for k in (0, 1):
            sums[k] += now[k] - self.since[k]
        self.since = now

    def call(self, phase, function, *arguments, **options):
        if threading.current_thread() is not self.main or self.stack[-1] == phase:
            return function(*arguments, **options)
        self.switch()
        self.stack.append(phase)
        try:
            return function(*arguments, **options)
        finally:
            self.switch()
            self.stack.pop()
            if len(self.stack) == 1:
                self.write()

    def write(self):
        "Replaces this process's file."
        self.switch()
        words = " ".join([*sys.argv, *sys.orig_argv])
        program = next((name for word, name in PROGRAMS.items() if word in words), "other programs")
        name = Path(os.environ["PROFILE_FOLDER"]) / f"{os.getpid()}.json"
        part = name.with_suffix(".part")
        part.write_text(json.dumps(dict(program=program, taken=self.taken)))
        os.replace(part, name)


def wrap(owner, name, phase):
    "Replaces a function by one that counts."
    function = getattr(owner, name)

    @functools.wraps(function)
    def counted(*arguments, **options):
        return recorder.call(phase, function, *arguments, **options)

    setattr(owner, name, counted)


def hooks():
    "Module -> list of (name of a function or of a class and its method, phase)."
    found = {}
    for phase, places in PHASES.items():
        for place in places.split():
            names = place.split(".")
            if names[0] not in ("IPython", "torch"):
                names.insert(0, "cellgan")
            split = next(k for k, name in enumerate(names) if k and (name[0].isupper() or k == len(names) - 1))
            found.setdefault(".".join(names[:split]), []).append((names[split:], phase))
    return found


HOOKS = hooks()


def counting(load):
    "A loader's `exec_module` that counts as import, and replaces the functions of a module that has been loaded."

    def exec_module(loader, module):
        recorder.call("imports", load, loader, module)
        for names, phase in HOOKS.get(module.__name__, ()):
            owner = functools.reduce(getattr, names[:-1], module)
            wrap(owner, names[-1], phase)

    return exec_module


if "PROFILE_FOLDER" in os.environ:
    recorder = Recorder()
    recorder.taken["imports"] = [0.0, time.process_time()]  # of the interpreter itself
    recorder.since = time.perf_counter(), time.process_time()
    os.register_at_fork(after_in_child=recorder.begin_in_fork)
    for kind in (SourceFileLoader, ExtensionFileLoader):
        kind.exec_module = counting(kind.exec_module)
    ExtensionFileLoader.create_module = functools.partialmethod(
        lambda loader, load, spec: recorder.call("imports", load, loader, spec), ExtensionFileLoader.create_module
    )
    atexit.register(recorder.write)
