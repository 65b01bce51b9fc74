# SPDX-License-Identifier: Apache-2.0
"""Several cameras make one image, and stored pixels come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recordings import contents, image, made, MakeBag, TinyBag
from smwm_ros.bags.writing.writer import BagWriter
from smwm_ros.codec.images import compose, read_view, tiles
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import BagError, ConfigError, DatasetError
from smwm_ros.load import load_config

OTHER = '/left/image_raw'


def two_cameras(path: Path, lost: range = range(0)) -> Path:
    """Write two cameras; the left one runs at twice the rate and shows 100 more."""
    bag = TinyBag(path)
    for tick in range(60):
        bag.frame(tick)
        bag.command(tick)
        for half in (0.2, 0.7):
            if tick not in lost:
                value = 100 + tick + round(half)
                bag.send(OTHER, image(np.full((16, 20, 3), value)), tick + half - 0.5)
    return bag.close()


@pytest.mark.parametrize('layout', ['row', 'grid'])
def test_several_cameras_make_one_image_of_the_frames_at_each_tick(
    tmp_path: Path, layout: str
) -> None:
    path = two_cameras(tmp_path / 'bag')
    words = (f'robot.camera.others={OTHER}', f'robot.camera.tiles={layout}')
    data = made(tmp_path, path, *words)
    pixels = data.pixels(np.arange(len(data)))
    first, second = tiles(2, 16, layout)
    here = pixels[:, : first.height, : first.width]
    there = pixels[:, :, second.left :][:, : second.height]
    tick = here[:, 0, 0, 0].astype(int)
    assert (here == tick[:, None, None, None]).all()
    assert (there == 100 + tick[:, None, None, None]).all()
    assert tick.tolist() == list(range(60))


def test_a_tick_that_one_camera_misses_is_dropped(tmp_path: Path) -> None:
    path = two_cameras(tmp_path / 'bag', range(20, 25))
    data = made(tmp_path, path, f'robot.camera.others={OTHER}')
    ticks = data.pixels(np.arange(len(data)))[:, 0, 0, 0].astype(int)
    assert not set(range(22, 25)) & set(ticks.tolist())
    assert len(data.episodes) == 2
    assert data.metas['bag']['dropped'][f'no frame of {OTHER} in time'] == 60 - len(data)


def test_a_camera_is_named_once() -> None:
    with pytest.raises(ConfigError, match=r'robot\.camera\.others: every camera .* named once'):
        load_config(None, ['robot.camera.others=/camera/image_raw'])


def test_a_bag_of_several_cameras_is_not_written(tmp_path: Path) -> None:
    robot = load_config(None, [f'robot.camera.others={OTHER}']).robot
    with pytest.raises(BagError, match=r'robot\.camera\.others names further cameras'):
        BagWriter(tmp_path / 'bag', robot)


def test_bag_and_live_node_compose_the_same_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bag, frames = TinyBag(tmp_path / 'bag'), []
    for tick in range(20):
        pair = [image(rng.integers(0, 256, (24, 36, 3))) for _ in range(2)]
        frames.append(pair)
        bag.send('/camera/image_raw', pair[0], tick)
        bag.send(OTHER, pair[1], tick)
        bag.command(tick)
    words = (f'robot.camera.others={OTHER}', 'dataset.resize=letterbox')
    data = made(tmp_path, bag.close(), *words)
    for row, pair in enumerate(frames):
        views = [
            read_view(msg, tile.height, tile.width, 'letterbox', 'own')
            for msg, tile in zip(pair, tiles(2, 16, 'row'), strict=True)
        ]
        assert (data.pixels(np.array([row]))[0] == compose(views, 16, 'row')).all()


def test_frames_stored_as_jpeg_come_back_alike_from_a_smaller_file(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    y, x = np.mgrid[0:64, 0:64]
    for tick in range(40):
        bag.send('/camera/image_raw', image(np.stack([x + tick, 2 * y, x + y], -1)), tick)
        bag.command(tick)
    path = bag.close()
    size = 'dataset.image_size=64'
    raw = made(tmp_path, path, size, out='raw')
    packed = made(tmp_path, path, size, 'dataset.pixels=jpeg', out='jpeg')
    rough = made(
        tmp_path, path, size, 'dataset.pixels=jpeg', 'dataset.jpeg_quality=20', out='rough'
    )
    rows = np.random.default_rng(0).permutation(40)
    apart = [np.abs(raw.pixels(rows).astype(int) - d.pixels(rows)) for d in (packed, rough)]
    assert apart[0].mean() < 2
    assert apart[0].mean() < apart[1].mean() < 12
    sizes = [
        (tmp_path / d / 'shards' / 'bag' / 'pixels.jpeg').stat().st_size for d in ('jpeg', 'rough')
    ]
    assert sizes[1] < sizes[0] < 40 * 64 * 64 * 3 / 4
    sequence = packed.sequence(np.array([3, 1]), 2)
    assert (sequence.pixels[1, 2] == packed.pixels(np.array([11]))[0]).all()
    before = packed.pixels(rows)
    packed.load_pixels()
    assert (packed.pixels(rows) == before).all()
    again = made(tmp_path, path, size, 'dataset.pixels=jpeg', out='again')
    assert contents(tmp_path / 'again') == contents(tmp_path / 'jpeg')
    assert again.fingerprint == packed.fingerprint != rough.fingerprint


def test_a_jpeg_column_that_is_cut_is_named(tmp_path: Path, tiny_bag: MakeBag) -> None:
    made(tmp_path, tiny_bag(), 'dataset.pixels=jpeg')
    path = tmp_path / 'out' / 'shards' / 'bag' / 'pixels.jpeg'
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(DatasetError, match=r'pixels\.jpeg: missing or damaged: '):
        TransitionDataset.open(tmp_path / 'out')
    path.write_bytes(bytes(len(whole)))
    with pytest.raises(DatasetError, match=r'pixels\.jpeg: damaged: image 3 cannot be decoded'):
        TransitionDataset.open(tmp_path / 'out').pixels(np.array([3]))
