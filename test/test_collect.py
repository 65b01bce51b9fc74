# SPDX-License-Identifier: Apache-2.0
"""Tests for collecting bags in an arena, and for writing them."""

import shutil
from typing import Any

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_typestore, Stores
from smwm_ros.arenas import ARENA_NAMES, make_arena
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.bags.writing.serialise import ImageTemplate, MessageTemplate
from smwm_ros.bags.writing.writer import BagWriter, COMMAND_DELAY
from smwm_ros.cli import main
from smwm_ros.codec.fields import FieldCodec, FieldReader
from smwm_ros.codec.images import to_rgb
from smwm_ros.collect.record import between, EPISODES_PER_BAG, PAUSE
from smwm_ros.config import Camera, Command, Robot, State
from smwm_ros.errors import BagError, CodecError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import ActionSpec, Frame
from smwm_ros.load import load_config

SMALL = ['arena.episodes=23', 'arena.length=4', 'arena.image_size=16']


def collect(out, *words):
    """Run the verb in this process."""
    return main(['collect', 'two_room', '--out', str(out), *words])


@pytest.fixture(scope='module')
def bags(tmp_path_factory):
    """Return a folder with two bags of 20 and 3 episodes."""
    out = tmp_path_factory.mktemp('collected') / 'bags'
    assert collect(out, '--jobs', '1', *SMALL) == 0
    return out


