# SPDX-License-Identifier: Apache-2.0
"""Training learns, survives being killed, and refuses what cannot be learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import csv
from dataclasses import replace
import json
from pathlib import Path
import signal
import subprocess
import sys
import types
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError, DatasetError, TrainingError
from smwm_ros.model.any_model import make_model
from smwm_ros.model.checkpoint import Checkpoint, load, META, WEIGHTS
from smwm_ros.model.world_model import Smwm
from smwm_ros.training.batches import Batches, check, Shuffle
from smwm_ros.training.metrics import collapse_warning, effective_rank, held_out
from smwm_ros.training.run_folder import Run
from smwm_ros.training.train import train
from test_checkpoint import Bomb
import torch
from torch import nn
import worlds
from worlds import dot_dataset, half_labelled, hide_actions, TINY

pytestmark = pytest.mark.usefixtures('one_thread')
SHORT = config.Train(steps=60, batch=16, eval_every=20, device='cpu')
PLANNER = config.Planner()
CLOCKS = ('seconds', 'samples_per_s')


@pytest.fixture
def dots(tmp_path: Path) -> TransitionDataset:
    return dot_dataset(tmp_path / 'dots')


def equal(one: Checkpoint, two: Checkpoint) -> bool:
    pairs = zip(one.model.state_dict().values(), two.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def read_curves(run: Path) -> list[dict[str, float]]:
    with (run / 'train.csv').open() as lines:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]


def test_with_the_inverse_model_the_latent_lives_and_without_it_collapses(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots', episodes=40, noise=0.1)
    settings = config.Train(steps=200, batch=64, lr=5e-2, eval_every=200, device='cpu')
    found = {}
    for weight in (0.0, 1.0):
        model = replace(TINY, inverse_weight=weight)
        checkpoint = train(dots, tmp_path / f'run{weight}', model, settings, PLANNER)
        found[weight] = checkpoint.info.summary
        assert bool(checkpoint.info.warnings) == (weight == 0.0)
    alive, collapsed = found[1.0], found[0.0]
    assert alive['latent_std'] > 0.05 > 10 * collapsed['latent_std']
    assert alive['inverse_r2'] > 0.2 > 0.1 > collapsed['inverse_r2']
    assert alive['effective_rank'] > 1.5, 'the dot moves in two directions'
    assert alive['forward_over_copy'] < 0.5


@pytest.mark.parametrize(
    'knobs', [{'warp': 1.0}, {'colour_jitter': 1.0}, {'warp': 1.0, 'colour_jitter': 1.0}]
)
@pytest.mark.parametrize('seed', [0, 1])
def test_the_latent_lives_where_images_of_a_textured_room_are_changed_at_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any], seed: int
) -> None:
    # What moves or is lit as a whole is most of what an encoder sees before it has learnt.
    walls = (
        np.random.default_rng(0).choice([0, 120], (worlds.SIZE, worlds.SIZE, 1)).astype(np.uint8)
    )
    draw = worlds.draw_dot
    monkeypatch.setattr(worlds, 'draw_dot', lambda place: np.maximum(draw(place), walls))
    room = dot_dataset(tmp_path / 'room', episodes=40)
    settings = config.Train(steps=300, batch=64, lr=1e-2, eval_every=300, device='cpu', seed=seed)
    model, off = replace(TINY, latent=8), {'warp': 0.0, 'colour_jitter': 0.0}
    found = train(room, tmp_path / 'run', model, replace(settings, **off | knobs), PLANNER).info
    assert not found.warnings
    assert found.summary['inverse_r2'] > 0.3
    assert found.summary['forward_over_copy'] < 0.4


@pytest.mark.parametrize('start', [1e-3, 100.0])
def test_a_lambda_that_is_found_keeps_the_latent_alive_wherever_it_began(
    tmp_path: Path, start: float
) -> None:
    dots = dot_dataset(tmp_path / 'dots', episodes=40, noise=0.1)
    settings = config.Train(steps=200, batch=64, lr=1e-2, eval_every=50, device='cpu')
    model = replace(TINY, inverse_weight=start, inverse_target=0.6)
    found = train(dots, tmp_path / 'run', model, settings, PLANNER).info
    assert not found.warnings
    assert found.summary['inverse_r2'] > 0.2
    assert found.summary['forward_over_copy'] < 0.5
    assert 0.01 <= found.summary['inverse_weight'] <= 10


# A run with all that has a state of its own: lambda, random directions, windows.
EVERYTHING = replace(
    TINY, kind='state_align+sigreg', inverse_target=0.3, inverse_weight=0.01, sigreg_directions=16
)
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import torch
torch.set_num_threads(1)
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.training import batches
from smwm_ros.training.train import train
from test_train import EVERYTHING, PLANNER, SHORT
deal = batches.Shuffle.__call__
def die(self, step):
    if step == 47:
        os.kill(os.getpid(), signal.SIGKILL)
    return deal(self, step)
batches.Shuffle.__call__ = die
train(TransitionDataset.open(sys.argv[1]), sys.argv[2], EVERYTHING, SHORT, PLANNER)
"""


