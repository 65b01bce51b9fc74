# SPDX-License-Identifier: Apache-2.0
"""A damaged dataset, run or configuration is one line: which file, what is wrong, what to do."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any

import cv2
from mutated_files import attack, keep_state, KINDS, Origin, PLANNER, SETTINGS, whole
import numpy as np
import pytest
from smwm_ros.cli import main
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.rows import Column, Rows
from smwm_ros.data.stored import Kind, mismatch, read_json
from smwm_ros.errors import CheckpointError, ConfigError, DatasetError, SmwmError
from smwm_ros.load import load_config, parse_override
from smwm_ros.model import checkpoint
from smwm_ros.model.checkpoint import META
from smwm_ros.pages.run import read_curves
from smwm_ros.training.train import train
import torch
from worlds import TINY

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    return whole(tmp_path_factory.mktemp('whole'))


@pytest.fixture
def dataset(origin: Origin, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin.datasets[0], tmp_path / 'data'))


@pytest.fixture
def run(origin: Origin, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin.run, tmp_path / 'run'))


def edit(path: Path, at: str, value: Any) -> None:
    """Set one value of a JSON file; ... removes it."""
    data = json.loads(path.read_text())
    *owners, last = at.split('.')
    where = data
    for name in owners:
        where = where[name]
    if value is ...:
        del where[last]
    else:
        where[last] = value
    path.write_text(json.dumps(data))


@pytest.mark.parametrize('kind', KINDS)
def test_files_that_are_damaged_by_chance_are_read_or_refused_in_one_line(
    origin: Origin, kind: str
) -> None:
    found = attack(kind, 60 if kind == 'yaml' else 20, 1, origin)
    assert set(found) <= {'fine', 'refused'}, found


NAN = float('nan')


@pytest.mark.parametrize(
    ('at', 'value', 'words'),
    [
        ('format', 99, 'format 99 is newer than format 1, .* update smwm_ros'),
        ('format', 'one', "expected a format, found 'one'"),
        ('robot', ..., 'robot: expected an object, found None'),
        ('robot.dt', ..., r'robot\.dt: missing'),
        ('robot.dt', 0, r'robot\.dt: 0\.0 is out of range; valid: 0\.001 to 10'),
        ('robot.dt', -0.1, r'robot\.dt: -0\.1 is out of range'),
        ('robot.dt', NAN, r'robot\.dt: expected a number, found nan'),
        ('robot.dt', '0.1', r"robot\.dt: expected a number, found '0\.1'"),
        ('robot.command.low', [NAN, 0], r'robot\.command\.low: expected a number, found nan'),
        ('robot.command.low', [1, 1], r'robot\.command\.low: 1\.0 of .*, expected less than'),
        ('robot.command.fields', ['a b'], 'not a field path'),
        ('dataset.image_size', 10**9, r'dataset\.image_size: 1000000000 is out of range'),
        ('dataset.val_share', 7, r'dataset\.val_share: 7\.0 is out of range'),
        ('dataset.pixels', 'mp4', r"dataset\.pixels: 'mp4' is not a choice"),
        ('shards', 'raw', "shards: expected a list, found 'raw'"),
        ('shards', [1], r'shards\[0\]: expected a text, found 1'),
        ('shards', ['../other'], 'is not the name of a shard'),
        ('shards', ['gone'], r'gone/meta\.json: missing'),
    ],
)
def test_a_wrong_value_in_the_index_is_named(
    dataset: Path, capsys: Capture, at: str, value: Any, words: str
) -> None:
    edit(dataset / 'dataset.json', at, value)
    with pytest.raises(DatasetError, match=words):
        TransitionDataset.open(dataset)
    assert main(['view', str(dataset)]) == 2
    assert capsys.readouterr().err.count('\n') == 1


@pytest.mark.parametrize(
    ('at', 'value', 'words'),
    [
        ('rows', ..., 'rows: expected a whole number, found None'),
        ('rows', 10**15, r'episode|action|pixels\.npy: damaged: expected'),
        ('rows', True, 'rows: expected a whole number, found True'),
        ('episodes', [[0, 500]], 'episodes: 0 to 500, expected ascending row numbers up to 120'),
        ('episodes', [[5, 5]], 'episodes: 5 to 5'),
        ('episodes', [[0, 60], [30, 90]], 'episodes: 30 to 90'),
        ('episodes', [[0, 60, 1]], r'episodes\[0\]: expected a list of 2, found'),
        ('counts', {'frames': '7'}, r"counts\.frames: expected a whole number, found '7'"),
        ('ages.command.worst', [[10**9, 0.1]], r'ages\.command: expected row numbers below 120'),
        ('ages.command.counts', [1] * 39, '39 numbers, expected 40'),
        (
            'ages.command.counts',
            [-1] * 40,
            r'ages\.command: expected row numbers below 120, and counts',
        ),
        ('source.files', None, r'source\.files: expected a list, found None'),
        ('hashes', [], 'hashes: expected an object, found'),
    ],
)
def test_a_wrong_value_of_a_shard_is_named(dataset: Path, at: str, value: Any, words: str) -> None:
    (path,) = dataset.glob('shards/*/meta.json')
    edit(path, at, value)
    with pytest.raises(DatasetError, match=words):
        TransitionDataset.open(dataset)


@pytest.mark.parametrize('name', ['pixels', 'action', 'state', 'stamp'])
@pytest.mark.parametrize('damage', ['empty', 'short', 'long', 'other', 'deep', 'gone'])
def test_a_column_that_is_not_as_promised_is_named(dataset: Path, name: str, damage: str) -> None:
    (path,) = dataset.glob(f'shards/*/{name}.npy')
    data = path.read_bytes()
    deep = b'\x93NUMPY\x01\x00' + (9000).to_bytes(2, 'little') + b'(' * 9000
    change = {'empty': b'', 'short': data[:-1], 'long': data + b'0', 'deep': deep, 'gone': None}
    if damage == 'other':
        np.save(path, np.load(path)[:-1])
    elif (content := change[damage]) is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf'{name}\.npy: .*damaged: .*; convert it again'):
        TransitionDataset.open(dataset)


def test_opening_a_dataset_takes_no_torch(origin: Origin) -> None:
    code = 'import sys; from smwm_ros.data.dataset import TransitionDataset as D; '
    code += f'D.open({str(origin.datasets[1])!r}); sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_rows_come_in_any_order_as_from_a_memory_map(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 255, (50, 4, 3), dtype=np.uint8)
    np.save(tmp_path / 'a.npy', array)
    rows = Rows(tmp_path / 'a.npy', Column((4, 3), '|u1'), 50)
    for wanted in (rng.permutation(50), np.arange(50), [7, 8, 9, 3, 3, 4, 0], [], [49]):
        assert np.array_equal(rows[np.array(wanted, int)], array[np.array(wanted, int)])
    assert np.array_equal(rows.all(), array)


@pytest.mark.parametrize('kind', ['raw', 'jpeg'])
def test_frames_that_are_cut_while_they_are_in_use_end_in_one_line(
    origin: Origin, tmp_path: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(origin.folder / kind, tmp_path / kind))
    # A process of its own: a memory map would end it by SIGBUS.
    code = f"""
