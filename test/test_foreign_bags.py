# SPDX-License-Identifier: Apache-2.0
"""
Recordings of other recorders are read as well as our own.

The tests write them in the manner of those recorders (foreign.py). Where recordings of other
people lie beside the repository, they are looked at, too.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
from recordings import inspect, read
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.reading.reader import BagReader
from smwm_ros.cli import main
from smwm_ros.errors import BagError
import yaml

Capture = pytest.CaptureFixture[str]
REAL = Path(__file__).resolve().parents[2] / 'shared' / 'bags'
# Recordings of other people, all under Apache-2.0: repository and folder, a topic, its messages.
OTHERS = {
    '05_ur3_jointstate_db3': ('case-a2/stat-ros2-package: ur3_move', '/joint_states', 1052),
    '06_nav2_filezstd_mcap': (
        'ros-navigation/navigation2: nav2_collision_monitor/test/bags/cm_moving_obstacle',
        '/cmd_vel_smoothed',
        231,
    ),
    '09_split_nometa_db3': (
        'ros2/rosbag2: rosbag2_py/test/resources/sqlite3/reindex_test_bags/multiple_files',
        '/chatter',
        3177,
    ),
    '11_ait_images_db3': (
        'AIT-Assistive-Autonomous-Systems/ros2bag_tools: ros2bag_tools/test/images.bag',
        '/image',
        3,
    ),
    '13_empty_db3': ('ros2/rosbag2: ros2bag/test/resources/empty_bag', '', 0),
    '17_message_zstd_db3': (
        'ros2/rosbag2: rosbag2_tests/resources/reindex_test_bags/message_compression',
        '/topic',
        369,
    ),
}


def real(name: str) -> Path:
    """Return a recording made by other people, or skip the test and say where to put it."""
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f'put {OTHERS[name][0]} at {folder} for a second look')
    return folder


def plain(msg: Any) -> Any:
    """Return a message as values that can be compared, whichever store its class is of."""
    if isinstance(msg, list):
        return [plain(one) for one in msg]
    if isinstance(msg, np.ndarray):
        return msg.tolist()
    if hasattr(msg, '__dict__') and not isinstance(msg, type):
        return {name: plain(value) for name, value in vars(msg).items()}
    return msg


@pytest.mark.parametrize('recorder', foreign.RECORDERS)
def test_all_messages_of_other_recorders_are_read_in_the_order_of_time(
    tmp_path: Path, recorder: str
) -> None:
    heard = foreign.RECORDERS[recorder](tmp_path)
    expected = [(one.topic, one.stamp, plain(one.msg)) for one in heard]
    assert [(topic, stamp, plain(msg)) for topic, stamp, msg in read(tmp_path)] == expected


@pytest.mark.parametrize('name', [name for name in OTHERS if OTHERS[name][2]])
def test_recordings_of_other_people_are_read(name: str) -> None:
    messages = read(real(name))
    _, topic, count = OTHERS[name]
    assert sum(found == topic for found, _, _ in messages) == count
    assert all(a[1] <= b[1] for a, b in pairwise(messages))


@pytest.mark.parametrize('version', range(1, 10))
def test_metadata_of_every_version_are_read(tmp_path: Path, version: int) -> None:
    heard = foreign.words(30)
    foreign.write_sqlite(tmp_path / 'talk_0.db3', heard, schema=2 if version > 3 else 1)
    foreign.write_metadata(tmp_path, ['talk_0.db3'], heard, version)
    assert [msg.data for _, _, msg in read(tmp_path)] == [one.msg.data for one in heard]
    (bag,) = find_bags([tmp_path])
    with BagReader(bag) as reader:
        assert (reader.count, reader.notes) == (30, [])


@pytest.mark.parametrize('qos', ['', foreign.QOS, 2 * foreign.QOS, '- {history: keep}', '{[', 7])
def test_what_metadata_say_of_qos_costs_no_message(tmp_path: Path, qos: Any) -> None:
    heard = foreign.words(30)
    foreign.write_sqlite(tmp_path / 'talk_0.db3', heard)
    foreign.write_metadata(tmp_path, ['talk_0.db3'], heard, 5)
    about = yaml.safe_load((tmp_path / 'metadata.yaml').read_text())
    (topic,) = about['rosbag2_bagfile_information']['topics_with_message_count']
    topic['topic_metadata']['offered_qos_profiles'] = qos
    (tmp_path / 'metadata.yaml').write_text(yaml.safe_dump(about))
    assert [msg.data for _, _, msg in read(tmp_path)] == [one.msg.data for one in heard]


def refused(path: Path, capsys: Capture) -> None:
    """Check that an empty recording is refused in one line."""
    with pytest.raises(BagError, match=f'{path.name}: the bag is empty'):
        read(path)
    assert main(['inspect', str(path)]) == 2
    assert 'the bag is empty' in capsys.readouterr().err


def test_an_empty_recording_of_another_recorder_is_refused(
    tmp_path: Path, capsys: Capture
) -> None:
    foreign.nothing(tmp_path)
    refused(tmp_path, capsys)


def test_an_empty_recording_of_other_people_is_refused(capsys: Capture) -> None:
    refused(real('13_empty_db3'), capsys)


def drives(found: dict[str, Any]) -> None:
    """Check what is proposed for a bag of commands without a camera."""
    assert found['robot']['command']['topic'] == '/cmd_vel_smoothed'
    assert found['robot']['dt'] == 0.1


def shows(found: dict[str, Any]) -> None:
    """Check what is said of images with empty headers."""
    assert found['topics'][0]['image'] == {'width': 2, 'height': 2, 'encoding': 'mono8'}
    assert found['topics'][0]['header'] == {'flaw': 'stamp is zero'}


def test_recordings_of_other_recorders_are_described(tmp_path: Path, capsys: Capture) -> None:
    for name, check in (('rolling', drives), ('pictures_of_a_script', shows)):
        (tmp_path / name).mkdir()
        foreign.RECORDERS[name](tmp_path / name)
        check(inspect(capsys, tmp_path / name))


def test_recordings_of_other_people_are_described(capsys: Capture) -> None:
    drives(inspect(capsys, real('06_nav2_filezstd_mcap')))
    shows(inspect(capsys, real('11_ait_images_db3')))
