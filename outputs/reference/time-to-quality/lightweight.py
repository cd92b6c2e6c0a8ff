"""Trains lightweight-gan on a folder of images, on a processor, and draws from it now and then.

    python lightweight.py IMAGES OUT SIZE MINUTES DRAWN SEED

Called by `study.py` in an environment of its own, which has the package and not this project. The package insists on a
GPU from CUDA, so before it is imported what would go there is left where it is; everything else is its own trainer with
its own settings. Writes `OUT/<processor seconds>.npy`, uint8 (DRAWN, SIZE, SIZE, 3), at every fifth of the
minutes, since drawing from it takes long on a processor.
"""

import resource
import sys
from pathlib import Path

import numpy as np
import torch


def spent():
    "Seconds of a processor that this process took."
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class OnTheProcessor:
    "torch as the package sees it: its one device is the processor."

    def __getattr__(self, name):
        return getattr(torch, name)

    def device(self, name):
        return torch.device("cpu")


def import_trainer():
    "The package's trainer and the module that it stands in."
    there = torch.cuda.is_available
    torch.cuda.is_available = lambda: True
    from lightweight_gan import lightweight_gan as module

    torch.cuda.is_available = there
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *where: self
    module.torch = OnTheProcessor()
    return module.Trainer


@torch.no_grad()
def draw(trainer, n):
    "uint8 (n, size, size, 3) from the generator; its average is one only after 20,000 steps, far beyond the minutes."
    network = trainer.GAN.G.eval()
    latents = torch.randn(n, trainer.latent_dim)
    images = torch.cat([network(part).clamp(0, 1) for part in latents.split(50)])
    network.train()
    return (images * 255).round().byte().permute(0, 2, 3, 1).numpy()


def main(images, out, size, minutes, drawn, seed):
    "Trains and draws in turn."
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    out = Path(out)
    never = 10**9
    trainer = import_trainer()(
        base_dir=str(out / "work"),
        image_size=int(size),
        use_aim=False,
        save_every=never,
        evaluate_every=never,
        num_workers=0,
    )
    trainer.save = trainer.evaluate = lambda *a, **k: None  # they are due at step 0, whatever the interval is
    trainer.set_data_src(images)
    whole = 60 * float(minutes)
    begun, elsewhere, due = spent(), 0.0, whole / 5
    while (used := spent() - begun - elsewhere) < whole:
        trainer.train()
        if used < due:
            continue
        before = spent()
        np.save(out / f"{used:.1f}.npy", draw(trainer, int(drawn)))
        elsewhere += spent() - before
        due += whole / 5
    print(f"{trainer.steps} steps of {trainer.batch_size}")


if __name__ == "__main__":
    main(*sys.argv[1:])
