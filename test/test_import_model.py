# SPDX-License-Identifier: Apache-2.0
"""smwm import makes a run of a model of others, or says in one line why it cannot."""

from __future__ import annotations

import json
from pathlib import Path
import re
from typing import Any

import numpy as np
from official import ACTIONS, CONFIG_JSON, CONFIG_YAML, shapes, state_dict, write_lewm, write_smwm
import pytest
from smwm_ros.cli import main
from smwm_ros.config import Config, Dataset
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.exchange import from_foreign_model
from smwm_ros.exchange.foreign_model import ForeignModel, read_original
from smwm_ros.exchange.from_foreign_model import make_checkpoint, statistics
from smwm_ros.exchange.pickled import read_tensors
from smwm_ros.interfaces import ActionScaler
from smwm_ros.model.checkpoint import load
from smwm_ros.planning.pilot import Pilot
from test_checkpoint import Bomb
import torch
from worlds import dot_dataset
import yaml

SAID = ['robot.dt=0.1', 'robot.command.fields=[a,b]', 'robot.command.low=[-1,-1]']
SAID += ['robot.command.high=[1,1]', 'planner.samples=16', 'planner.elites=4']


@pytest.fixture(autouse=True)
def a_short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_foreign_model, 'LOOK', 2)


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smwm(tmp_path_factory.mktemp('official') / 'run')


def dots(folder: Path, length: int = 12, **knobs: Any) -> TransitionDataset:
    return dot_dataset(folder, episodes=4, length=length, **{'action_block': 5, **knobs})


