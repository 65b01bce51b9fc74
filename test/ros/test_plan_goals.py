# SPDX-License-Identifier: Apache-2.0
"""Tests of goals as people have them, on a plan node with a pilot that knows colours."""

import json

from geometry_msgs.msg import PoseStamped
from harness import picture, wait_until, world
import numpy as np
from person import Person
import pytest
from sensor_msgs.msg import Image, JointState
from smwm_ros.codec.goal_masks import with_mask
from smwm_ros.codec.images import fill_image
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.model import sidecar
from smwm_ros.planning import masked_goals
from smwm_ros.planning.frame_bank import to_jpeg
from std_srvs.srv import Trigger


@pytest.fixture
def recorded(measured):
    """Return such a checkpoint with recorded frames of a robot at the left and an object."""
    import torch

    rng = np.random.default_rng(0)
    robot, thing = rng.uniform(0, 250, (2, 600))
    frames = [to_jpeg(robot_and_object(*greys)) for greys in zip(robot, thing, strict=True)]
    latents = torch.zeros(600, 8)
    latents[:, 0], latents[:, 1] = torch.from_numpy(robot), torch.from_numpy(thing)
    tensors = {
        'jpeg': torch.from_numpy(np.frombuffer(b''.join(frames), np.uint8).copy()),
        'ends': torch.from_numpy(np.cumsum([len(frame) for frame in frames])),
        'latents': latents,
    }
    sidecar.save(measured, masked_goals.NAME, tensors, {'side': 16})
    return measured


def robot_and_object(robot, thing):
    """Return an image: the grey of the robot at the left, that of the object at the right."""
    pixels = np.full((16, 16, 3), robot, np.uint8)
    pixels[:, 8:] = int(thing)
    return pixels


def test_a_goal_that_is_reached_stops_the_robot_and_the_next_one_moves_it(measured):
    with world(measured) as here:
        person = Person(here)
        person.grey = 50
        here.aim(100)
        here.wait_for('RUNNING')
        here.wait_for_motion()
        person.go(97)
        here.wait_for('GOAL_REACHED')
        here.wait_for_rest()
        wait_until(lambda: person.reached, 'word of it')
        assert person.reached[-1]['number'] == 1
        assert person.reached[-1]['source'] == '/goal/image'
        wait_until(lambda: here.health.get('reason') == 'GOAL_REACHED', 'diagnostics')
        assert here.health['level'] == b'\x00'
        person.go(50)  # somebody carries the robot away: it does not come back by itself
        count = len(here.pilot.seen)
        here.aim(120)
        here.wait_for('RUNNING')
        assert here.pilot.seen[count] == 50
        person.go(120)
        wait_until(lambda: len(person.reached) == 2, 'the second goal')


def test_where_the_robot_ends_does_not_matter_to_a_goal_with_a_mask(recorded, tmp_path):
    goal = robot_and_object(100, 180)
    mask = np.zeros((16, 16), bool)
    mask[:, 8:] = True
    places = GoalLibrary(tmp_path / 'places')
    places.save('block', [with_mask(goal, mask)])
    places.save('dock', [goal])
    with world(recorded, f'goal.folder:={tmp_path}/places') as here:
        person = Person(here)
        person.grey = 60  # the robot; the pilot of this test sees no object
        here.publish_goal(fill_image(Image(), goal))
        here.wait_for('RUNNING')
        assert here.pilot.metrics == [None]
        here.publish_goal(fill_image(Image(), with_mask(goal, mask)))
        here.wait_for('GOAL_REACHED')
        assert here.pilot.metrics[-1].shape == (8, 8)
        assert json.loads(here.accepted[-1])['masked'] == 0.5
        person.insist(lambda: person.name('block,dock'), 'block has a mask')
        person.name('dock')
        here.wait_for('RUNNING')
        person.name('block')
        here.wait_for('GOAL_REACHED')
        assert json.loads(here.accepted[-1])['source'] == 'block'
        nothing = with_mask(goal, np.zeros_like(mask))
        person.insist(
            lambda: here.publish_goal(fill_image(Image(), nothing)),
            'the mask of the goal is empty',
        )


def test_a_mask_needs_recorded_frames_and_the_node_says_how_to_make_them(measured):
    with world(measured) as here:
        person = Person(here)
        wait_until(lambda: here.plan.session, 'the activation')
        mask = np.eye(16, dtype=bool)
        message = fill_image(Image(), with_mask(robot_and_object(100, 180), mask))
        person.insist(
            lambda: here.publish_goal(message), 'has no frames yet; make it: smwm prepare'
        )


