# SPDX-License-Identifier: Apache-2.0
"""A model labels what moved, people label what they know, and nothing recorded changes."""

from __future__ import annotations

from collections.abc import Mapping
import csv
import json
from pathlib import Path
import shutil

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from properties import examples
import pytest
from recordings import contents
from smwm_ros import config
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.labels import write_labels
from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.labelling.answers import read_answers, store_answers
from smwm_ros.labelling.latent_reading import load_latent_model
from smwm_ros.labelling.pseudo_actions import average, confidence, label, MOST
from smwm_ros.labelling.questions import ask, choose
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.training.anchors import choose_anchors
from smwm_ros.training.train import train
from worlds import BLOCK, dot_dataset, hide_actions, ROBOT, tiny_checkpoint

LAM = config.LatentAction(patch=4, channels=8, hidden=16, width=4, blur=1.0, shift=0)
MODEL = config.Model(kind='latent_action', latent=8, hidden=32, latent_action=LAM)
TRAIN = config.Train(steps=200, batch=32, eval_every=200, device='cpu', threads=1)
LENGTH = 30  # ticks of an episode
LABELLED = 6  # first ticks of each episode, whose actions are recorded
FIELDS = ROBOT.command.fields


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """Return a dataset with few recorded actions, a run that they ground, and all actions."""
    folder = tmp_path_factory.mktemp('labelling')
    whole = dot_dataset(folder / 'data', episodes=40, length=LENGTH)
    rows = np.arange(len(whole))
    truth = whole.actions(rows)
    hide_actions(whole.folder / 'shards/dots', rows[rows % LENGTH >= LABELLED])
    data = TransitionDataset.open(whole.folder)
    train(data, folder / 'run', MODEL, TRAIN, config.Planner())
    return data.folder, folder / 'run', truth


@pytest.fixture
def folder(made: tuple[Path, Path, np.ndarray], tmp_path: Path) -> Path:
    """Return a copy of the dataset."""
    return Path(shutil.copytree(made[0], tmp_path / 'data'))


@pytest.fixture
def run(made: tuple[Path, Path, np.ndarray]) -> Path:
    """Return the run."""
    return made[1]


@pytest.fixture
def truth(made: tuple[Path, Path, np.ndarray]) -> np.ndarray:
    """Return the actions of all rows."""
    return made[2]


def with_info(run: Path, copy: Path, **found: object) -> Path:
    """Copy a run, and change what its checkpoint records."""
    shutil.copytree(run, copy)
    checkpoints.add_info(copy, **found)
    return copy


def camera_alone(folder: Path) -> TransitionDataset:
    """Make all actions of a dataset unknown."""
    hide_actions(folder / 'shards/dots', np.arange(len(TransitionDataset.open(folder))))
    return TransitionDataset.open(folder)


def fill_in(path: Path, answers: Mapping[int, tuple[object, ...]]) -> None:
    """Enter answers into the rows of an ask.csv, counted from 0 below the names."""
    lines = list(csv.reader(path.read_text().splitlines()))
    head = next(number for number, line in enumerate(lines) if line[0] == 'bag')
    for number, answer in answers.items():
        lines[head + 1 + number][-len(answer) :] = map(str, answer)
    with path.open('w', newline='') as file:
        csv.writer(file).writerows(lines)


def test_labels_of_a_model_are_near_the_truth(
    folder: Path, run: Path, truth: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    before, columns = TransitionDataset.open(folder), contents(folder)
    assert main(['label', str(folder), str(run)]) == 0
    data, rows = TransitionDataset.open(folder), np.arange(len(truth))
    r2 = checkpoints.read_meta(run).info.actions['r2']
    last = rows % LENGTH == LENGTH - 1  # no frame follows
    recorded = rows % LENGTH < LABELLED
    assert np.array_equal(data.recorded(rows), before.recorded(rows))
    assert np.array_equal(data.actions(rows[recorded]), truth[recorded])
    assert np.array_equal(np.isnan(data.actions(rows)).all(axis=1), last)
    new = rows[~last & ~recorded]
    values, certain = data.actions(new), data.confidence(new)
    # The mean of both ticks of a step; walls hide some motion, and the order cannot be seen.
    pairs = new[: len(new) // 2 * 2].reshape(-1, 2)
    pairs = pairs[np.diff(pairs, axis=1)[:, 0] == 1]
    read, true = (part[pairs].mean(axis=1) for part in (data.actions(rows), truth))
    assert 1 - np.square(read - true).mean() / true.var() > 0.4
    assert (values >= ROBOT.command.low).all()
    assert (values <= ROBOT.command.high).all()
    assert ((certain > 0) & (certain <= 1 / (2 - r2) + 1e-6)).all()
    assert columns.items() <= contents(folder).items()
    about = data.labels['dots'].about
    assert (about['run'], about['r2'], about['ticks']) == (str(run), r2, len(new))
    assert about['weights'] == checkpoints.read_meta(run).weights_sha256
    said = capsys.readouterr().out
    assert f'{len(new)} ticks labelled by {run}, mean confidence {certain.mean():.2f}' in said
    assert f'R2 of the decoded actions {r2:.2f} on held-out moments' in said
    assert f'{last.sum()} ticks without a frame a model step later' in said
    assert f'next: smwm train {folder} --out RUN' in said


def test_the_r2_of_a_decoder_is_that_of_the_mean_command(run: Path) -> None:
    found = checkpoints.read_meta(run).info.actions
    # Two frames show the sum of two random commands: half of the variance of each.
    assert max(found['decoder'].values()) < 0.55 < found['r2'] <= 1


def test_a_labelling_that_was_interrupted_is_resumed(folder: Path, run: Path) -> None:
    label(TransitionDataset.open(folder), run)
    path = folder / 'shards/dots/labels/labels.json'
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, 'mark': 1}))
    label(TransitionDataset.open(folder), run)
    assert json.loads(path.read_text())['mark'] == 1, 'the shard is kept'
    path.write_text(json.dumps({**about, 'mark': 1, 'weights': 'of another run'}))
    label(TransitionDataset.open(folder), run)
    assert json.loads(path.read_text()) == about, 'labels of another run are replaced'