def contents(folder):
    """Return every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def read(path):
    """Return stamps, receive times and messages of a bag, by topic."""
    found = dict[str, list[tuple[int, int, Any]]]()
    with AnyReader([path]) as reader:
        for connection, received, raw in reader.messages():
            msg: Any = reader.deserialize(raw, connection.msgtype)
            stamp = msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec
            found.setdefault(connection.topic, []).append((stamp, received, msg))
    return found


def test_a_bag_holds_what_the_robot_says_with_its_topics_types_and_counts(bags):
    with AnyReader([bags / 'two_room_0000']) as reader:
        counts = {item.topic: (item.msgtype, item.msgcount) for item in reader.connections}
    assert counts == {
        '/camera/image_raw': ('sensor_msgs/msg/Image', EPISODES_PER_BAG * 5),
        '/cmd_vel': ('geometry_msgs/msg/TwistStamped', EPISODES_PER_BAG * 4),
        '/odom': ('nav_msgs/msg/Odometry', EPISODES_PER_BAG * 5),
    }
    assert len(read(bags / 'two_room_0001')['/cmd_vel']) == 3 * 4


def test_stamps_lie_on_the_tick_grid_and_episodes_are_parted_by_a_pause(bags):
    topics = read(bags / 'two_room_0000')
    stamps = np.array([stamp for stamp, _, _ in topics['/camera/image_raw']]).reshape(-1, 5)
    assert (np.diff(stamps, axis=1) == 10**8).all()
    assert (stamps[1:, 0] - stamps[:-1, -1] == PAUSE * 1e9).all()
    commands = np.array([stamp for stamp, _, _ in topics['/cmd_vel']]).reshape(-1, 4)
    assert (commands - stamps[:, :-1] == COMMAND_DELAY).all()
    for messages in topics.values():
        assert all(stamp == received for stamp, received, _ in messages)
    later = read(bags / 'two_room_0001')['/camera/image_raw'][0][0]
    assert later - stamps[-1, -1] == PAUSE * 1e9, 'bags do not overlap in time'


def test_frames_have_names_and_odometry_is_a_valid_pose(bags):
    topics = read(bags / 'two_room_0001')
    frames = {topic: messages[0][2].header.frame_id for topic, messages in topics.items()}
    assert frames == {
        '/camera/image_raw': 'camera_optical_frame',
        '/cmd_vel': 'base_link',
        '/odom': 'odom',
    }
    odometry = topics['/odom'][0][2]
    assert odometry.child_frame_id == 'base_link'
    assert odometry.pose.pose.orientation.w == 1.0


def test_recorded_states_and_commands_replay_to_the_recorded_pixels(bags):
    topics = read(bags / 'two_room_0001')
    arena = make_arena('two_room', 16)
    poses = [msg.pose.pose.position for _, _, msg in topics['/odom']]
    pixels = [to_rgb(msg) for _, _, msg in topics['/camera/image_raw']]
    frame = arena.set_state(np.array([poses[0].x, poses[0].y]))
    assert np.array_equal(frame.pixels, pixels[0])
    for step, (_, _, msg) in enumerate(topics['/cmd_vel'][:4]):
        frame = arena.step(np.array([msg.twist.linear.x, msg.twist.linear.y]))
        assert np.array_equal(frame.pixels, pixels[step + 1])
        assert frame.state.tolist() == [poses[step + 1].x, poses[step + 1].y]
    arena.close()


def test_a_bag_may_hold_no_commands_and_is_the_same_otherwise(bags, tmp_path):
    assert collect(tmp_path / 'seen', '--jobs', '1', *SMALL, 'record.commands=false') == 0
    seen, whole = read(tmp_path / 'seen' / 'two_room_0000'), read(bags / 'two_room_0000')
    assert list(seen) == ['/camera/image_raw', '/odom']
    for topic, messages in seen.items():
        assert [(stamp, received) for stamp, received, _ in messages] == [
            (stamp, received) for stamp, received, _ in whole[topic]
        ]
    pictures = [
        [msg.data.tobytes() for _, _, msg in each['/camera/image_raw']] for each in (seen, whole)
    ]
    assert pictures[0] == pictures[1]


def test_several_processes_write_the_same_bytes_as_one(bags, tmp_path):
    assert collect(tmp_path / 'bags', '--jobs', '2', *SMALL) == 0
    assert contents(tmp_path / 'bags') == contents(bags)


def test_a_second_run_makes_only_the_bag_that_is_missing(bags, tmp_path, capsys):
    out = tmp_path / 'bags'
    shutil.copytree(bags, out)
    kept = (out / 'two_room_0000' / 'two_room_0000.mcap').stat().st_mtime_ns
    shutil.rmtree(out / 'two_room_0001')
    (out / '.recording-killed').mkdir()
    assert collect(out, '--jobs', '1', *SMALL) == 0
    assert contents(out) == contents(bags)
    assert (out / 'two_room_0000' / 'two_room_0000.mcap').stat().st_mtime_ns == kept
    assert not list(out.glob('.recording-*'))
    assert '(there already: 1 bag)' in capsys.readouterr().out


def test_another_seed_gives_other_bags(bags, tmp_path):
    assert collect(tmp_path / 'bags', '--jobs', '1', *SMALL, 'arena.seed=1') == 0
    one, other = contents(bags), contents(tmp_path / 'bags')
    name = 'two_room_0000/two_room_0000.mcap'
    assert one[name] != other[name]


def test_another_recipe_is_refused_until_fresh_starts_over(bags, tmp_path, capsys):
    out = tmp_path / 'bags'
    few = [*SMALL, 'arena.episodes=2']
    assert collect(out, *few) == 0
    before = contents(out)
    assert collect(out, *few, 'arena.seed=5') == 2
    assert 'arena.seed=0 there, 5 requested' in capsys.readouterr().err
    assert contents(out) == before
    assert collect(out, '--fresh', *few, 'arena.seed=5') == 0
    assert contents(out) != before


def test_a_folder_of_something_else_is_left_alone_even_by_fresh(tmp_path, capsys):
    (tmp_path / 'thesis.txt').write_text('precious')
    assert collect(tmp_path, '--fresh', *SMALL) == 2
    assert 'not empty, and no collect.json' in capsys.readouterr().err
    assert contents(tmp_path) == {'thesis.txt': b'precious'}


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['robot.dt=0.2'], 'robot.dt: expected 0.1 s in this arena, found 0.2'),
        (
            ['robot.command={fields: [twist.linear.x], low: [-1], high: [1]}'],
            'robot.command.fields: expected 2 fields for this arena',
        ),
        (
            ['robot.state.fields=[pose.pose.position.x]'],
            'robot.state.fields: expected 2 fields for this arena, found 1',
        ),
        (['robot.command.type=geometry_msgs/msg/Twist', '--jobs=1'], "no field 'twist'"),
        (['robot.state.type=nav_msgs/msg/Odometri', '--jobs=1'], "mean 'nav_msgs/msg/Odometry'"),
        (['--jobs=-1'], '--jobs: -1 is out of range'),
        (['arena.episodes=0'], 'arena.episodes: 0 is out of range'),
    ],
)  # fmt: skip
def test_a_configuration_that_does_not_fit_leaves_no_bag(tmp_path, capsys, words, message):
    assert collect(tmp_path / 'bags', *SMALL, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob('*.mcap'))


def test_an_unknown_arena_is_refused(tmp_path, capsys):
    assert main(['collect', 'two_rom', '--out', str(tmp_path / 'bags')]) == 2
    assert (
        f"did you mean 'two_room'? valid: {', '.join(sorted(ARENA_NAMES))}"
        in capsys.readouterr().err
    )


def frame():
    """Return some frame."""
    rng = np.random.default_rng(0)
    return Frame(rng.integers(0, 256, (16, 16, 3), np.uint8), np.array([0.25, -0.5], np.float32))


def test_a_bag_that_is_not_finished_leaves_nothing(tmp_path):
    robot = load_config('two_room').robot

    def fail():
        with BagWriter(tmp_path / 'bag', robot) as bag:
            bag.write(frame(), np.zeros(2), 10**9)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_bag_that_exists_is_not_overwritten(tmp_path):
    (tmp_path / 'bag').mkdir()
    with pytest.raises(BagError, match='bag: exists already'):
        BagWriter(tmp_path / 'bag', load_config('two_room').robot).__enter__()


def test_any_message_types_can_be_written(tmp_path):
    robot = Robot(
        Camera('/eye', 'sensor_msgs/msg/CompressedImage'),
        Command('/go', 'sensor_msgs/msg/JointState', ('velocity[0:2]',), (-1, -1), (1, 1)),
        State('/here', 'sensor_msgs/msg/JointState', ('position[0:2]',)),
    )
    with BagWriter(tmp_path / 'bag', robot) as bag:
        bag.write(frame(), np.array([0.5, -0.5]), 10**9)
    topics = read(tmp_path / 'bag')
    assert np.array_equal(to_rgb(topics['/eye'][0][2]), frame().pixels)
    assert topics['/go'][0][2].velocity.tolist() == [0.5, -0.5]
    assert topics['/here'][0][2].position.tolist() == [0.25, -0.5]


@pytest.mark.parametrize(
    ('kind', 'field'),
    [
        ('geometry_msgs/msg/Twist', 'linear.x'),
        ('std_msgs/msg/Float64MultiArray', 'data[1]'),
        ('std_msgs/msg/Int32', 'data'),
        ('sensor_msgs/msg/JointState', 'effort[name=elbow]'),
        ('trajectory_msgs/msg/JointTrajectory', 'points[1].velocities[joint_names=elbow]'),
        ('tf2_msgs/msg/TFMessage', 'transforms[0].transform.translation.y'),
    ],
)
def test_fields_of_any_depth_can_be_written(tmp_path, kind, field):
    robot = Robot(
        command=Command('/go', kind, (field,), (-9,), (9,)), state=State('/here', kind, (field,))
    )
    with BagWriter(tmp_path / 'bag', robot, 'sqlite3') as bag:
        bag.write(frame()._replace(state=np.array([3.0])), np.array([-7.0]), 10**9)
    with AnyReader([tmp_path / 'bag']) as reader:
        found = {
            item.topic: FieldReader((field,))(reader.deserialize(raw, item.msgtype)).tolist()
            for item, _, raw in reader.messages()
            if item.msgtype == kind
        }
    assert found == {'/go': [-7.0], '/here': [3.0]}


@pytest.mark.parametrize(
    ('kind', 'fields'),
    [
        ('geometry_msgs/msg/TwistStamped', ['twist.linear.x', 'twist.angular.z']),
        ('nav_msgs/msg/Odometry', ['pose.pose.position.y', 'pose.pose.orientation.w']),
        ('sensor_msgs/msg/JointState', ['position[name=b,a]']),
        ('std_msgs/msg/Float32MultiArray', ['data[0:2]']),
        ('std_msgs/msg/Int32MultiArray', ['data[0:2]']),
        ('sensor_msgs/msg/Joy', ['axes[1]', 'buttons[0]']),
    ],
)
def test_messages_written_fast_have_the_bytes_of_those_written_field_by_field(kind, fields):
    store, rng = get_typestore(Stores.ROS2_JAZZY), np.random.default_rng(0)
    letter = MessageTemplate(store, kind, expand(fields), 'somewhere')
    message = new_message(store, kind)
    for stamp in (0, 10**9 - 1, 1_700_000_000_123_456_789):
        values = rng.normal(size=2).round(3)
        FieldCodec(ActionSpec(expand(fields), (), (), 0.1)).decode(values, message)
        if hasattr(message, 'header'):
            message.header.frame_id = 'somewhere'
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
        assert letter.write(values, stamp) == bytes(store.serialize_cdr(message, kind))


@pytest.mark.parametrize('kind', ['sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'])
def test_pictures_of_any_size_come_back(kind):
    store, rng = get_typestore(Stores.ROS2_JAZZY), np.random.default_rng(0)
    picture = ImageTemplate(store, kind, 'camera_optical_frame')
    for height, width in ((16, 16), (16, 16), (17, 5), (5, 17)):
        rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
        stamp = int(rng.integers(10**18))
        message: Any = store.deserialize_cdr(picture.write(rgb, stamp), kind)
        assert np.array_equal(to_rgb(message), rgb)
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == stamp


def test_what_is_seen_within_a_raw_step_lies_between_its_ends_but_for_angles_that_wrap():
    assert between(np.array([0.0, 1.0]), np.array([0.1, 0.8]), 0.25).tolist() == [0.025, 0.95]
    before, after = np.array([0.0, 3.1]), np.array([0.1, -3.1])
    assert between(before, after, 0.3) is before
    assert between(before, after, 0.7) is after
    nothing = np.zeros(0, np.float32)
    assert between(nothing, nothing, 0.5).dtype == np.float32


def test_a_field_that_the_message_lacks_is_refused_before_anything_is_written(tmp_path):
    robot = Robot(state=State('/odom', fields=('pose.pose.position.q',)))
    with pytest.raises(CodecError, match="no field 'q'"):
        BagWriter(tmp_path / 'bag', robot)
    assert not list(tmp_path.iterdir())


def test_every_message_type_of_the_store_has_a_blank_that_serialises():
    store = get_typestore(Stores.ROS2_JAZZY)
    for kind in store.fielddefs:
        store.serialize_cdr(new_message(store, kind), kind)
