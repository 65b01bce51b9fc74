# SPDX-License-Identifier: Apache-2.0
"""An action is recorded, labelled or unknown, and every reader can tell which."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import shutil
from tempfile import TemporaryDirectory

from exchanged import write_dataset
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from properties import examples
import pytest
from recordings import contents, inspect, without_pictures
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.describe import describe
from smwm_ros.data.labels import clear_labels, write_labels
from smwm_ros.errors import DatasetError
from smwm_ros.pages.dataset import contact_sheet
from smwm_ros.training.batches import Batches
from test_dataset import make
import torch
from worlds import hide_actions

ABOUT = {'run': 'runs/latent', 'r2': 0.9}
REMEDY = r'write the labels again \(smwm label\) or remove them \(smwm label DATASET --clear\)'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a dataset of two shards, where the actions of rows 10 to 19 are unknown."""
    made = make(tmp_path / 'data', [[40, 20], [30]])
    hide_actions(made / 'shards' / 'bag0', np.arange(10, 20))
    return made


def label(folder: Path, value: float = 3.0, confidence: float = 0.5, **about: object) -> None:
    """Label rows 5 to 14 of the first shard."""
    action = np.full((60, 2), np.nan)
    action[5:15] = value
    write_labels(folder, 'bag0', action, np.full(60, confidence), {**ABOUT, **about})


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[list[int]], np.ndarray]:
    """Draw the lengths of the episodes of some shards, and which rows have a recorded action."""
    lengths = draw(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=4), max_size=3))
    lengths = [[13], *lengths]  # long enough for a transition
    total = sum(map(sum, lengths))
    runs = draw(st.lists(st.tuples(st.booleans(), st.integers(1, 15)), min_size=1))
    known = np.repeat(*np.array([*runs, (True, total)]).T).astype(bool)[:total]
    return lengths, known


@given(recordings(), st.integers(1, 8))
@examples(60)
def test_a_window_starts_where_all_of_its_actions_are_known(
    drawn: tuple[list[list[int]], np.ndarray], ticks: int
) -> None:
    lengths, known = drawn
    with TemporaryDirectory() as place:
        folder, first = make(Path(place), lengths), 0
        for number, shard in enumerate(lengths):
            here = known[first : first + sum(shard)]
            hide_actions(folder / 'shards' / f'bag{number}', np.flatnonzero(~here))
            first += len(here)
        data = TransitionDataset.open(folder)
    rows = np.arange(len(data))
    assert np.array_equal(np.isfinite(data.actions(rows)).all(axis=1), known)
    assert np.array_equal(data.confidence(rows), known)
    assert np.array_equal(data.recorded(rows), known)
    assert data.unknown == (~known).sum()
    drives = [np.arange(drive.start, drive.stop - ticks) for drive in data.drives]
    every = np.concatenate(drives).tolist()
    assert data.starts('all', ticks, unlabelled=True).tolist() == every
    expected = [row for row in every if known[row : row + ticks].all()]
    assert data.starts('all', ticks).tolist() == expected
    training = [np.arange(e.start, e.stop) for e in data.episodes if e.split == 'train']
    some = np.concatenate(training)
    some = some[known[some]]
    if len(some):
        assert np.allclose(data.action_scaler().mean, [some.mean(), -some.mean()])


def test_labels_fill_unknown_actions_and_no_others(folder: Path) -> None:
    before = TransitionDataset.open(folder)
    columns = contents(folder)
    label(folder)
    data = TransitionDataset.open(folder)
    rows = np.arange(len(data))
    assert np.array_equal(data.actions(rows[5:10]), before.actions(rows[5:10]))
    assert (data.actions(rows[10:15]) == 3.0).all()
    assert np.isnan(data.actions(rows[15:20])).all()
    assert data.confidence(rows).tolist() == [1] * 10 + [0.5] * 5 + [0] * 5 + [1] * 70
    assert np.array_equal(data.recorded(rows), before.recorded(rows))
    assert data.unknown == 5
    assert set(data.starts('all')) - set(before.starts('all')) == {6, 7, 8, 9, 10}
    assert columns.items() <= contents(folder).items(), 'the recorded columns are unchanged'


def test_a_label_without_confidence_does_not_count(folder: Path) -> None:
    label(folder, confidence=0.0)
    data = TransitionDataset.open(folder)
    assert np.isnan(data.actions(np.arange(10, 20))).all()
    assert data.unknown == 10


def test_the_fingerprint_covers_labels_and_clearing_restores_it(folder: Path) -> None:
    before, files = TransitionDataset.open(folder), contents(folder)
    found = {before.fingerprint}
    for value in (3.0, 4.0):  # the second replaces the first
        label(folder, value)
        found.add(TransitionDataset.open(folder).fingerprint)
        assert TransitionDataset.open(folder, certain=True).fingerprint == before.fingerprint
    assert len(found) == 3
    assert (TransitionDataset.open(folder).actions(np.arange(10, 15)) == 4.0).all()
    assert TransitionDataset.open(folder, certain=True).unknown == 10
    assert clear_labels(folder) == 1
    assert contents(folder) == files
    assert clear_labels(folder) == 0