def test_answers_stay_when_a_model_labels(folder: Path, run: Path) -> None:
    data = TransitionDataset.open(folder)
    action = np.full((len(data), 2), np.nan)
    action[10:12] = 0.25
    certain = np.where(np.isfinite(action[:, 0]), 1.0, 0.0)
    write_labels(folder, 'dots', action, certain, {'run': 'ask.csv', 'r2': 1.0})
    label(TransitionDataset.open(folder), run)
    now = TransitionDataset.open(folder)
    assert (now.actions(np.arange(10, 12)) == 0.25).all()
    assert now.confidence(np.arange(9, 13)).tolist()[1:3] == [1, 1]
    assert 0 < now.confidence(np.array([9]))[0] < 1


@given(st.integers(1, 4), st.lists(st.integers(0, 12), min_size=1, unique=True))
@examples(60)
def test_a_tick_gets_the_mean_of_the_windows_that_cover_it(block: int, first: list[int]) -> None:
    rng = np.random.default_rng(block)
    starts, rows = np.array(sorted(first)), 16
    actions = rng.normal(size=(len(starts), block, 2))
    found = average(starts, actions, rows)
    for row in range(rows):
        seen = [actions[n, row - at] for n, at in enumerate(starts) if 0 <= row - at < block]
        assert np.isnan(found.variance[row]) == (not seen)
        if seen:
            assert np.allclose(found.mean[row], np.mean(seen, axis=0))
            assert np.isclose(found.variance[row], np.var(seen, axis=0).mean())


def test_confidence_falls_with_the_error_and_never_is_certain() -> None:
    assert confidence(np.zeros(1), 1.0).tolist() == [MOST]
    assert np.allclose(confidence(np.array([0.0, 0.2, 1.0]), 0.8), [1 / 1.2, 1 / 1.4, 1 / 2.2])


def test_a_model_that_cannot_label_is_refused(folder: Path, run: Path, tmp_path: Path) -> None:
    data = TransitionDataset.open(folder)
    words = r'R2 of the decoded actions is 0\.\d\d on held-out moments, expected at least 0\.99'
    with pytest.raises(CheckpointError, match=f'{words} .*--ask.*more train.steps.*lam-report'):
        label(data, run, least_r2=0.99)
    without = with_info(run, tmp_path / 'ungrounded', actions={})
    with pytest.raises(CheckpointError, match=r'trained without labelled moments.*--ask'):
        label(data, without)
    checkpoints.save(tmp_path / 'smwm', tiny_checkpoint())
    with pytest.raises(
        CheckpointError, match='has a model of kind smwm, expected a latent-action'
    ):
        label(data, tmp_path / 'smwm')
    assert not data.labels


