# SPDX-License-Identifier: Apache-2.0
"""Images of a camera are found by the transport by which they come: raw, or compressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from recordings import image, STORE, TinyBag
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.reading.frames_at import image_at
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.cli import main
from smwm_ros.codec.transport import as_published, other_transport
from smwm_ros.config import Camera
from smwm_ros.errors import BagError
from smwm_ros.load import load_config
from smwm_ros.verbs.topic_checks import topic_problem

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
TOPIC = '/camera/image_raw'
SMALL = ['dataset.image_size=16', 'dataset.action_block=1']


def packed(value: int) -> Any:
    pixels = np.full((16, 20, 3), value, np.uint8)
    msg = new_message(STORE, COMPRESSED)
    msg.format, msg.data = 'png', cv2.imencode('.png', pixels)[1].reshape(-1)
    return msg


def record(path: Path, raw: bool, compressed: bool) -> Path:
    """Write frames of value 10 as raw images, and of value 200 as compressed ones."""
    bag = TinyBag(path)
    for tick in range(20):
        if raw:
            bag.send(TOPIC, image(np.full((16, 20, 3), 10)), tick)
        if compressed:
            bag.send(f'{TOPIC}/compressed', packed(200), tick)
        bag.command(tick + 0.1)
    return bag.close()


@pytest.mark.parametrize(
    ('raw', 'compressed', 'words', 'shown', 'noted'),
    [
        (False, True, (), 200, True),
        (True, True, (), 10, False),
        (True, False, (f'robot.camera.topic={TOPIC}/compressed', COMPRESSED), 10, True),
        (True, True, (f'robot.camera.topic={TOPIC}/compressed', COMPRESSED), 200, False),
    ],
)
def test_the_images_that_a_bag_has_are_converted(
    raw: bool, compressed: bool, words: tuple[str, ...], shown: int, noted: bool, tmp_path: Path
) -> None:
    bag = record(tmp_path / 'bag', raw, compressed)
    settings = [*words[:1], *(f'robot.camera.type={kind}' for kind in words[1:])]
    config = load_config(None, [*SMALL, *settings])
    data = convert([bag], tmp_path / 'out', config).dataset
    assert (data.pixels(np.arange(10)) == shown).all()
    notes = [note for meta in data.metas.values() for note in meta['notes']]
    assert any('is missing' in note for note in notes) is noted
    (found,) = find_bags([bag])
    assert (image_at(found, config.robot, config.dataset, 0.5) == shown).all()


def test_a_proposal_names_the_topic_that_exists(tmp_path: Path) -> None:
    bag, out = record(tmp_path / 'bag', False, True), tmp_path / 'robot.yaml'
    assert main(['inspect', str(bag), '--write', str(out)]) == 0
    camera = load_config(out).robot.camera
    assert (camera.topic, camera.type) == (f'{TOPIC}/compressed', COMPRESSED)


def test_all_cameras_change_together_or_none_does(tmp_path: Path) -> None:
    both = Camera('/a', RAW, others='/b')
    packed_a, packed_b = {'/a/compressed': COMPRESSED}, {'/b/compressed': COMPRESSED}
    changed = as_published(both, {**packed_a, **packed_b})
    assert (changed.topics, changed.type) == (('/a/compressed', '/b/compressed'), COMPRESSED)
    for types in ({}, packed_a, {**packed_a, '/b': RAW}, {'/a/compressed': RAW, **packed_b}):
        assert as_published(both, types) == both
    bag = record(tmp_path / 'bag', False, True)
    config = load_config(None, [*SMALL, 'robot.camera.others=/b'])
    with pytest.raises(BagError, match=f"no topic '{TOPIC}'"):
        convert([bag], tmp_path / 'out', config)


def test_a_topic_that_ends_otherwise_has_no_other_transport() -> None:
    assert other_transport('/a/compressed', COMPRESSED) == ('/a', RAW)
    assert other_transport('/a/jpeg', COMPRESSED) is None
    assert other_transport('/a', 'std_msgs/msg/String') is None


def test_the_error_about_a_running_camera_says_what_to_set() -> None:
    types = {'/a/compressed': [COMPRESSED], '/c': [RAW]}
    said = topic_problem('robot.camera.topic', '/a', RAW, types)
    assert f'set robot.camera.topic=/a/compressed and robot.camera.type={COMPRESSED}' in said
    assert '/compressed' not in topic_problem('robot.camera.topic', '/b', RAW, types)