def test_a_run_that_was_killed_ends_with_the_weights_it_would_have_had(
    dots: TransitionDataset, tmp_path: Path
) -> None:
    words = [str(dots.folder), str(tmp_path / 'killed'), str(Path(__file__).parent)]
    child = subprocess.run([sys.executable, '-c', KILLED, *words], capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert [row['step'] for row in read_curves(tmp_path / 'killed')] == [20, 40]
    assert not (tmp_path / 'killed' / META).exists()
    resumed = train(dots, tmp_path / 'killed', EVERYTHING, SHORT, PLANNER)
    whole = train(dots, tmp_path / 'whole', EVERYTHING, SHORT, PLANNER)
    assert equal(resumed, whole)
    assert equal(load(tmp_path / 'killed' / 'best'), load(tmp_path / 'whole' / 'best'))
    curves = [read_curves(tmp_path / name) for name in ('killed', 'whole')]
    for one, two in zip(*curves, strict=True):
        assert all(one[name] == two[name] for name in one if name not in CLOCKS)
    for rows in curves:
        assert (np.diff([row['seconds'] for row in rows]) > 0).all(), 'time goes on'
        assert len({row['inverse_weight'] for row in rows}) == len(rows), 'lambda is at work'
    assert sorted(path.name for path in (tmp_path / 'whole').iterdir()) == [
        'best',
        META,
        WEIGHTS,
        'tensorboard',
        'train.csv',
    ]


@contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[None]:
    """Press Ctrl-C at a step."""
    deal = Shuffle.__call__

    def interrupt(self: Shuffle, step: int) -> np.ndarray:
        if step == at:
            raise KeyboardInterrupt
        return deal(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Shuffle, '__call__', interrupt)
        yield


def test_a_killed_run_is_not_continued_with_other_settings(
    dots: TransitionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted(monkeypatch, 30), pytest.raises(KeyboardInterrupt):
        train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)
    with pytest.raises(CheckpointError, match=r'train\.lr is 0.003 there and 0.1 now'):
        train(dots, tmp_path / 'run', TINY, replace(SHORT, lr=0.1), PLANNER)
    train(dots, tmp_path / 'run', TINY, replace(SHORT, lr=0.1), PLANNER, fresh=True)


def test_resume_goes_on_and_never_begins(
    dots: TransitionDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / 'run'
    knobs = ['model.hidden=32', 'train.steps=30', 'train.batch=16', 'train.eval_every=10']
    words = ['train', str(dots.folder), '--out', str(run), *knobs]
    assert main([*words, '--resume']) == 2
    assert f'{run}: holds no run to resume' in capsys.readouterr().err
    assert not run.exists()
    with interrupted(monkeypatch, 25):
        assert main(words) != 0
    assert not (run / META).exists()
    assert main([*words, '--resume']) == 0
    assert [row['step'] for row in read_curves(run)] == [10, 20, 30]
    assert main([*words, '--resume']) == 0, 'a finished run is kept'


@pytest.mark.parametrize('damage', ['cut', 'pickle', 'other'])
def test_a_state_that_is_damaged_is_refused_and_not_executed(
    dots: TransitionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(Run, 'forget_state', lambda self: None)
    train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)
    (tmp_path / 'run' / META).unlink()
    state = tmp_path / 'run' / 'state' / 'last.pt'
    if damage == 'cut':
        state.write_bytes(state.read_bytes()[:1000])
    elif damage == 'pickle':
        torch.save({'identity': Bomb(tmp_path / 'exploded')}, state)
    else:
        torch.save({'step': 3}, state)
    with pytest.raises(CheckpointError, match=r'last.pt: damaged: .* start over with --fresh'):
        train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)
    assert not (tmp_path / 'exploded').exists()


def test_a_finished_run_is_kept_and_another_one_is_not_mixed_in(
    dots: TransitionDataset, tmp_path: Path
) -> None:
    run = tmp_path / 'run'
    first = train(dots, run, TINY, SHORT, PLANNER)
    written = (run / WEIGHTS).stat().st_mtime_ns
    assert equal(first, train(dots, run, TINY, SHORT, PLANNER))
    assert (run / WEIGHTS).stat().st_mtime_ns == written
    other = replace(PLANNER, samples=32)
    assert train(dots, run, TINY, SHORT, other).planner == load(run).planner == other
    with pytest.raises(
        CheckpointError,
        match=r'another run: model\.latent is 4 there and 5 now; '
        r'train\.seed is 0 there and 1 now; choose another folder, or start over with --fresh',
    ):
        train(dots, run, replace(TINY, latent=5), replace(SHORT, seed=1), PLANNER)
    more = dot_dataset(tmp_path / 'more', episodes=21)
    with pytest.raises(CheckpointError, match='another run: dataset is'):
        train(more, run, TINY, SHORT, PLANNER)
    assert not equal(first, train(more, run, TINY, SHORT, PLANNER, fresh=True))


def test_a_seed_gives_one_model_whatever_was_drawn_before(
    dots: TransitionDataset, tmp_path: Path
) -> None:
    one = train(dots, tmp_path / 'one', TINY, SHORT, PLANNER)
    torch.rand(7)
    state = torch.get_rng_state()
    assert equal(one, train(dots, tmp_path / 'two', TINY, SHORT, PLANNER))
    assert torch.equal(state, torch.get_rng_state()), 'training disturbed the generator of others'
    other = train(dots, tmp_path / 'three', TINY, replace(SHORT, seed=1), PLANNER)
    assert not equal(one, other)


def test_a_loss_that_is_no_number_stops_and_keeps_the_batch(
    dots: TransitionDataset, tmp_path: Path
) -> None:
    with pytest.raises(
        TrainingError, match=r'step \d+: the loss is not finite .*smaller train.lr'
    ):
        train(dots, tmp_path / 'run', TINY, replace(SHORT, lr=1e30), PLANNER)
    batch = np.load(tmp_path / 'run' / 'state' / 'bad_batch.npz')
    assert batch['pixels'].shape == (2, 16, 3, 16, 16)
    assert not (tmp_path / 'run' / META).exists()


@pytest.mark.parametrize('ask', [np.empty, torch.empty])
def test_out_of_memory_says_what_to_try(
    dots: TransitionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Any
) -> None:
    monkeypatch.setattr(Smwm, 'losses', lambda *_, **_more: ask(2**57))
    with pytest.raises(
        TrainingError,
        match=r'out of memory on cpu: a batch is 16 windows of 3 images of 16x16 px; '
        r'try train.batch=8, a smaller train.unroll, or',
    ):
        train(dots, tmp_path / 'run', TINY, replace(SHORT, unroll=2), PLANNER)


def test_an_error_that_is_not_about_memory_is_not_hidden(
    dots: TransitionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Smwm, 'losses', lambda *_, **_more: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match='size'):
        train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)


