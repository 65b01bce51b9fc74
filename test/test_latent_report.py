# SPDX-License-Identifier: Apache-2.0
"""Acceptance tests of latent actions: what passes, what fails, the page and the sweep."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from smwm_ros.cli import main
from smwm_ros.evaluation import latent_sweep
from smwm_ros.evaluation.acceptance import (
    judge_control,
    judge_images,
    judge_motion,
    motion_reading,
    moved_in,
)
from smwm_ros.evaluation.latent_actions import (
    Acceptance,
    commanded,
    cycle,
    drift,
    fit_probe,
    LatentDynamics,
    neighbours,
    NULL_STEPS,
    peaks,
    scene_cut,
    transfer,
)
from smwm_ros.evaluation.latent_sweep import curves, largest_rise, models, monotone, Point
from smwm_ros.evaluation.map_decoder import MapDecoder
from smwm_ros.evaluation.transitions import Transitions
from smwm_ros.interfaces import ActionScaler
from smwm_ros.latent_actions.maps import PatchPca
from smwm_ros.model.checkpoint import save
import torch
from torch import Tensor
from worlds import dot_dataset, latent_checkpoint, Line, tiny_checkpoint

COUNT = 200
# Steps are at most 1 long, and scenes are about 30 apart.
SOUND = LatentDynamics(lambda s, then: (then - s).clamp(-1, 1), lambda s, z: s + z, lambda s: s)
COPYING = LatentDynamics(lambda s, then: torch.zeros_like(s), lambda s, z: s, lambda s: s)
MEMORISING = LatentDynamics(lambda s, then: then, lambda s, z: z, lambda s: s)


@pytest.fixture
def moves() -> tuple[Tensor, Tensor]:
    """Return places (n, 2) before and after a step."""
    rng = np.random.default_rng(0)
    s = torch.from_numpy(rng.uniform(-30, 30, (COUNT, 2)))
    return s, s + torch.from_numpy(rng.uniform(-0.9, 0.9, (COUNT, 2)))


def test_a_sound_model_cannot_predict_across_a_scene_cut(moves: tuple[Tensor, Tensor]) -> None:
    s, then = moves
    found = scene_cut(SOUND, s, then, then.roll(COUNT // 2, dims=0))
    assert found.ratio > 1000
    assert 0 < found.leak < 0.2


def test_a_model_that_copies_leaks_nothing(moves: tuple[Tensor, Tensor]) -> None:
    s, then = moves
    found = scene_cut(COPYING, s, then, then.roll(COUNT // 2, dims=0))
    assert found.leak == found.without_action == 0


def test_a_model_that_memorises_the_next_frame_leaks_all(moves: tuple[Tensor, Tensor]) -> None:
    s, then = moves
    found = scene_cut(MEMORISING, s, then, then.roll(COUNT // 2, dims=0))
    assert found.leak == pytest.approx(1)
    assert found.ratio == pytest.approx(1)


def test_what_is_predicted_without_action_is_not_counted_as_leak() -> None:
    s = torch.zeros(4, 1)
    mean = LatentDynamics(lambda s, then: s, lambda s, z: s + 0.5, lambda s: s + 0.5)
    found = scene_cut(mean, s, s + 0.5, s + 1)
    assert found.leak == found.without_action == pytest.approx(0.75)


def test_a_cycle_multiplies_the_errors_of_its_steps(moves: tuple[Tensor, Tensor]) -> None:
    long = LatentDynamics(lambda s, then: then - s, lambda s, z: s + 1.1 * z, lambda s: s)
    assert cycle(long, *moves) == pytest.approx(1.1**2)  # misses s by 0.11, not by 0.1 of a step
    assert cycle(SOUND, *moves) == pytest.approx(1)


def test_motion_transfers_by_a_sound_model_and_not_by_one_that_memorises(
    moves: tuple[Tensor, Tensor],
) -> None:
    s, then = moves
    read, moved, elsewhere = fit_probe(s, s.numpy()), (then - s).numpy(), s.roll(7, dims=0)
    for model, passes in ((SOUND, True), (MEMORISING, False), (COPYING, False)):
        score = transfer(model, read, elsewhere, model.infer(s, then), moved)
        assert (score > 0.99) is passes
        assert passes or score <= 0


def test_drift_is_a_share_of_a_full_scale_step() -> None:
    s = torch.zeros(10, 1)
    drifting = LatentDynamics(lambda s, then: then - s, lambda s, z: s + z + 0.1, lambda s: s)
    moved = np.full((10, 1), -2.0)
    assert drift(drifting, Tensor.numpy, s, moved) == pytest.approx(0.05)
    assert drift(SOUND, Tensor.numpy, s, moved) == 0
    assert NULL_STEPS > 1


def test_a_probe_chooses_a_penalty_that_generalises() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((60, 300))  # more columns than rows
    targets = inputs[:, :5].sum(1, keepdims=True)
    read = fit_probe(inputs, targets)
    assert read(inputs[:3]).shape == (3, 1)
    easy = fit_probe(inputs[:, :5], targets)
    assert easy(inputs[:, :5]) == pytest.approx(targets, abs=0.01)


def test_commanded_fields_are_those_that_actions_explain() -> None:
    rng = np.random.default_rng(0)
    actions = rng.standard_normal((50, 2))
    moved = np.column_stack([actions[:, 0], rng.standard_normal(50), 2 * actions[:, 1]])
    assert commanded(actions, moved).tolist() == [True, False, True]
    assert commanded(actions[:5], moved[:5]).all()
    assert commanded(actions, moved[:, 1:2]).all()  # nothing is known to be commanded


def test_neighbours_come_from_other_drives() -> None:
    z, drive = np.arange(6.0)[:, None], np.array([0, 0, 0, 1, 1, 1])
    assert neighbours(z, drive, np.array([2, 3]), 2).tolist() == [[3, 4], [2, 1]]
    assert neighbours(z, drive, np.array([0]), 9).shape == (1, 3)
    assert neighbours(z, np.zeros(6), np.array([0]), 9).shape == (1, 0)


def test_peaks_are_apart_and_ignore_what_is_undefined() -> None:
    values = np.array([0, 5, 6, 0, math.nan, 0, 3, 0])
    assert peaks(values, 2, 2).tolist() == [2, 6]
    assert peaks(values, 1, 2).tolist() == [2]


def test_a_test_passes_within_its_limits_and_is_not_judged_without_a_figure() -> None:
    assert Acceptance('', 1.0, 1.0, None, '').passed is True
    assert Acceptance('', 0.9, 1.0, None, '').passed is False
    assert Acceptance('', 1.1, 0.5, 1.0, '').passed is False
    assert Acceptance('', 1.0, None, None, '').passed is None
    undefined = Acceptance('', math.nan, 1.0, None, '')
    assert undefined.passed is None
    assert undefined.as_json()['figure'] is None


def test_an_arena_shows_what_actions_do_from_other_places() -> None:
    moved = moved_in(
        Line(), np.array([[3.0], [5.0]]), np.array([[[0.5], [0.25]], [[9.0], [-0.5]]])
    )
    assert moved.tolist() == [[0.75], [0.5]]  # the action of 9 is clipped to 1


def test_a_map_is_decoded_to_its_picture() -> None:
    pixels = torch.randint(0, 255, (20, 3, 16, 16), dtype=torch.uint8)
    encoder = PatchPca(channels=48, patch=4, blur=0.0)
    encoder.fit(pixels)
    s = encoder(pixels)
    shown = MapDecoder(s, pixels)(s)
    assert shown.shape == (20, 16, 16, 3)
    away = shown.astype(int) - pixels.permute(0, 2, 3, 1).numpy()
    assert np.abs(away).mean() < 12


def test_a_sweep_passes_where_more_capacity_lowers_the_error() -> None:
    points = [
        Point(name, str(knobs), 1 / (1 + place), math.nan, 3.0)
        for place, (name, knobs) in enumerate(models())
    ]
    assert all(test.passed for test in monotone(points))
    assert all(len(curve) == 7 for curve in curves(points).values())
    rising = [*points[:-1], points[-1]._replace(error=0.6)]
    assert [test.passed for test in monotone(rising)] == [True, False, False, False]
    flat = [point._replace(error=1.0) for point in points]
    assert [test.passed for test in monotone(flat)] == [False, True, True, True]
    failed = [p._replace(error=math.nan) if p.setting.endswith('16}') else p for p in points]
    assert len(curves(failed)['vq']) == 6
    assert all(test.passed for test in monotone(failed))
    assert failed[12].as_json()['error'] is None
    assert largest_rise([1.0, 0.5, 0.75]) == pytest.approx(1.5)


def results(model: LatentDynamics, s: Tensor, then: Tensor) -> dict[str, Acceptance]:
    """Run the tests of images and motion on places, which are their own maps and states."""
    found = Transitions(
        np.arange(len(s)),
        s,
        then,
        model.infer(s, then),
        np.full(len(s), math.nan),
        torch.stack([s, then], dim=1).numpy(),
        np.full((len(s), 1, 2), math.nan),
    )
    reading = motion_reading(found, found)
    tests = judge_images(model, found)
    tests += judge_motion(model, reading, np.ones(2, bool), tiny_checkpoint(), None)
    return {test.name: test for test in tests}


@pytest.mark.parametrize(
    ('gain', 'noise', 'passed'),
    [(1.0, 0.0, True), (0.2, 0.0, False), (1.0, 0.3, True), (1.0, 20.0, None)],
)
def test_commands_make_the_measured_motion_as_far_as_it_can_be_read(
    moves: tuple[Tensor, Tensor], gain: float, noise: float, passed: bool | None
) -> None:
    s, then = moves
    states = torch.stack([s, then], dim=1).numpy()
    states = states + noise * np.random.default_rng(1).standard_normal(states.shape)
    actions = (then - s)[:, None].numpy()
    z = then - s
    found = Transitions(np.arange(len(s)), s, then, z, np.zeros(len(s)), states, actions)
    reading = motion_reading(found, found)
    assert reading
    if not noise:
        assert reading.most == pytest.approx(1)
    plain = tiny_checkpoint()
    scaler = ActionScaler(np.zeros(2), np.ones(2))
    labelled = plain._replace(scaler=scaler, info=plain.info._replace(actions={'r2': 0.9}))
    model: Any = SimpleNamespace(
        controller=lambda a, x: gain * a, state=lambda s: s, forward_model=SOUND.predict
    )
    test = judge_control(model, reading, np.ones(2, bool), labelled)
    assert test.passed is passed
    assert f'R2 {reading.most:.2f}' in test.meaning
    assert 'labelled moments' in judge_control(model, reading, np.ones(2, bool), plain).meaning
    assert judge_control(model, None, np.ones(2, bool), labelled).passed is None


def test_a_sound_model_passes_each_test_that_is_judged(moves: tuple[Tensor, Tensor]) -> None:
    found = results(SOUND, *moves)
    assert {name for name, test in found.items() if test.passed is not True} == {
        'probe of other motion, R2'
    }


def test_a_model_that_memorises_fails_the_tests_that_it_should(
    moves: tuple[Tensor, Tensor],
) -> None:
    found = results(MEMORISING, *moves)
    assert {name for name, test in found.items() if test.passed is False} == {
        'scene cut: error ratio',
        'scene cut: leak',
        'transfer of motion, R2',
        'probe of commanded motion, R2',
    }


def test_what_needs_no_latent_action_is_not_expected_to_fail() -> None:
    s = torch.zeros(4, 2)
    ahead = LatentDynamics(lambda s, then: s, lambda s, z: s + 0.5, lambda s: s + 0.5)
    assert results(ahead, s, s + 1)['scene cut: leak'].figure == 0


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of a latent-action model that was not trained."""
    folder = tmp_path_factory.mktemp('latent')
    data = dot_dataset(folder / 'data', episodes=20, length=30)
    save(folder / 'run', latent_checkpoint(data))
    return folder / 'run'


