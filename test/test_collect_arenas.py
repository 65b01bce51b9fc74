# SPDX-License-Identifier: Apache-2.0
"""Every arena is recorded as a real robot would be, and as ROS 2 reads it."""

from __future__ import annotations

import json
from pathlib import Path
import sqlite3
from typing import Any

import numpy as np
import pytest
from recordings import contents
from rosbags.highlevel import AnyReader
from rosbags.interfaces import ConnectionExtRosbag2, QosDurability, QosReliability
from smwm_ros.arenas import ARENA_NAMES, make_arena
from smwm_ros.bags.reading.topics import as_recorded
from smwm_ros.bags.writing.writer import SUFFIXES
from smwm_ros.cli import main
from smwm_ros.codec.fields import FieldReader
from smwm_ros.codec.images import to_rgb
from smwm_ros.collect.record import TRUTH_TOPIC
from smwm_ros.config import Config
from smwm_ros.load import load_config
import yaml

SMALL = ['--episodes=2', '--jobs=1', 'arena.length=8', 'arena.image_size=32']


def collect(arena: str, out: Path, *words: str) -> Path:
    """Record a bag of two short episodes, and return it."""
    assert main(['collect', arena, f'--out={out}', *SMALL, *words]) == 0
    return out / f'{arena}_0000'


def read(bag: Path) -> dict[str, list[Any]]:
    """Return the messages of a bag by topic, in the order in which they were received."""
    found: dict[str, list[Any]] = {}
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            msg = reader.deserialize(raw, connection.msgtype)
            found.setdefault(connection.topic, []).append(msg)
    return found


@pytest.fixture(params=ARENA_NAMES)
def arena(request: pytest.FixtureRequest) -> str:
    """Return the name of each arena."""
    return str(request.param)


@pytest.mark.parametrize('policy', ['expert', 'random'])
def test_what_is_recorded_replays_to_the_recorded_pixels(
    arena: str, policy: str, tmp_path: Path
) -> None:
    robot = as_recorded(load_config(arena).robot)
    topics = read(collect(arena, tmp_path / 'bags', f'--policy={policy}'))
    state, action = FieldReader(robot.state.fields), FieldReader(robot.command.fields)
    pixels = [to_rgb(msg) for msg in topics[robot.camera.topic]]
    states = [state(msg) for msg in topics[robot.state.topic]]
    actions = [action(msg) for msg in topics[robot.command.topic]]
    assert (len(pixels), len(states), len(actions)) == (18, 18, 16)
    world = make_arena(arena, 32)
    for episode in range(2):
        first = 9 * episode
        assert np.array_equal(world.set_state(states[first]).pixels, pixels[first])
        for step in range(8):
            frame = world.step(actions[8 * episode + step])
            assert np.array_equal(frame.pixels, pixels[first + step + 1])
            assert np.array_equal(frame.state, states[first + step + 1].astype(np.float32))
    world.close()


def test_messages_have_frames_names_and_sound_rotations(arena: str, tmp_path: Path) -> None:
    robot = as_recorded(load_config(arena).robot)
    topics = read(collect(arena, tmp_path / 'bags'))
    assert topics[robot.camera.topic][0].header.frame_id == 'camera_optical_frame'
    for topic, frame in ((robot.command, 'base_link'), (robot.state, robot.state.frame_id)):
        for msg in topics[topic.topic]:
            assert msg.header.frame_id == frame
            if topic.type == 'sensor_msgs/msg/JointState':
                assert msg.name
                assert all(
                    len(numbers) in (0, len(msg.name))
                    for numbers in (msg.position, msg.velocity, msg.effort)
                )
            if topic.type == 'nav_msgs/msg/Odometry':
                turn = msg.pose.pose.orientation
                size = np.linalg.norm([turn.x, turn.y, turn.z, turn.w])
                assert size == pytest.approx(1.0, abs=1e-6)


def test_how_it_is_recorded_does_not_change_what_the_robot_does(
    arena: str, tmp_path: Path
) -> None:
    plain = read(collect(arena, tmp_path / 'plain', 'record.command_loss=0.01'))
    words = ['record.camera_rate=25', 'record.state_rate=40', 'record.camera_jitter=0.005']
    busy = read(collect(arena, tmp_path / 'busy', *words))
    one, other = ([json.loads(msg.data) for msg in x[TRUTH_TOPIC]] for x in (plain, busy))
    for before, after in zip(one, other, strict=True):
        assert before['states'] == after['states']
        assert before['actions'] == after['actions']
    assert len(busy[as_recorded(load_config(arena).robot).camera.topic]) == 2 * 21