def test_the_best_step_is_kept_beside_the_last(dots: TransitionDataset, tmp_path: Path) -> None:
    last = train(dots, tmp_path / 'run', TINY, replace(SHORT, eval_every=5), PLANNER)
    curves = read_curves(tmp_path / 'run')
    found = load(tmp_path / 'run' / 'best')
    assert found.info.summary['misfit'] == pytest.approx(
        min(row['misfit'] for row in curves), rel=1e-5
    )
    window = Batches(dots, dots.action_scaler(), torch.device('cpu'))
    look = window.at(dots.starts('val'))
    deployed = held_out(found.model, look, settled=True)['misfit']
    assert deployed == pytest.approx(found.info.summary['misfit'], rel=1e-3)
    assert last.info.summary['step'] == SHORT.steps
    train(dots, tmp_path / 'run', TINY, replace(SHORT, steps=1), PLANNER, fresh=True)
    assert load(tmp_path / 'run' / 'best').info.summary['step'] == 1, 'left by another run'


def test_the_command_prints_lambda_and_where_a_better_model_is(
    dots: TransitionDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / 'run'
    words = ['train', str(dots.folder), '--out', str(run), 'model.inverse_target=0.5']
    words += ['model.latent=4', 'train.steps=4', 'train.batch=8', 'train.device=cpu']
    assert main(words) == 0
    reported = capsys.readouterr().out
    assert 'Adaptive lambda ended at' in reported
    assert '(target 0.50)' in reported
    assert 'was better' not in reported, 'the last step is the best of one look'
    path = run / 'best' / META
    meta = json.loads(path.read_text())
    meta['info']['summary'] |= {'step': 3, 'misfit': 0.5 * meta['info']['summary']['misfit']}
    path.write_text(json.dumps(meta))
    assert main(words) == 0
    reported = capsys.readouterr().out
    assert f'was better at step 3 than at the end: see {run / "best"}' in reported
    path.unlink()  # as in runs of older versions
    assert main(words) == 0
    assert 'was better' not in capsys.readouterr().out


def test_a_finished_run_of_an_older_version_is_kept(
    dots: TransitionDataset, tmp_path: Path
) -> None:
    train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)
    path = tmp_path / 'run' / META
    meta = json.loads(path.read_text())
    for part in (meta['model'], meta['info']['model']):
        del part['kind'], part['inverse_target']
    del meta['info']['train']['unroll']
    path.write_text(json.dumps(meta))
    train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)
    with pytest.raises(CheckpointError, match=r'train\.unroll is 1 there and 2 now'):
        train(dots, tmp_path / 'run', TINY, replace(SHORT, unroll=2), PLANNER)


