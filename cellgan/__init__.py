"""CellGAN, the reproducible research workbook: class-conditional synthesis of cervical cells."""

__version__ = "0.1.0"

# What people import from here, and the module that defines it. A module is loaded when a name of it is first used
# (PEP 562), so that `import cellgan` does not wait for torch.
NAMES = {
    "load_checkpoint": "cellgan.training.checkpoint",
    "load_patches": "cellgan.data.patches",
    "load_release": "cellgan.model.release",
    "load_synthesizer": "cellgan.training.synthesis",
    "make_config": "cellgan.core.config",
    "train": "cellgan.training.loop",
}


def __getattr__(name):
    if name not in NAMES: raise AttributeError(f"module 'cellgan' has no attribute {name!r}")
    from importlib import import_module
    from .core.extras import not_installed
    try: return getattr(import_module(NAMES[name]), name)
    except ModuleNotFoundError as error: raise not_installed(error) from None


def __dir__():
    return sorted([*globals(), *NAMES])
