# SPDX-License-Identifier: Apache-2.0
"""What a recording or a shard is called never leads out of the dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recordings import made, MakeBag
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.shards import columns, safe_name, ShardWriter
from smwm_ros.errors import DatasetError
from smwm_ros.load import load_config


def test_a_bag_whose_name_means_a_folder_above_removes_nothing(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    (whole,) = tiny_bag().glob('*.mcap')
    out = tmp_path / 'project'
    (out / '.git').mkdir(parents=True)
    (out / '.git' / 'HEAD').write_text('ref')
    names = {'...mcap': '__', '..hidden.mcap': '__hidden'}
    if not Path('...mcap').suffix:  # from Python 3.14 on: it is no bag then
        del names['...mcap']
    for name, shard in names.items():
        bag = whole.rename(tmp_path / name)
        assert list(made(tmp_path, bag, out='project').metas)[-1] == shard
        convert([bag], out, load_config(None, ['dataset.image_size=16']), fresh=True)
        assert (out / '.git' / 'HEAD').read_text() == 'ref'
        assert [path.name for path in (out / 'shards').iterdir()] == [shard]
        whole = bag


def test_a_name_that_no_file_system_takes_is_cut_and_stays_its_own(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    (whole,) = tiny_bag().glob('*.mcap')
    bags = [tmp_path / f'{"x" * 249}{letter}.mcap' for letter in 'ab']
    for bag in bags:
        bag.write_bytes(whole.read_bytes())
    data = convert(bags, tmp_path / 'out', load_config(None, ['dataset.image_size=16'])).dataset
    assert len(data.metas) == 2
    assert max(map(len, data.metas)) <= 200


def test_names_of_bags_are_printable_and_two_stay_two(tmp_path: Path, tiny_bag: MakeBag) -> None:
    (whole,) = tiny_bag().glob('*.mcap')
    bag = whole.rename(tmp_path / 'a\r\x1b[2Jb\u202ec.mcap')
    assert [found.name for found in find_bags([bag])] == ['a__[2Jb_c']
    for name in ('monday', 'run 3.bag', 'Prüfstand_机器人', 'a.b-c'):
        assert safe_name(name) == name


@pytest.mark.parametrize('name', ['..', '../../elsewhere', '.', '', 'a/b', 7])
def test_a_dataset_that_names_a_shard_elsewhere_is_refused(
    tmp_path: Path, tiny_bag: MakeBag, name: object
) -> None:
    made(tmp_path, tiny_bag())
    index = tmp_path / 'out' / 'dataset.json'
    index.write_text(json.dumps({**json.loads(index.read_text()), 'shards': [name]}))
    wrong = 'is not the name of a shard' if isinstance(name, str) else 'expected a text, found 7'
    with pytest.raises(DatasetError, match=wrong):
        TransitionDataset.open(tmp_path / 'out')


def test_a_folder_that_is_no_shard_is_never_replaced(tmp_path: Path, tiny_bag: MakeBag) -> None:
    row = columns(16, 2, 0)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'letter').write_text('dear')
    with (
        ShardWriter(tmp_path / 'mine', row) as writer,
        pytest.raises(DatasetError, match='exists already and is not a shard'),
    ):
        writer.publish({})
    with pytest.raises(DatasetError, match='not a valid name of a shard'):
        ShardWriter(tmp_path / '..', row)
    assert (tmp_path / 'mine' / 'letter').read_text() == 'dear'
    made(tmp_path, tiny_bag())
    (tmp_path / 'out' / 'shards' / 'notes').mkdir()
    config = load_config(None, ['dataset.image_size=16'])
    convert([tmp_path / 'bags' / 'bag'], tmp_path / 'out', config, fresh=True)
    assert (tmp_path / 'out' / 'shards' / 'notes').is_dir()
