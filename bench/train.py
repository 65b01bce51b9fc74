# SPDX-License-Identifier: Apache-2.0
"""
Measure how fast nano and tiny train, beside the same networks written for stable-worldmodel.

Both train on the same frames. Ours reads a dataset folder. The peer reads the HDF5 file that `smwm
export` writes of it, from disk or from memory, or the Lance table that it converts that file to,
whichever is fastest, with the number of loader workers that is fastest. They run in turn, in
processes of their own, with as many threads as cores. The time of a step includes data, forward,
backward and optimiser. On a CUDA GPU both train in bfloat16, beside a plain implementation of the
loop of the official release.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
import csv
from dataclasses import asdict, replace
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
from parts.peer import NAME, Peer, peer, python_of_peer
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset, write_index
from smwm_ros.data.shards import columns, ShardWriter
from smwm_ros.interfaces import Obs, Window
from smwm_ros.model.any_model import make_model
from smwm_ros.model.compiled import Compiled
from smwm_ros.model.device import CPU, pick_device
from smwm_ros.model.vit import SIDE
from smwm_ros.model.world_model import Smwm
from smwm_ros.toys.worlds import record, TOYS
from smwm_ros.training.batches import Batches, Shuffle
from smwm_ros.training.feed import open_feed
from smwm_ros.training.learner import Learner
from smwm_ros.training.train import train
import torch
from torch import nn, Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

BLOCK, LENGTH = 5, 100
LAST = 10**6  # a step that no round reaches


class Task(NamedTuple):
    """What is trained on, and how much of it is timed."""

    preset: str
    side: int  # of the images [px]
    rows: int  # of the dataset
    batch: int
    steps: int  # in a round
    rounds: int


def tasks(device: torch.device, quick: bool) -> list[Task]:
    """Return sizes that take this machine minutes."""
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
    """Train each preset on the processor, and on a GPU where there is one."""
    device = pick_device('auto')
    gpu = device.type == 'cuda'
    for task in tasks(device, quick):
        with TemporaryDirectory() as folder:
            dataset = noise(Path(folder) / 'data', task)
            if python_of_peer() or not gpu:
                yield from beside_platform(dataset, task, device)
            if gpu:
                yield from on_gpu(dataset, task, device)
            if task.preset == 'nano':
                yield augmented(dataset, task, device)
            if not quick:
                yield from compile_gain(dataset, task, device)


def beside_platform(dataset: TransitionDataset, task: Task, device: torch.device) -> Iterator[Row]:
    """Train one preset, in turn with the peer."""
    where = '' if device.type == 'cpu' else '.peer.cuda'
    with Ours(dataset, task, device) as mine, beside(task, dataset, device) as theirs:
        parts: dict[str, Callable[[], float]] = {'ours': mine.seconds}
        if theirs:
            parts['theirs'] = lambda: theirs.seconds(task.steps)
        seconds = in_turn(parts, task)
        peer = f'{NAME} form, {theirs.ready["layout"]}' if theirs else ''
        yield pace(f'train.{task.preset}{where}', task, seconds, peer)
        if device.type == 'cpu':
            yield Row(f'train.{task.preset}.loading', mine.loading, '% of a step')
            if task.preset == 'tiny':
                yield arithmetic(f'train.{task.preset}.arithmetic', dataset, task, seconds['ours'])


def on_gpu(dataset: TransitionDataset, task: Task, device: torch.device) -> Iterator[Row]:
    """Train one preset on a GPU with resident and prefetched frames, beside a plain loop."""
    name = f'train.{task.preset}'
    with Ours(dataset, task, device, 'resident') as mine:
        seconds = in_turn({'ours': mine.seconds}, task)
        yield Row(f'{name}.loading.cuda', mine.loading, '% of a step')
        if task.preset == 'tiny':
            yield arithmetic(f'{name}.arithmetic.cuda', dataset, task, seconds['ours'], device)
        yield from memory(f'{name}.memory.cuda', device)
        with Plain(dataset, task, device) as plain:
            seconds = in_turn({'ours': mine.seconds, 'theirs': plain.seconds}, task)
            loop = 'the official loop, plain and eager'
            yield pace(f'{name}.cuda', task, seconds, loop)
        with Ours(dataset, task, device, 'prefetch', mine.learner) as other:
            parts = {'ours': other.seconds, 'theirs': mine.seconds}
            seconds = in_turn(parts, task)
            yield pace(f'{name}.prefetch.cuda', task, seconds, 'the same, with frames on the GPU')
            yield Row(f'{name}.prefetch_loading.cuda', other.loading, '% of a step')


def in_turn(parts: dict[str, Callable[[], float]], task: Task) -> dict[str, list[float]]:
    """Return the duration of each round but the first [s]."""
    for part in parts.values():
        part()  # compiles, fills caches, starts workers
    return interleaved(parts, task.rounds)


def pace(measure: str, task: Task, seconds: dict[str, list[float]], peer: str = '') -> Row:
    """Return the training rate [samples/s], beside the peer."""
    samples = task.steps * task.batch
    rate, unit = samples / median(seconds['ours']), 'samples/s'
    if not peer:
        return Row(measure, rate, unit)
    theirs, ratio = seconds['theirs'], paired_ratio(seconds['theirs'], seconds['ours'])
    return Row(measure, rate, unit, peer=peer, peer_value=samples / median(theirs), ratio=ratio)


def arithmetic(
    measure: str,
    dataset: TransitionDataset,
    task: Task,
    seconds: list[float],
    device: torch.device = CPU,
) -> Row:
    """Return the arithmetic rate, beside that of a matrix product."""
    flops = operations(dataset, task)
    done = task.steps * flops / median(seconds) / 1e12
    most = matrix_rate(device) / 1e12
    unit = f'TFLOP/s of {flops / task.batch / 1e9:.1f} GFLOP a sample'
    peer = f'a large {"fp32" if device.type == "cpu" else "bf16"} matrix product'
    return Row(measure, done, unit, peer=peer, peer_value=most, ratio=done / most)


def memory(measure: str, device: torch.device) -> Iterator[Row]:
    """Yield the peak memory of a GPU so far."""
    if device.type == 'cuda':
        yield Row(measure, torch.cuda.max_memory_allocated(device) / 1e9, 'GB, frames included')


def augmented(dataset: TransitionDataset, task: Task, device: torch.device) -> Row:
    """Run whole trainings with the augmentation of the defaults, in turn with none."""
    plain = config.Train(warp=0.0, colour_jitter=0.0)
    with (
        Ours(dataset, task, device, rounds=config.Train()) as ours,
        Ours(dataset, task, device, rounds=plain) as other,
    ):
        seconds = in_turn({'ours': ours.seconds, 'theirs': other.seconds}, task)
    where = '' if device.type == 'cpu' else f'.{device.type}'
    measure = f'train.{task.preset}.augmented{where}'
    return pace(measure, task, seconds, 'the same without augmentation')


def compile_gain(dataset: TransitionDataset, task: Task, device: torch.device) -> Iterator[Row]:
    """Train one preset with train.compile, in turn with the same preset without."""
    with (
        Ours(dataset, task, device, compiled=True) as quick,
        Ours(dataset, task, device, compiled=False) as plain,
    ):
        wait = quick.seconds() - plain.seconds()  # both fill caches, one compiles
        if quick.failed:
            print('left out: train.compile; torch cannot compile here', file=sys.stderr)
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
    """Our training loop, in rounds of several steps."""

    def __init__(
        self,
        dataset: TransitionDataset,
        task: Task,
        device: torch.device,
        feed: str = 'auto',
        learner: Learner | None = None,  # continues with this one, which is compiled
        compiled: bool | None = None,  # None: on a GPU alone
        rounds: config.Train | None = None,  # of whole trainings; None: first steps of one
    ) -> None:
        self._task, self._device, self._step = task, device, 0
        self._count = task.steps if rounds else LAST  # steps of a training
        compiled = device.type == 'cuda' if compiled is None else compiled
        settings = replace(
            rounds or config.Train(),
            steps=self._count,
            batch=task.batch,
            lr=1e-4,
            compile=compiled,
        )
        torch.manual_seed(0)
        batches = Batches(dataset, dataset.action_scaler(), device)
        self.learner = learner or Learner(model_of(dataset, task).to(device), settings, device)
        deal = Shuffle(batches.starts('train'), task.batch, 0)
        self._opened = open_feed(feed, batches, deal, slice(None), range(1, LAST))
        self._waited: list[float] = []
        self._total: list[float] = []

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
        losses = self.learner.losses.func
        return isinstance(losses, Compiled) and losses.failed

    @property
    def loading(self) -> float:
        """Return the share of data loading in a step, without the first round [%]."""
        return 100 * sum(self._waited[1:]) / sum(self._total[1:])

    def seconds(self) -> float:
        """Run the steps of a round; return their duration [s]."""
        begun, waited = now(self._device), 0.0
        for _ in range(self._task.steps):
            self._step += 1
            asked = time.perf_counter()
            batch = self._feed(self._step)
            waited += time.perf_counter() - asked
            self.learner.step((self._step - 1) % self._count + 1, batch)
        elapsed = now(self._device) - begun
        self._waited.append(waited)
        self._total.append(elapsed)
        return elapsed


class Plain:
    """A plain implementation of the official training loop, with the same networks."""

    def __init__(self, dataset: TransitionDataset, task: Task, device: torch.device) -> None:
        self._task, self._device = task, device
        workers = 0 if device.type == 'cpu' else min(len(os.sched_getaffinity(0)), 24)
        batches = Batches(dataset, dataset.action_scaler(), torch.device('cpu'))
        self._loader = DataLoader(
            Samples(batches), task.batch, shuffle=True, drop_last=True, num_workers=workers,
            persistent_workers=workers > 0, prefetch_factor=4 if workers else None,
            pin_memory=device.type == 'cuda',
        )  # fmt: skip
        self._model = model_of(dataset, task).to(device).train()
        self._optimiser = torch.optim.AdamW(self._model.parameters(), lr=1e-4, weight_decay=1e-3)

    def __enter__(self) -> Plain:
        """Start the loader."""
        self._batches = self._forever()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the loader."""
        self._batches.close()

    def seconds(self) -> float:
        """Run the steps of a round; return their duration [s]."""
        begun, kind = now(self._device), self._device.type
        for _ in range(self._task.steps):
            pixels, action = (
                part.to(self._device, non_blocking=True).transpose(0, 1)
                for part in next(self._batches)
            )
            with torch.autocast(kind, torch.bfloat16, enabled=kind != 'cpu'):
                state = torch.zeros(2, self._task.batch, 0, device=self._device)
                terms = self._model.losses(Window(Obs(pixels, state), action))
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            self._optimiser.step()
            self._optimiser.zero_grad(set_to_none=True)
        return now(self._device) - begun

    def _forever(self) -> Generator[list[Tensor], None, None]:
        """Yield batches, epoch after epoch."""
        while True:
            yield from self._loader


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """The windows of a dataset as a torch Dataset."""

    def __init__(self, batches: Batches) -> None:
        self._batches, self._starts = batches, batches.starts('train')

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._starts)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Return images (2, 3, S, S) and actions (1, K*A)."""
        window = self._batches.at(self._starts[[number]])
        return window.obs.pixels[:, 0], window.action[:, 0]


def now(device: torch.device) -> float:
    """Return the time after a GPU has finished its queue [s]."""
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


def toy(folder: Path, count: int, settings: config.Train) -> Iterator[Row]:
    """Train tiny on images of a moving dot, as `smwm train` does."""
    dataset = record(TOYS['single'], folder / 'data', 0, count, SIDE)
    run = folder / 'run'
    train(dataset, run, config.Model(preset='tiny'), settings, config.Planner())
    with (run / 'train.csv').open(encoding='utf-8') as file:
        first, *_, last = csv.DictReader(file)
    begin, end = (float(row['forward']) + float(row['inverse']) for row in (first, last))
    steps = f'{first["step"]} of {last["step"]} steps'
    yield Row('train.toy.loss.cuda', end, 'mean loss at the end', '', steps, begin, begin / end)
    yield Row('train.toy.cuda', float(last['samples_per_s']), 'samples/s')
    yield Row('train.toy.read.cuda', float(last['inverse_r2']), 'R2 of held-out actions')


def model_of(dataset: TransitionDataset, task: Task) -> Smwm:
    """Make the model to train."""
    knobs = config.Model(preset=task.preset)
    return make_model(knobs, task.side, dataset.info.spec.size * BLOCK)


def beside(
    task: Task, dataset: TransitionDataset, device: torch.device
) -> AbstractContextManager[Peer | None]:
    """Start the training of the peer."""
    file = dataset.folder.with_suffix('.h5')
    if python_of_peer():
        from smwm_ros.exchange.to_hdf5 import write_hdf5  # needs h5py

        write_hdf5(dataset, file)
    cores = len(os.sched_getaffinity(0))
    known = {
        'preset': task.preset, 'file': str(file), 'batch': task.batch,
        'block': BLOCK, 'fields': 2, 'lr': 1e-4, 'device': device.type,
        'threads': torch.get_num_threads(), 'workers': min(cores, 24),
        'trial': task.steps,
    }  # fmt: skip
    return peer('lewm_train.py', lambda path: path.write_text(json.dumps(known)))


def noise(folder: Path, task: Task) -> TransitionDataset:
    """Write a dataset of noise: the content of images does not change the duration."""
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
    write_index(folder, asdict(config.Robot()), asdict(knobs), ['noise'], {})
    return TransitionDataset.open(folder)


def operations(dataset: TransitionDataset, task: Task) -> float:
    """Return the floating-point operations of the matrix products in one training step."""
    batches = Batches(dataset, dataset.action_scaler(), torch.device('cpu'))
    settings = config.Train(batch=2, device='cpu', precision='fp32')
    learner = Learner(model_of(dataset, task), settings, torch.device('cpu'))
    counter = FlopCounterMode(display=False)
    with counter:
        learner.step(1, batches.at(batches.starts('train')[:2]))
    return counter.get_total_flops() / 2 * task.batch


def matrix_rate(device: torch.device) -> float:
    """Return the rate of one large matrix product [FLOP/s]."""
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
