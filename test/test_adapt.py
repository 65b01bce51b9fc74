# SPDX-License-Identifier: Apache-2.0
"""A model fits another look after a minute of its images, and is not written where it does not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from recordings import contents
from smwm_ros.cli import main as smwm
from smwm_ros.config import Planner
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.split import rows_of
from smwm_ros.evaluation import fit_to_images
from smwm_ros.evaluation.fit_to_images import ImageFit, Novelty
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.model.encoding import encode_rows
from smwm_ros.planning import frame_bank
from smwm_ros.planning.pilot import Pilot
from smwm_ros.training import adapt
from smwm_ros.training.batches import with_held_out
from torch import nn
from videos import write_video
from worlds import dot_dataset, latent_checkpoint

SHIPPED = Path(__file__).resolve().parents[1] / 'models' / 'two_room'
LOOK = (
    'arena.episodes=1 arena.length=700 arena.seed=3 '
    'randomise.light=[0.4,0.4] randomise.colour=[-0.3,-0.3]'
)


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a drive of 70 s in an arena that looks unlike the one of the training."""
    folder = tmp_path_factory.mktemp('look') / 'bags'
    assert smwm(['collect', 'two_room', '--out', str(folder), *LOOK.split()]) == 0
    return folder


@pytest.fixture(scope='module')
def data(bag: Path) -> TransitionDataset:
    folder = bag.parent / 'data'
    assert smwm(['convert', str(bag), '--out', str(folder), '--config', 'two_room']) == 0
    return with_held_out(TransitionDataset.open(folder))[0]


def figures(run: Path) -> tuple[ImageFit, ImageFit]:
    """Return what a run records of its adaptation."""
    found = checkpoints.read_meta(run).info.others['adapted']
    before, after = (
        ImageFit(**{name: math.nan if one is None else one for name, one in found[when].items()})
        for when in ('before', 'after')
    )
    return before, after