def test_the_rest_of_a_killed_writer_is_ignored_and_replaced(folder: Path) -> None:
    label(folder)
    files = contents(folder)
    for ending in ('part', 'old'):
        shutil.copytree(folder / 'shards/bag0/labels', folder / f'shards/bag0/.labels.{ending}')
        (folder / f'shards/bag0/.labels.{ending}/action.npy').write_bytes(b'half')
    assert len(TransitionDataset.open(folder).labels) == 1
    label(folder)
    assert contents(folder) == files


def test_drives_with_and_without_recorded_actions_are_both_held_out(tmp_path: Path) -> None:
    folder = make(tmp_path, [[20] * 4, [20] * 30], val_share=0.1)
    hide_actions(folder / 'shards' / 'bag1', np.arange(600))
    data = TransitionDataset.open(folder)
    for unlabelled in (False, True):
        assert len(data.starts('train', unlabelled=unlabelled))
        assert len(data.starts('val', unlabelled=unlabelled))
    held_out = [e.start < 80 for e in data.episodes if e.split == 'val']
    assert held_out == [True, False, False, False]
    split = data.episodes
    assert split == tuple(sorted(split))
    write_labels(folder, 'bag1', np.zeros((600, 2)), np.ones(600), ABOUT)
    assert TransitionDataset.open(folder).episodes == split, 'labels do not change the split'


def test_without_known_actions_the_limits_give_the_scale(tmp_path: Path) -> None:
    folder = make(tmp_path, [[40], [40]])
    for name in ('bag0', 'bag1'):
        hide_actions(folder / 'shards' / name, np.arange(40))
    data = TransitionDataset.open(folder)
    mean, std = data.action_scaler()
    low, high = np.array(data.info.spec.low), np.array(data.info.spec.high)
    assert np.allclose(mean, (low + high) / 2)
    draw = np.random.default_rng(0).uniform(low, high, (100_000, 2))
    assert np.allclose(std, draw.std(0), rtol=0.01)
    assert not len(data.starts('all'))


@pytest.mark.parametrize('value', [[np.nan, 1.0], [np.inf, 1.0], [np.inf, np.inf]])
def test_an_action_that_is_neither_known_nor_unknown_is_refused(
    folder: Path, value: list[float]
) -> None:
    path = folder / 'shards/bag1/action.npy'
    action = np.load(path)
    action[7] = value
    np.save(path, action)
    with pytest.raises(DatasetError, match='data: 1 action not finite, first in row 67; expected'):
        TransitionDataset.open(folder)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def other_type(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float64))


def edited(value: float, field: int | None = None) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        column = np.load(path)
        column[(6, field) if field is not None else 6] = value
        np.save(path, column)

    return edit


def without_r2(path: Path) -> None:
    about = json.loads(path.read_text())
    del about['r2']
    path.write_text(json.dumps(about))


@pytest.mark.parametrize(
    ('name', 'damage', 'words'),
    [
        ('labels.json', Path.unlink, 'missing, or not a file'),
        ('labels.json', cut, 'damaged: not valid JSON'),
        ('labels.json', without_r2, 'damaged: r2: expected a number, found None'),
        ('action.npy', Path.unlink, 'missing or damaged: No such file'),
        ('action.npy', cut, 'missing or damaged: 605 bytes, expected 608'),
        ('action.npy', other_type, r'damaged: expected \(60, 2\) <f4, found \(60, 2\) <f8'),
        ('action.npy', edited(np.inf), '1 action not finite, first in row 6'),
        ('action.npy', edited(np.nan, 1), '1 action not finite, first in row 6'),
        ('confidence.npy', Path.unlink, 'missing or damaged: No such file'),
        ('confidence.npy', edited(1.5), 'damaged: 1.5 in row 6, expected 0 to 1'),
        ('confidence.npy', edited(np.nan), 'damaged: nan in row 6, expected 0 to 1'),
    ],
)
def test_damaged_labels_are_named_and_can_be_removed(
    folder: Path, name: str, damage: Callable[[Path], None], words: str
) -> None:
    label(folder)
    damage(folder / 'shards/bag0/labels' / name)
    with pytest.raises(DatasetError, match=f'bag0/labels/{name}: {words}.*{REMEDY}'):
        TransitionDataset.open(folder)
    assert clear_labels(folder) == 1
    assert TransitionDataset.open(folder).unknown == 10


def test_labels_that_no_reader_would_take_are_not_written(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r'action\.npy: 10 actions not finite, first in row 5'):
        label(folder, np.inf)
    with pytest.raises(DatasetError, match=r'confidence\.npy: damaged: 2 in row 0'):
        label(folder, confidence=2.0)
    with pytest.raises(DatasetError, match='run: expected a text, found 7'):
        label(folder, run=7)
    assert not (folder / 'shards/bag0/labels').exists()