def test_a_run_of_smwm_becomes_a_checkpoint_that_plans(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = dots(tmp_path / 'dots')
    words = ['import', str(run), '--out', str(tmp_path / 'ours'), '--data', str(data.folder)]
    assert main([*words, 'planner.samples=4', 'planner.elites=2', 'planner.iterations=1']) == 0
    reported = capsys.readouterr().out
    assert f'the SMWM model of {run / "checkpoints" / "last.ckpt"}' in reported
    assert 'its inverse model recovers the actions with R2' in reported
    assert 'warning: the dataset has images of 16 px; the model was trained on 224 px' in reported
    assert 'warning: this is poor for training data' in reported, 'random weights'
    ours = load(tmp_path / 'ours')
    assert ours.model_config.kind == 'smwm'
    assert ours.model_config.inverse_weight == 0.1
    assert ours.info.dataset == data.fingerprint
    assert ours.info.imported
    assert ours.info.imported['maker'] == 'SMWM'
    assert len(ours.info.warnings) == 2
    assert np.array_equal(ours.scaler, statistics(data))
    pilot = Pilot(ours)
    frame = data.pixels(np.array([0, 9]))
    pilot.set_goal(frame[1])
    assert pilot.plan(frame[0], 0).actions.shape == (25, 2)


def test_a_model_of_lewm_has_no_inverse_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lewm, out = write_lewm(tmp_path / 'lewm'), tmp_path / 'ours'
    words = ['import', str(lewm), '--out', str(out), '--mean=-0.1,0.2', '--std', '0.3,0.4']
    assert main([*words, *SAID]) == 0
    made, warned = capsys.readouterr().out.splitlines()
    assert made == f'{out}: the LeWM model of {lewm / "weights.pt"}'
    ours = load(out)
    (warning,) = ours.info.warnings
    assert warned == f'warning: {warning}'
    assert 'LeWM plans with this model from the latest frame alone; here a plan reads' in warning
    assert (ours.model_config.kind, ours.model_config.history) == ('sigreg', 3)
    assert (ours.image_size, ours.action_block) == (224, 5)
    assert np.array_equal(ours.scaler, [[-0.1, 0.2], [0.3, 0.4]])
    assert not ours.model.infer(torch.ones(1, 192), torch.zeros(1, 192)).any()
    again = ['import', str(lewm), '--out', str(tmp_path / 'again'), '--data']
    assert main([*again, str(dots(tmp_path / 'dots').folder)]) == 2, 'four episodes of 12 ticks'
    assert (
        'no episode is longer than the history of this model, 3 model steps'
        in capsys.readouterr().err
    )
    assert main([*again, str(dots(tmp_path / 'long', length=20).folder)]) == 0
    assert 'it has no inverse model' in capsys.readouterr().out


def test_a_model_of_smwm_that_remembers_plans_from_the_past_as_the_original_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = write_smwm(tmp_path / 'run', history=3), tmp_path / 'ours'
    words = ['import', str(run), '--out', str(out), '--mean=-0.1,0.2', '--std', '0.3,0.4']
    assert main([*words, *SAID]) == 0
    assert 'warning' not in capsys.readouterr().out
    assert load(out).info.warnings == ()
    assert Pilot(load(out)).past_steps == 2


@pytest.mark.parametrize(
    ('words', 'reported'),
    [
        ([], 'does not define robot.dt, robot.command.fields, .*, mean and standard deviation of'),
        (SAID, 'does not define mean and standard deviation of the actions; give --data'),
        (
            ['--mean', '0,0', '--std', '1,1'],
            r'does not define robot\.dt, .*robot.command.high; give',
        ),
        (['--mean', '0,0'], 'expected --mean and --std together'),
        (['--mean', '0,x', '--std', '1,1'], "numbers separated by commas: .*'x'"),
        (['--mean', '0,0', '--std', '1,0', *SAID], 'expected finite numbers and a std above 0'),
        (['--mean', '0', '--std', '1', *SAID], '1 and 1 numbers, expected 2 numbers each'),
        (
            ['--mean', '0,0', '--std', '1,1', *SAID, 'dataset.action_block=2'],
            r'has 10 action numbers per model step \(5 raw actions of 2\), expected 4: '
            r'dataset\.action_block=2 raw actions of 2',
        ),
        (['--data', 'nowhere'], 'nowhere: no such dataset'),
    ],
)
def test_what_a_model_does_not_tell_is_asked_for(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    reported: str,
) -> None:
    out = tmp_path / 'ours'
    assert main(['import', str(run), '--out', str(out), *words]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert re.search(reported, error), error
    assert not out.exists()


def test_statistics_are_those_that_the_original_took(tmp_path: Path) -> None:
    actions = np.random.default_rng(1).normal(0.2, 0.1, (4, 12, 2))
    data = dots(tmp_path / 'dots', actions=actions)
    mean, std = statistics(data)
    taken = actions[:, :-1].astype(np.float32).astype(np.float64).reshape(-1, 2)
    assert mean == pytest.approx(taken.mean(0))
    assert std == pytest.approx(taken.std(0, ddof=1))
    actions[..., 1] = 0.5
    with pytest.raises(
        DatasetError, match=r'twist.angular.z: constant or not finite.* give --mean'
    ):
        statistics(dots(tmp_path / 'constant', actions=actions))


def write(folder: Path, tensors: Any, config: Any = CONFIG_YAML) -> Path:
    """Write a run folder of SMWM that holds something else."""
    (folder / 'checkpoints').mkdir(parents=True)
    (folder / 'config.yaml').write_text(yaml.safe_dump(config))
    torch.save(tensors, folder / 'checkpoints' / 'last.ckpt')
    return folder


def test_tensors_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    tensors = state_dict()
    del tensors['pred_proj.net.3.bias'], tensors['inverse_model.net.0.weight']
    tensors['spin'] = torch.zeros(1)
    tensors['predictor.pos_embedding'] = torch.zeros(1, 3, 192)
    tensors['encoder.layernorm.bias'][7] = torch.nan
    original = read_original(write(tmp_path / 'run', {'state_dict': tensors}))
    with pytest.raises(CheckpointError) as caught:
        original.build(224)
    assert str(caught.value).endswith(
        'last.ckpt: the tensors do not fit a SMWM model with a history of 1 and 10 action '
        'numbers: missing inverse_model.net.0.weight; missing pred_proj.net.3.bias; '
        'unexpected spin; '
        'encoder.layernorm.bias is not finite; '
        'predictor.pos_embedding has shape (1, 3, 192), expected (1, 1, 192)'
    )
    few = {name: torch.zeros(2, 2) for name in list(shapes(1))[:30]}
    original = read_original(write(tmp_path / 'few', few))
    with pytest.raises(CheckpointError, match=r'; and 289 more$'):
        original.build(224)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    bomb = tmp_path / 'exploded'
    folder = write(tmp_path / 'run', {'state_dict': state_dict(), 'hidden': Bomb(bomb)})
    with pytest.raises(
        CheckpointError,
        match=r'refused: loading it would run code '
        r'\(.*pathlib\.(_local\.)?Path.*torch.save\(model',
    ):
        read_original(folder)
    assert not bomb.exists()
    whole = tmp_path / 'model_object.ckpt'  # as their ModelObjectCallBack writes it
    torch.save(torch.nn.Linear(2, 2), whole)
    with pytest.raises(CheckpointError, match=r'would run code \(torch\.nn\.modules'):
        read_tensors(whole)


@pytest.mark.parametrize(
    ('content', 'reported'),
    [
        (b'', 'not a complete torch.save file'),
        (b'hello', 'not a complete torch.save file'),
        ([1, 2], 'contains a list, expected a state dict'),
        ({'epoch': 3}, 'contains epoch and no tensors'),
        ({'state_dict': {}}, 'contains nothing and no tensors'),
    ],
)
def test_a_file_that_holds_no_weights_says_what_it_is(
    tmp_path: Path, content: Any, reported: str
) -> None:
    path = tmp_path / 'weights.pt'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=reported):
        read_tensors(path)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'weights.pt'
    torch.save({'a': torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r'not a complete torch.save file'):
        read_tensors(path)


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(config))
    *above, last = key.split('.')
    part = copy
    for name in above:
        part = part[name]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return copy


@pytest.mark.parametrize(
    ('key', 'value', 'reported'),
    [
        ('encoder_scale', 'small', 'sizes in the paper.*encoder_scale is small, expected tiny'),
        ('predictor.heads', 8, 'predictor.heads is 8, expected 16'),
        ('predictor', None, 'predictor.depth is missing, expected 6; .*dim_head is missing'),
        ('wm.history_size', 0, 'wm.history_size is 0, expected a whole number above 0'),
        ('wm.action_dim', None, 'wm.action_dim is missing, expected a whole number'),
        ('loss.inverse.weight', 'much', 'loss.inverse.weight is much, expected a number'),
    ],
)
def test_a_run_of_other_networks_is_refused(
    tmp_path: Path, key: str, value: Any, reported: str
) -> None:
    folder = write(tmp_path / 'run', {}, changed(CONFIG_YAML, key, value))
    with pytest.raises(CheckpointError, match=reported):
        read_original(folder)


@pytest.mark.parametrize(
    ('text', 'reported'),
    [
        ('{', 'cannot be read as JSON'),
        ('[]', '_target_ is nothing, expected one that ends in LeWM'),
        ('{"_target_": "stable_worldmodel.wm.pldm.PLDM"}', r'_target_ is .*PLDM, expected'),
        (json.dumps(changed(CONFIG_JSON, 'encoder.image_size', 96)), 'image_size is 96, expected'),
    ],
)
def test_a_model_that_is_no_lewm_is_refused(tmp_path: Path, text: str, reported: str) -> None:
    torch.save({}, tmp_path / 'weights.pt')
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(CheckpointError, match=reported):
        read_original(tmp_path)


def test_a_folder_that_holds_no_model_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'found nothing, expected checkpoints/last\.ckpt'):
        read_original(tmp_path)
    for name in ('weights_epoch_1.pt', 'weights_epoch_2.pt'):
        torch.save({}, tmp_path / name)
    with pytest.raises(
        CheckpointError, match=r'found weights_epoch_1.pt, weights_epoch_2.pt, expected'
    ):
        read_original(tmp_path)
    with pytest.raises(CheckpointError, match=r'no configuration found, expected config.yaml'):
        read_original(tmp_path / 'weights_epoch_1.pt')
    with pytest.raises(CheckpointError, match=r'weights_epoch_3.pt: no such file'):
        read_original(tmp_path / 'weights_epoch_3.pt')


@pytest.mark.parametrize(
    ('inverse', 'sigreg', 'kind'),
    [
        (0.0, 0.0, 'forward_only'),
        (0.0, 0.09, 'sigreg'),
        (5, 0.0, 'smwm'),
        (1.0, 0.09, 'smwm+sigreg'),
    ],
)
def test_the_kind_follows_from_the_weights_of_the_losses(
    tmp_path: Path, inverse: float, sigreg: float, kind: str
) -> None:
    config = changed(CONFIG_YAML, 'loss.inverse.weight', inverse)
    config = changed(config, 'loss.sigreg.weight', sigreg)
    original = read_original(write(tmp_path / 'run', {'a': torch.zeros(1)}, config))
    assert original.config.kind == kind
    assert (original.action_size, original.action_block) == (ACTIONS, 5)


def test_two_fields_too_few_are_reported() -> None:
    original = ForeignModel('LeWM', Path('weights.pt'), {}, Config().model, 25, None)
    config = Config(dataset=Dataset(action_block=5))
    with pytest.raises(CheckpointError, match='has 25 action numbers per model step, expected 10'):
        make_checkpoint(original, config, ActionScaler(np.zeros(2), np.ones(2)))