def test_engaging_goes_back_to_a_goal_that_was_reached(measured):
    with world(measured) as here:
        person = Person(here)
        person.grey = 100
        here.aim(100)
        here.wait_for('GOAL_REACHED')
        person.go(50)
        here.engage()
        here.wait_for('RUNNING')


def test_who_stays_drives_back_when_the_robot_is_moved_away(measured):
    with world(measured, 'goal.stay:=true') as here:
        person = Person(here)
        person.grey = 100
        here.aim(100)
        here.wait_for('GOAL_REACHED')
        person.go(93)  # farther than near, not far: noise
        seen = len(here.pilot.seen)
        wait_until(lambda: len(here.pilot.seen) > seen + 5, 'images')
        assert here.status == 'GOAL_REACHED'
        person.go(80)
        here.wait_for('RUNNING')
        person.go(100)
        here.wait_for('GOAL_REACHED')


def test_with_near_0_no_goal_is_ever_reached(measured):
    with world(measured, 'goal.near:=0.0') as here:
        person = Person(here)
        person.grey = 100
        here.aim(100)
        here.wait_for('RUNNING')
        seen = len(here.pilot.seen)
        wait_until(lambda: len(here.pilot.seen) > seen + 8, 'images')
        assert here.status == 'RUNNING'


def test_a_checkpoint_that_does_not_know_what_near_means_drives_and_takes_no_route(checkpoint):
    with world(checkpoint) as here:
        person = Person(here)
        person.grey = 100
        here.aim(100)
        here.wait_for('RUNNING')
        assert here.values()['near_distance'] != here.values()['near_distance'], 'it is unknown'
        answer = person.record(True)
        assert not answer.success
        assert 'smwm train' in answer.message
        person.latent(*[30] + [0] * 7, *[60] + [0] * 7)
        person.latent(*[70] + [0] * 7)
        person.aimed(100, 70)  # not the route


def test_what_the_camera_shows_becomes_a_goal_with_a_name(measured):
    with world(measured, 'goal.save_as:=dock') as here:
        person = Person(here)
        wait_until(lambda: here.plan.session, 'the activation')
        person.go(140)
        answer = person.capture()
        assert (answer.success, answer.message) == (True, 'dock')
        here.wait_for('GOAL_REACHED')
        wait_until(lambda: person.names == {'dock': 1}, 'the name')
        assert GoalLibrary(measured / 'goals').load('dock', 16, 'stretch')[0, 0, 0, 0] == 140
        person.go(20)
        person.name('dock')
        here.wait_for('RUNNING')
        person.aimed(140, 140)
        assert json.loads(here.accepted[-1])['source'] == 'dock'


def test_a_goal_of_the_library_folder_is_known_by_name_after_a_restart(measured, tmp_path):
    GoalLibrary(tmp_path / 'places').save('window', [np.full((30, 40, 3), 77, np.uint8)])
    with world(measured, f'goal.folder:={tmp_path}/places') as here:
        person = Person(here)
        wait_until(lambda: person.names == {'window': 1}, 'the name')
        person.name('widnow')
        person.name('../../etc/passwd')
        person.name('window')
        here.wait_for('RUNNING')
        assert here.pilot.goals == [77]


def test_of_several_goals_the_nearest_is_the_target_and_any_counts(measured, tmp_path):
    library = GoalLibrary(tmp_path / 'places')
    for name, greys in (('low', [40]), ('high', [200]), ('way', [10, 20, 30])):
        library.save(name, [np.full((8, 8, 3), grey, np.uint8) for grey in greys])
    with world(measured, f'goal.folder:={tmp_path}/places') as here:
        person = Person(here)
        wait_until(lambda: here.plan.session, 'the activation')
        person.go(150)
        person.insist(lambda: person.name('low,way'), 'way is a route of 3 subgoals')
        person.insist(lambda: person.name('low,low'), 'low is named twice')
        person.name('low, high')
        here.wait_for('RUNNING')
        person.aimed(200)
        assert json.loads(here.accepted[-1])['alternatives'] == ['low', 'high']
        wait_until(lambda: here.stats[-1].get('heading') == 'high', 'the target')
        here.wait_for_log('heading for high, the nearest of 2 goals')
        person.go(90)
        person.aimed(200, 40)
        wait_until(lambda: here.stats[-1]['heading'] == 'low', 'the other target')
        person.go(40)
        here.wait_for('GOAL_REACHED')
        person.name('high')
        here.wait_for('RUNNING')
        wait_until(lambda: 'heading' not in here.stats[-1], 'a single goal')


