# SPDX-License-Identifier: Apache-2.0
"""A plan node with two cameras sees what the converter made of two cameras."""

from dataclasses import replace
from itertools import count

from harness import picture, png, wait_until, world
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from smwm_ros import config
from smwm_ros.errors import CheckpointError
from smwm_ros.model.any_model import make_model
from smwm_ros.model.checkpoint import load, save
from smwm_ros.nodes.robot_setup import Setup

LEFT = '/left/image_raw'


@pytest.fixture
def two_eyes(checkpoint, tmp_path):
    """Return a checkpoint that was trained with two cameras side by side."""
    made = load(checkpoint)
    camera = replace(made.robot.camera, others=LEFT)
    dataset = replace(made.dataset, max_frame_age=5.0)
    save(tmp_path, made._replace(robot=replace(made.robot, camera=camera), dataset=dataset))
    return tmp_path


def observations_of(here):
    """Return a list that gets what the pilot plans from."""
    seen = []
    wait_until(lambda: here.pilots, 'a pilot')
    plan = here.pilot.plan

    def watch(pixels, elapsed, sent, before):
        seen.append(pixels)
        here.before = before
        return plan(pixels, elapsed, sent, before)

    here.pilot.plan = watch
    return seen


def test_the_newest_views_make_one_image_and_a_missing_one_moves_nothing(two_eyes):
    with world(two_eyes) as here:
        seen = observations_of(here)
        left = here.robot.create_publisher(Image, LEFT, 1)
        here.camera_on = True
        here.aim()
        wait_until(lambda: here.plan.session and here.values()['frames_bad'] >= 3, 'bad frames')
        here.wait_for('NO_IMAGE')
        assert here.commands == []
        here.robot.create_timer(0.05, lambda: left.publish(picture(240)))
        here.wait_for('RUNNING')
        assert seen[-1].shape == (16, 16, 3)
        assert (seen[-1][:, 8:] == 240).all()
        assert np.ptp(seen[-1][:, :8]) == 0


def test_two_cameras_are_found_by_their_compressed_images(two_eyes):
    with world(two_eyes) as here:
        here.restart_camera(None)
        seen = observations_of(here)
        topics = '/camera/image_raw/compressed', LEFT + '/compressed'
        right, left = (here.robot.create_publisher(CompressedImage, one, 1) for one in topics)
        grey = count(1)
        here.robot.create_timer(0.05, lambda: left.publish(png(240)))
        here.robot.create_timer(0.05, lambda: right.publish(png(next(grey) % 200)))
        here.aim()
        here.wait_for('RUNNING')
        assert (seen[-1][:, 8:] == 240).all()
        assert np.ptp(seen[-1][:, :8]) == 0


def test_a_robot_with_fewer_cameras_than_the_model_is_refused(two_eyes):
    made = load(two_eyes)
    robot = replace(made.robot, camera=replace(made.robot.camera, others=''))
    with pytest.raises(CheckpointError, match=r'robot\.camera: 1 view in a row, expected 2'):
        Setup(made, robot, made.planner)


def test_a_model_of_changes_of_state_drives_no_robot(checkpoint):
    made = load(checkpoint)
    made = made._replace(dataset=replace(made.dataset, action='next_state_delta'))
    with pytest.raises(CheckpointError, match='cannot be published as commands'):
        Setup(made, made.robot, made.planner)


def test_a_forward_model_with_a_history_gets_images_and_commands_of_model_steps_before(
    checkpoint, tmp_path
):
    made, knobs = load(checkpoint), config.Model(preset='tiny', history=3)
    block, size = made.action_block, made.spec.size
    model = make_model(knobs, 16, block * size).eval().requires_grad_(False)
    save(tmp_path, made._replace(model=model, model_config=knobs))
    with world(tmp_path) as here:
        seen = observations_of(here)
        here.drive()
        wait_until(lambda: len(seen) > 20 and seen[-1].shape[-1] == 9, 'plans with a past')
        here.wait_for('RUNNING')
        wait_until(lambda: here.commands and np.array(here.before).any(), 'commands of the past')
    assert here.before.shape == (2 * block, size)
    oldest, middle, newest = (int(seen[-1][0, 0, part]) for part in (0, 3, 6))
    assert oldest + 1 < middle < newest - 1, 'an image is a grey level brighter than the last'


def test_a_model_with_a_history_gets_the_images_of_the_control_periods_before(
    checkpoint, tmp_path
):
    made, knobs = load(checkpoint), config.Model(latent=8, hidden=16, history=3)
    model = make_model(knobs, 16, 4).eval().requires_grad_(False)
    save(tmp_path, made._replace(model=model, model_config=knobs))
    with world(tmp_path) as here:
        seen = observations_of(here)
        here.drive()
        wait_until(lambda: len(seen) > 20, 'plans')
    assert all(pixels.shape == (16, 16, 9) for pixels in seen)
    oldest, middle, newest = np.array([pixels[0, 0, ::3] for pixels in seen[10:]], int).T
    # An image is a grey level brighter than the one before, and they come every 20 ms.
    assert np.median(newest - middle) in (2, 3)
    assert np.median(middle - oldest) in (2, 3)
    assert (newest > oldest).all()