import os, sys
import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import DatasetError
data = TransitionDataset.open({str(folder)!r})
data.pixels(np.arange(120))
(path,) = data.folder.glob('shards/*/pixels.{'npy' if kind == 'raw' else 'jpeg'}')
os.truncate(path, 100)
try:
    data.pixels(np.array([110, 3]))
except DatasetError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
    assert 'became shorter while it was in use' in done.stdout


@pytest.mark.parametrize(
    ('at', 'value', 'words'),
    [
        ('format', 2, 'format 2 is newer than format 1.*update smwm_ros'),
        ('format', -1, 'expected a format, found -1'),
        ('robot.dt', ..., r'robot\.dt: missing'),
        ('robot.dt', -1, r'robot\.dt: -1\.0 is out of range'),
        ('robot.command.low', ['a', 'b'], r"robot\.command\.low: expected a number, found 'a'"),
        ('dataset.image_size', ..., r'dataset\.image_size: missing'),
        ('model.latent', 4096, 'does not fit the model in meta.json'),
        ('model.latent', 10**12, r'model\.latent: 1000000000000 is out of range'),
        ('model.kind', 'magic', r"model\.kind: 'magic' is not a choice"),
        ('planner.horizon', 0, r'planner\.horizon: 0 is out of range'),
        ('action.mean', [NAN, 0.0], 'expected mean and positive std of 2 action fields, found'),
        ('action.std', [float('inf'), 1.0], 'expected mean and positive std of 2 action fields'),
        ('action.std', 'wide', r"action\.std: expected a list, found 'wide'"),
        ('action', ..., 'action: expected an object, found None'),
        ('info', None, 'info: expected an object, found None'),
        ('info.summary', {'misfit': 'low'}, r'info\.summary\.misfit: expected a number'),
        ('info.distances', {'ticks': [1], 'median': []}, r'info\.distances: expected as many'),
        ('weights_sha256', 7, 'weights_sha256: expected a text, found 7'),
    ],
)
def test_a_wrong_value_in_a_checkpoint_is_named(
    run: Path, capsys: Capture, at: str, value: Any, words: str
) -> None:
    edit(run / META, at, value)
    with pytest.raises(CheckpointError, match=words):
        checkpoint.load(run)
    assert main(['prepare', str(run)]) == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_weights_that_are_no_numbers_are_refused_although_the_digest_agrees(run: Path) -> None:
    found = checkpoint.load(run)
    next(found.model.parameters()).data[0] = NAN
    checkpoint.save(run, found)
    with pytest.raises(CheckpointError, match=r'weight hold numbers that are not finite; copy'):
        checkpoint.load(run)