@pytest.fixture(scope='module', params=SUFFIXES)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bag of each storage."""
    out = tmp_path_factory.mktemp('stored') / 'bags'
    return collect('two_room', out, f'--storage={request.param}')


def test_metadata_is_what_ros2_bag_of_jazzy_expects(stored: Path) -> None:
    (storage,) = [
        name for name, end in SUFFIXES.items() if (stored / f'{stored.name}{end}').exists()
    ]
    about = yaml.safe_load((stored / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert about['version'] == 9
    assert about['storage_identifier'] == storage
    assert about['relative_file_paths'] == [f'{stored.name}{SUFFIXES[storage]}']
    assert (about['compression_format'], about['compression_mode']) == ('', '')
    assert about['message_count'] == 2 * (9 + 9 + 8)
    assert about['duration']['nanoseconds'] == (0.8 + 5.0 + 0.8) * 1e9
    for topic in about['topics_with_message_count']:
        reported = topic['topic_metadata']
        assert reported['serialization_format'] == 'cdr'
        assert reported['type_description_hash'].startswith('RIHS01_')
        (qos,) = reported['offered_qos_profiles']
        assert (qos['reliability'], qos['durability']) == ('reliable', 'volatile')
        assert qos['deadline'] == {'sec': 9223372036, 'nsec': 854775807}, 'none'


def test_both_storages_hold_the_same_messages_and_qos(stored: Path, tmp_path: Path) -> None:
    other = collect('two_room', tmp_path / 'bags', '--storage=mcap')
    heard = []
    for bag in (stored, other):
        with AnyReader([bag]) as reader:
            heard.append([(c.topic, t, bytes(raw)) for c, t, raw in reader.messages()])
            for connection in reader.connections:
                assert isinstance(connection.ext, ConnectionExtRosbag2)
                (qos,) = connection.ext.offered_qos_profiles
                assert qos.reliability == QosReliability.RELIABLE
                assert qos.durability == QosDurability.VOLATILE
    assert heard[0] == heard[1]


def test_a_sqlite3_bag_has_the_tables_of_rosbag2(tmp_path: Path) -> None:
    bag = collect('two_room', tmp_path / 'bags', '--storage=sqlite3')
    base = sqlite3.connect(bag / f'{bag.name}.db3')
    assert base.execute('SELECT schema_version FROM schema').fetchall() == [(4,)]
    assert base.execute('SELECT count(*) FROM messages').fetchone() == (52,)
    types = base.execute('SELECT topic_type FROM message_definitions ORDER BY 1').fetchall()
    assert ('nav_msgs/msg/Odometry',) in types
    assert base.execute('PRAGMA integrity_check').fetchone() == ('ok',)
    base.close()


def test_a_run_goes_on_with_bags_of_either_storage(stored: Path, tmp_path: Path) -> None:
    storage = yaml.safe_load((stored / 'metadata.yaml').read_text())
    name = storage['rosbag2_bagfile_information']['storage_identifier']
    before = contents(stored)
    assert collect('two_room', stored.parent, f'--storage={name}') == stored
    assert contents(stored) == before


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['two_room', '--policy=expret'], "'expret' is not a choice; did you mean 'expert'?"),
        (['two_room', '--storage=sqlite'], "'sqlite' is not a choice; did you mean 'sqlite3'"),
        (['two_room', '--episodes=0'], 'arena.episodes: 0 is out of range'),
        (['two_room', '--episodes=many'], "arena.episodes: expected a whole number, found 'many'"),
        (['reachr'], "'reachr': no such arena; did you mean 'reacher'?"),
        (['two_room', 'record.camera_loss=1'], 'record.camera_loss: 1.0 is out of range'),
        (['two_room', 'record.camera_lost=1'], "unknown key; did you mean 'camera_loss'?"),
    ],
)  # fmt: skip
def test_what_is_unknown_or_out_of_range_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(['collect', *words, f'--out={tmp_path / "bags"}']) == 2
    reported = capsys.readouterr().err
    assert message in reported
    assert len(reported.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_flags_are_short_forms_of_knobs(tmp_path: Path) -> None:
    bag = collect('two_room', tmp_path / 'flags', '--policy=random')
    other = tmp_path / 'knobs'
    words = ['arena.policy=random', 'arena.episodes=2', 'arena.length=8', 'arena.image_size=32']
    assert main(['collect', 'two_room', f'--out={other}', '--jobs=1', *words]) == 0
    assert contents(other) == contents(bag.parent)


def test_a_recipe_of_an_older_version_goes_on(tmp_path: Path) -> None:
    bag = collect('two_room', tmp_path / 'bags')
    recipe = json.loads((bag.parent / 'collect.json').read_text())
    del recipe['record']
    (bag.parent / 'collect.json').write_text(json.dumps(recipe))
    before = contents(bag)
    assert collect('two_room', bag.parent) == bag
    assert contents(bag) == before


def test_another_way_of_recording_is_another_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = collect('two_room', tmp_path / 'bags')
    assert main(['collect', 'two_room', f'--out={bag.parent}', *SMALL, '--storage=sqlite3']) == 2
    assert 'record.storage=mcap there, sqlite3 requested' in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_text('in the way')
    assert main(['collect', 'two_room', f'--out={tmp_path / "file" / "bags"}', *SMALL]) == 2
    assert (
        'bags: cannot be written: Not a directory; a file is in the way' in capsys.readouterr().err
    )


def test_by_default_a_recording_is_perfect() -> None:
    record = Config().record
    faults = {'loss', 'jitter', 'latency', 'offset', 'drift'}
    assert not any(value for name, value in vars(record).items() if name.split('_')[-1] in faults)
    assert not record.repeated
    assert not record.overtaken
    assert not record.pauses