def test_the_report_has_a_page_and_figures(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(latent_sweep, 'STRENGTHS', {'vq': ('codes', (4,))})
    assert main(['lam-report', str(run), '--sweep', '2']) == 0
    found = json.loads((run / 'lam_report.json').read_text(encoding='utf-8'))
    tests = {test['name']: test for test in found['tests']}
    assert tests['transfer of motion, R2']['figure'] < 0.8
    assert tests['transfer of motion, R2']['passed'] is False
    assert 'no labelled moments' in tests['decoder, R2']['meaning']
    assert 'sweep of vq: largest rise' in tests
    assert [point['bottleneck'] for point in found['sweep']] == ['zero', 'vq', 'none']
    assert found['neighbours']['nearest']
    page = (run / 'lam_report.html').read_text(encoding='utf-8')
    for words in ('class="film"', 'scene cut: leak', 'Sweep of bottlenecks', 'class="bad">fail'):
        assert words in page
    out = capsys.readouterr().out
    assert 'fail       transfer of motion, R2' in out
    stamp = (run / 'sweep' / 'none' / 'meta.json').stat().st_mtime_ns
    assert main(['lam-report', str(run), '--sweep', '2', '--strict']) == 1
    assert (run / 'sweep' / 'none' / 'meta.json').stat().st_mtime_ns == stamp


def test_without_a_measured_state_the_report_says_what_is_missing(tmp_path: Path) -> None:
    from smwm_ros.config import State

    data = dot_dataset(tmp_path / 'data', state=State())
    save(tmp_path / 'run', latent_checkpoint(data))
    assert main(['lam-report', str(tmp_path / 'run'), '--out', str(tmp_path / 'report.json')]) == 0
    found = json.loads((tmp_path / 'report.json').read_text(encoding='utf-8'))
    missing = [test for test in found['tests'] if 'no measured state' in test['meaning']]
    assert len(missing) == 4
    assert all(test['figure'] is None and test['passed'] is None for test in missing)
    assert (tmp_path / 'report.html').is_file()


def test_models_of_other_kinds_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / 'run', tiny_checkpoint())
    assert main(['lam-report', str(tmp_path / 'run')]) == 2
    assert 'kind smwm, expected latent_action' in capsys.readouterr().err
