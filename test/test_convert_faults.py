# SPDX-License-Identifier: Apache-2.0
"""Bad input is counted and left out, or refused, and what was whole stays whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from recordings import contents, made, MakeBag, shown, STORE, TinyBag
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.describe import describe
from smwm_ros.data.shards import ShardWriter
from smwm_ros.errors import BagError, DatasetError, OutputError


def jpeg_bag(path: Path, cut: set[int]) -> Path:
    bag = TinyBag(path)
    for tick in range(60):
        msg = new_message(STORE, 'sensor_msgs/msg/CompressedImage')
        data = cv2.imencode('.jpg', np.full((16, 20, 3), 4 * tick, np.uint8))[1].ravel()
        msg.format, msg.data = 'jpeg', data[: len(data) // 2] if tick in cut else data
        bag.send('/camera/image_raw', msg, tick)
        bag.command(tick)
    return bag.close()


def test_truncated_jpegs_are_counted_and_left_out_up_to_a_limit(tmp_path: Path) -> None:
    kind = 'robot.camera.type=sensor_msgs/msg/CompressedImage'
    data = made(tmp_path, jpeg_bag(tmp_path / 'few', {20, 40}), kind)
    assert len(data.episodes) == 3
    meta = data.metas['few']
    assert meta['dropped']['the frame cannot be decoded'] == 2
    assert 'is truncated' in meta['faults']['/camera/image_raw']
    with pytest.raises(BagError, match=r'/camera/image_raw: 7 of 60 messages damaged, more'):
        made(tmp_path, jpeg_bag(tmp_path / 'many', set(range(10, 17))), kind, out='worse')
    assert not (tmp_path / 'worse').exists()


def test_a_conversion_that_fails_leaves_nothing_where_nothing_was(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    bag = tiny_bag()
    (tmp_path / 'mine').mkdir()
    for out in ('new', 'mine/new/newer', 'mine'):
        with pytest.raises(BagError, match="no topic '/front'"):
            made(tmp_path, bag, 'robot.camera.topic=/front', out=out)
        assert sorted(path.name for path in tmp_path.iterdir()) == ['bags', 'mine']
        assert not list((tmp_path / 'mine').iterdir())


def test_commands_that_are_no_numbers_are_dropped_and_reported(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(60):
        bag.frame(tick)
        bag.command(tick, value=np.nan if tick in (20, 45) else tick)
    data = made(tmp_path, bag.close())
    assert np.isfinite(data.actions(np.arange(len(data)))).all()
    assert shown(data).tolist() == [t for t in range(60) if t not in (20, 45)]
    assert len(data.episodes) == 3
    assert '  dropped 2 ticks: the command is not a number' in describe(data)


def test_a_single_frame_is_no_episode(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    bag.frame(10)
    for tick in range(60):
        bag.command(tick)
    with pytest.raises(DatasetError, match='no transitions; 0 ticks kept; 1 dropped: in'):
        made(tmp_path, bag.close())


def test_a_message_too_short_for_its_header_is_counted(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(60):
        bag.frame(tick)
        bag.command(tick)
        if tick == 30:
            topic = bag._topics['/cmd_vel']
            bag._bag.write(topic, 1_700_000_003_000_000_001, b'\x00\x01\x00\x00')
    data = made(tmp_path, bag.close())
    assert len(data) == 60
    assert (
        'a message of 4 bytes is too short for a header' in data.metas['bag']['faults']['/cmd_vel']
    )


def test_a_disk_that_fills_up_half_way_leaves_what_was_whole(
    tmp_path: Path, tiny_bag: MakeBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, tiny_bag('a'))
    before = contents(tmp_path / 'out')
    append = ShardWriter.append

    def until_full(self: ShardWriter, **rows: Any) -> None:
        if self.rows:
            raise OSError(28, 'No space left on device')
        append(self, **rows)

    monkeypatch.setattr(ShardWriter, 'append', until_full)
    with pytest.raises(OutputError, match=r'shards/b: cannot be written: No space left'):
        made(tmp_path, tiny_bag('b', range(600)))
    assert contents(tmp_path / 'out') == before


def test_a_dataset_from_before_a_knob_existed_is_read_and_completed(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    bags = [tiny_bag('a'), tiny_bag('b', offset=100)]
    made(tmp_path, bags[0])
    for path in (tmp_path / 'out').rglob('*.json'):
        data = json.loads(path.read_text())
        for name in ('pixels', 'jpeg_quality', 'camera_time', 'episode_topic'):
            del data['dataset'][name]
        for name in ('others', 'tiles'):
            del data['robot']['camera'][name]
        path.write_text(json.dumps(data))
    assert shown(TransitionDataset.open(tmp_path / 'out')).tolist() == list(range(30))
    data = made(tmp_path, bags[1])
    assert shown(data).tolist() == [*range(30), *range(100, 130)]
    with pytest.raises(DatasetError, match=r'dataset\.pixels=raw \(now jpeg\)'):
        made(tmp_path, bags[1], 'dataset.pixels=jpeg')