def test_weights_of_another_kind_of_number_are_refused(run: Path) -> None:
    found = checkpoint.load(run)
    found.model.double()
    checkpoint.save(run, found)
    with pytest.raises(CheckpointError, match=r'torch.float64, expected \(.*; and \d+ more'):
        checkpoint.load(run)


def state_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def spoilt(state: dict[str, Any], damage: str) -> object:
    if damage == 'a list':
        return [1, 2]
    if damage == 'no curves':
        return {**state, 'curves': []}
    if damage == 'a text as step':
        return {**state, 'step': 'two'}
    if damage == 'nan in the model':
        next(iter(state['model'].values())).view(-1)[0] = NAN
    elif damage == 'nan in the optimiser':
        state['optimiser']['state'][0]['exp_avg'].view(-1)[0] = NAN
    elif damage == 'another shape':
        state['optimiser']['state'][0]['exp_avg'] = torch.zeros(3)
    return state


@pytest.mark.parametrize(
    'damage',
    [
        'empty',
        'garbled',
        'a list',
        'no curves',
        'a text as step',
        'nan in the model',
        'nan in the optimiser',
        'another shape',
    ],
)
def test_a_state_that_cannot_be_gone_on_from_says_how_to_start_over(
    origin: Origin, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / 'run' / 'state' / 'last.pt'
    shutil.copytree(origin.run / 'state', path.parent)
    if damage == 'empty':
        path.write_bytes(b'')
    elif damage == 'garbled':
        path.write_bytes(bytes(range(256)) * 40)
    else:
        torch.save(spoilt(state_of(path), damage), path)
    data = TransitionDataset.open(origin.datasets[0])
    with pytest.raises(CheckpointError, match=r'last\.pt: damaged: .*; start over with --fresh'):
        train(data, tmp_path / 'run', TINY, SETTINGS, PLANNER)


def test_a_state_that_is_whole_is_gone_on_from(origin: Origin, tmp_path: Path) -> None:
    data = TransitionDataset.open(origin.datasets[0])
    run = tmp_path / 'run'
    keep_state(data, run)
    again = train(data, run, TINY, SETTINGS, PLANNER).model.state_dict()
    for name, tensor in checkpoint.load(origin.run).model.state_dict().items():
        assert torch.equal(tensor, again[name]), name


@pytest.mark.parametrize(
    'text', ['step,misfit\n1,x\n', 'step\n1,2,3\n', '\x00\xff', 'a,b\n1\n', 'a,"b\n']
)
def test_curves_that_are_none_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / 'train.csv').write_bytes(text.encode('latin-1'))
    with pytest.raises(CheckpointError, match=r'train\.csv: damaged: expected rows of numbers'):
        read_curves(tmp_path)


def test_goals_are_found_whatever_the_letters_of_their_suffix(tmp_path: Path) -> None:
    picture = np.full((8, 8, 3), 7, np.uint8)
    (tmp_path / 'DOCK.PNG').write_bytes(cv2.imencode('.png', picture)[1].tobytes())
    (tmp_path / 'folder.png').mkdir()
    library = GoalLibrary(tmp_path)
    assert library.names() == {'DOCK': 1}
    assert library.load('DOCK', 8, 'stretch').shape == (1, 8, 8, 3)
    library.save('DOCK', [picture + 1])
    assert library.load('DOCK', 8, 'stretch')[0, 0, 0, 0] == 8


@pytest.mark.parametrize('content', [b'', b'\x89PNG\r\n\x1a\n', b'GIF89a', bytes(1000)])
def test_a_goal_that_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'dock.png').write_bytes(content)
    with pytest.raises(ConfigError, match=r'dock\.png: cannot be read: .*expected'):
        GoalLibrary(tmp_path).load('dock', 8, 'stretch')


