# SPDX-License-Identifier: Apache-2.0
"""Several processes learn what one would, wherever their batches come from."""

from __future__ import annotations

import copy
import csv
import os
from pathlib import Path
import socket
import subprocess
import sys

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import DatasetError, TrainingError
from smwm_ros.interfaces import Obs, Window
from smwm_ros.model.distributed import ProcessGroup
from smwm_ros.training.augment import shifted
from smwm_ros.training.batches import Batches, Shuffle
from smwm_ros.training.feed import open_feed, PrefetchThread
from smwm_ros.training.learner import Learner
from smwm_ros.training.metrics import collapse_warning
from smwm_ros.training.train import train
import torch
from torch import distributed
from worlds import dot_dataset, half_labelled, TINY

CPU = torch.device('cpu')
CLOCKS = ('seconds', 'samples_per_s')
WORDS = ['train.steps=12', 'train.batch=16', 'train.eval_every=4', 'train.device=cpu']
WORDS += ['train.unroll=2', 'train.warp=1', 'train.colour_jitter=1', 'model.latent=4']
WORDS += ['model.hidden=32', 'model.kind=state_align+sigreg', 'model.inverse_target=0.3']
WORDS += ['model.sigreg_directions=16', 'train.lr=0.0001']


@pytest.fixture
def dots(tmp_path: Path) -> TransitionDataset:
    return dot_dataset(tmp_path / 'dots')


def check_first_step(learner: Learner, number: int, batch: Window) -> dict[str, torch.Tensor]:
    """Take a step; at the first, compare the gradients with those of one process."""
    twin = copy.deepcopy(learner.model)
    found = step(learner, number, batch)
    if number == 1:
        parts = [torch.empty_like(batch.obs.pixels) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, batch.obs.pixels.contiguous())
        whole = batch._replace(obs=batch.obs._replace(pixels=torch.cat(parts, dim=1)))
        step(Learner(twin, learner._settings, CPU), 1, whole)
        for (name, mine), alone in zip(
            learner.model.named_parameters(), twin.parameters(), strict=True
        ):
            assert mine.grad is not None
            assert alone.grad is not None
            assert torch.allclose(mine.grad, alone.grad, rtol=1e-3, atol=1e-6), name
    return found


