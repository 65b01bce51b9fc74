# SPDX-License-Identifier: Apache-2.0
"""The claims of the paper hold in toy worlds: a latent keeps what actions control, no more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import json
from pathlib import Path

import numpy as np
import pytest
from recordings import without_pictures
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.load import load_config
from smwm_ros.pages import toy as toy_sheet
from smwm_ros.toys.arrow import Arrow
from smwm_ros.toys.decoder import decode
from smwm_ros.toys.dots import Dots
from smwm_ros.toys.judge import Found
from smwm_ros.toys.study import study
from smwm_ros.toys.worlds import draw, JUDGE, record, TOYS, TRAIN

pytestmark = pytest.mark.usefixtures('one_thread')
SIZE = 24  # of the canvas [px]
Learn = Callable[..., Found]


@pytest.fixture
def learn(tmp_path: Path) -> Learn:
    """Return what trains on a world by its name, for a few seconds."""

    def learn_(name: str, steps: int, seed: int = 0) -> Found:
        words = [f'dataset.image_size={SIZE}', f'train.seed={seed}', 'train.device=cpu']
        words.append(f'train.steps={round(steps / TOYS[name].effort)}')
        return study(TOYS[name], tmp_path / name, load_config('toy', words), 4000)

    return learn_


def drops_after(count: int, found: Found) -> bool:
    """Say whether the variance of so many principal directions is far above that of the next."""
    return bool(found.shares[count - 1] > max(2 * found.shares[count], 0.2 * found.shares[0]))


def test_one_dot_has_two_dimensions(learn: Learn) -> None:
    found = learn('single', 200)
    assert drops_after(2, found)
    assert found.measures['inverse_r2'] > 0.6
    assert found.measures['effective_rank'] < 4


def test_without_the_inverse_loss_nothing_is_left(learn: Learn) -> None:
    found = learn('forward_only', 80)
    assert found.measures['latent_std'] < 0.02
    assert found.measures['inverse_r2'] < 0.2
    assert found.significant == 0


def test_dots_that_share_an_action_share_their_dimensions(learn: Learn) -> None:
    found = learn('coupled', 250)
    assert drops_after(2, found)
    assert found.measures['inverse_r2'] > 0.7


def test_a_dot_that_moves_by_chance_is_ignored(learn: Learn) -> None:
    found = learn('random', 200)
    assert drops_after(2, found)
    reported, chance = (sum(found.kept[f'{axis} of dot {dot}'] for axis in 'xy') for dot in (0, 1))
    assert reported > 0.4
    assert chance < 0.1


def test_of_an_arrow_the_latent_keeps_what_is_commanded(learn: Learn) -> None:
    found = learn('arrow_x', 150)
    assert drops_after(1, found)
    assert found.probes['x'] > 0.8
    assert found.kept['x'] > 0.5
    assert max(found.kept['y'], found.kept['heading']) < 0.2


def test_a_lever_that_moves_nothing_teaches_nothing(learn: Learn) -> None:
    found = learn('arrow', 80)
    assert found.measures['latent_std'] < 0.02
    assert found.significant == 0


@pytest.mark.parametrize('world', [Dots((0, 1, 1, -1)), Arrow(('x', 'heading'))], ids=type)
def test_actions_say_how_commanded_coordinates_move(world: Dots | Arrow) -> None:
    moves = world.draw(np.random.default_rng(0), 50, 32)
    change = moves.state[:, 1] - moves.state[:, 0]
    led = [0, 1, 2, 3] if isinstance(world, Dots) else [0, 2]
    assert np.allclose(change[:, led], moves.action, atol=1e-5)
    assert (np.abs(moves.action) <= world.limit(32)).all()
    assert (moves.pixels != 255).any(axis=(2, 3, 4)).all(), 'something is on every canvas'
    if isinstance(world, Dots):
        assert np.allclose(change[:, 2:4], change[:, 4:6]), 'a pair moves as one'
        assert not np.allclose(change[:, 6:], change[:, :2]), 'chance is not reported'


def test_dots_are_never_on_each_other() -> None:
    moves = TOYS['combined'].world.draw(np.random.default_rng(1), 200, 32)
    inked = (moves.pixels != 255).any(axis=-1).sum(axis=(2, 3))
    assert np.unique(inked).tolist() == [5 * 13], 'five crosses of 13 pixels'


@pytest.mark.parametrize('name', ['single', 'arrow_xyt'])
def test_what_judges_is_not_what_was_learnt_from(name: str) -> None:
    learnt, judging = (draw(TOYS[name], 7, purpose, 300, 32) for purpose in (TRAIN, JUDGE))
    again = draw(TOYS[name], 7, JUDGE, 300, 32)
    assert np.array_equal(judging.pixels, again.pixels)
    known = {state.tobytes() for state in learnt.state}
    # Of 300 in 14,000 places and 289 moves, chance alone repeats hardly one.
    assert sum(state.tobytes() in known for state in judging.state) <= 3


def test_a_toy_world_is_a_dataset_like_any_other(tmp_path: Path) -> None:
    toy = TOYS['coupled']
    data = record(toy, tmp_path / 'data', 3, 700, 32)
    assert isinstance(data, TransitionDataset)
    assert len(data.starts('all')) == 700
    assert len(data.starts('train')) == 665
    moves = draw(toy, 3, TRAIN, 500, 32)
    rows = np.arange(1000)
    assert np.array_equal(data.pixels(rows), moves.pixels.reshape(-1, 32, 32, 3))
    assert np.array_equal(data.actions(rows[::2]), moves.action)
    assert main(['inspect', str(data.folder)]) == 0


def test_a_decoder_reconstructs_what_the_latent_holds() -> None:
    moves = TOYS['arrow_x'].world.draw(np.random.default_rng(0), 400, 16)
    before, after = (moves.pixels[:, at] for at in (0, 1))
    reported, fresh = (moves.state[:, at].astype(np.float32) / 16 for at in (1, 0))
    seeing = decode(reported, after, fresh, before, epochs=40).error
    blind = decode(0 * reported, after, 0 * fresh, before, epochs=40).error
    assert seeing < 0.8 * blind


def test_the_verb_writes_a_page_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy_sheet, 'decode', partial(decode, epochs=1))
    words = ['toy', 'arrow', 'single', '--out', str(tmp_path), '--transitions', '200']
    assert main([*words, 'train.steps=4', 'dataset.image_size=16']) == 0
    said = capsys.readouterr().out
    assert 'single: one commanded dot' in said
    assert 'significant directions' in said
    page = (tmp_path / 'toy.html').read_text(encoding='utf-8')
    assert 'src="data:image/png' in page
    assert 'http' not in without_pictures(page)
    assert 'reconstructions from their latents' in page
    figures = json.loads((tmp_path / 'toy.json').read_text())
    assert figures['single']['controlled'] == 2
    assert set(figures['arrow']['probes']) == {'x', 'y', 'heading'}


def test_an_unknown_world_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['toy', 'singel', '--out', str(tmp_path)]) == 2
    assert "did you mean 'single'?" in capsys.readouterr().err
