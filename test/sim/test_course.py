# SPDX-License-Identifier: Apache-2.0
"""Tests for the course of tasks."""

import json

import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.course import Course, Phase, read_tasks, Task
from smwm_ros.errors import ArenaError
from smwm_ros.evaluation.agents import PlannerAgent
from smwm_ros.evaluation.closed_loop import run_pairs
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.model.checkpoint import load
from smwm_ros.planning.pilot import Pilot
from smwm_ros.share import shipped

NEAR = Task(np.array([0.5, 0.0]), np.array([0.7, 0.0]))
FAR = Task(np.array([0.5, 0.0]), np.array([-0.9, 0.9]))
RIGHT = np.array([0.5, 0.0])


@pytest.fixture
def arena():
    arena = make_arena('two_room', 16)
    yield arena
    arena.close()


def test_a_task_waits_for_the_first_command_that_moves(arena):
    course = Course(arena, [NEAR], budget=10, seed=0)
    for idle in (None, np.zeros(2)):
        course.tick(idle)
        assert (course.phase, course.steps) == (Phase.WAITING, 0)
    course.tick(RIGHT)
    assert (course.phase, course.steps) == (Phase.RUNNING, 1)
    course.tick(None)
    assert course.steps == 2, 'once it runs, time passes'


def test_success_ends_the_task_and_holds_the_robot(arena):
    course = Course(arena, [NEAR], budget=10, seed=0)
    while not course.ended:
        course.tick(RIGHT)
    assert course.phase is Phase.SUCCESS
    held = course.frame.state
    assert np.array_equal(course.tick(RIGHT).state, held)
    report = course.report()
    assert report['path'][0] == [0.5, 0.0]
    assert report['path'][-1] == held.tolist()
    assert len(report['path']) == report['steps'] + 1
    json.dumps(report)


def test_a_robot_without_a_list_of_tasks_may_come_nearer_to_a_goal_that_is_reached(arena):
    course = Course(arena, [], budget=0, seed=0)
    course.set_goal(course.frame.state)  # it is there already
    while not course.ended:
        course.tick(RIGHT)
    steps, before = course.steps, course.frame.state
    assert not np.array_equal(course.tick(-RIGHT).state, before)
    assert course.steps == steps
    assert course.phase is Phase.SUCCESS


def test_a_goal_reached_with_the_last_step_of_the_budget_counts(arena):
    budget = 2  # 5 cm a step; 5.7 cm lie between start and the goal's radius
    assert run(Course(arena, [NEAR], budget, seed=0)) is Phase.SUCCESS
    assert run(Course(arena, [NEAR], budget - 1, seed=0)) is Phase.FAILURE


def test_a_spent_budget_is_a_failure(arena):
    course = Course(arena, [FAR], budget=3, seed=0)
    assert run(course) is Phase.FAILURE
    assert course.steps == 3


def test_tasks_come_in_order_and_end(arena):
    course = Course(arena, [NEAR, FAR], budget=3, seed=0)
    course.tick(RIGHT)
    course.next()
    assert (course.index, course.phase, course.steps) == (1, Phase.WAITING, 0)
    assert course.goal.state == pytest.approx(FAR.goal)
    with pytest.raises(ArenaError, match='no next task: all 2 tasks of'):
        course.next()


def test_random_tasks_are_the_same_for_the_same_seed_and_never_end(arena):
    def goals(seed):
        course = Course(arena, [], budget=0, seed=seed)
        for _ in range(5):
            course.next()
        course.restart()
        return course.report()['goal']

    assert goals(1) == goals(1) != goals(2)


def test_the_packaged_model_reaches_the_first_goals_of_a_simulated_robot():
    model = shipped('models', 'two_room')
    assert model
    arenas = [make_arena('two_room', 64) for _ in range(10)]
    course, pairs = Course(arenas[0], [], budget=0, seed=0), []
    for number in range(len(arenas)):
        pairs.append(Pair(*course.task, 0, 0, number))
        course.next()
    sides = [np.sign(pair.start_state[0]) != np.sign(pair.goal_state[0]) for pair in pairs]
    assert 2 < sum(sides) < 8, 'some ways lead through a door'
    agent = PlannerAgent(Pilot(load(model)), 5, 0)
    assert all(one.success for one in run_pairs(arenas, pairs, agent, 300, 'model'))


def test_tasks_are_read_from_json(arena, tmp_path):
    path = tmp_path / 'tasks.json'
    path.write_text('[{"start": [0.5, 0], "goal": [-0.5, 0.25]}]')
    (task,) = read_tasks(path, arena)
    assert (task.start.tolist(), task.goal.tolist()) == ([0.5, 0.0], [-0.5, 0.25])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[', 'not valid JSON'),
        ('[]', 'expected a list of tasks'),
        ('{"start": [0, 0]}', 'expected a list of tasks'),
        ('[3]', 'task 0: expected an object such as'),
        ('[{"start": [0, 0], "goal": [1]}]', 'task 0: goal: expected 2 numbers'),
        ('[{"start": [0, 0], "goal": [1, "x"]}]', 'task 0: goal: expected 2 numbers'),
        ('[{"start": [0, NaN], "goal": [1, 1]}]', 'task 0: start: expected 2 numbers'),
        ('[{"start": [0, 0]}]', 'task 0: goal: expected 2 numbers, found None'),
    ],
)
def test_wrong_tasks_are_refused_with_their_place(arena, tmp_path, text, message):
    path = tmp_path / 'tasks.json'
    path.write_text(text)
    with pytest.raises(ArenaError, match=rf'tasks\.json: .*{message}'):
        read_tasks(path, arena)


def test_a_missing_file_of_tasks_is_refused(arena, tmp_path):
    with pytest.raises(ArenaError, match=r'none\.json: cannot be read: No such file'):
        read_tasks(tmp_path / 'none.json', arena)


def run(course):
    """Drive to the right until the task ends."""
    while not course.ended:
        course.tick(RIGHT)
    return course.phase
