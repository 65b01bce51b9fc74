# SPDX-License-Identifier: Apache-2.0
"""Nodes with the real cv_bridge read the pixels of the dataset, and publish the same bytes."""

from dataclasses import replace
from pathlib import Path
import subprocess
import sys

from bridged import borrowed
from harness import PATIENCE
import pytest
from smwm_ros.model.checkpoint import load, save

# In a process of its own, with the cv_bridge, numpy and OpenCV of apt.
LIVE = """
import sys
from harness import wait_until, world
import numpy as np
from sensor_msgs.msg import Image

def grey16(value):
    data = np.full((16, 16), value, '<u2').tobytes()
    return Image(height=16, width=16, encoding='mono16', step=32, data=data)

with world(sys.argv[1]) as here:
    here.spoil = lambda: grey16(511)
    here.publish_goal(grey16(1023))
    here.camera_on = True
    wait_until(lambda: here.commands and here.pilot.seen, 'a command')
    print(here.pilot.seen[-1], here.pilot.goals[-1])
"""
PUBLISHED = """
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from smwm_ros.codec import bridge
from smwm_ros.codec.images import fill_image

rng = np.random.default_rng(0)
views = [rng.integers(0, 256, (5, 7, depth), np.uint8) for depth in (3, 4)]
views += [views[0][:, ::-1], rng.integers(0, 256, (240, 320, 3), np.uint8)]
fill, used = bridge.fill, []
for kind, pixels in [*((Image, view) for view in views), (CompressedImage, views[0])]:
    bridge.fill = lambda *words: used.append(fill(*words)) or used[-1]
    theirs = fill_image(kind(), pixels)
    bridge.fill = lambda *words: False
    ours = fill_image(kind(), pixels)
    assert theirs == ours  # all fields; padding in serialized messages is not set
    assert type(theirs.data) is type(ours.data)
assert used == [True] * 5, used
"""


@pytest.fixture
def ask(tmp_path):
    """Return a function that runs a script with cv_bridge, and returns what it prints."""
    variables = borrowed(tmp_path / 'modules')
    variables['PYTHONPATH'] += f':{Path(__file__).parent}'

    def run(script, *words):
        command = [sys.executable, '-c', script, *map(str, words)]
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=10 * PATIENCE
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_node_reads_camera_and_goal_by_the_decoder_of_the_dataset(checkpoint, tmp_path, ask):
    made = load(checkpoint)
    camera = replace(made.robot.camera, decoder='cv_bridge')
    save(tmp_path / 'run', made._replace(robot=replace(made.robot, camera=camera)))
    # cv_bridge rounds 511 / 257 and 1023 / 257; our decoder makes 1 and 3 of them.
    assert ask(LIVE, tmp_path / 'run').split() == ['2', '4']


def test_published_images_have_the_same_bytes_with_and_without_cv_bridge(ask):
    ask(PUBLISHED)
