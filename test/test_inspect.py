# SPDX-License-Identifier: Apache-2.0
"""Inspecting tells what is there, and proposes a configuration that converts the bag."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from recordings import image, inspect, MakeBag, STORE, TICK, TinyBag
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.survey import propose
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.cli import main
from smwm_ros.load import load_config
import yaml

Capture = pytest.CaptureFixture[str]


def test_a_bag_is_described_topic_by_topic(tmp_path: Path, capsys: Capture) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in [*range(20), *range(35, 51)]:
        bag.frame(tick, late=0.3 + tick / 100)
        bag.command(tick)
    found = inspect(capsys, bag.close())
    camera, command = found['topics']
    assert camera['name'] == '/camera/image_raw'
    assert camera['messages'] == 36
    assert camera['image'] == {'width': 20, 'height': 16, 'encoding': 'rgb8'}
    assert camera['longest_gap'] == pytest.approx(1.6 + 0.016)
    assert camera['header']['offset'] == pytest.approx(-0.03 - 0.025, abs=0.02)
    assert camera['header']['drift'] == pytest.approx(-0.05, abs=0.005)
    assert command['header'] == {'offset': 0.0, 'drift': 0.0, 'latest': 0.0}
    assert found['scanned'] == 1.0


def test_the_proposed_configuration_converts_the_bag(
    tmp_path: Path, tiny_bag: MakeBag, capsys: Capture
) -> None:
    bag = tiny_bag(ticks=[*range(50), *range(70, 120)])
    assert main(['inspect', str(bag)]) == 0
    block = capsys.readouterr().out.partition('# proposed')[2].partition('\n')[2]
    (tmp_path / 'robot.yaml').write_text(block)
    config = load_config(tmp_path / 'robot.yaml', ['dataset.image_size=16'])
    assert config.robot.command.fields == ('twist.linear.x', 'twist.angular.z')
    assert config.robot.command.high == (119.0, 0.0)
    assert config.robot.dt == 0.1
    assert len(convert([bag], tmp_path / 'out', config).dataset) == 100


def test_fields_that_vary_are_proposed_for_joints_and_state(
    tmp_path: Path, capsys: Capture
) -> None:
    bag = TinyBag(tmp_path / 'arm')
    for tick in range(20):
        bag.frame(tick)
        joints = new_message(STORE, 'sensor_msgs/msg/JointState')
        joints.position = np.array([tick / 10, 0.5, -tick / 10])
        bag.send('/joint_states', joints, tick)
        command = new_message(STORE, 'std_msgs/msg/Float64MultiArray')
        command.data = np.array([tick, 2.0 * tick])
        bag.send('/arm/commands', command, tick)
    robot = inspect(capsys, bag.close())['robot']
    assert robot['command']['topic'] == '/arm/commands'
    assert robot['command']['fields'] == ['data[0]', 'data[1]']
    assert robot['command']['high'] == [19.0, 38.0]
    assert robot['state']['fields'] == ['position[0]', 'position[2]']


def test_commands_that_never_change_are_left_out_and_reported(
    tmp_path: Path, tiny_bag: MakeBag, capsys: Capture
) -> None:
    assert main(['inspect', str(tiny_bag())]) == 0
    said = capsys.readouterr().out
    assert (
        '# fields of /cmd_vel left out, they never change: twist.linear.y (0), twist.lin' in said
    )
    assert yaml.safe_load(said.partition('\n\n')[2])['robot']['command']['fields'] == [
        'twist.linear.x',
        'twist.angular.z',
    ]
    bag = TinyBag(tmp_path / 'parked')
    for tick in range(20):
        bag.frame(tick)
        bag.command(tick, value=0.25)
    path = bag.close()
    assert main(['inspect', str(path)]) == 0
    assert '# /cmd_vel never changes, so a model cannot learn from it' in capsys.readouterr().out
    robot = inspect(capsys, path)['robot']
    assert len(robot['command']['fields']) == 6
    assert robot['command']['low'][0] < 0.25 < robot['command']['high'][0]


def test_joints_are_proposed_by_their_names(tmp_path: Path, capsys: Capture) -> None:
    bag = TinyBag(tmp_path / 'arm')
    for tick in range(20):
        bag.frame(tick)
        joints = new_message(STORE, 'sensor_msgs/msg/JointState')
        joints.name = ['elbow', 'wrist'][:: 1 if tick % 2 else -1]
        joints.position = np.array([tick / 10, 0.5][:: 1 if tick % 2 else -1])
        bag.send('/joint_states', joints, tick)
    command = inspect(capsys, bag.close())['robot']['command']
    assert command['topic'] == '/joint_states'
    assert command['fields'] == ['position[name=elbow]']
    assert (command['low'], command['high']) == ([-1.9], [1.9]), 'of a change'


PACES = {  # ticks from frame to frame and from command to command, and commands that are sent
    'as usual': (1.0, 1.0, range(1000)),
    'camera at 7.3 Hz': (1.37, 0.5, range(1000)),
    'camera at 1 Hz': (10.0, 1.0, range(1000)),
    'commands at 1 Hz': (1.0, 10.0, range(1000)),
    'commands now and then': (0.3, 1.0, [*range(30), *range(90, 150), *range(240, 290)]),
}


@pytest.mark.parametrize(
    ('camera', 'command', 'dt', 'block'),  # [Hz], [s] and raw actions in a model step
    [
        (30, 20, 0.1, 5),  # a stick faster than the ticks
        (15, 50, 0.1334, 4),
        (10, 10, 0.1, 5),
        (7.5, 10, 0.1334, 4),
        (60, 10, 0.1, 5),
        (29.97, 20, 0.1, 5),
        (24, 100, 0.0834, 6),
        (30, 8, 0.1334, 4),  # not faster than the commands
        (10, 1, 0.2, 2),  # but no slower than models are trained at
        (1, 10, 1.0, 1),  # unless the camera is
    ],
)
def test_the_control_period_is_a_whole_number_of_frames_and_a_model_step_half_a_second(
    tmp_path: Path, capsys: Capture, camera: float, command: float, dt: float, block: int
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    heard = [(10 * number / camera, 'frame') for number in range(int(20 * camera))]
    heard += [(10 * number / command + 0.1, 'command') for number in range(int(20 * command))]
    for tick, what in sorted(heard):
        if what == 'frame':
            bag.frame(tick)
        else:
            bag.command(tick, value=np.sin(tick / 7))
    path = bag.close()
    found = inspect(capsys, path)
    assert found['robot']['dt'] == dt
    assert found['dataset']['action_block'] == block
    frames = dt * camera
    assert abs(frames - round(frames)) < 0.005
    assert round(frames) >= 1
    assert main(['inspect', str(path)]) == 0
    said = capsys.readouterr().out
    each = 'every frame' if round(frames) == 1 else f'one frame in {round(frames)}'
    assert f'# robot.dt={dt:g}: {each} of the camera, which has {camera:.3g} Hz; ' in said
    assert f'# dataset.action_block={block}: a model step of ' in said
    words = [f'robot.dt={dt}', 'dataset.max_frame_age=2', 'dataset.hold=2']
    config = load_config(None, ['dataset.image_size=16', *words])
    data = convert([path], tmp_path / 'out', config).dataset
    assert data.metas['bag']['counts']['frames shown again'] == 0


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('camera', [-1.0, 1e-9])  # [s], by damaged stamps
def test_a_camera_whose_stamps_are_damaged_gets_a_usual_control_period(camera: float) -> None:
    dt, _ = propose._control_period(camera, 0.1)
    assert dt == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize('pace', PACES)
def test_what_is_proposed_converts_the_bag_whatever_its_rates(
    tmp_path: Path, capsys: Capture, pace: str
) -> None:
    frame_every, command_every, sent = PACES[pace]
    bag = TinyBag(tmp_path / 'bag')
    heard = [(number * frame_every, 'frame') for number in range(int(300 / frame_every))]
    heard += [(n * command_every, 'command') for n in sent if n * command_every < 300]
    for tick, what in sorted(heard):
        if what == 'frame':
            bag.frame(tick)
        else:
            bag.command(tick, value=np.sin(tick / 7))
    path = bag.close()
    assert main(['inspect', str(path)]) == 0
    said = capsys.readouterr().out
    assert ('set dataset.after_hold=zero to keep them' in said) == ('now' in pace)
    (tmp_path / 'robot.yaml').write_text(said.partition('# proposed')[2].partition('\n')[2])
    config = load_config(tmp_path / 'robot.yaml', ['dataset.image_size=16'])
    data = convert([path], tmp_path / 'out', config).dataset
    assert len(data) >= 0.9 * len(sent if 'now' in pace else range(int(30 / config.robot.dt)))
    beyond = data.metas['bag']['counts']['actions beyond the limits']
    assert beyond == 0, 'limits are rounded outwards'


def test_a_camera_that_can_be_read_is_proposed_colour_before_depth(
    tmp_path: Path, capsys: Capture
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    depth = image(np.zeros((16, 20, 2)), '16UC1')
    video = new_message(STORE, 'sensor_msgs/msg/CompressedImage')
    video.format, video.data = 'h264', np.arange(99, dtype=np.uint8)
    for tick in range(20):
        for topic, msg, often in (('/depth', depth, 2), ('/video', video, 3)):
            for number in range(often):
                bag.send(topic, msg, tick + number / 9)
        bag.frame(tick)
        bag.send('/rear', image(np.zeros((9, 30, 3)), 'bgr8'), tick)
        bag.command(tick)
    path = bag.close()
    found = inspect(capsys, path)
    assert found['robot']['camera']['topic'] == '/camera/image_raw'
    assert 'set robot.camera.others: /depth /rear' in found['remarks'][0]
    assert main(['inspect', str(path)]) == 0
    assert 'a packet of 99 bytes has no NAL unit, expected h264' in capsys.readouterr().out


def test_commands_of_a_type_that_only_the_bag_knows_are_proposed(
    tmp_path: Path, capsys: Capture
) -> None:
    text = 'std_msgs/Header header\nuint8 mode\nacme_msgs/Wheel left\nacme_msgs/Wheel right'
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg('float32 speed\nstring name', 'acme_msgs/msg/Wheel'))
    store.register(get_types_from_msg(text, 'acme_msgs/msg/Wheels'))
    msg = new_message(store, 'acme_msgs/msg/Wheels')
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        topic = bag.add_connection('/wheel_cmd', msg.__msgtype__, typestore=store)
        for number in range(20):
            msg.left.speed, msg.right.speed = number / 8, np.nan if number == 5 else -number / 4
            bag.write(topic, number * TICK, store.serialize_cdr(msg, msg.__msgtype__))
    command = inspect(capsys, tmp_path / 'bag')['robot']['command']
    assert command['fields'] == ['left.speed', 'right.speed']
    assert (command['low'], command['high']) == ([0.0, -4.75], [2.375, 0.0])


def test_of_joints_that_two_nodes_publish_those_of_one_are_proposed(
    tmp_path: Path, capsys: Capture
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(30):
        bag.frame(tick)
        bag.command(tick)
        msg = new_message(STORE, 'sensor_msgs/msg/JointState')
        msg.name = ['grip', 'thumb'] if tick % 3 == 0 else ['elbow', 'wrist']
        msg.position = np.array([tick, 2.0 * tick])
        msg.velocity = np.array([3.0 * tick, tick])
        bag.send('/joint_states', msg, tick)
    state = inspect(capsys, bag.close())['robot']['state']
    assert state['fields'] == ['position[name=elbow]', 'position[name=wrist]']


def test_trajectories_without_positions_are_proposed_by_their_velocities(
    tmp_path: Path, capsys: Capture
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    msg = new_message(STORE, 'trajectory_msgs/msg/JointTrajectory')
    msg.joint_names = ['elbow']
    for tick in range(30):
        bag.frame(tick)
        point = new_message(STORE, 'trajectory_msgs/msg/JointTrajectoryPoint')
        point.velocities = np.array([float(tick)])
        msg.points = [point] if tick % 9 else []
        bag.send('/arm/joint_trajectory', msg, tick)
    command = inspect(capsys, bag.close())['robot']['command']
    assert command['fields'] == ['points[0].velocities[joint_names=elbow]']


def test_for_a_bag_without_commands_a_replacement_is_proposed(
    tmp_path: Path, capsys: Capture
) -> None:
    bag = TinyBag(tmp_path / 'walk')
    for tick in range(20):
        bag.frame(tick)
        msg = new_message(STORE, 'nav_msgs/msg/Odometry')
        msg.pose.pose.position.x = float(tick)
        bag.send('/odom', msg, tick)
    assert main(['inspect', str(bag.close())]) == 0
    assert 'next_state_delta makes actions of /odom' in capsys.readouterr().out


def test_thumbnails_show_the_bag_from_its_beginning_to_its_end(
    tmp_path: Path, tiny_bag: MakeBag, capsys: Capture
) -> None:
    bags = [tiny_bag('a', range(200)), tiny_bag('b', range(3))]
    strip = tmp_path / 'new' / 'strip.png'
    assert main(['inspect', *map(str, bags), '--thumbnails', str(strip)]) == 0
    pixels = cv2.imread(str(strip))
    assert pixels is not None
    assert pixels.shape == (2 * 128, 12 * 128, 3)
    shown = pixels[64, 64::128, 0].astype(int)
    assert shown[0] == 0
    assert (np.diff(shown) > 10).all()
    assert 'frames of 2 bags' in capsys.readouterr().out


def test_of_several_bags_the_whole_ones_are_described_and_the_others_named(
    tmp_path: Path, tiny_bag: MakeBag, capsys: Capture
) -> None:
    for name in 'ace':
        tiny_bag(name)
    (tmp_path / 'bags' / 'b.mcap').write_bytes(b'nonsense')
    assert main(['inspect', '--json', str(tmp_path / 'bags')]) == 2
    said = capsys.readouterr()
    paths = [json.loads(line)['path'] for line in said.out.splitlines()]
    assert [Path(path).name for path in paths] == ['a', 'c', 'e']
    assert '1 of 4 cannot be read: ' in said.err
    assert 'b.mcap: ' in said.err


def test_a_dataset_is_described_with_its_episodes_and_sources(
    tmp_path: Path, tiny_bag: MakeBag, capsys: Capture
) -> None:
    bag = tiny_bag(ticks=[*range(20), *range(30, 55)])
    convert([bag], tmp_path / 'out', load_config(None, ['dataset.image_size=16']))
    found = inspect(capsys, tmp_path / 'out')
    assert found['kind'] == 'dataset'
    assert [e['stop'] - e['start'] for e in found['episodes']] == [20, 25]
    assert found['transitions'] == 15 + 20
    assert found['shards']['bag']['source']['files'] == ['bag.mcap']


def test_a_checkpoint_describes_the_robot_it_was_made_for(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / 'model.safetensors').write_bytes(bytes(2_000_000))
    (tmp_path / 'meta.json').write_text(json.dumps({'robot': {'dt': 0.1}}))
    found = inspect(capsys, tmp_path)
    assert (found['kind'], found['meta']) == ('checkpoint', {'robot': {'dt': 0.1}})
    assert main(['inspect', str(tmp_path)]) == 0
    head, *rest = capsys.readouterr().out.splitlines()
    assert '2.0 MB of weights' in head
    assert yaml.safe_load('\n'.join(rest)) == {'robot': {'dt': 0.1}}
    (tmp_path / 'meta.json').write_text('{')
    assert main(['inspect', str(tmp_path)]) == 2
    assert 'meta.json: damaged: not valid JSON' in capsys.readouterr().err