def test_half_precision_learns_about_the_same(dots: TransitionDataset, tmp_path: Path) -> None:
    # A few steps, for rounding grows as in any chaos.
    few = replace(SHORT, steps=5)
    forward = [
        train(dots, tmp_path / name, TINY, replace(few, precision=name), PLANNER).info.summary[
            'forward'
        ]
        for name in ('fp32', 'bf16')
    ]
    assert forward[0] != forward[1]
    assert forward[0] == pytest.approx(forward[1], rel=0.1)


@pytest.mark.parametrize('wanted', [False, True])
def test_a_model_is_compiled_when_asked(
    dots: TransitionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    compiled: list[Any] = []

    def compile_nothing(losses: Any) -> Any:
        compiled.append(losses)
        return losses

    monkeypatch.setattr(torch, 'compile', compile_nothing)
    train(dots, tmp_path / 'run', TINY, replace(SHORT, compile=wanted), PLANNER)
    assert bool(compiled) == wanted


def test_tensorboard_shows_the_curves_where_it_is_installed(
    dots: TransitionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[Any] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert folder == str(tmp_path / 'run' / 'tensorboard')
            assert purge_step == 1

        def add_scalar(self, *scalar: Any) -> None:
            noted.append(scalar)

        def flush(self) -> None: ...

        def close(self) -> None: ...

    module = types.ModuleType('tensorboard')
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', module)
    train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)
    for row in read_curves(tmp_path / 'run'):
        for name, value in row.items():
            assert (name, pytest.approx(value, rel=1e-5), row['step']) in noted


def test_state_is_read_only_where_it_was_measured(tmp_path: Path) -> None:
    aligned = replace(TINY, kind='state_align')
    nothing = dot_dataset(tmp_path / 'nothing', state=config.State())
    with pytest.raises(DatasetError, match=r'no measured state.*state_align.*robot.state.topic'):
        train(nothing, tmp_path / 'run', aligned, SHORT, PLANNER)
    dots = dot_dataset(tmp_path / 'dots')
    settings = replace(SHORT, steps=200, batch=32, lr=1e-2)
    checkpoint = train(dots, tmp_path / 'run', aligned, settings, PLANNER)
    assert checkpoint.info.summary['state_r2'] > 0.7
    assert equal(checkpoint, load(tmp_path / 'run'))


def test_state_align_learns_from_the_ticks_whose_state_was_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dots = dot_dataset(tmp_path / 'dots', unmeasured=slice(0, None, 3))
    aligned, settings = replace(TINY, kind='state_align'), replace(SHORT, steps=200, batch=32)
    checkpoint = train(dots, tmp_path / 'run', aligned, replace(settings, lr=1e-2), PLANNER)
    assert 'no measured state at 200 of 600 ticks; the state loss' in caplog.text
    assert checkpoint.info.summary['state_r2'] > 0.7
    for row in read_curves(tmp_path / 'run'):
        assert np.isfinite(list(row.values())).all()


@pytest.mark.parametrize(('split', 'name'), [('train', 'training'), ('val', 'held-out')])
def test_state_align_is_refused_where_no_state_was_measured(
    split: str, name: str, tmp_path: Path
) -> None:
    dots = dot_dataset(tmp_path / 'dots')
    for episode in dots.episodes:
        if episode.split == split:
            dots._states[episode.start : episode.stop] = np.nan
    with pytest.raises(DatasetError, match=f'no {name} tick has a measured state.*max_frame_age'):
        train(dots, tmp_path / 'run', replace(TINY, kind='state_align'), SHORT, PLANNER)


def test_other_kinds_learn_the_same_whether_a_state_was_measured_or_not(tmp_path: Path) -> None:
    whole = dot_dataset(tmp_path / 'whole')
    holes = dot_dataset(tmp_path / 'holes', unmeasured=slice(0, None, 3))
    made = [
        train(data, tmp_path / f'run_{number}', TINY, SHORT, PLANNER)
        for number, data in enumerate((whole, holes))
    ]
    for one, other in zip(*(item.model.parameters() for item in made), strict=True):
        assert torch.equal(one, other)


def test_one_episode_cannot_be_split(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots', episodes=1)
    with pytest.raises(DatasetError, match=r'no held-out transitions in 1 episode.*at least two'):
        train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)


def test_a_robot_that_never_changes_its_action_teaches_nothing(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots', actions=np.full((20, 30, 2), 0.25))
    with pytest.raises(DatasetError, match=r'all actions are the same \(\[0.25, 0.25\]\)'):
        train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)


def test_one_action_that_never_changes_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 30, 2))
    actions[..., 1] = 0.25
    dots = dot_dataset(tmp_path / 'dots', actions=actions)
    train(dots, tmp_path / 'run', TINY, replace(SHORT, steps=2), PLANNER)
    assert 'twist.angular.z never changes' in caplog.text


