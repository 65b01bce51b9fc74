# SPDX-License-Identifier: Apache-2.0
"""Labelled moments ground a model, and those that judge it are never trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import DatasetError
from smwm_ros.latent_actions import action_maps
from smwm_ros.latent_actions.model import LatentActionModel, recorded
from smwm_ros.model.any_model import make_any
from smwm_ros.training.anchors import (
    AnchoredShuffle,
    Anchors,
    apart,
    choose_anchors,
    FEWEST,
    Grounding,
    HELD_OUT,
    SHARE,
)
from smwm_ros.training.batches import Batches
from smwm_ros.training.train import train
from test_latent_action_model import ACTIONS, CPU, END_TO_END, LATENT
import torch
from worlds import dot_dataset, half_labelled, hide_actions, SIZE

pytestmark = pytest.mark.usefixtures('one_thread')
TRAIN = config.Train(steps=2, batch=16, eval_every=2, device='cpu')


class Moments:
    """A dataset that has nothing but labelled moments."""

    folder = Path('data')

    def __init__(self, train: Any, block: int, val: Any = (), confidence: float = 1.0) -> None:
        self.info = SimpleNamespace(action_block=block)
        self._starts = {'train': np.array(train, np.int64), 'val': np.array(val, np.int64)}
        self._confidence = confidence

    def starts(self, split: str) -> np.ndarray:
        return self._starts[split]

    def confidence(self, rows: np.ndarray) -> np.ndarray:
        return np.full(rows.shape, self._confidence)


def chosen(train: Any, block: int, val: Any = (), confidence: float = 1.0) -> Anchors:
    dataset: Any = Moments(train, block, val, confidence)
    return choose_anchors(dataset)


def stretches(lengths: list[int], block: int) -> np.ndarray:
    """Return the starts of moments in stretches far from each other."""
    begins = np.cumsum([0, *(length + 10 * block for length in lengths)])
    return np.concatenate(
        [begin + np.arange(n) for begin, n in zip(begins, lengths, strict=False)]
    )


def test_the_end_of_a_long_stretch_is_held_out_with_a_gap_of_a_model_step() -> None:
    found = chosen(np.arange(100), block=5)
    assert found.held_out.tolist() == list(range(80, 100))
    assert found.train.tolist() == list(range(75)), 'moment 75 ends in frame 80'
    two = chosen(stretches([100, 60], 5), block=5)
    assert two.held_out.tolist() == [*range(80, 100), *range(198, 210)]


def test_of_many_stretches_a_fifth_is_held_out_whole() -> None:
    rows = stretches([7] * 20, 3)
    found = chosen(rows, block=3)
    assert len(found.held_out) == 4 * 7
    assert sorted([*found.train, *found.held_out]) == rows.tolist()
    for number in range(20):
        stretch = rows[7 * number : 7 * number + 7]
        assert np.isin(stretch, found.held_out).sum() in (0, 7)


def test_few_short_stretches_are_held_out_whole_rather_than_not_at_all() -> None:
    rows = stretches([4] * 6, 5)
    found = chosen(rows, block=5)
    assert len(found.held_out) == 8
    assert len(found.train) == 16


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=14),
    st.integers(1, 6),
    st.lists(st.integers(5000, 5100), max_size=5),
)
def test_held_out_moments_share_no_frame_with_others(
    lengths: list[int], block: int, val: list[int]
) -> None:
    rows = stretches(lengths, block)
    try:
        found = chosen(rows, block, val)
    except DatasetError:
        few = len(rows) + len(val) < FEWEST
        # One stretch, of which no moment is far enough from its end; or in held-out drives alone.
        assert few or len(lengths) == 1 or max(lengths) <= max(2 * block, HELD_OUT)
        return
    assert len(found.train)
    assert len(found.held_out)
    assert np.isin(found.train, rows).all()
    assert np.isin(val, found.held_out).all()
    assert np.isin(found.held_out, [*rows, *val]).all()
    away = np.abs(found.train[:, None] - found.held_out)
    assert away.min() > block
    assert (np.diff(found.held_out) >= 0).all()
    assert len(np.setdiff1d(found.held_out, val)) <= 0.5 * len(rows) + max(2 * block, HELD_OUT)


def test_windows_that_touch_a_held_out_moment_are_left_out() -> None:
    rows = np.arange(60)
    found = apart(rows, 6, np.array([40, 20]), 3)
    touching = [n for n in rows if any(n <= h + 3 and n + 6 >= h for h in (20, 40))]
    assert found.tolist() == np.setdiff1d(rows, touching).tolist()
    assert apart(rows, 6, np.zeros(0, np.int64), 3).tolist() == rows.tolist()


def test_too_few_labels_are_refused_and_none_are_not() -> None:
    assert not len(chosen([], 2))
    with pytest.raises(DatasetError, match=r'data: 19 labelled transitions, .* at least 20'):
        chosen(np.arange(19) * 9, 2)
    assert len(chosen(np.arange(20) * 9, 2)) == 20
    with pytest.raises(DatasetError, match='30 labelled transitions, 0 of them for training'):
        chosen([], 2, np.arange(30))
    assert not len(chosen(np.arange(90), 2, confidence=0.9)), 'inferred labels ground nothing'


@given(st.integers(4, 40), st.integers(1, 60), st.integers(0, 3))
def test_a_part_of_each_batch_is_labelled(batch: int, count: int, seed: int) -> None:
    rows = np.arange(200)
    labelled = rows[:count]
    shuffle = AnchoredShuffle(rows, labelled, batch, seed)
    for step in range(3):
        drawn = shuffle(step)
        assert len(drawn) == batch
        assert np.isin(drawn, rows).all()
        if count < SHARE * 200:
            assert np.isin(drawn[: round(SHARE * batch)], labelled).all()
    assert shuffle(1).tolist() == AnchoredShuffle(rows, labelled, batch, seed)(1).tolist()
    most = AnchoredShuffle(rows, rows[:100], batch, seed)
    epoch = np.concatenate([most(step) for step in range(-(-200 // batch))])[:200]
    assert sorted(epoch) == rows.tolist(), 'where labels are common, every row is drawn alike'


def partly(folder: Path, every: int = 7, **more: Any) -> TransitionDataset:
    """Record dots, with a labelled moment in every so many ticks."""
    dots = dot_dataset(folder, **more)
    rows = np.arange(len(dots))
    hide_actions(dots.folder / 'shards' / 'dots', rows[rows % every >= 2])
    return TransitionDataset.open(dots.folder)


def ground(
    dataset: TransitionDataset, steps: int = 1, model_config: config.Model = LATENT
) -> tuple[Grounding, LatentActionModel, Batches]:
    torch.manual_seed(0)
    model = make_any(model_config, SIZE, ACTIONS)
    assert isinstance(model, LatentActionModel)
    batches = Batches(dataset, dataset.action_scaler(), CPU, steps, unlabelled=True)
    return Grounding(model, batches, warn=True), model, batches


@pytest.mark.parametrize('steps', [1, 3])
@pytest.mark.parametrize('whole', [False, True])
def test_no_batch_shows_a_frame_of_a_held_out_moment(
    tmp_path: Path, steps: int, whole: bool
) -> None:
    dataset = dot_dataset(tmp_path) if whole else partly(tmp_path)
    anchors, block = choose_anchors(dataset), dataset.info.action_block
    grounding, _, batches = ground(dataset, steps)
    sampler = grounding.sampler(TRAIN)
    drawn = np.unique([sampler(step) for step in range(150)])
    assert np.isin(drawn, batches.starts('train')).all()
    seen = drawn[:, None] + np.arange(steps * block + 1)
    hidden = anchors.held_out[:, None] + np.arange(block + 1)
    assert not np.intersect1d(seen, hidden).size
    assert len(drawn) > 60


def test_validation_shows_held_out_moments_and_other_windows(tmp_path: Path) -> None:
    dataset = partly(tmp_path)
    anchors = choose_anchors(dataset)
    grounding, _, _ = ground(dataset)
    window = grounding.validation(60)
    known, _ = recorded(window)
    assert int(known[:30].sum()) == min(30, len(anchors.held_out))
    assert window.action.shape[1] == 60
    few, _ = recorded(grounding.validation(6))
    assert few[:3].all(), 'at most half of them are labelled moments'


def test_the_encoder_is_fitted_and_its_motion_measured(tmp_path: Path) -> None:
    dataset = partly(tmp_path)
    _, model, batches = ground(dataset)
    window = batches.at(batches.starts('train'))
    now, then = model.maps(window)
    assert float(model.motion) == pytest.approx(float((then - now).square().mean()), rel=0.1)
    assert float(now.var(dim=(0, 2, 3))[0]) == pytest.approx(1.0, rel=0.1)


def test_a_dataset_without_labels_is_trained_with_a_warning_or_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hide_actions(dot_dataset(tmp_path).folder / 'shards' / 'dots', np.arange(600))
    dots = TransitionDataset.open(tmp_path)
    grounding, _, _ = ground(dots)
    assert 'no transition is labelled: latent actions will describe whatever moves' in caplog.text
    assert grounding.fit_actions() == {}
    assert not recorded(grounding.validation(40))[0].any()
    with pytest.raises(
        DatasetError, match='no labelled transition, and without labels an encoder'
    ):
        ground(dots, model_config=END_TO_END)


def test_an_end_to_end_encoder_is_trained_with_labels(tmp_path: Path) -> None:
    _, model, _ = ground(partly(tmp_path), model_config=END_TO_END)
    assert float(model.motion) == 1.0


def test_images_in_which_nothing_moves_are_refused(tmp_path: Path) -> None:
    still = dot_dataset(tmp_path)
    still._pixels = [np.repeat(still.pixels(np.zeros(1, np.int64)), len(still), axis=0)]
    with pytest.raises(DatasetError, match='nothing moves from one frame to the next'):
        ground(still)


def test_labels_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    same = partly(tmp_path / 'dots', actions=np.full((20, 30, 2), 0.25))
    with pytest.raises(DatasetError, match=r'all actions are the same \(\[0.25, 0.25\]\)'):
        train(same, tmp_path / 'run', LATENT, TRAIN, config.Planner())


def test_maps_of_actions_and_priors_are_fitted_alike_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(action_maps, 'STEPS', 3)
    grounding, model, _ = ground(half_labelled(tmp_path))
    model.train()
    torch.rand(3)
    state = torch.get_rng_state()
    found = grounding.fit_actions()
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.rand(5)
    assert grounding.fit_actions() == found
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    anchors = choose_anchors(half_labelled(tmp_path / 'again'))
    assert found['moments'] == len(anchors)
    assert found['held_out'] == len(anchors.held_out)
    assert set(found['decoder']) == set(found['controller'])


def test_what_is_fitted_decodes_the_labels_in_their_units(tmp_path: Path) -> None:
    grounding, model, batches = ground(dot_dataset(tmp_path))
    found = grounding.fit_actions()
    window = batches.at(batches.starts('val'))
    model.eval()
    now, then = model.latents(window)
    missed = (model.infer(now, then) - window.action[0]).square().mean()
    r2 = 1 - missed.item() / window.action[0].var(dim=0).mean().item()
    assert r2 > max(found['decoder'].values()) - 0.05 > 0, 'these moments are fitted in the end'


def test_a_knob_sets_the_weight_of_the_anchor(tmp_path: Path) -> None:
    lam = replace(LATENT.latent_action, anchor=0.0)
    _, model, batches = ground(partly(tmp_path), model_config=replace(LATENT, latent_action=lam))
    assert float(model.losses(batches.at(batches.starts('train')))['anchor']) == 0.0
