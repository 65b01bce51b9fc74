# SPDX-License-Identifier: Apache-2.0
"""Clocks, jitter, several cameras, marked episodes and stored pixels, each with a known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest
from recordings import image, MakeBag, STORE, TICK, TinyBag
from smwm_ros.bags.convert import convert
from smwm_ros.bags.summary import describe
from smwm_ros.bags.write import BagWriter, new_message
from smwm_ros.core.dataset import TransitionDataset
from smwm_ros.core.images import compose, read_view, tiles
from smwm_ros.core.shards import ShardWriter
from smwm_ros.errors import BagError, ConfigError, DatasetError
from smwm_ros.load import load_config

OTHER = '/left/image_raw'


def made(tmp_path: Path, bag: Path, *words: str, out: str = 'out') -> TransitionDataset:
    config = load_config(None, ['dataset.image_size=16', *words])
    return convert([bag], tmp_path / out, config).dataset


def shown(data: TransitionDataset) -> NDArray[Any]:
    """Return the number that each row's frame shows."""
    return data.pixels(np.arange(len(data)))[:, 8, 8, 0].astype(int)


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


@pytest.mark.parametrize('seed', range(3))
def test_a_camera_that_jitters_around_the_ticks_shows_each_frame_once(
    tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    bag = TinyBag(tmp_path / 'jitter')
    for tick in range(200):
        bag.frame(tick + rng.uniform(-0.12, 0.12), value=tick)
        bag.command(tick + 0.5, value=tick)
    data = made(tmp_path, bag.close())
    assert (np.diff(shown(data)) == 1).all()
    assert len(data) >= 199
    assert (np.diff(data.stamps) == TICK).all()
    counts = data.metas['jitter']['counts']
    assert counts['frames shown again'] == 0
    # Ticks come soon after the frames: the command half a period after a frame is still its own.
    assert (data.actions(np.arange(len(data)))[:, 0] == shown(data)).all()


def test_a_camera_that_is_slower_than_the_ticks_repeats_frames_and_says_so(
    tmp_path: Path,
) -> None:
    bag = TinyBag(tmp_path / 'slow')
    for number in range(100):
        bag.frame(number * 1.25, value=number)
    for tick in range(125):
        bag.command(tick)
    data = made(tmp_path, bag.close())
    repeats = int((np.diff(shown(data)) == 0).sum())
    assert repeats == len(data) - 100
    assert data.metas['slow']['counts']['frames shown again'] == repeats
    assert f'  frames shown again: {repeats}' in describe(data)


def twist_bag(path: Path, ahead: float) -> Path:
    """Write frames with headers, received late, and commands that have only a time of receipt."""
    bag = TinyBag(path)
    for tick in range(40):
        bag.frame(tick + ahead, value=tick, late=0.3 - ahead)  # a latency of 30 ms
        msg = new_message(STORE, 'geometry_msgs/msg/Twist')
        msg.linear.x = float(tick)
        bag.send('/cmd_vel', msg, tick + 0.2)  # before the frame is received
    return bag.close()


TWIST = (
    'robot.command.type=geometry_msgs/msg/Twist',
    'robot.command.fields=[linear.x]',
    'robot.command.low=[-1]',
    'robot.command.high=[1]',
)


def test_clocks_are_mixed_only_where_the_user_says_so_and_it_is_told(tmp_path: Path) -> None:
    path = twist_bag(tmp_path / 'twist', ahead=0.0)
    data = made(tmp_path, path, *TWIST)  # auto: receive for all, so commands seem to come early
    assert data.metas['twist']['time']['base'] == 'receive'
    assert (data.actions(np.arange(30))[:, 0] == shown(data)[:30] + 1).all()
    words = ('dataset.camera_time=header', 'dataset.command_time=receive')
    data = made(tmp_path, path, *TWIST, *words, out='mixed')
    assert (data.actions(np.arange(30))[:, 0] == shown(data)[:30]).all()
    time = data.metas['twist']['time']
    assert time['base'] == 'mixed'
    assert time['topics'] == {'/camera/image_raw': 'header', '/cmd_vel': 'receive'}
    assert '/camera/image_raw by header, /cmd_vel by receive' in time['why']
    assert '-0.03 s from receive time' in time['why']
    assert any('mixed time' in line for line in describe(data))


def test_auto_never_mixes_clocks_by_itself(tmp_path: Path) -> None:
    path = twist_bag(tmp_path / 'twist', ahead=0.0)
    with pytest.raises(BagError, match='by header as configured, but messages of /cmd_vel carry'):
        made(tmp_path, path, *TWIST, 'dataset.camera_time=header')
    data = made(tmp_path, path, *TWIST, 'dataset.camera_time=receive', out='same')
    assert set(data.metas['twist']['time']['topics'].values()) == {'receive'}


def test_clocks_that_are_far_apart_cannot_be_mixed(tmp_path: Path) -> None:
    path = twist_bag(tmp_path / 'twist', ahead=-1000.0)
    words = ('dataset.camera_time=header', 'dataset.command_time=receive')
    with pytest.raises(BagError, match=r'up to 100 s from when they were received, too far'):
        made(tmp_path, path, *TWIST, *words)


def test_commands_whose_clock_jumps_before_that_of_the_camera_are_not_lost(
    tmp_path: Path,
) -> None:
    bag = TinyBag(tmp_path / 'loop')
    for tick in range(80):
        bag.command(tick if tick < 40 else tick - 500, value=tick, late=0 if tick < 40 else 500)
        late = 0.5 if tick < 40 else 500.5
        bag.frame(tick if tick < 40 else tick - 500, value=tick, late=late)
    data = made(tmp_path, bag.close())
    assert shown(data).tolist() == list(range(80))
    assert data.actions(np.arange(80))[:, 0].tolist() == list(range(80))


def test_a_simulation_that_begins_again_does_not_mix_its_runs(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'again')
    for tick in range(80):
        back = 40 if tick >= 40 else 0
        bag.command(tick - back, value=tick, late=back)
        bag.frame(tick - back, value=tick, late=back + 0.2)
    data = made(tmp_path, bag.close())
    assert shown(data).tolist() == list(range(80))
    assert data.actions(np.arange(80))[:, 0].tolist() == list(range(80))


def test_one_odd_stamp_costs_one_command(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'odd')
    for tick in range(80):
        bag.frame(tick)
        bag.command(tick - (1000 if tick == 33 else 0), value=tick, late=1000 * (tick == 33))
    data = made(tmp_path, bag.close(), 'dataset.time=header')
    assert shown(data).tolist() == list(range(80))
    expected = [32 if tick == 33 else tick for tick in range(80)]
    assert data.actions(np.arange(80))[:, 0].tolist() == expected


def marked(path: Path, kind: str, marks: dict[float, Any]) -> Path:
    bag = TinyBag(path)
    for tick in range(100):
        bag.frame(tick)
        bag.command(tick)
        for at, said in marks.items():
            if tick <= at < tick + 1:
                msg = new_message(STORE, kind)
                msg.data = said
                bag.send('/episode', msg, at)
    return bag.close()


@pytest.mark.parametrize('base', ['header', 'receive'])
def test_a_bool_topic_says_when_an_episode_is_on(tmp_path: Path, base: str) -> None:
    marks = {0.5: False, 9.5: True, 20.5: True, 39.5: False, 49.5: True, 69.5: False, 70.5: True}
    path = marked(tmp_path / 'bag', 'std_msgs/msg/Bool', marks)
    words = ('dataset.episode_topic=/episode', f'dataset.time={base}')
    data = made(tmp_path, path, *words)
    ticks = shown(data)
    spans = [(ticks[e.start], ticks[e.stop - 1]) for e in data.episodes]
    assert spans == [(10, 39), (50, 69), (71, 99)]
    dropped = data.metas['bag']['dropped']
    assert dropped['outside of the marked episodes'] == 10 + 10 + 1
    starts = data.starts('all')
    assert (ticks[starts + 5] - ticks[starts] == 5).all()


def test_a_string_topic_names_episodes_and_a_new_name_begins_one(tmp_path: Path) -> None:
    marks = {9.5: 'pick', 15.5: 'pick', 39.5: 'place', 69.5: '', 79.5: 'place'}
    path = marked(tmp_path / 'bag', 'std_msgs/msg/String', marks)
    data = made(tmp_path, path, 'dataset.episode_topic=/episode')
    ticks = shown(data)
    spans = [(ticks[e.start], ticks[e.stop - 1]) for e in data.episodes]
    assert spans == [(10, 39), (40, 69), (80, 99)]


def test_a_mark_holds_on_after_the_clock_has_jumped(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    msg = new_message(STORE, 'std_msgs/msg/Bool')
    msg.data = True
    bag.send('/episode', msg, -1)
    for tick in range(60):
        jump = -500 if tick >= 30 else 0
        bag.frame(tick + jump, value=tick, late=-jump)
        bag.command(tick + jump, value=tick, late=-jump)
    data = made(tmp_path, bag.close(), 'dataset.episode_topic=/episode')
    assert shown(data).tolist() == list(range(60))
    assert [(e.start, e.stop) for e in data.episodes] == [(0, 30), (30, 60)]


def test_a_topic_of_other_messages_marks_no_episodes(tmp_path: Path, tiny_bag: MakeBag) -> None:
    with pytest.raises(BagError, match='TwistStamped, expected std_msgs/msg/Bool'):
        made(tmp_path, tiny_bag(), 'dataset.episode_topic=/cmd_vel')
    with pytest.raises(BagError, match="no topic '/mark'"):
        made(tmp_path, tiny_bag('other'), 'dataset.episode_topic=/mark')


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
    with pytest.raises(BagError, match=r'robot\.camera\.others asks for more cameras'):
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
            read_view(msg, tile.height, tile.width, 'letterbox')
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
    assert 'is cut off' in meta['faults']['/camera/image_raw']
    with pytest.raises(BagError, match=r'/camera/image_raw: 7 of 60 messages are damaged, more'):
        made(tmp_path, jpeg_bag(tmp_path / 'many', set(range(10, 17))), kind, out='worse')
    assert not list((tmp_path / 'worse' / 'shards').iterdir())


def test_commands_that_are_no_numbers_are_dropped_and_told(tmp_path: Path) -> None:
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
    assert '4 bytes hold no header' in data.metas['bag']['faults']['/cmd_vel']


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
    with pytest.raises(DatasetError, match=r'shards/b: cannot be written: No space left'):
        made(tmp_path, tiny_bag('b', range(600)))
    assert contents(tmp_path / 'out') == before