def test_a_goal_is_reached_by_seconds_where_they_are_known(measured):
    with world(measured, 'goal.near_time:=0.5') as here:
        person = Person(here)
        here.wait_for_log('goal.near_time is not used: the run has no time to go')
        wait_until(lambda: here.plan.session, 'the activation')
        here.pilot.seconds = 2.0
        person.go(100)
        here.aim(100)  # no latent distance away, and 2 s
        here.wait_for('RUNNING')
        wait_until(lambda: len(here.stats) > 10, 'ten plans')
        assert here.status == 'RUNNING'
        assert here.stats[-1]['seconds_to_go'] == 2.0
        person.grey = 10
        here.pilot.seconds = 0.4
        here.wait_for('GOAL_REACHED')
        wait_until(lambda: person.reached, 'the goal')
        assert person.reached[-1]['seconds_to_go'] == 0.4
        assert (here.values()['seconds_to_go'], here.values()['near_time']) == (0.4, 0.5)
        here.pilot.seconds = None
        here.aim(200)
        person.go(200)
        wait_until(lambda: len(person.reached) == 2, 'a goal without seconds')
        assert person.reached[-1]['seconds_to_go'] is None


def test_a_folder_that_cannot_be_written_keeps_goals_for_the_session(measured, tmp_path):
    (tmp_path / 'file').write_text('no folder')
    with world(measured, f'goal.folder:={tmp_path}/file') as here:
        person = Person(here)
        wait_until(lambda: here.plan.session, 'the activation')
        person.go(140)
        assert person.capture().message == 'view_1'
        person.aimed(140)
        person.go(20)
        assert person.capture().message == 'view_2'
        person.aimed(140, 20)
        person.name('view_1')
        person.aimed(140, 20, 140)


def test_without_an_image_there_is_nothing_to_capture(measured):
    with world(measured) as here:
        wait_until(lambda: here.plan.session, 'the activation')
        answer = here.call(Trigger, '/plan/goal/capture')
        assert not answer.success
        assert 'no camera image was received' in answer.message


def test_a_drive_by_hand_is_a_route_that_is_driven_again(measured):
    with world(measured, 'node.engage:=false', 'goal.save_as:=tour') as here:
        person = Person(here)
        wait_until(lambda: here.plan.session, 'the activation')
        person.go(4)
        assert not person.record(False).success
        assert person.record(True).success
        for grey in range(4, 101, 6):  # a landmark each 20, for that is the spacing
            person.go(grey)
        answer = person.record(False)
        assert answer.success
        assert answer.message.startswith('tour: ')
        wait_until(lambda: person.names, 'the name')
        greys = GoalLibrary(measured / 'goals').load('tour', 16, 'stretch')[:, 0, 0, 0].tolist()
        assert greys[0] <= 10, 'where it began, or at the next look'
        assert greys[-1] == 100
        assert person.names == {'tour': len(greys)}
        assert (np.diff(greys) <= 32).all()
        person.go(250)
        person.name('tour')
        here.engage()
        here.wait_for('RUNNING')
        for grey in greys[:-1]:
            person.aimed(grey)
            person.go(grey)
        person.aimed(greys[-1])
        assert here.status == 'RUNNING', 'a subgoal is no reason to stop'
        assert here.stats[-1]['subgoals'] == len(greys)
        person.go(100)
        here.wait_for('GOAL_REACHED')
        wait_until(lambda: len(person.reached) == 1, 'the end of the route, and nothing before')


def test_latents_are_goals_and_routes(measured):
    with world(measured) as here:
        person = Person(here)
        person.grey = 10
        wait_until(lambda: here.plan.session, 'the activation')
        person.latent(1, 2, 3)  # not as wide as the model's
        person.latent(*[float('nan')] * 8)
        person.latent(*[30] + [0] * 7, *[60] + [0] * 7)
        person.aimed(30)
        assert json.loads(here.accepted[-1])['subgoals'] == 2
        person.go(30)
        person.aimed(30, 60)
        person.go(60)
        here.wait_for('GOAL_REACHED')


def test_a_goal_that_the_model_cannot_place_is_not_replaced_by_the_last_one(measured):
    with world(measured) as here:
        person = Person(here)
        person.grey = 10
        here.aim(100)
        here.wait_for('RUNNING')
        aim = here.pilot.aim

        def refuse(latent):
            raise ValueError('the latent of the goal is not finite')

        here.pilot.aim = refuse
        here.aim(50)
        here.wait_for('PLANNER_ERROR')
        wait_until(lambda: here.values()['planner_errors'] > 2, 'further tries')
        assert here.status == 'PLANNER_ERROR'
        here.pilot.aim = aim
        here.wait_for('RUNNING')
        assert here.pilot.goals == [100, 50]