def test_a_collapsed_model_is_refused(folder: Path, run: Path, tmp_path: Path) -> None:
    found = checkpoints.load(run)
    for weights in found.model.idm.parameters():  # type: ignore[union-attr]
        weights.zero_()
    checkpoints.save(tmp_path / 'collapsed', found)
    words = 'the latent actions have collapsed: .* expected at least 0.01'
    with pytest.raises(CheckpointError, match=words):
        load_latent_model(tmp_path / 'collapsed', TransitionDataset.open(folder))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'dataset': {'action_block': 3}}, 'dataset.action_block is 2 in .*data, and 3 in'),
        ({'robot': {'dt': 0.2}}, r'control period \[s\] is 0.1 in .*data, and 0.2'),
        ({'command': {'fields': ('a', 'b')}}, r"robot.command.fields is \['twist.*'a', 'b'\]"),
    ],
)
def test_a_run_of_another_robot_is_refused(
    folder: Path, run: Path, tmp_path: Path, change: dict[str, dict[str, object]], words: str
) -> None:
    meta = json.loads((run / 'meta.json').read_text())
    meta['dataset'] |= change.get('dataset', {})
    meta['robot'] |= change.get('robot', {})
    meta['robot']['command'] |= change.get('command', {})
    shutil.copytree(run, tmp_path / 'other')
    (tmp_path / 'other/meta.json').write_text(json.dumps(meta))
    with pytest.raises(CheckpointError, match=f'{words}|does not fit the model'):
        label(TransitionDataset.open(folder), tmp_path / 'other')


def test_nothing_is_left_to_label_or_to_ask(run: Path, tmp_path: Path) -> None:
    data = dot_dataset(tmp_path / 'whole')
    with pytest.raises(DatasetError, match=r'whole: every transition has .* nothing to label'):
        label(data, run)
    with pytest.raises(DatasetError, match=r'whole: every transition has .* nothing to ask'):
        ask(data, run, 5, tmp_path / 'ask', {})


def test_questions_are_about_moments_of_a_camera_alone(
    folder: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = camera_alone(folder)
    without = with_info(run, tmp_path / 'ungrounded', actions={})
    words = ['label', str(folder), str(without), '--ask', '7', '--out', str(tmp_path / 'ask')]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert '7 moments to label; their frames:' in said
    assert 'The images cannot tell which mover is the robot.' in said
    text = (tmp_path / 'ask/ask.csv').read_text().splitlines()
    assert text[1:4] == [
        '# twist.linear.x: -0.5 to 0.5 m/s',
        '# twist.angular.z: -1 to 1 rad/s',
        'bag,start,duration,stamp,twist.linear.x,twist.angular.z',
    ]
    asked = [line.split(',') for line in text[4:]]
    assert [line[0] for line in asked] == ['dots'] * 7
    rows = np.array([round(float(line[1]) / 0.1) for line in asked])
    assert np.array_equal([int(line[3]) for line in asked], data.stamps[rows])
    assert (np.diff(rows) > BLOCK).all()
    assert np.isin(rows, data.starts('all', unlabelled=True)).all()
    sheet = cv2.imread(str(tmp_path / 'ask/ask.png'))
    assert sheet is not None
    assert sheet.std() > 10
    assert main(words) == 2, 'answers are never overwritten'
    assert 'ask.csv: exists already' in capsys.readouterr().err


def test_proposals_differ_and_leave_out_the_unusual_and_the_still() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 4, 2000)
    z = 10 * np.eye(4)[groups] + 0.1 * rng.normal(size=(2000, 4))
    content = np.where(rng.random(2000) < 0.4, 0.0, 1.0 + 0.1 * rng.random(2000))
    z[100:110], content[200:210] = 1000.0, 1000.0
    starts = np.arange(2000)
    places = choose(z, content, starts, 4, 5, np.zeros((0, 4)))
    assert sorted(groups[places]) == [0, 1, 2, 3], 'one of each kind'
    assert (np.abs(z[places]) < 100).all()
    assert (content[places] < 100).all()
    assert (content[places] > 0).all()
    many = choose(z, content, starts, 20, 5, np.zeros((0, 4)))
    assert len(many) == 20
    assert (np.diff(many) > 5).all()
    known = 10 * np.eye(4)[:3]
    assert groups[choose(z, content, starts, 1, 5, known)].tolist() == [3], 'what is unknown'


