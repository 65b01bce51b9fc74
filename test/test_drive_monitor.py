# SPDX-License-Identifier: Apache-2.0
"""Tests for nodes/drive_monitor.py and its measurements: when a drive is slowed or stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from smwm_ros.config import Node
from smwm_ros.control.caution import Alarm, Caution
from smwm_ros.control.command_record import CommandRecord
from smwm_ros.control.reasons import Reason
from smwm_ros.evaluation.executed_motion import Motion, MotionMeter
from smwm_ros.evaluation.fit_to_images import NOVEL, Novelty
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.nodes.drive_monitor import DriveMonitor, MOVED
from smwm_ros.planning import frame_bank
import torch

SHIPPED = Path(__file__).resolve().parents[1] / 'models' / 'two_room'
DT, FAST = 0.1, 0.5
KNOBS = Node()


class Way(NamedTuple):
    """A straight drive at full speed: its command, and the latents that the model predicts."""

    action: Array  # (A,)
    latents: Array  # (T, D), one for each tick


@pytest.fixture(scope='module')
def model() -> Checkpoint:
    return load(SHIPPED)


@pytest.fixture(scope='module')
def way(model: Checkpoint) -> Way:
    """Return the drive, of 4 s, that goes farthest in the latent space."""
    start = frame_bank.load(SHIPPED, 'a test').latents[3:4]
    ways = []
    for action in FAST * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]):
        raw = torch.from_numpy(model.scaler.normalise(np.tile(action, (8, 5, 1)))).float()
        with torch.inference_mode():
            path = torch.cat([start, model.model.rollout(start, raw.reshape(1, 8, -1))[0]])
        ticks = np.linspace(0, 8, 41)
        whole = np.stack([np.interp(ticks, range(9), part) for part in path.numpy().T], axis=1)
        ways.append(Way(action, whole.astype(np.float32)))
    return max(ways, key=lambda one: float(np.linalg.norm(one.latents[20] - one.latents[0])))


class Drive:
    """A monitor, and the commands of a robot that it watches."""

    def __init__(self, model: Checkpoint, knobs: Node = KNOBS) -> None:
        self.record, self.now = CommandRecord(DT, np.zeros(2)), 0.0
        self.notes = list[str]()
        self.monitor = DriveMonitor(model, knobs, self.record.rows, self.notes.append)

    def see(self, latent: Array, action: Array) -> Caution:
        """See an image, then command an action."""
        caution = self.monitor.update(self.now, latent)
        self.record.add(self.now, action)
        self.now += DT
        return caution


def test_a_robot_that_moves_as_predicted_is_never_slowed(model: Checkpoint, way: Way) -> None:
    drive = Drive(model)
    for latent in way.latents[:15]:
        assert drive.see(latent, way.action) == Caution()
    values = drive.monitor.values()
    assert values['progress'] == pytest.approx(1.0, abs=0.3)
    assert values['predicted_motion'] > MOVED
    assert values['novelty'] < values['novelty_limit']
    assert not values['slowed']


def test_a_robot_that_stays_is_slowed_and_then_stopped_within_two_seconds(
    model: Checkpoint, way: Way
) -> None:
    drive = Drive(model)
    found = list[Caution]()
    while not found or found[-1].stop is None:
        slow = 0.5 if found and found[-1].slow else 1.0
        found.append(drive.see(way.latents[0], slow * way.action))
        assert drive.now < 2.0
    assert found[-1] == Caution(True, Reason.NO_PROGRESS)
    slowed = [caution for caution in found if caution == Caution(True)]
    assert len(slowed) * DT == pytest.approx(KNOBS.slow_time, abs=0.15)
    assert drive.see(way.latents[0], way.action) == Caution(), 'the next try begins afresh'


@pytest.fixture(scope='module')
def wall(model: Checkpoint) -> Way:
    """Return a push at full speed against a wall that the model knows."""
    places = frame_bank.load(SHIPPED, 'a test').latents
    found = []
    for action in FAST * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]):
        meter = MotionMeter(model, places)
        for place in places:
            meter.clear()
            meter.measure(0.0, place.numpy(), lambda *_: None)
            motion = meter.measure(1.0, place.numpy(), lambda *_, a=action: np.tile(a, (10, 1)))
            assert motion is not None
            found.append((motion.predicted, Way(action, place.numpy()[None])))
    return min(found, key=lambda one: one[0])[1]


@pytest.mark.parametrize('speed', [0.0, 0.1])
def test_a_robot_that_should_hardly_move_is_not_stuck(
    model: Checkpoint, way: Way, speed: float
) -> None:
    drive = Drive(model)
    for _ in range(30):
        assert drive.see(way.latents[0], speed * way.action) == Caution()


def test_a_robot_that_pushes_a_wall_that_its_model_knows_is_stopped_within_two_seconds(
    model: Checkpoint, wall: Way
) -> None:
    drive = Drive(model)
    caution = Caution()
    while caution.stop is None:
        caution = drive.see(wall.latents[0], (0.5 if caution.slow else 1.0) * wall.action)
        assert drive.now < 2.0
    values = drive.monitor.values()
    assert caution.stop is Reason.NO_PROGRESS
    assert values['predicted_motion'] < MOVED < values['usual_motion']
    assert values['progress'] == pytest.approx(0.0, abs=0.01)


def test_a_position_command_is_not_compared_with_other_places(
    model: Checkpoint, wall: Way
) -> None:
    command = replace(model.robot.command, stop='hold')
    holding = model._replace(robot=replace(model.robot, command=command))
    meter = MotionMeter(holding, frame_bank.load(SHIPPED, 'a test').latents)
    meter.measure(0.0, wall.latents[0], lambda *_: None)
    motion = meter.measure(1.0, wall.latents[0], lambda *_: np.tile(wall.action, (10, 1)))
    assert motion is not None
    assert motion.usual == 0
    assert motion.progress(1e-3) == motion.share


def test_progress_is_the_smaller_share_of_motions_that_were_to_be_long_enough() -> None:
    motion = Motion(predicted=2.0, share=0.9, usual=3.0, usual_share=0.1)
    assert motion.progress(1.0) == 0.1
    assert motion._replace(share=-0.5).progress(2.0) == -0.5
    assert motion._replace(usual=1.6).progress(2.0) == 0.1
    assert motion._replace(usual=1.4).progress(2.0) == 0.9
    assert motion.progress(4.5) is None


def test_a_robot_that_moves_again_is_freed(model: Checkpoint, way: Way) -> None:
    drive = Drive(model, replace(KNOBS, slow_time=60.0))
    while not drive.see(way.latents[0], way.action).slow:
        pass
    cautions = [drive.see(latent, way.action) for latent in way.latents[:12]]
    assert cautions[0].slow
    assert cautions[-1] == Caution()


def test_limits_of_zero_stop_nothing_and_still_measure(model: Checkpoint, way: Way) -> None:
    drive = Drive(model, replace(KNOBS, progress_limit=0.0, novel_limit=0.0))
    for _ in range(30):
        assert drive.see(way.latents[0] + 100, way.action) == Caution()
    values = drive.monitor.values()
    assert values['novelty'] > values['novelty_limit'] > 0
    assert 'progress' in values
    assert drive.monitor.problems() != []


def test_novel_images_slow_and_stop_until_they_are_usual_again(
    model: Checkpoint, way: Way
) -> None:
    drive = Drive(model)
    usual, still = way.latents[0], 0.0 * way.action
    for number in range(12):  # a robot passes through a rare place
        assert drive.see(usual + 100 * (number in (3, 4, 5)), still) == Caution()
    found = [drive.see(usual + 100, still) for _ in range(12)]
    assert Caution(True) in found
    assert found[-1] == Caution(True, Reason.NOVEL_IMAGE)
    assert drive.monitor.problems() != []
    found = [drive.see(usual, still) for _ in range(10)]
    assert found[2].stop is Reason.NOVEL_IMAGE, 'the median of a second counts'
    assert found[-1] == Caution()
    assert drive.monitor.problems() == []


def test_where_images_are_novel_the_motion_of_their_latents_says_nothing(
    model: Checkpoint, way: Way
) -> None:
    drive = Drive(model)
    found = [drive.see(way.latents[0] + 100, way.action) for _ in range(30)]
    assert {caution.stop for caution in found} == {None, Reason.NOVEL_IMAGE}


def test_between_its_limits_novelty_changes_nothing(model: Checkpoint, way: Way) -> None:
    drive = Drive(model)
    album = frame_bank.load(SHIPPED, 'a test')
    limit = Novelty(model).limit(KNOBS.novel_limit) * Novelty(model).unit
    away = way.latents[0] - album.latents.mean(0).numpy()

    def at(share: float) -> Array:
        """Return a latent at a share of the limit from the album."""
        low, high = 0.0, 1000.0
        for _ in range(50):
            middle = (low + high) / 2
            latent = torch.from_numpy(way.latents[0] + middle * away)[None].float()
            near = float(album.distances(latent)) < share * limit
            low, high = (middle, high) if near else (low, middle)
        return (way.latents[0] + low * away).astype(np.float32)

    still = 0.0 * way.action
    assert not any(drive.see(at(0.9), still).slow for _ in range(15))
    assert [drive.see(at(1.1), still).slow for _ in range(15)][-1]
    assert all(drive.see(at(0.9), still).slow for _ in range(15))
    assert not [drive.see(at(0.7), still).slow for _ in range(15)][-1]


def test_time_that_jumps_back_begins_afresh(model: Checkpoint, way: Way) -> None:
    meter = MotionMeter(model)
    commands = np.tile(way.action, (10, 1))
    for tick in range(10):
        meter.measure(10.0 + tick * DT, way.latents[tick], lambda time, count: commands)
    assert meter.measure(11.0, way.latents[10], lambda time, count: commands) is not None
    assert meter.measure(1.0, way.latents[10], lambda time, count: commands) is None


def test_few_images_are_compared_over_the_time_between_them(model: Checkpoint, way: Way) -> None:
    meter = MotionMeter(model)
    commands = np.tile(way.action, (10, 1))
    for tick in (0, 4, 8):
        motion = meter.measure(tick * DT, way.latents[tick], lambda time, count: commands)
    assert motion is not None
    assert motion.share == pytest.approx(1.0, abs=0.3)


def test_an_album_of_an_older_version_has_a_fixed_limit_and_says_so(
    model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = frame_bank.load(SHIPPED, 'a test')._replace(held_out=torch.empty(0))
    monkeypatch.setattr('smwm_ros.evaluation.fit_to_images.load', lambda *_: old)
    novelty = Novelty(model)
    assert novelty.limit(KNOBS.novel_limit) == NOVEL
    assert np.isnan(novelty.share(1.0))
    assert 'smwm prepare' in Drive(model).notes[0]


def test_the_share_of_held_out_frames_is_a_conformal_p_value(
    model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = Novelty(model).unit
    new = frame_bank.load(SHIPPED, 'a test')._replace(held_out=unit * torch.arange(1.0, 200.0))
    monkeypatch.setattr('smwm_ros.evaluation.fit_to_images.load', lambda *_: new)
    novelty = Novelty(model)
    assert novelty.share(0.0) == 1.0
    assert novelty.share(100.5) == pytest.approx(100 / 200)
    assert novelty.share(1e6) == pytest.approx(1 / 200)
    assert novelty.bound == pytest.approx(198.0), '1 % of all, the image itself among them'
    assert novelty.limit(3.0) == pytest.approx(3 * 198.0)
    assert Drive(model).notes == []


def test_an_alarm_ends_with_a_good_measurement_or_when_time_jumps_back() -> None:
    alarm = Alarm(Reason.NO_PROGRESS)
    alarm.update(1.0, bad=True, good=False)
    alarm.update(1.4, bad=False, good=False)
    assert alarm.caution(1.4, 0.5) == Caution(True)
    assert alarm.caution(1.5, 0.5) == Caution(True, Reason.NO_PROGRESS)
    alarm.update(1.6, bad=False, good=True)
    assert alarm.caution(9.0, 0.5) == Caution()
    alarm.update(9.0, bad=True, good=False)
    alarm.update(2.0, bad=False, good=False)
    assert alarm.caution(10.0, 0.5) == Caution()


def test_slow_commands_are_nearer_to_rest() -> None:
    action, slow = np.array([0.4, -0.2]), Caution(True)
    assert slow.slowed(action, np.zeros(2), 0.5) == pytest.approx([0.2, -0.1])
    assert slow.slowed(action, np.array([1.0, 0.0]), 0.25) == pytest.approx([0.85, -0.05])
    assert slow.slowed(action, None, 0.5) is action, 'the last position is not known'
    assert Caution().slowed(action, np.zeros(2), 0.5) is action