def test_what_near_means_may_change_while_the_node_runs(measured):
    from rclpy.parameter import Parameter

    with world(measured) as here:
        person = Person(here)
        person.grey = 90
        here.aim(100)
        here.wait_for('RUNNING')
        here.set(Parameter('goal.near', value=6.0))
        here.wait_for('GOAL_REACHED')


def test_the_same_goal_picture_again_changes_nothing(measured):
    with world(measured) as here:
        Person(here).grey = 10
        goal = picture(100)
        here.publish_goal(goal)
        here.wait_for('RUNNING')
        here.publish_goal(goal)
        here.aim(70)
        wait_until(lambda: 70 in here.pilot.goals, 'the next goal')
        assert here.pilot.goals == [100, 70]


def test_measured_states_are_goals(located):
    with world(located) as here:
        person = Person(here)
        person.grey = 10
        person.state(x=1.0, y=0.0)
        here.wait_for('RUNNING')
        person.aimed_near(100)
        assert json.loads(here.accepted[-1]) == {
            'number': 1, 'source': '/goal/state', 'stamp': 0.0, 'subgoals': 1,
        }  # fmt: skip
        person.state(x=1.0, y=0.0)  # repeated: nothing changes
        person.pose(0.5, 1.0)
        person.aimed_near(50)
        wait_until(lambda: len(here.accepted) == 2, 'the second goal')
        assert json.loads(here.accepted[-1])['source'] == '/goal_pose'
        assert json.loads(here.accepted[-1])['number'] == 2
        person.go(50)
        here.wait_for('GOAL_REACHED')
        person.state(x=0.5)  # where it is
        wait_until(lambda: len(person.reached) == 2, 'the third goal')


def test_what_a_goal_state_does_not_name_stays_as_the_newest_image_shows_it(located):
    with world(located) as here:
        person = Person(here)
        person.grey = 180
        person.state(**{'pose.pose.position.y': 1.0})
        here.wait_for('RUNNING')
        wait_until(lambda: here.pilot.goals, 'a goal')
        assert abs(here.pilot.goals[-1] - 180) < 12


def test_states_that_were_not_recorded_leave_the_goal_as_it_is(located):
    with world(located) as here:
        person = Person(here)
        person.grey = 10
        here.aim(100)
        here.wait_for('RUNNING')
        person.state(x=9.0)
        here.wait_for_log(
            'goal not used: pose.pose.position.x: 9 was requested, the nearest recorded frame has '
            '2.48 (all frames: 0 to 2.48)'
        )
        uneven = JointState(name=['x'], position=[1.0, 2.0])
        twice = JointState(name=['x', 'x'], position=[1.0, 2.0])
        for message, reason in (
            (uneven, 'expected a position for each name, found 1 name and 2 positions'),
            (twice, 'a field is named twice: x, x'),
        ):
            person.insist(lambda message=message: person._state.publish(message), reason)
        assert here.pilot.goals == [100]
        assert len(here.accepted) == 1
        person.insist(lambda: person.pose(0.5, 0.0, 'map'), 'in the frame map was used as one of')
        person.aimed_near(50)


def test_a_run_without_recorded_states_says_what_to_do_and_may_get_them(measured, located):
    (located / 'drives.json').rename(located / 'kept')
    with world(located) as here:
        person = Person(here)
        person.grey = 10
        person.state(x=1.0)
        here.wait_for_log(f'goal not used: /goal/state: {located} has no drives yet')
        assert any(f'smwm prepare {located}' in text for text in here.log)
        (located / 'kept').rename(located / 'drives.json')
        person.state(x=1.0)
        person.aimed_near(100)


def test_an_orientation_counts_where_the_state_has_one_with_either_sign():
    from smwm_ros.nodes.goal_setter import planar_poses, state_of

    odometry = ('pose.pose.position.x', 'pose.pose.position.y', 'pose.pose.orientation.z')
    assert planar_poses(odometry) == ['pose.pose']
    assert planar_poses(('position.x', 'position.y')) == ['']
    assert planar_poses(('position[name=x,y]', 'a.position.x')) == []
    pose = PoseStamped().pose
    pose.position.x, pose.position.y, pose.orientation.z = 1.0, 2.0, 0.5
    place = {odometry[0]: 1.0, odometry[1]: 2.0}
    assert state_of(pose, 'pose.pose', odometry) == [
        {**place, odometry[2]: 0.5},
        {**place, odometry[2]: -0.5},
    ]
    assert state_of(pose, '', ('position.x', 'position.y'))[0] == {
        'position.x': 1,
        'position.y': 2,
    }
