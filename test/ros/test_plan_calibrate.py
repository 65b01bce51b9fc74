# SPDX-License-Identifier: Apache-2.0
"""The node fits its encoder to the camera while it does not command the robot."""

from itertools import cycle
from pathlib import Path

import cv2
from harness import wait_until, world
import numpy as np
import pytest
from sensor_msgs.msg import Image
from smwm_ros.codec.images import fill_image
from smwm_ros.evaluation import calibration
from smwm_ros.planning import frame_bank
from smwm_ros.planning.pilot import Pilot
import torch

SHIPPED = Path(__file__).resolve().parents[2] / 'models' / 'two_room'
# It plans all the time.
NEVER_STOPS = ('node.novel_limit:=0.0', 'node.progress_limit:=0.0')
NEVER_THERE = ('node.calibrate:=true', 'goal.near:=0.0', *NEVER_STOPS)
ROBOT = ('node.calibrate:=true', 'node.engage:=false')


@pytest.fixture(scope='module')
def dark():
    """Return images (N, S, S, 3) of all places that a camera takes in little light."""
    shots = [np.frombuffer(jpeg, np.uint8) for jpeg in frame_bank.load(SHIPPED, 'a test').jpegs]
    bright = np.stack([cv2.cvtColor(cv2.imdecode(shot, 1), cv2.COLOR_BGR2RGB) for shot in shots])
    return (0.3 * np.random.default_rng(0).permutation(bright)).astype(np.uint8)


@pytest.fixture
def few(monkeypatch):
    """Let few images suffice."""
    monkeypatch.setattr(calibration, 'FEWEST', 25)


def film(made, images):
    """Show images again and again."""
    shown = cycle(images)
    made.spoil = lambda: fill_image(Image(), next(shown))
    made.camera_on = True


def frames(made):
    """Return how many images count for the calibration."""
    return made.values()['calibration_frames']


def batch(images):
    """Return images (N, S, S, 3) as the model takes them."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_a_robot_that_is_driven_by_hand_is_calibrated_before_it_is_engaged(dark, few):
    with world(SHIPPED, *ROBOT, make_pilot=Pilot) as made:
        made.publish_goal(fill_image(Image(), dark[0]))
        film(made, dark[:1])  # the robot stands still
        wait_until(lambda: made.health.get('calibration_frames') == '1', 'the first image')
        assert made.health['calibrated'] == 'false'
        made.engage()  # the goal is encoded with the old statistics
        wait_until(lambda: made.stats, 'a plan')
        made.engage(False)
        made.wait_for('NOT_ENGAGED')
        planner = made.active.planner_thread.planner
        old = planner.encode(dark[0])
        made.commands.clear()
        film(made, dark[:150])
        made.wait_for_log('calibrated: the statistics of')
        assert not any(any(made.last(n)) for n in range(len(made.commands))), 'it stays stopped'
        wait_until(lambda: made.health.get('calibrated') == 'true', 'diagnostics')
        assert float(made.health['novelty_after']) < float(made.health['novelty_before'])
        film(made, dark[:1])
        made.stats.clear()
        made.engage()
        wait_until(lambda: any(plan['distance'] < 1e-3 for plan in list(made.stats)), 'the goal')
        new = planner.encode(dark[0])
        assert np.linalg.norm(new - old) > 0.1, 'plans use the new statistics'
        drawn = made.active._plans._display._encode(dark[0])
        kept = made.plan._planner._setup.checkpoint.smwm.encode(batch(dark[:1]))
        for latent in (drawn, kept):
            assert latent.numpy()[0] == pytest.approx(new, abs=1e-4)


def test_a_robot_that_the_node_drives_is_not_calibrated(dark, few):
    with world(SHIPPED, *NEVER_THERE) as made:
        made.publish_goal(fill_image(Image(), dark[0]))
        film(made, dark)
        made.wait_for('RUNNING')
        before = frames(made)
        made.frames_more(40)
        assert frames(made) == before
        assert len(made.pilots) == 2, 'one is timed, one plans'
        made.stop()
        wait_until(lambda: len(made.pilots) == 3, 'a calibration')


@pytest.mark.parametrize('way', ['dry_run', 'shadow'])
def test_a_node_that_commands_nothing_calibrates_while_it_plans(dark, few, way):
    with world(SHIPPED, *NEVER_THERE, f'node.{way}:=true') as made:
        made.publish_goal(fill_image(Image(), dark[0]))
        film(made, dark[:1])
        made.wait_for('RUNNING')
        film(made, dark)
        made.wait_for_log('calibrated: the statistics of')
        assert made.status == 'RUNNING'


def test_a_model_that_cannot_be_calibrated_is_refused_in_one_line(dark, monkeypatch):
    old = frame_bank.load(SHIPPED, 'a test')
    old = old._replace(held_out=old.held_out[:0])
    monkeypatch.setattr('smwm_ros.evaluation.fit_to_images.load', lambda *_: old)
    with world(SHIPPED, 'node.calibrate:=true') as made:
        made.wait_for_log('node.calibrate: ', 'smwm prepare')
        wait_until(lambda: made.plan.failed, 'the end')
