# SPDX-License-Identifier: Apache-2.0
"""Topics, images, rate, latency and clock are checked, and each no-go names its remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.survey.traffic import Traffic, traffic_in
from smwm_ros.bags.writing.blank import jazzy, new_message
from smwm_ros.bags.writing.raw import open_writer
from smwm_ros.cli import main as smwm
from smwm_ros.config import Camera, Command, Config, Node, Robot
from smwm_ros.errors import BagError
from smwm_ros.verbs.topic_checks import check_topics, check_traffic

IMAGE, TWIST = 'sensor_msgs/msg/Image', 'geometry_msgs/msg/TwistStamped'
ROBOT = Robot(camera=Camera(topic='/eye'), command=Command(topic='/cmd_vel'))
SHIPPED = Path(__file__).resolve().parents[1] / 'models' / 'two_room'


def judge(images: str = '64x64 rgb8', rate: float = 10.0, **words: Any) -> dict[str, bool]:
    """Return the verdict of each check of a camera."""
    return {name: one for name, (one, _) in explain(images, rate, **words).items()}


def explain(
    images: str = '64x64 rgb8',
    rate: float = 10.0,
    age: float = 0.02,
    camera_delay: float = -1.0,
    live: bool = False,
) -> dict[str, tuple[bool, str]]:
    """Return verdict and text of each check of a camera."""
    received = 10**18 + np.arange(50) * round(1e9 / rate)
    stamps = received - round(age * 1e9)
    traffic = {'/eye': Traffic(received, stamps, tuple(images.split(', ')))}
    config = Config(robot=ROBOT, node=replace(Node(), camera_delay=camera_delay))
    found = {one.name: one for one in check_traffic(config, traffic, 64, live)}
    for one in found.values():
        assert one.remedy or one.go, 'each no-go names its remedy'
    return {name: (one.go, f'{one.what} -> {one.remedy}') for name, one in found.items()}


def test_a_usual_camera_fits() -> None:
    assert judge() == {'camera': True, 'rate': True, 'latency': True}
    assert judge(rate=30.0, images='640x480 bgr8')['rate']


@pytest.mark.parametrize('images', ['48x64 rgb8', '64x48 rgb8', '64x64 rgb8, 128x128 rgb8'])
def test_small_images_and_several_sizes_are_no_go(images: str) -> None:
    assert judge(images) == {'camera': False, 'rate': True, 'latency': True}


def test_images_that_cannot_be_read_are_no_go() -> None:
    received = np.arange(9) * 10**8
    traffic = {'/eye': Traffic(received, received, (), "'yuv99': no such encoding")}
    first, *_ = check_traffic(Config(robot=ROBOT), traffic, 64, False)
    assert (first.name, first.go) == ('camera', False)
    assert 'yuv99' in first.what
    (silent,) = check_traffic(Config(robot=ROBOT), {}, 64, False)
    assert (silent.go, silent.what) == (False, 'no image came on /eye')


def test_a_camera_slower_than_control_is_no_go() -> None:
    assert judge(rate=8.1)['rate']
    slow = explain(rate=7.9)['rate']
    assert not slow[0]
    assert '7.9 images/s on /eye, expected at least 8.0 for robot.dt=0.1' in slow[1]


def test_pauses_between_drives_do_not_count_as_a_slow_camera() -> None:
    received = np.concatenate([np.arange(20), 400 + np.arange(20)]) * 10**8
    assert Traffic(received, received).rate == pytest.approx(10.0)
    assert Traffic(received[:1], received[:1]).rate == 0


def test_old_images_are_no_go_unless_their_delay_is_configured() -> None:
    assert judge(age=0.45)['latency']
    late = explain(age=0.6)['latency']
    assert not late[0]
    assert 'received 0.60 s after their stamp' in late[1]
    assert 'set node.camera_delay' in late[1]
    assert judge(age=0.6, camera_delay=0.1)['latency']


def test_stamps_in_the_future_or_hours_off_are_of_another_clock() -> None:
    ahead = explain(age=-0.2)['clock']
    assert not ahead[0]
    assert 'stamps on /eye are 0.20 s in the future' in ahead[1]
    assert 'synchronise the clocks' in ahead[1]
    assert judge(age=-0.05)['latency'], 'clocks that nearly agree'
    assert judge(age=-0.2, camera_delay=0.1)['clock']
    off = explain(age=7200.0, live=True)['clock']
    assert not off[0]
    assert '2 hours after their stamp' in off[1]
    # A recording may have been made in simulated time.
    recorded = explain(age=7200.0)['clock']
    assert recorded[0]
    assert 'simulated time' in recorded[1]


def test_images_without_stamps_have_an_unknown_latency() -> None:
    received = np.arange(9) * 10**8
    traffic = {'/eye': Traffic(received, np.zeros(9, np.int64), ('64x64 rgb8',))}
    *_, last = check_traffic(Config(robot=ROBOT), traffic, 64, True)
    assert last.go
    assert 'latency is unknown' in last.what
    assert 'node.camera_delay' in last.remedy


def test_missing_topics_and_wrong_types_are_named_with_what_there_is() -> None:
    there = {'/eye': [IMAGE], '/cmd_vel': [TWIST]}
    assert check_topics(ROBOT, there, 'here').go
    assert check_topics(ROBOT, {'/eye': [IMAGE]}, 'here').go, 'images alone can be checked'
    other = check_topics(ROBOT, {'/eyes': [IMAGE], '/scan': ['a/msg/B']}, 'here')
    assert not other.go
    assert f"no topic '/eye' (robot.camera.topic); of type {IMAGE}: did you mean '/eyes'" in (
        other.what
    )
    assert '/scan' not in other.what
    commanded = {'/eye': [IMAGE], '/arm/commands': ['a/msg/B']}
    assert not check_topics(ROBOT, commanded, 'here').go, 'commands have another topic'
    assert check_topics(ROBOT, commanded, 'here', live=True).go, 'nobody drives now'
    wrong = check_topics(ROBOT, there | {'/cmd_vel': ['geometry_msgs/msg/Twist']}, 'here')
    assert not wrong.go
    assert f'/cmd_vel is of type geometry_msgs/msg/Twist, expected {TWIST}' in wrong.what


def test_traffic_is_read_from_a_bag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, words = tmp_path / 'bags', ['arena.episodes=1', 'arena.length=60']
    late = ['record.camera_latency=0.7', 'record.camera_stamp=taken', 'record.camera_rate=20']
    assert smwm(['collect', 'two_room', '--out', str(out), *words, *late]) == 0
    (bag,) = find_bags([out])
    seen = traffic_in(bag, ['/camera/image_raw', '/cmd_vel', '/nothing'])
    assert seen.types['/cmd_vel'] == TWIST
    camera = seen.of['/camera/image_raw']
    assert set(seen.of) == {'/camera/image_raw', '/cmd_vel'}
    assert camera.images == ('64x64 rgb8',)
    assert camera.rate == pytest.approx(20)
    assert camera.ages == pytest.approx(0.7)
    assert smwm(['check', str(SHIPPED), '--bag', str(out)]) == 1
    shown = capsys.readouterr().out
    assert re.search(r'NO-GO +latency: images on /camera/image_raw are received 0.70 s', shown)
    assert re.search(r'go +topics: two_room_0000: /camera/image_raw, /cmd_vel, with', shown)


def test_messages_of_a_running_robot_are_written_as_they_came(tmp_path: Path) -> None:
    blank = jazzy().serialize_cdr(new_message(jazzy(), TWIST), TWIST)
    with open_writer(tmp_path / 'live', {'/cmd_vel': TWIST}) as writer:
        for second in range(3):
            writer.write('/cmd_vel', bytes(blank), second * 10**9)
    (bag,) = find_bags([tmp_path / 'live'])
    seen = traffic_in(bag, ['/cmd_vel'])
    assert seen.of['/cmd_vel'].rate == 1
    assert seen.of['/cmd_vel'].ages is None, 'their stamps are zero'
    with (
        pytest.raises(BagError, match=r'give its \.msg files with --msgs'),
        open_writer(tmp_path / 'other', {'/order': 'my_msgs/msg/Order'}),
    ):
        pass
    file = tmp_path / 'my_msgs' / 'msg' / 'Order.msg'
    file.parent.mkdir(parents=True)
    file.write_text('float64 speed\n')
    with open_writer(tmp_path / 'mine', {'/order': 'my_msgs/msg/Order'}, [tmp_path]) as writer:
        writer.write('/order', b'\0\1\0\0' + bytes(8), 5)
    assert traffic_in(find_bags([tmp_path / 'mine'])[0], []).types == {
        '/order': 'my_msgs/msg/Order'
    }