@pytest.mark.parametrize('unlabelled', [False, True])
def test_the_weight_of_a_transition_is_its_lowest_confidence(
    folder: Path, unlabelled: bool
) -> None:
    whole = TransitionDataset.open(folder)
    label(folder)
    data = TransitionDataset.open(folder)
    batches = Batches(data, data.action_scaler(), torch.device('cpu'), 2, unlabelled)
    starts = batches.starts('all')
    assert np.array_equal(starts, data.starts('all', 10, unlabelled))
    window = batches.at(starts)
    assert window.weight is not None
    assert window.weight.dtype == torch.float32
    ticks = starts + 5 * np.arange(2)[:, None]
    for step, row in np.ndindex(ticks.shape):
        span = np.arange(ticks[step, row], ticks[step, row] + 5)
        assert window.weight[step, row] == data.confidence(span).min()
    assert torch.equal(window.weight == 0, window.action.isnan().any(dim=2))
    assert bool(window.action.isnan().any()) == unlabelled
    known = Batches(whole, whole.action_scaler(), torch.device('cpu'))
    assert known.at(known.starts('train')).weight is None


def unlabelled(tmp_path: Path) -> Path:
    """Return a dataset where rows 60 to 79 of 167 have no action, ten of them labels."""
    folder = write_dataset(tmp_path / 'data')
    hide_actions(folder / 'shards' / 'monday', np.arange(60, 80))
    confidence = np.zeros(142)
    confidence[60:70] = 0.25
    write_labels(folder, 'monday', np.zeros((142, 2)), confidence, ABOUT)
    return folder


def test_people_are_told_where_the_actions_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = unlabelled(tmp_path)
    words = '147 ticks recorded, 10 labelled by runs/latent (mean confidence 0.25), 10 unlabelled'
    assert f'  actions: {words}' in describe(TransitionDataset.open(folder))
    assert inspect(capsys, folder)['action'] | {'fields': 0, 'mean': 0, 'std': 0} == {
        **dict.fromkeys(('fields', 'mean', 'std'), 0),
        'recorded': 147,
        'labelled': 10,
        'unlabelled': 10,
        'mean_confidence': 0.25,
        'labelled_by': ['runs/latent'],
    }
    page, _ = contact_sheet(TransitionDataset.open(folder), 3)
    assert f'Actions: {words}.' in page
    assert 'nothing is drawn where it is unknown' in page
    whole = TransitionDataset.open(write_dataset(tmp_path / 'whole'))
    assert not any('actions:' in line for line in describe(whole))


def test_a_camera_alone_makes_a_page(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / 'data')
    for name, rows in (('monday', 142), ('tuesday', 25)):
        hide_actions(folder / 'shards' / name, np.arange(rows))
    data = TransitionDataset.open(folder)
    lines = describe(data)
    assert '  twist.linear.x: unknown, limits -0.5 to 0.5' in lines
    assert '  actions: 0 ticks recorded, 167 unlabelled' in lines
    page, _ = contact_sheet(data, 3)
    assert 'Actions: 0 ticks recorded, 167 unlabelled.' in page
    assert 'Command against motion' not in page
    assert 'no transition has a known action: train a latent-action model' in page
    assert 'nan' not in without_pictures(page).lower()


def test_hdf5_gets_the_stretches_of_known_actions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('h5py')
    folder, out = unlabelled(tmp_path), tmp_path / 'mine.h5'
    assert main(['export', str(folder), '--to', 'hdf5', '--out', str(out)]) == 0
    said = capsys.readouterr().out
    assert '4 episodes, 157 rows' in said
    assert 'left out: 10 ticks with an unknown action' in said
    assert main(['import', str(out), '--out', str(tmp_path / 'again')]) == 0
    data, again = TransitionDataset.open(folder), TransitionDataset.open(tmp_path / 'again')
    known = np.flatnonzero(data.confidence(np.arange(167)))
    assert [drive.stop - drive.start for drive in again.drives] == [70, 50, 12, 25]
    assert np.array_equal(again.actions(np.arange(157)), data.actions(known))
    assert np.array_equal(again.pixels(np.arange(157)), data.pixels(known))
    assert again.metas['monday']['dropped']['unknown action'] == 10


def test_no_export_of_a_camera_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('h5py')
    folder = write_dataset(tmp_path / 'data')
    for name, rows in (('monday', 142), ('tuesday', 25)):
        hide_actions(folder / 'shards' / name, np.arange(rows))
    assert main(['export', str(folder), '--to', 'hdf5', '--out', str(tmp_path / 'x.h5')]) == 2
    assert 'none of its 167 ticks has a known action; label it' in capsys.readouterr().err
