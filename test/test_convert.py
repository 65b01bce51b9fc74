# SPDX-License-Identifier: Apache-2.0
"""What is in the dataset is what was in the bags, each action beside its own frame."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys
from time import sleep
from typing import Any

import numpy as np
import pytest
from recordings import BEGIN, image, MakeBag, STORE, TICK, TinyBag
from rosbags.rosbag2 import StoragePlugin
from smwm_ros.bags.converting import convert as convert_module
from smwm_ros.bags.converting import pool
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.converting.job import convert_bag
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.cli import main
from smwm_ros.config import Config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.describe import describe
from smwm_ros.errors import BagError, ConfigError, DatasetError, OutputError
from smwm_ros.load import load_config


def config(*words: str) -> Config:
    return load_config(None, ['dataset.image_size=16', *words])


def made(tmp_path: Path, *bags: Path, words: tuple[str, ...] = ()) -> TransitionDataset:
    return convert(bags, tmp_path / 'out', config(*words)).dataset


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a dataset."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


def shown(data: TransitionDataset) -> Any:
    """Return the tick that each row's frame shows."""
    return data.pixels(np.arange(len(data)))[:, 8, 8, 0].astype(int)


@pytest.mark.parametrize('storage', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_every_row_holds_the_frame_and_the_action_of_its_tick(
    tmp_path: Path, tiny_bag: MakeBag, storage: StoragePlugin
) -> None:
    data = made(tmp_path, tiny_bag(ticks=range(40), storage=storage))
    rows = np.arange(40)
    assert shown(data).tolist() == rows.tolist()
    assert (data.actions(rows) == np.stack([rows, -rows], 1)).all()
    assert (data.stamps == BEGIN + rows * TICK).all()
    assert [(episode.start, episode.stop) for episode in data.episodes] == [(0, 40)]
    assert len(data.starts('all')) == 35


def test_a_gap_splits_episodes_and_no_transition_crosses_it(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    ticks = [*range(20), *range(26, 50), *range(60, 64), *range(70, 95)]
    data = made(tmp_path, tiny_bag(ticks=ticks))
    rows = shown(data)
    spans = [(rows[e.start], rows[e.stop - 1]) for e in data.episodes]
    assert spans == [(0, 19), (26, 49), (70, 94)]  # 60 to 63 is too short
    starts = data.starts('all')
    assert (rows[starts + 5] - rows[starts] == 5).all()
    assert data.metas['bag']['counts']['gaps between frames'] == 3
    assert data.metas['bag']['dropped']['in a stretch of fewer than 10 ticks'] == 4


def test_a_fast_camera_gives_the_last_frame_at_each_tick(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'fast')
    for number in range(90):  # 3 frames and 2 commands in a tick
        bag.frame(number / 3, value=number)
        if number % 3:
            bag.command(number / 3, value=number)
    data = made(tmp_path, bag.close())
    assert shown(data).tolist() == list(range(0, 90, 3))
    assert data.actions(np.arange(30))[:, 0].tolist() == list(range(2, 92, 3))[:30]
    assert data.metas['fast']['counts']['frames decoded'] == 30


def test_the_same_bag_gives_the_same_bytes_and_again_changes_nothing(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    bags = [tiny_bag('a'), tiny_bag('b', offset=100)]
    first = convert(bags, tmp_path / 'one', config())
    again = convert(bags, tmp_path / 'one', config())
    other = convert(reversed(bags), tmp_path / 'two', config(), jobs=2)
    assert (first.converted, first.kept) == (2, 0)
    assert (again.converted, again.kept) == (0, 2)
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')
    assert first.dataset.fingerprint == other.dataset.fingerprint


def test_an_interrupted_conversion_ends_like_one_that_was_not(
    tmp_path: Path, tiny_bag: MakeBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    bags = [tiny_bag(name, offset=30 * n) for n, name in enumerate(['a', 'b', 'c'])]
    convert(bags, tmp_path / 'whole', config())
    whole, begun = convert_bag, list[str]()

    def killed(bag: Any, folder: Path, *rest: Any) -> None:
        begun.append(bag.name)
        if bag.name == 'b':  # what kill -9 leaves behind: a temporary folder
            left = folder.with_name('.b.1.tmp')
            left.mkdir(parents=True)
            (left / 'pixels.npy').write_bytes(b'half')
            raise KeyboardInterrupt
        whole(bag, folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(pool, 'convert_bag', killed)
        with pytest.raises(KeyboardInterrupt):
            convert(bags, tmp_path / 'out', config())
    assert begun == ['a', 'b']
    with pytest.raises(DatasetError, match='interrupted; run smwm convert again'):
        TransitionDataset.open(tmp_path / 'out')
    summary = convert(bags, tmp_path / 'out', config())
    assert (summary.converted, summary.kept) == (2, 1)
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def test_a_killed_conversion_ends_like_one_that_was_not(tmp_path: Path, tiny_bag: MakeBag) -> None:
    bags = [tiny_bag(name, range(400), offset=n) for n, name in enumerate('abcd')]
    convert(bags, tmp_path / 'whole', config())
    words = [sys.executable, '-m', 'smwm_ros.cli', 'convert', *map(str, bags)]
    words += ['--out', str(tmp_path / 'out'), 'dataset.image_size=16']
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (tmp_path / 'out' / 'shards' / 'a').is_dir():
            sleep(0.001)
        process.kill()
    assert (tmp_path / 'out' / 'shards' / 'a').is_dir()
    convert(bags, tmp_path / 'out', config())
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def test_a_full_disk_keeps_what_was_whole(
    tmp_path: Path, tiny_bag: MakeBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, tiny_bag('a'))
    before = contents(tmp_path / 'out')

    def full(*_args: Any, **_rows: Any) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('smwm_ros.data.shards.ShardWriter.append', full)
    with pytest.raises(OutputError, match='No space left on device'):
        convert([tiny_bag('b')], tmp_path / 'out', config())
    assert contents(tmp_path / 'out') == before


def test_a_new_bag_adds_a_shard(tmp_path: Path, tiny_bag: MakeBag) -> None:
    made(tmp_path, tiny_bag('a'))
    data = made(tmp_path, tiny_bag('b', offset=100))
    assert list(data.metas) == ['a', 'b']
    assert shown(data).tolist() == [*range(30), *range(100, 130)]


def test_another_recording_of_the_same_name_is_refused(tmp_path: Path, tiny_bag: MakeBag) -> None:
    bag = tiny_bag('a')
    made(tmp_path, bag)
    for path in bag.iterdir():
        path.unlink()
    bag.rmdir()
    tiny_bag('a', offset=1)
    with pytest.raises(DatasetError, match="another bag with the same name 'a'"):
        made(tmp_path, bag)
    data = convert([bag], tmp_path / 'out', config(), fresh=True).dataset
    assert shown(data)[0] == 1


def test_another_configuration_is_refused_by_its_keys(tmp_path: Path, tiny_bag: MakeBag) -> None:
    bag = tiny_bag()
    made(tmp_path, bag)
    before = contents(tmp_path / 'out')
    with pytest.raises(
        DatasetError, match=r'another configuration: dataset\.action=last \(now mean\), robot\.dt'
    ):
        made(tmp_path, bag, words=('dataset.action=mean', 'robot.dt=0.2'))
    assert contents(tmp_path / 'out') == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, tiny_bag: MakeBag) -> None:
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'thesis.tex').write_text('do not lose')
    for fresh in (False, True):
        with pytest.raises(DatasetError, match=r'not a dataset, it contains thesis\.tex'):
            convert([tiny_bag(f'bag{fresh}')], tmp_path / 'out', config(), fresh=fresh)
    assert (tmp_path / 'out' / 'thesis.tex').read_text() == 'do not lose'


def test_no_transitions_say_why_and_leave_nothing(tmp_path: Path, tiny_bag: MakeBag) -> None:
    bag = tiny_bag(ticks=range(0, 60, 3))
    with pytest.raises(
        DatasetError,
        match=r'no transitions; .*; frames are 0\.3 s apart, more than dataset\.max_frame_age=0',
    ):
        made(tmp_path, bag)
    assert not (tmp_path / 'out').exists()
    assert len(made(tmp_path, bag, words=('dataset.max_frame_age=0.35',)))


def test_without_commands_the_error_says_what_keeps_the_ticks(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'idle')
    for tick in range(30):
        bag.frame(tick)
    bag.command(0)
    path = bag.close()
    with pytest.raises(
        DatasetError,
        match=r'no command was received in time; .*after_hold=zero to keep',
    ):
        made(tmp_path, path, words=('dataset.hold=0',))
    assert len(made(tmp_path, path, words=('dataset.after_hold=zero',))) == 30


def test_a_missing_topic_lists_what_is_there(tmp_path: Path, tiny_bag: MakeBag) -> None:
    with pytest.raises(
        BagError, match=r"no topic '/cmd_val'; did you mean '/cmd_vel'.*topics in the bag: "
    ):
        made(tmp_path, tiny_bag(), words=('robot.command.topic=/cmd_val',))
    with pytest.raises(BagError, match=r'is of type geometry_msgs/msg/TwistStamped, expected'):
        made(
            tmp_path,
            tiny_bag('b'),
            words=(
                'robot.command.type=geometry_msgs/msg/Twist',
                'robot.command.fields=[linear.x,angular.z]',
            ),
        )


def test_damaged_frames_are_left_out_up_to_a_limit(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'hurt')
    for tick in range(60):
        if tick == 30:
            msg = image(np.zeros((16, 20, 3)))
            msg.height, msg.width, msg.step, msg.data = 480, 640, 1920, msg.data[:30]
            bag.send('/camera/image_raw', msg, tick)
        else:
            bag.frame(tick)
        bag.command(tick)
    path = bag.close()
    data = made(tmp_path, path)
    assert shown(data).tolist() == [*range(30), *range(31, 60)]
    assert len(data.episodes) == 2
    assert '640x480 has 30 bytes' in data.metas['hurt']['faults']['/camera/image_raw']
    with pytest.raises(BagError, match=r'1 of 60 messages damaged.*max_damaged=0\.01'):
        convert([path], tmp_path / 'strict', config('dataset.max_damaged=0.01'))


def test_a_clock_that_jumps_back_begins_anew(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'loop')
    for tick in range(80):
        jump = -500 if tick >= 40 else 0  # the headers go back by 50 s
        bag.frame(tick + jump, value=tick, late=-jump)
        bag.command(tick + jump, value=tick, late=-jump)
    data = made(tmp_path, bag.close())
    assert shown(data).tolist() == list(range(80))
    assert data.actions(np.arange(80))[:, 0].tolist() == list(range(80))
    assert [(e.start, e.stop) for e in data.episodes] == [(0, 40), (40, 80)]
    assert data.metas['loop']['counts']['steps back of the clock'] == 1


def test_frames_that_come_late_or_twice_are_counted_and_left_out(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'mixed')
    for tick in range(30):
        bag.frame(tick)
        bag.command(tick)
        if tick == 12:
            bag.frame(12, value=99, late=0.2)
        if tick == 20:
            bag.frame(18.5, value=98, late=1.7)
    data = made(tmp_path, bag.close())
    assert shown(data).tolist() == list(range(30))
    counts = data.metas['mixed']['counts']
    assert (counts['frames with a repeated stamp'], counts['frames out of order']) == (1, 1)


def test_measured_state_stands_beside_the_frames(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'odometry')
    for tick in range(30):
        bag.frame(tick)
        bag.command(tick)
        msg = new_message(STORE, 'nav_msgs/msg/Odometry')
        msg.pose.pose.position.x = tick / 8
        bag.send('/odom', msg, tick - 0.25)
    data = made(tmp_path, bag.close(), words=('robot.state.topic=/odom',))
    assert np.array_equal(data.states(np.arange(30))[:, 0], np.arange(30) / 8)


def test_odometry_that_stutters_costs_no_frame(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'stutter')
    rng = np.random.default_rng(0)
    for tick in range(200):
        bag.frame(tick)
        bag.command(tick)
        if rng.random() < 0.6:
            bag.pose(tick, tick / 8)
    path = bag.close()
    without = convert([path], tmp_path / 'without', config()).dataset
    data = convert([path], tmp_path / 'with', config('robot.state.topic=/odom')).dataset
    rows = np.arange(200)
    assert len(data) == len(without) == 200
    assert data.episodes == without.episodes
    assert np.array_equal(data.pixels(rows), without.pixels(rows))
    assert np.array_equal(data.actions(rows), without.actions(rows))
    known = data.measured(rows)
    assert 100 < known.sum() < 190
    late = rows - 8 * data.states(rows)[:, 0]  # ticks; a state may be 0.15 s old
    assert set(late[known]) == {0.0, 1.0}
    unknown = data.metas['stutter']['counts']['ticks without a measured state']
    assert unknown == (~known).sum()
    assert f'  ticks without a measured state: {unknown}' in describe(data)


def test_commands_without_a_header_make_everything_go_by_receive_time(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'twist')
    for tick in range(30):
        bag.frame(tick, late=2)
        msg = new_message(STORE, 'geometry_msgs/msg/Twist')
        msg.linear.x = float(tick)
        bag.send('/cmd_vel', msg, tick + 2)
    words: tuple[str, ...] = ('robot.command.type=geometry_msgs/msg/Twist',)
    words += ('robot.command.fields=[linear.x]',)
    words += ('robot.command.low=[-1]', 'robot.command.high=[1]')
    path = bag.close()
    data = made(tmp_path, path, words=words)
    assert data.metas['twist']['time'] == {
        'base': 'receive',
        'why': 'messages of /cmd_vel have no header',
        'topics': {'/camera/image_raw': 'receive', '/cmd_vel': 'receive'},
    }
    assert data.actions(np.arange(30))[:, 0].tolist() == shown(data).tolist()
    with pytest.raises(BagError, match='time=header cannot be used: messages of /cmd_vel have no'):
        convert([path], tmp_path / 'header', config('dataset.time=header', *words))


def test_the_command_line_says_what_was_made(
    tmp_path: Path, tiny_bag: MakeBag, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['convert', str(tiny_bag()), '--out', str(tmp_path / 'out'), 'dataset.image_size=16']
    assert main(words) == 0
    said = capsys.readouterr()
    assert '1 episode (0% held out, in 0 episodes), 30 ticks, 25 transitions' in said.out
    assert 'warning: no episode is held out, but smwm train requires' in said.err
    assert 'or one of at least 8 s without a gap' in said.err
    assert main([*words, 'dataset.resize=crop']) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('smwm convert: ')
    assert 'dataset.resize=stretch (now' in error


def test_an_unknown_knob_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'resize'"):
        made(tmp_path, tmp_path / 'none', words=('dataset.resise=crop',))


def test_one_bad_bag_among_several_is_named_and_the_good_ones_stay(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    good, bad = tiny_bag('a'), tmp_path / 'bags' / 'b.mcap'
    bad.write_bytes(b'nonsense')
    for jobs in (1, 2, None):
        with pytest.raises(BagError, match=r'b\.mcap: cannot be read: File magic is invalid'):
            convert([good, bad], tmp_path / f'out{jobs}', config(), jobs)
        assert [item.name for item in (tmp_path / f'out{jobs}' / 'shards').iterdir()] == ['a']
        summary = convert([good], tmp_path / f'out{jobs}', config())
        assert (summary.kept, len(summary.dataset)) == (1, 30)


@pytest.mark.parametrize('jobs', [1, 2])
def test_bags_that_cannot_be_converted_are_named_or_left_out(
    tmp_path: Path, tiny_bag: MakeBag, jobs: int
) -> None:
    bags = [tiny_bag(name, offset=number) for number, name in enumerate('aceg')]
    for name in 'bd':
        bags.append(tmp_path / 'bags' / f'{name}.mcap')
        bags[-1].write_bytes(b'nonsense')
    with pytest.raises(BagError, match=r'2 of 6 bags .*b\.mcap: .*d\.mcap: .*; use --skip to'):
        convert(bags, tmp_path / 'out', config(), jobs)
    with pytest.raises(DatasetError, match='not a dataset'):
        TransitionDataset.open(tmp_path / 'out')
    summary = convert(bags, tmp_path / 'out', config(), jobs, skip=True)
    assert (summary.converted, summary.kept, list(summary.skipped)) == (0, 4, ['b', 'd'])
    good = convert([bag for bag in bags if bag.is_dir()], tmp_path / 'good', config()).dataset
    assert summary.dataset.fingerprint == good.fingerprint
    with pytest.raises(BagError, match=r'2 of 2 bags cannot be converted: '):
        convert(bags[-2:], tmp_path / 'none', config(), jobs, skip=True)
    assert not (tmp_path / 'none').exists()


def test_bags_that_cannot_be_converted_are_named_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bags = [tmp_path / f'{name}.mcap' for name in 'abc']
    for bag in bags:
        bag.write_bytes(b'nonsense')
    monkeypatch.setattr(convert_module, 'run', lambda todo, *rest: pool.run(todo[::-1], *rest))
    with pytest.raises(BagError, match=r'a\.mcap: .*b\.mcap: .*c\.mcap: '):
        convert(bags, tmp_path / 'out', config(), 1)


def test_a_configuration_that_suits_no_bag_is_not_tried_on_all_of_them(
    tmp_path: Path, tiny_bag: MakeBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    bags, tried = [tiny_bag(f'bag{number}') for number in range(6)], list[str]()
    try_convert = pool.try_convert

    def noted(task: Any, report: Any) -> Any:
        tried.append(task.bag.name)
        return try_convert(task, report)

    monkeypatch.setattr(pool, 'try_convert', noted)
    with pytest.raises(BagError, match=r"the first 3 of 6 .*bag0: no topic '/front'"):
        made(tmp_path, *bags, words=('robot.camera.topic=/front',))
    assert tried == ['bag0', 'bag1', 'bag2']


def test_a_topic_without_a_leading_slash_is_found_in_a_bag_where_all_have_one(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    bag = tiny_bag(ticks=range(40))
    words = ('robot.camera.topic=camera/image_raw', 'robot.command.topic=cmd_vel')
    data = made(tmp_path, bag, words=words)
    assert len(data) == 40
    kept = data.info.robot['camera']['topic']
    assert kept == 'camera/image_raw', 'the node puts it into its namespace'
    absolute = tuple(word.replace('=', '=/') for word in words)
    same = convert([bag], tmp_path / 'same', config(*absolute)).dataset
    assert np.array_equal(data.pixels(np.arange(40)), same.pixels(np.arange(40)))
    with pytest.raises(BagError, match='/camera/elsewhere'):
        convert([bag], tmp_path / 'no', config('robot.camera.topic=camera/elsewhere'))
