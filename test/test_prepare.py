# SPDX-License-Identifier: Apache-2.0
"""Roadmap and proposals lie beside a run, and every way of lacking them is reported."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import shutil

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.cli import main as smwm
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.planning import masked_goals
from smwm_ros.planning.pilot import Pilot
from smwm_ros.training.train import train
from worlds import dot_dataset, draw_dot, TINY, tiny_checkpoint

ROOT = Path(__file__).resolve().parents[1]
HERE, THERE = draw_dot(np.array([-0.5, 0.0])), draw_dot(np.array([0.5, 0.2]))
PLANNER = config.Planner(samples=16, elites=4, iterations=2, horizon=3)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> TransitionDataset:
    return dot_dataset(tmp_path_factory.mktemp('dots') / 'data')


@pytest.fixture(scope='module')
def trained(data: TransitionDataset) -> Path:
    folder = data.folder.parent / 'trained'
    settings = config.Train(steps=40, batch=32, eval_every=20)
    train(data, folder, TINY, settings, PLANNER)
    return folder


@pytest.fixture(scope='module')
def prepared(trained: Path) -> Path:
    folder = trained.with_name('prepared')
    shutil.copytree(trained, folder)
    assert smwm(['prepare', str(folder), 'prepare.steps=20']) == 0
    return folder


@pytest.fixture
def bare(tmp_path: Path, trained: Path) -> Path:
    """Return a run that is trained a little."""
    return Path(shutil.copytree(trained, tmp_path / 'run'))


@pytest.fixture
def run(tmp_path: Path, prepared: Path) -> Path:
    """Return a run with all that planners may need."""
    return Path(shutil.copytree(prepared, tmp_path / 'run'))


def pilot(folder: Path, **knobs: object) -> Pilot:
    checkpoint = checkpoints.load(folder)
    return Pilot(checkpoint, replace(checkpoint.planner, **knobs))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    'knobs',
    [
        {'kind': 'roadmap'},
        {'kind': 'roadmap', 'subplanner': 'amortised'},
        {'kind': 'amortised'},
        {'kind': 'icem', 'proposals': True},
        {'cost': 'time'},
        {'kind': 'roadmap', 'cost': 'time'},
        {'novel_weight': 1.0},
    ],
)
def test_a_prepared_run_plans_with_every_kind(run: Path, knobs: dict[str, object]) -> None:
    made = pilot(run, **knobs)
    made.warm_up()
    made.set_goal(THERE)
    plans = [made.plan(HERE, elapsed) for elapsed in (0, 1, 1)]
    for plan in plans:
        assert (plan.actions >= made.spec.low).all()
        assert (plan.actions <= made.spec.high).all()
        assert (plan.to_go is not None) == (knobs.get('kind') == 'roadmap')
        assert ('novel' in plan.shares) == ('novel_weight' in knobs)
    made.reset()
    assert np.array_equal(made.plan(HERE, 0).actions, plans[0].actions)


def test_a_prepared_run_plans_to_a_masked_goal(run: Path) -> None:
    mask = THERE[..., 0] >= 0
    mask[:, : len(THERE) // 2] = False
    checkpoint = checkpoints.load(run)
    metric = masked_goals.load(checkpoint, 1.0, 'a goal with a mask').metric(THERE, mask)
    made = pilot(run)
    z = made.encode(np.stack([HERE, THERE]))
    made.aim_many(z[[1, 1]], np.stack([metric, np.eye(len(metric), dtype=np.float32)]))
    found = [plan.distance for plan in made.plan_many(np.stack([HERE, HERE]), 0)]
    expected = [np.linalg.norm((z[0] - z[1]) @ metric), np.linalg.norm(z[0] - z[1])]
    assert found == pytest.approx(expected, rel=1e-3)
    made.keep([1])
    assert made.plan_many(HERE[None], 1)[0].distance == pytest.approx(expected[1], rel=1e-3)
    made.aim(z[1], metric)
    made.warm_up()
    plan = made.plan(HERE, 1)
    assert plan.distance == pytest.approx(expected[0], rel=1e-3)
    assert plan.seconds_to_go is None, 'the learnt time leads to the whole picture'
    with pytest.raises(ConfigError, match=r'not planner\.cost=time'):
        pilot(run, cost='time').aim(z[1], metric)
    (run / 'frames.json').unlink()
    with pytest.raises(CheckpointError, match=r'has no frames yet; make it: smwm prepare'):
        masked_goals.load(checkpoint, 1.0, 'a goal with a mask')


@pytest.mark.parametrize('kind', ['roadmap', 'amortised'])
def test_the_model_that_comes_with_the_package_is_prepared(kind: str) -> None:
    made = pilot(ROOT / 'models' / 'two_room', kind=kind)
    made.warm_up()


def test_a_run_without_drives_cannot_charge_for_what_is_far_from_them(run: Path) -> None:
    (run / 'drives.json').unlink()
    with pytest.raises(CheckpointError, match=r'planner\.novel_weight: .* has no drives yet'):
        pilot(run, novel_weight=1.0)


def test_preparing_again_writes_the_same(prepared: Path, data: TransitionDataset) -> None:
    parts = ('roadmap', 'proposals', 'time_to_go')
    names = [f'{part}.{suffix}' for part in parts for suffix in ('safetensors', 'json')]
    first = [(prepared / name).read_bytes() for name in names]
    # The run remembers where its dataset lies.
    assert smwm(['prepare', str(prepared), 'prepare.steps=20']) == 0
    assert [(prepared / name).read_bytes() for name in names] == first
    assert json.loads((prepared / 'roadmap.json').read_text())['dataset'] == data.fingerprint
    assert not list(prepared.glob('.*.part'))


@pytest.mark.parametrize(
    ('knobs', 'what'),
    [
        ({'kind': 'roadmap'}, r'planner\.kind=roadmap: .* has no roadmap yet'),
        ({'kind': 'amortised'}, r'planner\.kind=amortised: .* has no proposals yet'),
        ({'proposals': True}, r'planner\.proposals: .* has no proposals yet'),
        ({'cost': 'time'}, r'planner\.cost=time: .* has no time_to_go yet'),
    ],
)
def test_what_was_never_made_is_named_with_the_command_that_makes_it(
    bare: Path, knobs: dict[str, object], what: str
) -> None:
    with pytest.raises(CheckpointError, match=f'{what}; make it: smwm prepare'):
        pilot(bare, **knobs)


def test_evaluate_says_it_before_it_begins(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smwm(['evaluate', str(bare), '--arena', 'two_room', 'planner.kind=roadmap']) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_roadmap_of_other_weights_is_refused(run: Path) -> None:
    checkpoints.save(run, tiny_checkpoint(seed=7))
    with pytest.raises(CheckpointError, match=r'made for other weights .* smwm prepare'):
        pilot(run, kind='roadmap')


@pytest.mark.parametrize('suffix', ['safetensors', 'json'])
def test_a_roadmap_that_was_cut_off_is_reported(run: Path, suffix: str) -> None:
    path = run / f'roadmap.{suffix}'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=rf'roadmap\.{suffix}: .*make it: smwm prepare'):
        pilot(run, kind='roadmap')


def test_an_empty_roadmap_is_reported(run: Path) -> None:
    from smwm_ros.planning import roadmap

    road = roadmap.load(run, 'a test')
    roadmap.save(run, road._replace(edges=road.edges[:, :0]), {})
    with pytest.raises(CheckpointError, match='its roadmap has no edges'):
        pilot(run, kind='roadmap')


def test_a_checkpoint_from_no_folder_has_no_roadmap() -> None:
    with pytest.raises(CheckpointError, match='was not loaded from a folder'):
        Pilot(tiny_checkpoint(), config.Planner(kind='roadmap'))


def test_a_dataset_of_another_robot_is_refused(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = dot_dataset(tmp_path / 'other', episodes=4)
    index = json.loads((other.folder / 'dataset.json').read_text())
    index['robot']['dt'] = 0.2
    (other.folder / 'dataset.json').write_text(json.dumps(index))
    assert smwm(['prepare', str(bare), '--data', str(other.folder)]) == 2
    assert 'control period [s] is 0.2' in capsys.readouterr().err


def test_without_a_dataset_it_says_so(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / 'elsewhere' / 'far' / 'run'
    moved.parent.mkdir(parents=True)
    bare.rename(moved)
    assert smwm(['prepare', str(moved)]) == 2
    assert 'the dataset that' in capsys.readouterr().err
