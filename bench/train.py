# SPDX-License-Identifier: Apache-2.0
"""
Measure how fast nano and tiny learn, beside the same networks in the form of stable-worldmodel.

Both learn from the same frames, ours as a dataset folder, theirs from the HDF5 file that `smwm
export` writes of it, from that file in memory, or from the Lance table that they make of it, with
as many workers of their loader as are fastest. They run in turn, in processes of their own, with
as many threads as there are cores. Each step is counted
whole: data, forward, backward, optimiser. On a CUDA GPU both learn in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
import json
import os
from pathlib import Path
from statistics import median
import sys
from tempfile import TemporaryDirectory
import time
from typing import NamedTuple

from common import interleaved, main, paired_ratio, Row
import numpy as np
from parts.peer import NAME, Peer, peer
from smwm_ros import config
from smwm_ros.core.batches import Batches, Shuffle
from smwm_ros.core.compiled import Compiled
from smwm_ros.core.dataset import TransitionDataset, write_index
from smwm_ros.core.feed import open_feed
from smwm_ros.core.learner import Learner, pick_device
from smwm_ros.core.model import make_model
from smwm_ros.core.shards import columns, ShardWriter
from smwm_ros.exchange.to_hdf5 import write_hdf5
from smwm_ros.load import to_dict
import torch
from torch.utils.flop_counter import FlopCounterMode

BLOCK, LENGTH = 5, 100
LAST = 10**6  # step at which a feed may end


class Task(NamedTuple):
    """What is learnt, and how much of it is timed."""

    preset: str
    side: int  # of the images [px]
    rows: int  # of the dataset
    batch: int
    steps: int  # in a round
    rounds: int


def tasks(device: torch.device, quick: bool) -> list[Task]:
    """Return what this machine can do within minutes."""
    if device.type == 'cuda':
        return [
            Task('nano', 64, 100_000, 128, 50 if quick else 1000, 2 if quick else 7),
            Task(
                'tiny', 224, 4_000 if quick else 20_000, 256, 5 if quick else 40, 2 if quick else 7
            ),
        ]
    return [
        Task('nano', 64, 2_000 if quick else 20_000, 128, 20 if quick else 200, 2 if quick else 7),
        Task(
            'tiny',
            224,
            300 if quick else 1_000,
            4 if quick else 16,
            1 if quick else 2,
            1 if quick else 5,
        ),
    ]


def measure(quick: bool) -> Iterator[Row]:
    """Train each preset on what this machine has."""
    device = pick_device('auto')
    for task in tasks(device, quick):
        with TemporaryDirectory() as folder:
            yield from compare(task, Path(folder), device)
        if not quick:
            with TemporaryDirectory() as folder:
                yield from compile_gain(task, Path(folder), device)


def compare(task: Task, folder: Path, device: torch.device) -> Iterator[Row]:
    """Train one preset in turn with the peer."""
    dataset = noise(folder / 'data', task)
    write_hdf5(dataset, folder / 'data.h5')
    where = '' if device.type == 'cpu' else f'.{device.type}'
    measure, samples = f'train.{task.preset}', task.steps * task.batch
    with (
        Ours(dataset, task, device, compiled=device.type == 'cuda') as mine,
        beside(task, folder, device) as theirs,
    ):
        parts: dict[str, Callable[[], float]] = {'ours': mine.seconds}
        if theirs:
            parts['theirs'] = lambda: theirs.seconds(task.steps)
        for part in parts.values():
            part()  # compiles, fills caches, starts workers
        mine.waited = mine.total = 0.0
        seconds = interleaved(parts, task.rounds)
        yield Row(
            measure + where,
            samples / median(seconds['ours']),
            'samples/s',
            peer=f'{NAME} form, {theirs.ready["layout"]}' if theirs else '',
            peer_value=samples / median(seconds['theirs']) if theirs else None,
            ratio=paired_ratio(seconds['theirs'], seconds['ours']) if theirs else None,
        )
        yield Row(f'{measure}.loading{where}', 100 * mine.waited / mine.total, '% of a step')
        if task.preset == 'tiny':
            flops = operations(dataset, task)
            done = task.steps * flops / median(seconds['ours']) / 1e12
            most = matrix_rate(device) / 1e12
            kind = 'fp32' if device.type == 'cpu' else 'bf16'
            yield Row(
                f'{measure}.arithmetic{where}',
                done,
                f'TFLOP/s of {flops / task.batch / 1e9:.1f} GFLOP a sample',
                peer=f'a large {kind} matrix product',
                peer_value=most,
                ratio=done / most,
            )


def compile_gain(task: Task, folder: Path, device: torch.device) -> Iterator[Row]:
    """Train one preset in turn with itself, once with train.compile and once without."""
    dataset = noise(folder / 'data', task)
    with (
        Ours(dataset, task, device, compiled=True) as quick,
        Ours(dataset, task, device, compiled=False) as plain,
    ):
        wait = quick.seconds() - plain.seconds()  # both fill caches, one compiles
        if quick.failed:
            print('left out: train.compile, which torch could not do here', file=sys.stderr)
            return
        parts = {'compiled': quick.seconds, 'plain': plain.seconds}
        seconds = interleaved(parts, task.rounds)
    samples = task.steps * task.batch
    where = '' if device.type == 'cpu' else f'.{device.type}'
    yield Row(
        f'train.{task.preset}.compile{where}',
        samples / median(seconds['compiled']),
        'samples/s',
        peer='the same, not compiled',
        peer_value=samples / median(seconds['plain']),
        ratio=paired_ratio(seconds['plain'], seconds['compiled']),
    )
    yield Row(f'train.{task.preset}.compile_wait{where}', wait, 's')


class Ours:
    """Our training, some steps at a time."""

    def __init__(
        self, dataset: TransitionDataset, task: Task, device: torch.device, compiled: bool
    ) -> None:
        self._task, self._device, self._step = task, device, 0
        settings = config.Train(steps=LAST, batch=task.batch, lr=1e-4, compile=compiled)
        torch.manual_seed(0)
        batches = Batches(dataset, *dataset.action_statistics(), device)
        self._learner = Learner(model_of(dataset, task).to(device), settings, device)
        deal = Shuffle(batches.starts('train'), task.batch, 0)
        self._opened = open_feed('auto', batches, deal, slice(None), range(1, LAST))
        self.waited = self.total = 0.0

    def __enter__(self) -> Ours:
        """Open the feed."""
        self._feed = self._opened.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self._opened.__exit__(None, None, None)

    @property
    def failed(self) -> bool:
        """Return whether torch could not compile."""
        losses = self._learner.losses
        return isinstance(losses, Compiled) and losses.failed

    def seconds(self) -> float:
        """Take the steps of a round; return how long they took."""
        begun = self._now()
        for _ in range(self._task.steps):
            self._step += 1
            asked = time.perf_counter()
            batch = self._feed(self._step)
            self.waited += time.perf_counter() - asked
            self._learner.step(self._step, batch)
        elapsed = self._now() - begun
        self.total += elapsed
        return elapsed

    def _now(self) -> float:
        if self._device.type == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter()


def model_of(dataset: TransitionDataset, task: Task) -> torch.nn.Module:
    """Make the model, which learns."""
    knobs = config.Model(preset=task.preset)
    return make_model(knobs, task.side, dataset.info.spec.size * BLOCK)


def beside(task: Task, folder: Path, device: torch.device) -> AbstractContextManager[Peer | None]:
    """Start the other training."""
    cores = len(os.sched_getaffinity(0))
    known = {
        'preset': task.preset, 'file': str(folder / 'data.h5'), 'batch': task.batch,
        'block': BLOCK, 'fields': 2, 'lr': 1e-4, 'device': device.type,
        'threads': torch.get_num_threads(), 'workers': min(cores, 24),
        'trial': task.steps,
    }  # fmt: skip
    return peer('lewm_train.py', lambda path: path.write_text(json.dumps(known)))


def noise(folder: Path, task: Task) -> TransitionDataset:
    """Record frames that show nothing: what they show costs no time."""
    rng, episodes = np.random.default_rng(0), task.rows // LENGTH
    with ShardWriter(folder / 'shards' / 'noise', columns(task.side, 2, 0)) as writer:
        for number in range(episodes):
            shape = (LENGTH, task.side // 8, task.side // 8, 3)
            coarse = rng.integers(0, 256, shape, np.uint8)
            writer.append(
                pixels=coarse.repeat(8, axis=1).repeat(8, axis=2),
                action=rng.uniform(-0.5, 0.5, (LENGTH, 2)),
                state=np.zeros((LENGTH, 0)),
                episode=np.full(LENGTH, number),
                stamp=(number * LENGTH + np.arange(LENGTH)) * 10**8,
            )
        spans = [(number * LENGTH, (number + 1) * LENGTH) for number in range(episodes)]
        writer.publish({'episodes': spans})
    knobs = config.Dataset(image_size=task.side, action_block=BLOCK)
    write_index(folder, to_dict(config.Robot()), to_dict(knobs), ['noise'], {})
    return TransitionDataset.open(folder)


def operations(dataset: TransitionDataset, task: Task) -> float:
    """Return the floating-point operations of the products in one of our steps."""
    batches = Batches(dataset, *dataset.action_statistics(), torch.device('cpu'))
    settings = config.Train(batch=2, device='cpu', precision='fp32')
    learner = Learner(model_of(dataset, task), settings, torch.device('cpu'))
    counter = FlopCounterMode(display=False)
    with counter:
        learner.step(1, batches.at(batches.starts('train')[:2]))
    return counter.get_total_flops() / 2 * task.batch


def matrix_rate(device: torch.device) -> float:
    """Return how many operations a second one large matrix product does."""
    gpu = device.type == 'cuda'
    side, kind = (8192, torch.bfloat16) if gpu else (2048, torch.float32)
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    seconds = []
    for _ in range(10):
        begun = time.perf_counter()
        a @ b
        if gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return 2 * side**3 / min(seconds)


if __name__ == '__main__':
    main(measure, __doc__)