def test_a_minute_of_images_makes_the_model_fit(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped, run = contents(SHIPPED), tmp_path / 'adapted'
    assert smwm(['adapt', str(SHIPPED), '--bag', str(bag), '--out', str(run)]) == 0
    before, after = figures(run)
    assert before.novelty > 2.5 > 1.5 > after.novelty
    assert after.forward < before.forward / 10
    assert before.inverse_r2 < 0.3 < 0.6 < after.inverse_r2
    shown = capsys.readouterr().out
    assert f'{before.novelty:.2f}' in shown
    assert f'{after.inverse_r2:.2f}' in shown
    assert contents(SHIPPED) == shipped
    kept, album = (frame_bank.load(folder, 'a test') for folder in (SHIPPED, run))
    assert album.jpegs == kept.jpegs
    median = float(album.held_out.median()) / Novelty(checkpoints.load(run)).unit
    assert median == pytest.approx(after.novelty, rel=0.01), 'new images are the usual ones'
    # What lies beside the model is kept, and fits the new weights.
    pilot = Pilot(checkpoints.load(run), Planner(kind='roadmap'))
    pilot.warm_up()


def test_latents_have_the_mean_and_the_variance_of_training(data: TransitionDataset) -> None:
    checkpoint = checkpoints.load(SHIPPED)
    adapted = adapt.measure_statistics(checkpoint, data)
    z = encode_rows(adapted.model, data, rows_of(data.episodes, 'train'))
    norms = [part for part in adapted.model.modules() if isinstance(part, nn.BatchNorm1d)]
    assert np.allclose(z.mean(0), norms[-1].bias, atol=0.02)
    variance = norms[-1].running_var
    assert variance is not None
    scale = (variance / (variance + norms[-1].eps)).sqrt()
    assert np.allclose(z.std(0), norms[-1].weight.abs() * scale, rtol=0.03)
    assert all(part.momentum == 0.1 and not part.training for part in norms)
    # Only the statistics differ.
    old, new = checkpoint.model.state_dict(), adapted.model.state_dict()
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert {name.rpartition('.')[2] for name in changed} <= {
        'running_mean', 'running_var', 'num_batches_tracked',
    }  # fmt: skip
    assert changed


def test_gradient_steps_improve_it_further(bag: Path, tmp_path: Path) -> None:
    words = ['adapt', str(SHIPPED), '--bag', str(bag)]
    assert smwm([*words, '--out', str(tmp_path / 'statistics')]) == 0
    assert smwm([*words, '--out', str(tmp_path / 'steps'), '--steps', '100']) == 0
    statistics, steps = (figures(tmp_path / name)[1] for name in ('statistics', 'steps'))
    assert steps.inverse_r2 > statistics.inverse_r2 + 0.01
    assert steps.forward < 0.8 * statistics.forward


def test_images_alone_suffice(
    data: TransitionDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / 'clip.mp4', list(data.pixels(np.arange(400))))
    run = tmp_path / 'adapted'
    assert smwm(['adapt', str(SHIPPED), '--bag', str(video), '--out', str(run)]) == 0
    before, after = figures(run)
    assert after.novelty < before.novelty / 2
    assert math.isnan(after.forward)
    assert 'no commands were recorded' in capsys.readouterr().out
    again = ['adapt', str(SHIPPED), '--bag', str(video), '--out', str(tmp_path / 'x')]
    assert smwm([*again, '--steps', '5']) == 2
    assert '--steps: no commands were recorded' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('frames', 'words'),
    [(400, 'too little variety: the images vary by'), (60, 'expected at least 100')],
)
def test_a_still_or_short_recording_is_refused(
    data: TransitionDataset,
    tmp_path: Path,
    frames: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    noise = np.random.default_rng(0).integers(-2, 3, (frames, 64, 64, 3))
    still = list((data.pixels(np.array([0])) + noise).clip(0, 255).astype(np.uint8))
    video = write_video(tmp_path / 'still.mp4', still)
    run = tmp_path / 'adapted'
    assert smwm(['adapt', str(SHIPPED), '--bag', str(video), '--out', str(run)]) == 2
    assert words in capsys.readouterr().err
    assert not run.exists()


@pytest.mark.parametrize(
    ('mine', 'theirs', 'worse'),
    [
        # Commands count where there are some.
        (ImageFit(5.0, 0.5, 0.8), ImageFit(1.0, 0.9, 0.5), False),
        (ImageFit(1.0, 0.9, 0.5), ImageFit(5.0, 0.5, 0.8), True),
        (ImageFit(5.0, math.nan, math.nan), ImageFit(1.0, math.nan, math.nan), True),
        (ImageFit(1.0, math.nan, math.nan), ImageFit(5.0, math.nan, math.nan), False),
    ],
)
def test_what_is_worse(mine: ImageFit, theirs: ImageFit, worse: bool) -> None:
    assert mine.worse_than(theirs) is worse


def test_a_worse_model_is_not_written(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = iter([ImageFit(3.0, 0.3, 0.8), ImageFit(3.0, 0.5, 0.4)])
    monkeypatch.setattr(fit_to_images, 'measure_fit', lambda *_: next(found))
    run = tmp_path / 'adapted'
    assert smwm(['adapt', str(SHIPPED), '--bag', str(bag), '--out', str(run)]) == 2
    assert 'fits held-out images worse' in capsys.readouterr().err
    assert not run.exists()


def test_a_model_that_fits_already_is_adapted_by_gradient_steps_alone(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bound = Novelty(checkpoints.load(SHIPPED)).bound
    for number, (before, steps, code) in enumerate(
        [(bound - 0.01, 0, 2), (bound + 0.01, 0, 0), (bound - 0.01, 1, 0)]
    ):
        found = iter([ImageFit(before, 0.5, 0.4), ImageFit(before - 0.1, 0.4, 0.5)])
        monkeypatch.setattr(fit_to_images, 'measure_fit', lambda *_, found=found: next(found))
        run = tmp_path / f'adapted_{number}'
        words = ['adapt', str(SHIPPED), '--bag', str(bag), '--out', str(run)]
        assert smwm([*words, *(['--steps', '1'] if steps else [])]) == code
        assert run.exists() is (code == 0)
        shown = capsys.readouterr().err
        assert ('the model needs no adapting' in shown) is (code == 2)


def test_what_cannot_be_adapted_is_refused(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / 'run'
    run.mkdir()
    assert smwm(['adapt', str(SHIPPED), '--bag', str(bag), '--out', str(run)]) == 2
    assert 'exists already' in capsys.readouterr().err
    made = latent_checkpoint(dot_dataset(tmp_path / 'dots'))
    checkpoints.save(tmp_path / 'latent', made)
    assert smwm(['adapt', str(tmp_path / 'latent'), '--bag', str(bag)]) == 2
    assert 'expected one of kind smwm' in capsys.readouterr().err
