# SPDX-License-Identifier: Apache-2.0
"""
Train with the dataset, the loader and the model class of stable-worldmodel, on request.

Runs in an environment of its own, as lewm.py does. The first argument is a JSON file with the
task. Each input line is a number of steps; the answer is how long they took [s]. At its start the
script tries every data layout that the package reads without loss or by default, each with several
numbers of workers, and keeps the fastest. The loop is that of the SMWM release without its
framework, which can only be slower. `nano`, which no package has, is a plain implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
import json
from pathlib import Path
import sys
import time
from typing import Any

import hdf5plugin  # noqa: F401 - registers Blosc with HDF5
from lewm import lewm
from stable_worldmodel.data import convert, HDF5Dataset, LanceDataset
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LATENT, HIDDEN = {'nano': 32, 'tiny': 192}, 256


class Nano(nn.Module):
    """The networks of preset nano."""

    def __init__(self, action_size: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 16, 4, stride=4), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(1024, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 32), nn.BatchNorm1d(32),
        )  # fmt: skip
        self.change = perceptron(32 + action_size, 32)

    def embed(self, pixels: Tensor) -> Tensor:
        """Encode (B, T, 3, S, S) uint8 as (B, T, 32)."""
        x = pixels.flatten(0, 1).float() / 127.5 - 1
        z: Tensor = self.trunk(x)
        return z.reshape(*pixels.shape[:2], -1)

    def ahead(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict (B, 1, 32)."""
        found: Tensor = z + self.change(torch.cat([z, action], dim=-1))
        return found


class Tiny(nn.Module):
    """The networks of the paper, in the class of the package."""

    mean: Tensor
    std: Tensor

    def __init__(self, action_size: int) -> None:
        super().__init__()
        self.model = lewm(action_size)
        for name, values in (('mean', MEAN), ('std', STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def embed(self, pixels: Tensor) -> Tensor:
        """Encode (B, T, 3, 224, 224) uint8 as (B, T, 192)."""
        info = {'pixels': (pixels.float() / 255 - self.mean) / self.std}
        z: Tensor = self.model.encode(info)['emb']
        return z

    def ahead(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict (B, 1, 192)."""
        found: Tensor = self.model.predict(z, self.model.action_encoder(action))
        return found


def perceptron(size_in: int, size_out: int) -> nn.Sequential:
    """Make a network of two hidden layers."""
    layers = nn.Linear(size_in, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()
    return nn.Sequential(*layers, nn.Linear(HIDDEN, size_out))


def main() -> None:
    """Print a line when ready, then train for each input line."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding='utf-8'))
    torch.set_num_threads(task['threads'])
    device, width = task['device'], task['block'] * task['fields']
    model = (Nano if task['preset'] == 'nano' else Tiny)(width).to(device).train()
    inverse = perceptron(2 * LATENT[task['preset']], width).to(device)
    weights = [*model.parameters(), *inverse.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=task['lr'], weight_decay=1e-3)
    train = partial(step, model, inverse, optimiser, weights, device=device)
    chosen, batches = fastest(task, train)
    print(json.dumps({'layout': chosen}), flush=True)
    for line in sys.stdin:
        print(json.dumps({'seconds': seconds_of(int(line), batches, train, device)}), flush=True)


def fastest(
    task: dict[str, Any], train: Callable[[dict[str, Tensor]], None]
) -> tuple[str, Iterator[dict[str, Tensor]]]:
    """Train several steps with each layout and number of workers; return the fastest."""
    windows = {'frameskip': task['block'], 'num_steps': 2, 'keys_to_load': ['pixels', 'action']}
    lance = Path(task['file']).with_suffix('.lance')
    convert(task['file'], lance, source_format='hdf5', progress=False)
    layouts = {
        'HDF5': HDF5Dataset(path=task['file'], keys_to_cache=['action'], **windows),
        'HDF5 in memory': HDF5Dataset(
            path=task['file'], keys_to_cache=['pixels', 'action'], **windows
        ),
        'Lance': LanceDataset(path=lance, **windows),
    }
    found: dict[str, tuple[float, Iterator[dict[str, Tensor]]]] = {}
    for name, dataset in layouts.items():
        for workers in sorted({0, max(task['workers'] // 2, 1), task['workers']}):
            batches = forever(dataset, task, workers)
            seconds_of(1, batches, train, task['device'])  # starts workers, fills caches
            taken = seconds_of(task['trial'], batches, train, task['device'])
            found[f'{name}, {workers} workers'] = taken, batches
    best = min(found, key=lambda name: found[name][0])
    return best, found[best][1]


def forever(dataset: Any, task: dict[str, Any], workers: int) -> Iterator[dict[str, Tensor]]:
    """Yield batches, epoch after epoch."""
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=task['batch'], shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0, prefetch_factor=4 if workers else None,
        pin_memory=task['device'] != 'cpu',
    )  # fmt: skip
    while True:
        yield from loader


def seconds_of(
    steps: int,
    batches: Iterator[dict[str, Tensor]],
    train: Callable[[dict[str, Tensor]], None],
    device: str,
) -> float:
    """Run several steps; return their duration [s]."""
    begun = now(device)
    for _ in range(steps):
        train(next(batches))
    return now(device) - begun


def step(
    model: Nano | Tiny,
    inverse: nn.Module,
    optimiser: torch.optim.Optimizer,
    weights: Sequence[Tensor],
    batch: dict[str, Tensor],
    device: str,
) -> None:
    """Run a training step as in the release of SMWM."""
    pixels = batch['pixels'].to(device, non_blocking=True)
    action = torch.nan_to_num(batch['action'].to(device, non_blocking=True))[:, :1].float()
    with torch.autocast(device, torch.bfloat16, enabled=device != 'cpu'):
        z = model.embed(pixels)
        loss = F.mse_loss(model.ahead(z[:, :1], action), z[:, 1:])
        read = inverse(torch.cat([z[:, :1], z[:, 1:]], dim=-1))
        loss = loss + F.mse_loss(read, action)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def now(device: str) -> float:
    """Return the time after a GPU has finished its queue [s]."""
    if device != 'cpu':
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == '__main__':
    main()