def test_a_dataset_of_another_version_is_refused_before_time_is_spent(tmp_path: Path) -> None:
    index = dot_dataset(tmp_path / 'dots').folder / 'dataset.json'
    index.write_text(index.read_text().replace('"resize"', '"squeeze"'))
    dots = TransitionDataset.open(tmp_path / 'dots')
    with pytest.raises(DatasetError, match=r'another version .*squeeze.*; convert again'):
        train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)
    assert not (tmp_path / 'run').exists()


def test_an_action_that_is_no_number_is_found(tmp_path: Path) -> None:
    actions = np.zeros((20, 30, 2))
    actions[3, 4, 1] = np.nan
    with pytest.raises(DatasetError, match='1 action not finite, first in row 94'):
        dot_dataset(tmp_path / 'dots', actions=actions)


def test_a_dataset_without_known_actions_trains_no_sensorimotor_model(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots', actions=np.full((20, 30, 2), np.nan))
    words = r'dots: no transition has a known action \(600 ticks are unlabelled\); .*smwm label'
    with pytest.raises(DatasetError, match=words):
        train(dots, tmp_path / 'run', TINY, SHORT, PLANNER)
    check(dots, 1, unlabelled=True)


def test_no_known_action_in_a_held_out_episode_is_reported(tmp_path: Path) -> None:
    folder = dot_dataset(tmp_path / 'dots').folder
    hide_actions(folder / 'shards' / 'dots', np.arange(30, 600))  # all drives but one
    with pytest.raises(DatasetError, match='no held-out transition has a known action'):
        train(TransitionDataset.open(folder), tmp_path / 'run', TINY, SHORT, PLANNER)


def test_a_model_is_trained_on_the_labelled_part_of_a_dataset(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dots = half_labelled(tmp_path)
    every, known = (len(dots.starts('train', unlabelled=both)) for both in (True, False))
    assert 0 < known < every
    settings = replace(SHORT, steps=200, batch=32, lr=1e-2)
    checkpoint = train(dots, tmp_path / 'run', TINY, settings, PLANNER)
    words = f'{every - known} of {every} training transitions are left out, because an action is'
    assert words in caplog.text
    assert checkpoint.info.summary['inverse_r2'] > 0.2  # 0.39 if all actions are known
    for row in read_curves(tmp_path / 'run'):
        assert np.isfinite(list(row.values())).all()


def test_windows_hold_the_frames_and_the_actions_between_them(dots: TransitionDataset) -> None:
    mean, std = scaler = dots.action_scaler()
    batches = Batches(dots, scaler, torch.device('cpu'), steps=3)
    block = dots.info.action_block
    for split in ('train', 'val'):
        starts = batches.starts(split)
        assert np.array_equal(starts, dots.starts(split, 3 * block))
        window, there = batches.at(starts), dots.sequence(starts, 3)
        pixels = window.obs.pixels.permute(1, 0, 3, 4, 2)
        assert np.array_equal(pixels, there.pixels)
        assert np.array_equal(window.obs.state.transpose(0, 1), there.states)
        physical = window.action.transpose(0, 1).numpy() * np.tile(std, block) + np.tile(
            mean, block
        )
        assert np.allclose(physical, there.actions, atol=1e-6)


def test_a_window_longer_than_every_episode_is_refused(
    dots: TransitionDataset, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r'longer than 30 ticks \(15 model steps x .* 2\)'):
        train(dots, tmp_path / 'run', TINY, replace(SHORT, unroll=15), PLANNER)


def test_a_model_trained_on_its_own_predictions_errs_less_far_ahead(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots', episodes=40)
    settings = config.Train(steps=150, batch=32, lr=1e-2, eval_every=150, device='cpu')
    batches = Batches(dots, dots.action_scaler(), torch.device('cpu'), steps=4)
    window = batches.at(batches.starts('val'))
    found = {1: 0.0, 4: 0.0}
    for seed in range(5):  # seeds differ by as much as one training from the other
        for unroll in found:
            knobs = replace(settings, unroll=unroll, seed=seed)
            model = train(dots, tmp_path / f'{unroll} {seed}', TINY, knobs, PLANNER).model
            z = model.encode(window.obs.pixels.flatten(0, 1))
            z = z.unflatten(0, (5, -1))
            ahead = model.rollout(z[0], window.action.transpose(0, 1))[:, -1]
            error = (ahead - z[4]).square().mean() / (z[0] - z[4]).square().mean()
            found[unroll] += float(error)
    assert found[4] < 0.95 * found[1]


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5))
def test_every_epoch_deals_every_row_once(count: int, batch: int, seed: int) -> None:
    rows = np.arange(count) * 3
    steps = -(-3 * count // batch)
    dealt = np.concatenate([Shuffle(rows, batch, seed)(step) for step in range(steps)])
    for epoch in range(3):
        assert sorted(dealt[epoch * count : (epoch + 1) * count]) == rows.tolist()


@pytest.mark.parametrize('width', [1, 2, 5])
def test_the_effective_rank_counts_equal_directions(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(20_000, width, generator=generator) @ torch.eye(8)[:width]
    assert effective_rank(z) == pytest.approx(width, rel=0.01)


def test_collapse_is_described_in_words() -> None:
    fine = {'latent_std': 0.5, 'inverse_r2': 0.8}
    assert collapse_warning(fine) is None
    assert 'all images share one latent' in str(collapse_warning({**fine, 'latent_std': 1e-4}))
    assert 'cannot be inferred' in str(collapse_warning({**fine, 'inverse_r2': 0.0}))


@pytest.mark.parametrize('settled', [False, True])
def test_looking_at_held_out_transitions_leaves_the_model_as_it_was(
    dots: TransitionDataset, settled: bool
) -> None:
    spec, block = dots.info.spec, dots.info.action_block
    model = make_model(TINY, dots.info.image_size, spec.size * block).train()
    look = Batches(dots, dots.action_scaler(), torch.device('cpu')).at(dots.starts('val'))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measures = held_out(model, look, settled)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d)]
    assert all(layer.training and layer.track_running_stats for layer in norms)
    # Fresh running statistics are those of no data at all, which is what `settled` trusts.
    assert (measures['latent_std'] > 0.5) != settled