step = Learner.step
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import test_distributed
from smwm_ros.cli import main
from smwm_ros.training.learner import Learner
Learner.step = test_distributed.check_first_step
sys.exit(main(sys.argv[2:]))
"""


def start(words: list[str], rank: int, size: int, port: int) -> subprocess.Popen[str]:
    """Start one process of several, as torchrun does."""
    variables = {'RANK': rank, 'LOCAL_RANK': rank, 'WORLD_SIZE': size, 'MASTER_PORT': port}
    env = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    env |= {'MASTER_ADDR': '127.0.0.1', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-c', SCRIPT, str(Path(__file__).parent), *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port: int = probe.getsockname()[1]
        return port


def curves(run: Path) -> list[dict[str, float]]:
    with (run / 'train.csv').open() as lines:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]


def test_two_processes_learn_what_one_learns(dots: TransitionDataset, tmp_path: Path) -> None:
    run = tmp_path / 'two'
    words = ['train', str(dots.folder), '--out', str(run), *WORDS]
    port = free_port()
    processes = [start(words, rank, 2, port) for rank in range(2)]
    reported = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], reported
    assert 'Checkpoint: ' in reported[0][0]
    assert 'train:' in reported[0][1], 'the leader shows its progress'
    assert reported[1][0] == ''
    assert 'train:' not in reported[1][1], 'the other shows nothing'
    assert main([*words[:3], str(tmp_path / 'one'), *WORDS]) == 0
    assert sorted(path.name for path in run.iterdir()) == sorted(
        path.name for path in (tmp_path / 'one').iterdir()
    )
    pairs = list(zip(curves(run), curves(tmp_path / 'one'), strict=True))
    assert len(pairs) == 3
    for two, one in pairs:
        for name in set(one) - set(CLOCKS):
            assert two[name] == pytest.approx(one[name], rel=2e-3, abs=2e-4), name


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(TrainingError, match='16 windows cannot be shared evenly by 3 processes'):
        ProcessGroup(0, 3).share(16)
    parts = [ProcessGroup(rank, 4).share(16) for rank in range(4)]
    assert np.concatenate([np.arange(16)[part] for part in parts]).tolist() == list(range(16))


def same(one: Window, two: Window) -> bool:
    parts = [(*window.obs, window.action, window.weight) for window in (one, two)]
    return all(
        torch.equal(a.nan_to_num(-9.0), b.nan_to_num(-9.0))
        if a is not None and b is not None
        else a is b
        for a, b in zip(*parts, strict=True)
    )


@pytest.mark.parametrize('share', [slice(None), slice(4, 8)])
@pytest.mark.parametrize('stack', [1, 3])
@pytest.mark.parametrize('labelled', [False, True])
def test_batches_are_the_same_wherever_they_come_from(
    dots: TransitionDataset, tmp_path: Path, share: slice, labelled: bool, stack: int
) -> None:
    if labelled:
        dots = half_labelled(tmp_path)
    batches = Batches(dots, dots.action_scaler(), CPU, 2, labelled, stack)
    rows, steps = batches.starts('train'), range(3, 9)
    expected = [batches.at(Shuffle(rows, 8, 0)(step - 1), share) for step in steps]
    assert expected[0].action.shape[1] == 8
    assert expected[0].obs.pixels.shape[1:3] == (len(range(8)[share]), 3 * stack)
    assert all((window.weight is None) == (not labelled) for window in expected)
    for kind in ('resident', 'prefetch', 'direct', 'auto'):
        with open_feed(kind, batches, Shuffle(rows, 8, 0), share, steps) as feed:
            assert all(
                same(feed(step), there) for step, there in zip(steps, expected, strict=True)
            )


def test_a_prefetch_thread_ends_on_request_and_passes_errors_on() -> None:
    window = Window(Obs(torch.zeros(2, 1, 3, 4, 4), torch.zeros(2, 1, 0)), torch.zeros(1, 1, 2))

    def prepare(step: int) -> Window:
        if step == 3:
            raise DatasetError('damaged')
        return window

    ahead = PrefetchThread(prepare, CPU, range(1, 100))
    assert same(ahead(1), window)
    ahead(2)
    with pytest.raises(DatasetError, match='damaged'):
        ahead(3)
    ahead.close()
    endless = PrefetchThread(lambda step: window, CPU, range(10**9))
    endless(0)
    endless.close()
    assert not endless._thread.is_alive()


def test_images_are_moved_by_pixels_and_lit_by_factors() -> None:
    pixels = torch.arange(25, dtype=torch.uint8).view(1, 1, 1, 5, 5).expand(2, 3, 3, 5, 5)
    moved = shifted(pixels, torch.tensor([[0], [1], [-2]]), torch.tensor([[0], [-1], [0]]))
    assert torch.equal(moved[:, 0], pixels[:, 0])
    assert torch.equal(moved[:, 1, :, 1:, :4], pixels[:, 1, :, :4, 1:])
    assert torch.equal(moved[:, 1, :, 0], moved[:, 1, :, 1]), 'edges are drawn out'
    assert torch.equal(moved[:, 2, :, :3], pixels[:, 2, :, 2:])


def test_a_model_that_knows_old_images_only_is_said_to_overfit(tmp_path: Path) -> None:
    few = dot_dataset(tmp_path / 'dots', episodes=3, length=8, noise=1.0)
    settings = config.Train(steps=150, batch=8, lr=1e-2, eval_every=150, device='cpu')
    summary = train(few, tmp_path / 'run', TINY, settings, config.Planner()).info.summary
    assert summary['train_inverse_r2'] > 0.5
    reported = collapse_warning({**summary, 'inverse_r2': 0.02, 'train_inverse_r2': 0.9})
    assert reported is not None
    assert 'overfits: it infers actions from training images' in reported
    assert 'collapsed' not in reported
    lazy = collapse_warning({**summary, 'inverse_r2': 0.02, 'train_inverse_r2': 0.03})
    assert lazy is not None
    assert lazy.startswith('the latent has collapsed')
