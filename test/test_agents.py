# SPDX-License-Identifier: Apache-2.0
"""Tests of agents: each lane is independent of the others, and plans are executed when due."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from contract import check_agent
import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.two_room import TwoRoom
from smwm_ros.config import Evaluate, Model
from smwm_ros.errors import ConfigError
from smwm_ros.evaluation.agents import Agent, Attempt, ExpertAgent, Move, PlannerAgent, RandomAgent
from smwm_ros.evaluation.methods import Method
from smwm_ros.interfaces import ActionSpec, Arena, Array, Frame
from smwm_ros.planning.pilot import Pilot, PilotPlan
from worlds import Line, SIZE, tiny_checkpoint

FRAME = Frame(np.zeros((1, 1, 3), np.uint8), np.zeros(1))


class Clock:
    """A pilot whose plans say for whom and when they were made, and which action this is."""

    spec = ActionSpec(('lane', 'made', 'index'), (-99.0,) * 3, (99.0,) * 3, 0.1)
    raw_steps, past_steps, action_block, model_config = 8, 0, 1, Model(history=1)

    def __init__(self) -> None:
        self.elapsed, self.goals = list[int](), np.zeros(0)
        self.sent = list[Array | None]()

    def set_goals(self, pixels: Array, metrics: Array | None = None) -> None:
        self.goals = pixels[:, 0, 0, 0]

    def keep(self, problems: Sequence[int]) -> None:
        self.goals = self.goals[list(problems)]

    def plan_many(
        self, pixels: Array, elapsed: int, sent: Array | None, before: None
    ) -> list[PilotPlan]:
        assert len(pixels) == len(self.goals), 'another number of images than of goals'
        self.elapsed.append(elapsed)
        self.sent.append(sent)
        return [
            PilotPlan(
                np.array(
                    [[goal, image[0, 0, 0], index] for index in range(self.raw_steps)], float
                ),
                0.0,
                0.0,
                float(image[0, 0, 0]),
            )
            for goal, image in zip(self.goals, pixels, strict=True)
        ]


def attempts(goals: Sequence[int]) -> list[Attempt]:
    return [
        Attempt(Line(), Frame(np.full((1, 1, 3), goal, np.uint8), np.zeros(1)), (goal, 0))
        for goal in goals
    ]


def frame(tick: int) -> Frame:
    return Frame(np.full((1, 1, 3), tick, np.uint8), np.zeros(1))


def drive(
    execute: int, delay: int, ticks: int = 7, compensate: str = 'sent'
) -> tuple[list[list[float]], Clock]:
    clock = Clock()
    agent = PlannerAgent(clock, execute, delay, compensate)  # type: ignore[arg-type]
    agent.begin(attempts([5]))
    moves = [agent.act([0], [frame(tick)])[0] for tick in range(ticks)]
    return [move.action.tolist()[1:] for move in moves], clock


@pytest.fixture(scope='module')
def rooms() -> Iterator[list[Arena]]:
    arenas = [make_arena('two_room', SIZE) for _ in range(3)]
    yield list[Arena](arenas)
    for arena in arenas:
        arena.close()


def by_method(execute: int, delay: int) -> PlannerAgent:
    checkpoint = tiny_checkpoint()
    method = Method('tiny', Path('tiny'), checkpoint, checkpoint.planner, execute)
    return method.agent(Evaluate(delay=delay))


AGENTS: dict[str, Callable[[], Agent]] = {
    'random': lambda: RandomAgent(TwoRoom.spec, 3),
    'expert': ExpertAgent,
    'planner': lambda: PlannerAgent(Pilot(tiny_checkpoint()), 1, 0),
    'several actions of a plan': lambda: by_method(3, 0),
    'late plans': lambda: by_method(2, 2),
    'late plans that skip': lambda: PlannerAgent(Pilot(tiny_checkpoint()), 2, 2, 'skip'),
    'late plans without compensation': lambda: PlannerAgent(
        Pilot(tiny_checkpoint()), 2, 2, 'nothing'
    ),
}


@pytest.mark.parametrize('name', AGENTS)
def test_every_agent_keeps_the_contract(name: str, rooms: list[Arena]) -> None:
    check_agent(AGENTS[name], rooms)


def test_a_plan_is_acted_on_from_its_own_image_on() -> None:
    actions, clock = drive(execute=1, delay=0)
    assert actions == [[tick, 0] for tick in range(7)]
    assert clock.elapsed == [0, 1, 1, 1, 1, 1, 1]


def test_several_actions_of_a_plan_are_executed_before_the_next() -> None:
    actions, clock = drive(execute=3, delay=0)
    assert actions == [[0, 0], [0, 1], [0, 2], [3, 0], [3, 1], [3, 2], [6, 0]]
    assert clock.elapsed == [0, 3, 3]


@pytest.mark.parametrize('execute', [1, 2, 3])
@pytest.mark.parametrize('delay', [1, 2, 4])
def test_a_late_plan_skips_what_is_past(execute: int, delay: int) -> None:
    actions, _ = drive(execute, delay, ticks=20)
    assert actions[:delay] == [[0, 0]] * delay  # still, until the first plan is ready
    for tick, (made, index) in enumerate(actions[delay:], start=delay):
        assert made + index == tick, 'an action was executed at another tick than planned for'
        assert made % execute == 0
        assert delay <= index < delay + execute


@pytest.mark.parametrize('execute', [1, 2, 3])
@pytest.mark.parametrize('delay', [0, 1, 2, 4])
def test_the_planner_receives_what_is_sent_before_its_plan_is_due(
    execute: int, delay: int
) -> None:
    actions, clock = drive(execute, delay, ticks=20)
    assert len(clock.sent) == len(range(0, 20, execute))
    for made, sent in zip(range(0, 20 - delay, execute), clock.sent, strict=False):
        if delay == 0:
            assert sent is None
        else:
            assert sent is not None
            assert sent[0, :, 1:].tolist() == actions[made : made + delay], 'it was not done'


def test_without_compensation_a_plan_begins_when_it_is_ready() -> None:
    actions, clock = drive(execute=1, delay=2, compensate='nothing')
    assert actions[2:] == [[tick, 0] for tick in range(5)]
    assert set(clock.sent) == {None}
    assert set(drive(execute=1, delay=2, compensate='skip')[1].sent) == {None}


def test_a_plan_must_be_long_enough() -> None:
    with pytest.raises(ConfigError, match=r'6 raw steps after a delay of 3 exceed the 8'):
        drive(execute=6, delay=3)


@pytest.mark.parametrize('execute', [1, 3])
def test_lanes_that_are_over_leave_the_others_with_their_own_goals(execute: int) -> None:
    agent = PlannerAgent(Clock(), execute, 0)  # type: ignore[arg-type]
    agent.begin(attempts([10, 11, 12, 13]))
    for tick, lanes in enumerate(([0, 1, 2, 3], [0, 1, 3], [0, 1, 3], [1, 3], [3], [3], [3])):
        moves = agent.act(lanes, [frame(tick)] * len(lanes))
        assert [move.action[0] for move in moves] == [10 + lane for lane in lanes]
        planned = tick % execute == 0
        assert [move.distance for move in moves] == [tick if planned else None] * len(lanes)
    assert agent.plans == (4 + 3 + 3 + 2 + 1 + 1 + 1 if execute == 1 else 4 + 2 + 1)


def test_random_actions_fill_the_limits_and_follow_seed_and_attempt_alone() -> None:
    def drawn(seed: int, goals: list[int], lane: int) -> list[float]:
        agent = RandomAgent(Line.spec, seed)
        agent.begin(attempts(goals))
        lanes = range(len(goals))
        moves = [agent.act(lanes, [FRAME] * len(goals))[lane] for _ in range(300)]
        return [float(move.action[0]) for move in moves]

    alone = drawn(3, [7], 0)
    assert drawn(3, [4, 7, 9], 1) == alone, 'what is beside it changed the noise'
    assert drawn(4, [7], 0) != alone
    assert drawn(3, [8], 0) != alone
    assert -1 <= min(alone) < -0.9 < 0.9 < max(alone) <= 1


def test_a_move_without_a_measured_distance_says_so() -> None:
    agent = RandomAgent(Line.spec, 0)
    agent.begin(attempts([1]))
    assert agent.act([0], [FRAME])[0].distance is None
    assert Move(np.zeros(1)).distance is None
