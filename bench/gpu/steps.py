# SPDX-License-Identifier: Apache-2.0
"""
The steps of bench/gpu.sh, each a process of its own: what the benchmarks measure on a GPU.

A rehearsal takes the code paths of a GPU on a processor, with very small sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
import os
from pathlib import Path
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest import mock
from xml.etree import ElementTree

from common import machine, now, Row, show
from parts import tiny
from parts.fingerprint import fingerprint
from parts.launches import as_if_gpu
import planner as plan
from smwm_ros import config
from smwm_ros.model import vit
import torch
import train

BENCH = Path(__file__).resolve().parents[1]
SKIPPED = 77  # exit status, as run.py knows it
TESTS = BENCH.parent / 'test' / 'test_cuda.py'


class Sizes(NamedTuple):
    """Sizes of the measurements."""

    device: str
    search: config.Planner
    rounds: int
    counts: tuple[int, ...]  # problems planned at once
    tiny: train.Task
    nano: train.Task
    toys: int  # transitions
    toy: config.Train


FULL = Sizes(
    'cuda',
    tiny.PAPER,
    20,
    (1, 16, 100),
    train.Task('tiny', 224, 3_000, 128, 20, 5),
    train.Task('nano', 64, 20_000, 128, 200, 5),
    4_000,
    config.Train(steps=800, batch=128, lr=1e-4, eval_every=100),
)
REHEARSED = Sizes(
    'cpu',
    replace(tiny.PAPER, samples=4, elites=2, iterations=1, horizon=2),
    1,
    (1, 16),
    train.Task('tiny', 224, 100, 2, 1, 1),
    train.Task('nano', 64, 200, 4, 2, 1),
    40,
    config.Train(steps=4, batch=2, eval_every=2),
)


def tests(sizes: Sizes) -> Iterator[Row]:
    """Run the tests that need a GPU."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / 'report.xml'
        command = [sys.executable, '-m', 'pytest', '--noconftest', '-k', 'cuda', str(TESTS)]
        command += ['-p', 'no:cacheprovider', f'--junitxml={report}']
        # Compilers take minutes for all the small cases here; the next steps compile what counts.
        env = {**os.environ, 'TORCH_COMPILE_DISABLE': '1'}
        status = subprocess.run(command, stdout=sys.stderr, env=env, check=False).returncode
        suite = next(ElementTree.parse(report).iter('testsuite'))
        count, *bad = (int(suite.get(name, 0)) for name in ('tests', 'failures', 'errors'))
        skipped = int(suite.get('skipped', 0))
        yield Row('planner.cuda_tests', count - sum(bad) - skipped, f'tests of {count} that pass')
    assert not status, 'tests fail; their names are in the log above'


def planner(sizes: Sizes) -> Iterator[Row]:
    """Plan with the model and the settings of the paper."""
    yield from tiny.on_gpu(tiny.random_tiny(sizes.search), sizes.rounds, sizes.device)


def plans(sizes: Sizes) -> Iterator[Row]:
    """Plan with the small model, and for many problems at once."""
    yield from plan.nano_on_gpu(sizes.rounds, sizes.device)
    paper = tiny.random_tiny(sizes.search)
    yield from plan.many_on_gpu(paper, sizes.counts, 3, sizes.device)


def train_tiny(sizes: Sizes) -> Iterator[Row]:
    """Train the model of the paper."""
    yield from learn(train.on_gpu, sizes.tiny, sizes)


def train_nano(sizes: Sizes) -> Iterator[Row]:
    """Train the small model."""
    yield from learn(train.on_gpu, sizes.nano, sizes)


def toy(sizes: Sizes) -> Iterator[Row]:
    """Train the model of the paper on images of a moving dot."""
    settings = replace(sizes.toy, device=sizes.device)
    with TemporaryDirectory() as folder:
        for row in train.toy(Path(folder), sizes.toys, settings):
            yield row
            learnt = row.ratio is None or row.ratio > 1
            assert learnt or sizes is REHEARSED, 'the loss does not go down'


def platform_planner(sizes: Sizes) -> Iterator[Row]:
    """Plan beside the platform of the paper."""
    paper = tiny.random_tiny(sizes.search)
    yield from tiny.beside_platform(paper, max(sizes.rounds // 4, 1), sizes.device)


def platform_training(sizes: Sizes) -> Iterator[Row]:
    """Train beside the platform of the paper."""
    yield from learn(train.beside_platform, sizes.tiny._replace(rounds=2), sizes)


def kernels(sizes: Sizes) -> Iterator[Row]:
    """Profile a plan on a GPU."""
    yield from tiny.kernels(tiny.random_tiny(sizes.search), sizes.device)


def learn(how: Callable[..., Iterator[Row]], task: train.Task, sizes: Sizes) -> Iterator[Row]:
    """Write a dataset of noise, and train on it."""
    with TemporaryDirectory() as folder:
        dataset = train.noise(Path(folder) / 'data', task)
        yield from how(dataset, task, torch.device(sizes.device))


STEPS: dict[str, Callable[[Sizes], Iterator[Row]]] = {
    step.__name__: step
    for step in (
        *(tests, planner, plans, train_tiny, train_nano, toy),
        *(platform_planner, platform_training, kernels),
    )
}


@contextmanager
def rehearsal() -> Iterator[None]:
    """Take the code paths of a GPU on a processor, with networks of one layer."""
    one = [
        mock.patch.object(network.__init__, '__defaults__', (1,))
        for network in (vit.VisionEncoder, vit.Predictor)
    ]
    with as_if_gpu(), one[0], one[1]:
        yield


def main(name: str, rehearse: bool) -> None:
    """Run one step, and print each row as soon as it is measured."""
    if rehearse:
        sizes, here = REHEARSED, f'rehearsal on {machine()}'
    elif torch.cuda.is_available():
        sizes, here = FULL, torch.cuda.get_device_name()
    else:
        print('no CUDA device found; --rehearse runs without one', file=sys.stderr)
        sys.exit(SKIPPED)
    when = now()
    with rehearsal() if rehearse else nullcontext():
        for row in STEPS[name](sizes):
            script = BENCH / f'{row.measure.partition(".")[0]}.py'
            code = fingerprint(script if script.is_file() else Path(__file__))
            show(row._replace(machine=here, when=when, code=code), as_json=True)


if __name__ == '__main__':
    main(sys.argv[1], '--rehearse' in sys.argv)
