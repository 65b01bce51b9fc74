# SPDX-License-Identifier: Apache-2.0
"""A dataset goes out as the HDF5 file that others read, and theirs and ours come in again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import signature
from itertools import pairwise
from pathlib import Path
import sys
from typing import Any

from exchanged import LENGTHS, SETTINGS, SIZE, write_dataset
import h5py
import hdf5plugin
import numpy as np
import pytest
from smwm_ros.cli import main
from smwm_ros.config import Robot
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import DatasetError, OutputError
from smwm_ros.exchange import to_hdf5
from smwm_ros.exchange.from_hdf5 import import_hdf5
from smwm_ros.exchange.to_hdf5 import write_hdf5
from smwm_ros.load import load_config

BLOSC = str(hdf5plugin.Blosc.filter_id)
LENGTH = [length for lengths in LENGTHS.values() for length in lengths]
ROWS = sum(LENGTH)
SAID = ['robot.dt=0.2', 'robot.command.fields=[a,b]', 'robot.command.low=[-9,-9]']
SAID += ['robot.command.high=[9,9]', 'dataset.image_size=16', 'dataset.action_block=3']


@pytest.fixture
def data(tmp_path: Path) -> TransitionDataset:
    return TransitionDataset.open(write_dataset(tmp_path / 'data'))


@pytest.fixture
def file(tmp_path: Path, data: TransitionDataset) -> Path:
    write_hdf5(data, tmp_path / 'data.h5')
    return tmp_path / 'data.h5'


@pytest.fixture
def theirs(tmp_path: Path, file: Path) -> Callable[..., Path]:
    """Return a maker of files as others have them: without some columns, and with others."""

    def make(without: tuple[str, ...] = (), **columns: Any) -> Path:
        path = tmp_path / 'theirs.h5'
        with h5py.File(file) as ours, h5py.File(path, 'w') as other:
            for name in set(ours) - {'stamp', *without}:
                other[name] = ours[name][:]
            for name, value in columns.items():
                if name in other:
                    del other[name]
                other[name] = value
        return path

    return make


def contents(folder: Path) -> Mapping[str, bytes]:
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_columns_are_those_of_their_recorder(file: Path, data: TransitionDataset) -> None:
    with h5py.File(file, swmr=True) as h5:  # as their reader opens it
        reported = {name: (h5[name].shape, h5[name].dtype.str, h5[name].chunks) for name in h5}
        filters = {name for name in h5 if BLOSC in h5[name]._filters}
        values = {name: h5[name][:] for name in h5}
    numbers = ((ROWS, 2), '<f4', (1000, 2))
    per_row = {
        'step_idx': '<i8', 'id': '<i8', 'ep_idx': '<i4', 'reward': '<f8', 'terminated': '|b1',
        'truncated': '|b1', 'stamp': '<i8',
    }  # fmt: skip
    assert {
        name: (reported[name][1], reported[name][0], reported[name][2]) for name in per_row
    } == {name: (kind, (ROWS,), (1000,)) for name, kind in per_row.items()}
    assert reported['pixels'] == ((ROWS, SIZE, SIZE, 3), '|u1', (100, SIZE, SIZE, 3))
    assert filters == {'pixels'}
    for name in ('action', 'observation', 'proprio', 'state'):
        assert reported[name] == numbers
    assert values['ep_len'].dtype == np.int32
    assert values['ep_offset'].dtype == np.int64
    assert values['ep_len'].tolist() == LENGTH
    assert values['ep_offset'].tolist() == [0, 130, 142]
    assert values['step_idx'].tolist() == [step for count in LENGTH for step in range(count)]
    assert values['ep_idx'].tolist() == np.repeat([0, 1, 2], LENGTH).tolist()


def test_a_row_is_a_frame_and_the_action_taken_there_and_the_last_has_none(
    file: Path, data: TransitionDataset
) -> None:
    rows = np.arange(ROWS)
    last = np.cumsum(LENGTH) - 1
    with h5py.File(file) as h5:
        assert (h5['pixels'][:] == data.pixels(rows)).all()
        assert (h5['state'][:] == data.states(rows)).all()
        assert np.flatnonzero(np.isnan(h5['action'][:, 0])).tolist() == last.tolist()
        assert np.flatnonzero(h5['truncated'][:]).tolist() == last.tolist()
        others = np.delete(rows, last)
        assert (h5['action'][:][others] == data.actions(others)).all()


def test_their_loader_gives_our_sequences(
    file: Path, tmp_path: Path, data: TransitionDataset
) -> None:
    reason = 'stable-worldmodel is not installed'
    module = pytest.importorskip('stable_worldmodel.data', reason=reason)
    block = data.info.action_block
    if 'path' in signature(module.HDF5Dataset).parameters:  # since 0.1
        loader = module.HDF5Dataset(path=file, frameskip=block, num_steps=2)
    else:
        loader = module.HDF5Dataset('data', frameskip=block, num_steps=2, cache_dir=tmp_path)
    clips = [(episode, step) for episode, step in loader.clip_indices if episode < 2]
    assert len(clips) == (130 - 9) + (12 - 9)
    for number, (episode, step) in enumerate(clips):
        item = loader[number]
        ours = data.sequence(np.array([data.drives[episode].start + step]), 1)
        assert (item['pixels'].numpy().transpose(0, 2, 3, 1) == ours.pixels[0]).all()
        assert (item['action'].numpy()[:1] == ours.actions[0]).all()
        assert (item['proprio'].numpy() == ours.states[0]).all()


def test_out_and_in_again_is_the_same_dataset_byte_for_byte(tmp_path: Path) -> None:
    source, file, back = write_dataset(tmp_path / 'data'), tmp_path / 'x.h5', tmp_path / 'back'
    assert main(['export', str(source), '--to', 'hdf5', '--out', str(file)]) == 0
    assert main(['import', str(file), '--out', str(back)]) == 0
    assert contents(back) == contents(source)


def test_frames_that_were_jpeg_come_back_as_they_were_seen(tmp_path: Path) -> None:
    settings = replace(SETTINGS, pixels='jpeg')
    data = TransitionDataset.open(write_dataset(tmp_path / 'data', settings=settings))
    write_hdf5(data, tmp_path / 'x.h5')
    assert main(['import', str(tmp_path / 'x.h5'), '--out', str(tmp_path / 'back')]) == 0
    back = TransitionDataset.open(tmp_path / 'back')
    assert back.info.dataset['pixels'] == 'raw'
    assert (back.pixels(np.arange(ROWS)) == data.pixels(np.arange(ROWS))).all()


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path, data: TransitionDataset) -> None:
    (tmp_path / '.x.h5.part').write_bytes(b'half')
    (tmp_path / '.made.part' / 'shards' / 'half').mkdir(parents=True)
    write_hdf5(data, tmp_path / 'x.h5')
    assert main(['import', str(tmp_path / 'x.h5'), '--out', str(tmp_path / 'made')]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data', 'made', 'x.h5']
    assert contents(tmp_path / 'made') == contents(tmp_path / 'data')


def without_times(path: Path) -> bytes:
    """Return a file without the seconds in the header of its root, and their checksum."""
    whole = bytearray(path.read_bytes())
    assert whole[48:52] == b'OHDR'
    del whole[104:108], whole[54:70]  # four times, and a checksum
    return bytes(whole)


def test_the_same_dataset_gives_the_same_file(tmp_path: Path, data: TransitionDataset) -> None:
    write_hdf5(data, tmp_path / 'a.h5')
    write_hdf5(data, tmp_path / 'b.h5')
    assert without_times(tmp_path / 'a.h5') == without_times(tmp_path / 'b.h5')


def test_without_hdf5plugin_every_hdf5_can_read_the_file(
    tmp_path: Path, data: TransitionDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_hdf5, 'hdf5plugin', None)
    assert write_hdf5(data, tmp_path / 'plain.h5').compression == 'gzip'
    with h5py.File(tmp_path / 'plain.h5') as h5:
        assert h5['pixels'].compression == 'gzip'
        assert (h5['pixels'][:] == data.pixels(np.arange(ROWS))).all()


def test_without_a_measured_state_there_are_no_such_columns(tmp_path: Path) -> None:
    data = TransitionDataset.open(write_dataset(tmp_path / 'data', Robot()))
    write_hdf5(data, tmp_path / 'x.h5')
    with h5py.File(tmp_path / 'x.h5') as h5:
        assert not {'state', 'proprio', 'observation'} & set(h5)


@pytest.mark.parametrize('verb', ['export', 'import'])
def test_without_h5py_the_extra_is_named(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, 'h5py', None)
    for name in [name for name in sys.modules if name.startswith('smwm_ros.exchange.')]:
        monkeypatch.delitem(sys.modules, name)
    source = write_dataset(tmp_path / 'data')
    how = ['--to', 'hdf5'] if verb == 'export' else []
    assert main([verb, str(source), *how, '--out', str(tmp_path / 'out')]) == 2
    assert (
        "the extra 'hdf5' of this package, which is not installed: pip install h5py hdf5plugin"
        in capsys.readouterr().err
    )


def test_an_export_that_fails_leaves_nothing(
    tmp_path: Path, data: TransitionDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(rows: Any) -> Any:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(data, 'pixels', full)
    with pytest.raises(OutputError, match='cannot be written: No space left on device'):
        write_hdf5(data, tmp_path / 'out' / 'x.h5')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('verb', ['export', 'import'])
def test_what_is_there_is_not_overwritten(
    verb: str, tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'mine').write_text('precious')
    words = {'export': [str(tmp_path / 'data'), '--to', 'hdf5'], 'import': [str(file)]}[verb]
    assert main([verb, *words, '--out', str(tmp_path / 'mine')]) == 2
    assert 'exists already' in capsys.readouterr().err
    assert (tmp_path / 'mine').read_text() == 'precious'


@pytest.mark.parametrize('tells', ['ep_len', 'ep_idx', 'episode_idx', 'id', 'step_idx'])
def test_episodes_of_other_projects_are_found_by_any_column_that_marks_them(
    tells: str, tmp_path: Path, theirs: Callable[..., Path], data: TransitionDataset
) -> None:
    every = ('ep_len', 'ep_offset', 'ep_idx', 'id', 'step_idx')
    values = {
        'ep_len': np.array(LENGTH),
        'step_idx': np.concatenate([np.arange(count) for count in LENGTH]),
    }
    labels = np.repeat([7, 3, 9], LENGTH)[:, None]
    path = theirs(every, **{tells: values.get(tells, labels)})
    made = import_hdf5(path, tmp_path / 'made', load_config(None, SAID))
    starts = np.cumsum([0, *LENGTH]).tolist()
    assert [(item.start, item.stop) for item in made.drives] == list(pairwise(starts))
    rows = np.arange(ROWS)
    assert (made.pixels(rows) == data.pixels(rows)).all()
    assert (np.diff(made.stamps) == 200_000_000).all()


def test_what_a_file_of_others_lacks_is_asked_for(
    tmp_path: Path, theirs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['import', str(theirs()), '--out', str(tmp_path / 'made')]
    assert main([*words, *SAID[1:]]) == 2
    assert 'does not define robot.dt; give --config' in capsys.readouterr().err
    assert main([*words, SAID[0]]) == 2
    assert 'robot.command.fields, robot.command.low' in capsys.readouterr().err
    assert not (tmp_path / 'made').exists()
    assert main([*words, *SAID]) == 0
    said = capsys.readouterr().out
    assert '3 episodes' in said
    assert 'the file has no stamps' in said
    assert main(['inspect', str(tmp_path / 'made')]) == 0


def test_the_action_of_the_last_row_is_held_and_a_state_that_is_no_number_is_unknown(
    tmp_path: Path, theirs: Callable[..., Path], data: TransitionDataset
) -> None:
    action, state = data.actions(np.arange(ROWS)), data.states(np.arange(ROWS)).copy()
    action[[40, 129, 141, 166]] = np.nan  # 40 in the middle, the others end an episode
    state[100] = np.inf
    config = load_config(None, [*SAID, 'robot.state.topic=/odom', 'robot.state.fields=[x,y]'])
    made = import_hdf5(theirs(action=action, state=state), tmp_path / 'made', config)
    spans = [(item.start, item.stop) for item in made.drives]
    assert spans == [(0, 41), (41, 130), (130, 142), (142, 167)]
    ends = made.actions(np.array([40, 129, 141, 166]))
    assert (ends == action[[39, 128, 140, 165]]).all()
    assert np.flatnonzero(~made.measured(np.arange(ROWS))).tolist() == [100]
    (meta,) = made.metas.values()
    assert meta['counts'] == {'actions held': 4, 'ticks without a measured state': 1}
    assert meta['dropped'] == {}
    write_hdf5(made, tmp_path / 'again.h5')
    again = import_hdf5(tmp_path / 'again.h5', tmp_path / 'again', config)
    assert contents(again.folder) == contents(made.folder)


def test_frames_of_another_size_are_fitted(tmp_path: Path, theirs: Callable[..., Path]) -> None:
    frames = np.full((ROWS, 40, 30, 3), 7, np.uint8)
    made = import_hdf5(theirs(pixels=frames), tmp_path / 'made', load_config(None, SAID))
    assert (made.pixels(np.arange(3)) == 7).all()
    assert made.pixels(np.arange(3)).shape == (3, SIZE, SIZE, 3)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    'no action': ({'without': ('action',)}, "no column 'action'; columns in the file: ep_idx"),
    'gray pixels': (
        {'pixels': np.zeros((ROWS, 9, 9, 1), np.uint8)},
        r'expected \(rows, height, width, 3\) uint8',
    ),
    'more numbers': (
        {'action': np.zeros((ROWS, 3))},
        'action has 3 numbers per row, expected 2 for the configured fields: a, b',
    ),
    'fewer rows': ({'action': np.zeros((9, 2))}, f'expected 2 dimensions and {ROWS} rows'),
    'episodes that tell nothing': (
        {'without': ('ep_len', 'ep_idx', 'id', 'step_idx')},
        'no column that separates the episodes; expected one of ep_len, step_idx',
    ),
    'episodes beyond the end': (
        {'without': ('ep_offset',), 'ep_len': np.array([ROWS, 1])},
        'damaged: episode 1 has rows 167 to 167 of 167',
    ),
    'episodes in one another': ({'ep_offset': np.array([0, 129, 142])}, 'episode 1 has rows 129'),
    'labels for other rows': ({'without': ('ep_len',), 'ep_idx': np.zeros(4)}, 'has 4 rows'),
    'nothing long enough': (
        {'action': np.full((ROWS, 2), np.nan)},
        'no episode has 10 rows or more',
    ),
}


@pytest.mark.parametrize('case', BAD)
def test_a_file_that_cannot_be_a_dataset_is_refused_and_nothing_is_left(
    case: str, tmp_path: Path, theirs: Callable[..., Path]
) -> None:
    columns, words = BAD[case]
    path = theirs(**columns)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DatasetError, match=words):
        import_hdf5(path, tmp_path / 'made', load_config(None, SAID))
    assert sorted(tmp_path.iterdir()) == before


def test_a_state_column_that_is_not_there_is_an_error_that_lists_those_that_are(
    tmp_path: Path, theirs: Callable[..., Path]
) -> None:
    config = load_config(None, [*SAID, 'robot.state.topic=/odom', 'robot.state.fields=[x,y]'])
    with pytest.raises(
        DatasetError, match=r"no column 'qpos'; columns in the file: action.*proprio"
    ):
        import_hdf5(theirs(), tmp_path / 'made', config, 'qpos')


@pytest.mark.parametrize('found', ['nothing', 'a text', 'a file cut short'])
def test_what_is_no_hdf5_file_is_named(found: str, tmp_path: Path, file: Path) -> None:
    path = tmp_path / 'odd.h5'
    if found == 'a text':
        path.write_text('hello')
    elif found == 'a file cut short':
        path.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(DatasetError, match=r'odd\.h5: cannot be imported: '):
        import_hdf5(path, tmp_path / 'made', load_config(None, SAID))
    assert not (tmp_path / 'made').exists()
