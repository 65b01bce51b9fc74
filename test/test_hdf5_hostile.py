# SPDX-License-Identifier: Apache-2.0
"""A HDF5 file brings its own data, and nothing else of the machine that reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from exchanged import write_dataset
import h5py
import numpy as np
import pytest
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import DatasetError
from smwm_ros.exchange.from_hdf5 import import_hdf5, known_settings
from smwm_ros.exchange.to_hdf5 import write_hdf5
from smwm_ros.load import load_config

SAID = ['robot.dt=0.2', 'robot.command.fields=[a,b]', 'robot.command.low=[-9,-9]']
SAID += ['robot.command.high=[9,9]', 'dataset.image_size=16', 'dataset.action_block=3']


def external_storage(file: Any, secret: Path) -> None:
    size = (167, 9, 9, 3)
    del file['pixels']
    file.create_dataset('pixels', size, np.uint8, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def external_link(file: Any, secret: Path) -> None:
    del file['action']
    file['action'] = h5py.ExternalLink(str(secret), '/action')


def soft_link(file: Any, secret: Path) -> None:
    file.create_group('deep')['out'] = h5py.ExternalLink(str(secret), '/')
    del file['action']
    file['action'] = h5py.SoftLink('/deep/out/action')


def virtual_dataset(file: Any, secret: Path) -> None:
    layout = h5py.VirtualLayout((167, 2), np.float32)
    layout[:] = h5py.VirtualSource(str(secret), 'action', (167, 2))
    del file['action']
    file.create_virtual_dataset('action', layout)


def link_in_a_group(file: Any, secret: Path) -> None:
    file.create_group('deep')['state'] = h5py.ExternalLink(str(secret), '/state')


def group_for_a_column(file: Any, secret: Path) -> None:
    del file['pixels']
    file.create_group('pixels')


def group_within_itself(file: Any, secret: Path) -> None:
    deep = file.create_group('deep')
    deep['one'] = deep['two'] = deep


def text_for_numbers(file: Any, secret: Path) -> None:
    del file['ep_len']
    file['ep_len'] = ['some', 'words']


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (external_storage, 'pixels is stored in other files; expected all data in this one'),
        (external_link, r'action is a link \(ExternalLink\); expected the data themselves'),
        (soft_link, r'action is a link \(SoftLink\)'),
        (virtual_dataset, 'action is stored in other files'),
        (link_in_a_group, 'deep/state is a link'),
        (group_for_a_column, 'pixels is a group; expected a column'),
        (group_within_itself, 'more columns and groups than expected, 1000 at most'),
        (text_for_numbers, r'cannot be imported: ValueError: '),
    ],
)
def test_a_file_that_would_have_other_files_read_is_refused(
    tmp_path: Path, spoil: Callable[[Any, Path], None], words: str
) -> None:
    data = TransitionDataset.open(write_dataset(tmp_path / 'data'))
    write_hdf5(data, tmp_path / 'secret.h5')
    write_hdf5(data, tmp_path / 'theirs.h5')
    with h5py.File(tmp_path / 'theirs.h5', 'a') as file:
        del file.attrs['smwm_ros']
        spoil(file, tmp_path / 'secret.h5')
    with pytest.raises(DatasetError, match=words) as caught:
        import_hdf5(tmp_path / 'theirs.h5', tmp_path / 'made', load_config(None, SAID))
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('about', ['{}', '[', '7', '{"robot": 1, "dataset": 2}'])
def test_a_damaged_configuration_in_a_file_is_one_line(tmp_path: Path, about: str) -> None:
    data = TransitionDataset.open(write_dataset(tmp_path / 'data'))
    write_hdf5(data, tmp_path / 'ours.h5')
    with h5py.File(tmp_path / 'ours.h5', 'a') as file:
        file.attrs['smwm_ros'] = about
    with pytest.raises(DatasetError, match=r'ours\.h5: cannot be imported: '):
        known_settings(tmp_path / 'ours.h5')


def test_a_shard_that_would_lie_outside_of_the_dataset_is_refused(tmp_path: Path) -> None:
    data = TransitionDataset.open(write_dataset(tmp_path / 'data'))
    write_hdf5(data, tmp_path / 'ours.h5')
    victim = write_dataset(tmp_path / 'victim') / 'shards' / 'monday'
    with h5py.File(tmp_path / 'ours.h5', 'a') as file:
        about = file.attrs['smwm_ros']
        file.attrs['smwm_ros'] = about.replace('"monday":', '"../../victim/shards/monday":')
    config = load_config(None, [], known_settings(tmp_path / 'ours.h5'))
    before = (victim / 'action.npy').read_bytes()
    with pytest.raises(DatasetError, match='is not the name of a shard'):
        import_hdf5(tmp_path / 'ours.h5', tmp_path / 'made', config)
    assert (victim / 'action.npy').read_bytes() == before
