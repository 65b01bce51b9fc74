# SPDX-License-Identifier: Apache-2.0
"""The panel and the markers of a plan: made while somebody looks, and honest about gaps."""

from pathlib import Path

from harness import picture, wait_until, world
import numpy as np
import pytest
from sensor_msgs.msg import Image
from smwm_ros.codec.images import fill_image, to_rgb
from smwm_ros.config import CAMERA_FRAME
from smwm_ros.model.checkpoint import load
from smwm_ros.nodes.plan_display import PlanDisplay
from smwm_ros.nodes.plan_panel import CAPTION, GAP, TILE
from smwm_ros.planning.pilot import Pilot
from visualization_msgs.msg import Marker, MarkerArray

STAYS = 'node.progress_limit:=0.0'  # the camera shows the same place all the time
UNLIKE = 'unlike those of the training'
MODEL = Path(__file__).resolve().parents[2] / 'models' / 'two_room'


def tile(sheet, number):
    """Return one tile of a panel, without its caption."""
    x = GAP + number * (TILE + GAP)
    return sheet[CAPTION : CAPTION + TILE, x : x + TILE]


def test_nothing_is_drawn_without_a_subscriber_and_with_one_camera_and_goal_are_shown(
    checkpoint, monkeypatch
):
    drawn = []
    draw = PlanDisplay.draw

    def counted_draw(self, snapshot):
        drawn.append(1)
        return draw(self, snapshot)

    monkeypatch.setattr(PlanDisplay, 'draw', counted_draw)
    with world(checkpoint) as here:
        here.drive()
        wait_until(lambda: here.values()['plans'] > 5, 'plans')
        assert drawn == []
        seen = list[Image]()
        here.robot.create_subscription(Image, '/plan/plan/image', seen.append, 1)
        wait_until(lambda: seen, 'a panel')
        sheet = to_rgb(seen[-1])
        assert np.ptp(tile(sheet, 0)) == 0, 'the camera shows one grey'
        assert (tile(sheet, 1) == 200).all(), 'the goal another'
        assert tile(sheet, 2).std() > 0, 'there is no album, and it says so'
        assert seen[-1].header.frame_id == CAMERA_FRAME, 'the camera names no frame'
        here.spoil = lambda: framed(picture(here.grey), 'eye')
        wait_until(lambda: seen[-1].header.frame_id == 'eye', 'the frame of the camera')
        here.wait_for('RUNNING')


def framed(image, frame_id):
    image.header.frame_id = frame_id
    return image


@pytest.fixture
def shots():
    """Return two frames of the album that comes with the model."""
    from smwm_ros.planning.frame_bank import load as open_album

    bank = open_album(MODEL, 'a test')
    return [bank.nearest(bank.latents[number])[0] for number in (3, 40)]


def look_at(here, shown, goal):
    """Set a goal, and let the camera show the only picture in a list, with grain."""
    noise = np.random.default_rng(0)

    def look():
        grain = noise.integers(0, 2, shown[0].shape, np.uint8)
        return fill_image(Image(), np.minimum(shown[0], 250) + grain)

    here.spoil = look
    here.publish_goal(fill_image(Image(), goal))
    here.camera_on = True


def test_the_end_of_the_plan_and_the_way_there_are_shown_where_a_pose_can_be_read(shots):
    with world(MODEL, STAYS, make_pilot=Pilot) as here:
        sheets, marks = list[Image](), list[MarkerArray]()
        here.robot.create_subscription(Image, '/plan/plan/image', sheets.append, 1)
        here.robot.create_subscription(MarkerArray, '/plan/plan/markers', marks.append, 1)
        look_at(here, shots[:1], goal=shots[1])
        wait_until(lambda: sheets and marks, 'a panel and markers')
        assert len(np.unique(tile(to_rgb(sheets[-1]), 2))) > 10, 'a frame of the album'
        way, end, goal = marks[-1].markers
        assert way.type == Marker.LINE_STRIP
        assert all(mark.header.frame_id == 'odom' for mark in marks[-1].markers)
        assert len(way.points) == 1 + load(MODEL).planner.horizon
        assert end.points == way.points[-1:]
        places = np.array([(p.x, p.y) for p in (*way.points, *goal.points)])
        assert np.abs(places).max() < 1.5, 'inside the rooms, as far as a probe can tell'
        reported = np.array([way.points[0].x, way.points[0].y])
        assert reported == pytest.approx(here_is(shots[0]), abs=0.3)


def test_images_unlike_those_of_the_training_stop_the_robot_until_they_are_usual(shots):
    with world(MODEL, STAYS, make_pilot=Pilot) as here:
        shown = shots[:1]
        look_at(here, shown, goal=shots[1])
        wait_until(lambda: here.values().get('novelty', 9) < 4, 'a usual novelty')
        assert here.active.monitor.problems() == []
        here.wait_for('RUNNING')
        shown[0] = 255 - shots[0]
        here.wait_for('NOVEL_IMAGE')
        here.wait_for_rest()
        values = here.values()
        assert 'cost_goal' in values
        assert values['novelty'] > values['novelty_limit']
        assert values['slowed']
        wait_until(lambda: UNLIKE in here.health.get('message', ''), 'a warning')
        here.wait_for_log(UNLIKE)
        shown[0] = shots[0]
        here.wait_for('RUNNING')
        here.wait_for_motion()
        assert here.active.monitor.problems() == []
        assert here.stats[-1]['novelty'] < 5


def test_a_robot_that_does_not_move_as_predicted_is_stopped_until_it_is_engaged(shots):
    with world(MODEL, make_pilot=Pilot) as here:
        look_at(here, shots[:1], goal=shots[1])  # the camera shows a robot whose motors are off
        here.wait_for('RUNNING')
        here.wait_for('NO_PROGRESS')
        here.wait_for_rest()
        assert here.stats[-1]['progress'] < 0.3
        plans = here.values()['plans']
        here.frames_more(20)
        assert here.values()['plans'] <= plans + 1, 'the goal is given up'
        assert here.engage().success
        here.wait_for('RUNNING')
        here.wait_for('NO_PROGRESS')
        here.publish_goal(fill_image(Image(), shots[0]))
        wait_until(lambda: here.status != 'NO_PROGRESS', 'another try')


def test_a_drive_that_was_slow_when_it_ended_does_not_slow_the_next_one(shots):
    with world(MODEL, 'node.slow_time:=60.0', make_pilot=Pilot) as here:
        look_at(here, shots[:1], goal=shots[1])
        wait_until(lambda: here.stats and here.active.monitor.caution.slow, 'a robot that stays')
        here.engage(False)
        here.wait_for('NOT_ENGAGED')
        plans = len(here.stats)
        here.engage()
        wait_until(lambda: len(here.stats) > plans, 'a plan')
        assert 'progress' not in here.stats[plans], 'nothing is known of this drive'


def here_is(shot):
    """Return where the robot, the only thing of its colour, is in a frame: (x, y)."""
    from smwm_ros.arenas import make_arena

    arena = make_arena('two_room', 64)
    try:
        grid = np.linspace(-0.9, 0.9, 13)
        spots = [np.array([x, y]) for x in grid for y in grid]
        errors = [
            np.abs(arena.set_state(s).pixels.astype(int) - shot.astype(int)).sum() for s in spots
        ]
        return spots[int(np.argmin(errors))]
    finally:
        arena.close()