def test_answers_become_labelled_moments(
    folder: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera_alone(folder)
    ask(TransitionDataset.open(folder), run, 25, tmp_path / 'ask', {})
    path = tmp_path / 'ask/ask.csv'
    answers = {number: (number / 100, -0.25) for number in range(0, 24, 2)}
    fill_in(path, answers)
    assert main(['label', str(folder), '--from', str(path)]) == 0
    said = capsys.readouterr().out
    assert '12 answers of ' in said
    assert '13 rows without an answer; 12 moments labelled now' in said
    assert 'needs at least 20' in said
    answers = {number: (number / 50, -0.25) for number in range(24)}
    fill_in(path, answers)
    assert main(['label', str(folder), '--from', str(path)]) == 0
    assert '1 row without an answer; 24 moments labelled now' in capsys.readouterr().out
    data = TransitionDataset.open(folder)
    rows = read_answers(path, data).starts
    for tick in range(BLOCK):
        assert np.allclose(data.actions(rows + tick), list(answers.values()))
        assert (data.confidence(rows + tick) == 1).all()
    assert data.unknown == len(data) - BLOCK * 24
    assert len(choose_anchors(data)) == 24
    assert main(['label', str(folder), '--clear']) == 0
    assert 'removed the labels of 1 recording' in capsys.readouterr().out
    assert TransitionDataset.open(folder).unknown == len(data)


def test_answers_leave_other_labels_as_they_are(folder: Path, run: Path, tmp_path: Path) -> None:
    label(TransitionDataset.open(folder), run)
    before = TransitionDataset.open(folder)
    rows = np.array([10, 20])
    path = tmp_path / 'mine.csv'
    path.write_text('bag,start,' + ','.join(FIELDS) + '\ndots,1.0,0.1,0.2\ndots,2.0,0.3,0.4\n')
    store_answers(path, read_answers(path, before), before)
    now = TransitionDataset.open(folder)
    every = np.arange(len(now))
    here = np.isin(every, [*rows, *(rows + 1)])
    assert np.allclose(now.actions(every[here]), [[0.1, 0.2]] * 2 + [[0.3, 0.4]] * 2)
    for read in (TransitionDataset.actions, TransitionDataset.confidence):
        assert np.array_equal(read(now, every[~here]), read(before, every[~here]), equal_nan=True)


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        (['dots,1.0,,'], 'no row has an answer'),
        (['dots,1.0,0.7,0'], ':2: twist.linear.x: 0.7, expected -0.5 to 0.5'),
        (['dots,1.0,nan,0'], ':2: twist.linear.x: nan, expected -0.5 to 0.5'),
        (['dots,1.0,fast,0'], ":2: twist.linear.x: 'fast', expected a number"),
        (['dots,1.0,0.1,'], ':2: twist.angular.z: empty, expected a number; fill in all columns'),
        (['dot,1.0,0.1,0'], ":2: no bag 'dot' in .*data; did you mean 'dots'"),
        (['dots,999,0.1,0'], ':2: dots has no tick at 999 s; expected a time from 0 to 119.9 s'),
        (['dots,-1,0.1,0'], ':2: dots has no tick at -1 s'),
        (['dots,2.9,0.1,0'], ':2: dots has no frame a model step after 2.9 s'),
        (['dots,3.0,0.1,0'], ':2: the action is recorded at this moment'),
        (['dots,1.0,0.1,0', 'dots,1.1,0.2,0'], ':3: overlaps the moment in .*:2'),
    ],
)
def test_a_wrong_answer_is_named(
    folder: Path, tmp_path: Path, lines: list[str], words: str
) -> None:
    path = tmp_path / 'mine.csv'
    path.write_text('\n'.join(['bag,start,' + ','.join(FIELDS), *lines]))
    with pytest.raises(DatasetError, match=words):
        read_answers(path, TransitionDataset.open(folder))


def test_constant_answers_ground_nothing(folder: Path, tmp_path: Path) -> None:
    data, path = camera_alone(folder), tmp_path / 'mine.csv'
    path.write_text('bag,start,' + ','.join(FIELDS) + '\ndots,1.0,0.1,0\ndots,2.0,0.1,0\n')
    with pytest.raises(DatasetError, match=r'all commands are the same \(\[0.1, 0.0\]\)'):
        read_answers(path, data)


def test_a_table_from_a_spreadsheet_is_read(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / 'mine.csv'
    head = ['"# comment";;;', 'bag;start;duration;' + ';'.join(FIELDS)]
    path.write_text('\r\n'.join([*head, 'dots;1,0;0,2;0,1;-0,25', ';;;;']), encoding='utf-8-sig')
    found = read_answers(path, TransitionDataset.open(folder))
    assert (found.starts.tolist(), found.actions.tolist()) == ([10], [[0.1, -0.25]])
    path.write_text('\n'.join([head[1], 'dots;1,0;0,5;0,1;-0,25']))
    with pytest.raises(DatasetError, match=r'duration: 0.5 s, expected a model step of .* 0.2 s'):
        read_answers(path, TransitionDataset.open(folder))
    path.write_text('when,what\n1,2\n')
    with pytest.raises(DatasetError, match=r'no column bag, start, twist.linear.x, twist.*--ask'):
        read_answers(path, TransitionDataset.open(folder))


@pytest.mark.parametrize(
    ('words', 'error'),
    [
        ([], 'RUN: missing'),
        (['--ask'], 'RUN: missing'),
        (['run', '--clear'], "'run': --from and --clear take no RUN"),
        (['run', '--out', 'x'], '--out: only --ask writes files'),
        (['--clear', '--least-r2', '0.5'], '--least-r2: only labelling by a model'),
    ],
)
def test_words_that_do_not_belong_together_are_refused(
    words: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['label', 'data', *words]) == 2
    assert error in capsys.readouterr().err