LEVELS = [f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]' for n in range(1, 12)]
BOMB = '\n'.join(['a0: &a0 [x, x, x, x, x, x, x, x, x]', *LEVELS, 'robot: *a11'])
MERGES = '\n'.join(
    ['a0: &a0 {k: 1}', *[f'a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}' for n in range(1, 60)]]
)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (BOMB, 'more than 20000 values, aliases counted in full'),
        (MERGES, 'more than 20000 values'),
        ('robot: &r {camera: *r}', 'more than 20000 values'),
        ('robot: ' + '[' * 10_000, 'nested in more than 20 levels'),
        ('robot: ' + '{a: ' * 10_000, 'nested in more than 20 levels'),
        ('x: ' + 'y' * 300_000, '300003 bytes; expected a configuration, 262144 at most'),
        ('- 1\n- 2', 'expected sections of knobs, found a list'),
        ('robot', 'expected sections of knobs, found a str'),
        ('robot: {dt: 0.1, dt: 0.2}', "the key 'dt' is written twice"),
        ('? [a, b]\n: 1', 'expected a text as key'),
        ('robot:\n\tdt: 1', 'not valid YAML: .*line 2'),
        ('robot: {dt: 2024-13-45}', 'not valid YAML: ValueError'),
        ('robot: {dt: !!int ""}', 'not valid YAML'),
        ('robot: {dt: !!bool maybe}', 'not valid YAML'),
        ('robot: !!python/object:os.system x', 'not valid YAML'),
        ('robot: {dt: ' + '9' * 5000 + '}', 'not valid YAML'),
        ('robot: "\x00"', 'not valid YAML'),
        ('robot: [' + 'x, ' * 9000 + ']', 'expected a section of knobs, found'),
        ('\n'.join(f'k{n}: 1' for n in range(5000)), 'and 4990 more mistakes'),
        ('robot: {dt: .nan}', 'expected a number, found nan'),
    ],
)
def test_a_configuration_that_is_none_is_one_short_line(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / 'robot.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) <= 4000
    assert words.startswith('and') or len(str(caught.value)) < 800


@pytest.mark.parametrize('content', [b'\xff\xfe\x00', bytes(range(256)), 'é'.encode('latin-1')])
def test_a_configuration_that_is_no_text_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'robot.yaml'
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r'robot\.yaml: not valid YAML: .*codec'):
        load_config(path)


def test_aliases_of_a_reasonable_size_are_understood(tmp_path: Path) -> None:
    path = tmp_path / 'robot.yaml'
    path.write_text(
        'robot: {command: {low: &low [-1, -2], high: [1, 1]}}\n'
        'dataset: {seed: 3}\nevaluate: {<<: &more {seed: 5}, pairs: 9}\ntrain: {<<: *more}\n'
    )
    found = load_config(path)
    assert (found.robot.command.low, found.dataset.seed) == ((-1.0, -2.0), 3)
    assert (found.evaluate.seed, found.evaluate.pairs, found.train.seed) == (5, 9, 5)


@pytest.mark.parametrize('word', ['a=' + '[' * 5000, '.'.join('a' * 5000) + '=1', 'a=&b [*b]'])
def test_a_setting_of_the_command_line_is_bounded_too(word: str) -> None:
    with pytest.raises(ConfigError, match=r'not valid YAML|expected key=value') as caught:
        parse_override(word)
    assert len(str(caught.value)) < 1500


def test_a_shape_says_where_data_differ() -> None:
    shape = {'rows': int, 'spans': [(int, float)], 'names?': {str: [str]}}
    fine = {'rows': 1, 'spans': [[1, 2], [3, 4.5]], 'more': object()}
    assert mismatch(fine, shape) == ''
    assert mismatch({**fine, 'names': {'a': ['b']}}, shape) == ''
    for change, words in (
        ({'rows': 1.0}, 'rows: expected a whole number, found 1.0'),
        ({'spans': [[1, 2], [3]]}, 'spans[1]: expected a list of 2, found [3]'),
        ({'spans': [[1, True]]}, 'spans[0][1]: expected a number, found True'),
        ({'names': {'a': [7]}}, 'names.a[0]: expected a text, found 7'),
    ):
        assert mismatch({**fine, **change}, shape) == words


@pytest.mark.parametrize(
    'text', ['', '[]', '7', '{"a": ' * 3000 + '1' + '}' * 3000, '[' * 10**6, '\ufeff{}', '{"a":']
)
def test_json_that_is_no_object_of_ours_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'meta.json'
    path.write_text(text)
    with pytest.raises(SmwmError, match=r'meta\.json: damaged: .*; do this'):
        read_json(path, Kind(SmwmError, 'do this'))
