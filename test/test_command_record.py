# SPDX-License-Identifier: Apache-2.0
"""Late images and late motors: what was sent already is where a plan begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.config import Command, Evaluate, Planner
from smwm_ros.control.command_record import CommandRecord
from smwm_ros.evaluation.agents import PlannerAgent
from smwm_ros.evaluation.closed_loop import run_pairs
from smwm_ros.evaluation.pairs import fresh_pairs, Pair
from smwm_ros.interfaces import ActionScaler, Array, Frame
from smwm_ros.model.checkpoint import load
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.pilot import Pilot
from smwm_ros.planning.planner import make_planner
import torch
from torch import nn, Tensor
from worlds import draw_dot, Line, PointMass, ROBOT, SIZE, tiny_checkpoint

DT = 0.1
ROOT = Path(__file__).resolve().parent.parent


def nothing(time: float) -> None:
    """Plan nothing."""


def record(*times: float) -> CommandRecord:
    """Return a record of commands that are their own times."""
    made = CommandRecord(DT, np.zeros(1))
    for time in times:
        made.add(time, np.array([time]))
    return made


@given(st.floats(0.0, 0.9), st.integers(0, 5), st.floats(-0.3, 0.3))
def test_a_plan_begins_with_the_commands_since_its_image_in_order(
    late: float, back: int, early: float
) -> None:
    ticks = [k * DT for k in range(-20, 0)]
    plan_start = record(*(tick + early * DT * 0.2 for tick in ticks)).plan_start(
        -(back + late) * DT, 0.0, nothing
    )
    count = back + (late >= 0.5)
    if late == 0.5:
        return
    sent = [] if plan_start.sent is None else plan_start.sent[:, 0].tolist()
    assert len(sent) == count
    assert sent == pytest.approx(ticks[len(ticks) - count :], abs=0.2 * DT)
    # The tick that the plan is for, a little early or late, finds the first free row.
    for tick in (-0.4 * DT, 0.0, 0.4 * DT):
        assert int((tick - plan_start.start) // DT) == count


def test_a_command_is_in_force_until_the_next_one_however_long() -> None:
    plan_start = record(-5.0, -0.47).plan_start(-0.6, 0.0, nothing)
    assert plan_start.sent is not None
    assert plan_start.sent[:, 0].tolist() == [-5.0, -0.47, -0.47, -0.47, -0.47, -0.47]


def test_what_is_still_to_be_sent_is_foreseen_by_the_plan_that_plays() -> None:
    plan_start = record(-0.3).plan_start(-0.3, 0.0, lambda time: np.array([time + 50]))
    assert plan_start.sent is not None
    assert plan_start.sent[:, 0] == pytest.approx([-0.3, 49.8, 49.9])


def test_before_the_first_command_a_robot_rests_or_its_position_is_unknown() -> None:
    resting = CommandRecord(DT, np.zeros(2)).plan_start(-0.2, 0.0, nothing)
    assert resting.sent is not None
    assert not resting.sent.any()
    assert CommandRecord(DT, None).plan_start(-0.2, 0.0, nothing).sent is None


def test_when_time_jumps_back_the_record_begins_anew() -> None:
    made = record(100.0, 100.1)
    made.add(1.0, np.array([7.0]))
    sent = made.plan_start(0.9, 1.2, nothing).sent
    assert sent is not None
    assert sent[:, 0].tolist() == [0.0, 7.0, 7.0]


BLOCK = 3
BOX = torch.full((2 * BLOCK,), 0.6)


@pytest.mark.parametrize('kind', ['cem', 'icem', 'mppi', 'sampling'])
@pytest.mark.parametrize('step', [None, torch.full((2,), 0.2)])
@pytest.mark.parametrize('count', [1, 3, 5])
def test_plans_begin_with_the_past_and_make_the_best_of_the_rest(
    kind: str, step: torch.Tensor | None, count: int
) -> None:
    settings = Planner(kind=kind, horizon=5, iterations=8, cost='last')
    planner = make_planner(PointMass(), settings, -BOX, BOX, BLOCK, step=step)
    past = torch.linspace(-0.5, -0.3, count)[None, :, None].expand(2, -1, 2)
    z, goal = torch.zeros(2, 2), torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    raw = planner.plan_many(z, goal, past).actions.reshape(2, 5 * BLOCK, 2)
    assert torch.equal(raw[:, :count], past)
    assert bool((raw.abs() <= 0.6 + 1e-6).all())
    if step is not None:
        assert float(raw.diff(dim=1)[:, count - 1 :].abs().max()) <= 0.2 + 1e-5
    if kind != 'sampling':  # which is coarse
        end = raw.sum(dim=1)
        assert float(torch.linalg.vector_norm(end - goal, dim=1).max()) < 0.4
    free = planner.plan_many(z, goal).actions.reshape(2, 5 * BLOCK, 2)
    assert not torch.equal(free[:, :count], past), 'the next plan has a past of its own'


def test_a_past_that_leaves_nothing_to_plan_is_refused() -> None:
    planner = make_planner(PointMass(), Planner(horizon=2, elites=2), -BOX, BOX, BLOCK)
    z = torch.zeros(1, 2)
    for past in (torch.zeros(1, 6, 2), torch.zeros(2, 1, 2)):
        with pytest.raises(ValueError, match='expected fewer than 6 raw actions for each of 1'):
            planner.plan_many(z, z, past)


def test_bounds_leave_the_past_alone_where_it_was_beyond_them() -> None:
    past = torch.full((1, 1, 2), 9.0)  # of somebody else
    bounded = Bounds(-BOX, BOX, BLOCK).bound(torch.full((1, 4, 2, 6), 5.0), None, past)
    assert bounded[..., 0, :2].eq(9.0).all()
    assert bounded[..., 0, 2:].eq(0.6).all()


def test_the_pilot_passes_sent_actions_to_the_planner_in_its_units() -> None:
    checkpoint = tiny_checkpoint(mean=0.1, std=0.2)
    pilot = Pilot(checkpoint)
    pilot.set_goal(draw_dot(np.zeros(2)))
    sent = np.array([[0.3, -0.2], [0.4, 0.0], [-0.5, 0.1]])
    actions = pilot.plan(draw_dot(np.ones(2)), 0, sent).actions
    assert actions[:3] == pytest.approx(sent, abs=1e-6)
    assert pilot.plan(draw_dot(np.ones(2)), 1, sent[:0]).actions.shape == actions.shape


@pytest.mark.usefixtures('one_thread')
def test_200_ms_of_camera_delay_cost_no_goals_in_two_rooms(
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = load(ROOT / 'models' / 'two_room')
    delay = round(0.2 / checkpoint.robot.dt)
    arenas = [make_arena('two_room', 64) for _ in range(8)]
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(4):  # of the expert, who goes from anywhere to anywhere
        arenas[0].set_state(arenas[0].sample(rng))
        arenas[0].set_goal_state(arenas[0].sample(rng))
        episodes.append(np.stack([arenas[0].step(arenas[0].expert()).state for _ in range(30)]))
    pairs = fresh_pairs(episodes, Evaluate(pairs=16, offset=12))

    def success(delay: int, compensate: str) -> tuple[float, float]:
        agent = PlannerAgent(Pilot(checkpoint), 1, delay, compensate)
        tried = run_pairs(arenas, pairs, agent, 30, compensate)
        steps = float(np.mean([one.steps for one in tried]))
        return float(np.mean([one.success for one in tried])), steps

    free = success(0, 'sent')
    late = {how: success(delay, how) for how in ('sent', 'nothing')}
    for arena in arenas:
        arena.close()
    with capsys.disabled():
        print(f'\n  without delay: {free[0]:.0%} of the goals, {free[1]:.1f} steps')
        for how, (share, steps) in late.items():
            print(f'  200 ms late, compensated by {how}: {share:.0%}, {steps:.1f} steps')
    assert free[0] >= 0.75
    assert late['sent'][0] >= 0.9 * free[0]


def settle(delay: int, compensated: bool) -> float:
    """Drive a point whose actions are its steps; return how far it is from its goal at the end."""
    settings = Planner(horizon=8, samples=128, iterations=6, cost='sum', min_std=0.02)
    planner = make_planner(PointMass(), settings, -BOX[:2], BOX[:2])
    place, goal = torch.zeros(1, 2), torch.tensor([[2.0, -1.0]])
    queue = [torch.zeros(1, 2) for _ in range(delay)]
    far = []
    for step in range(40):
        planner.shift(min(step, 1))
        past = torch.stack(queue, dim=1) if compensated and delay else None
        raw = planner.plan_many(place, goal, past).actions.reshape(1, 8, 2)
        queue.append(raw[:, delay if compensated else 0])
        place = place + queue.pop(0)
        far.append(float(torch.linalg.vector_norm(place - goal)))
    return float(np.mean(far[-10:]))


@pytest.mark.parametrize('delay', [1, 2, 4])
def test_a_late_robot_rests_at_its_goal_only_if_its_plans_know_of_the_delay(delay: int) -> None:
    known, unknown = settle(delay, True), settle(delay, False)
    assert known < 1.5 * settle(0, True)
    assert unknown > 2 * known


FIELD = Command(fields=('twist.linear.x',), low=(-1.0,), high=(1.0,))
SHARE = 0.3  # of the way to the commanded velocity that a robot with inertia goes in a step
GOALS = (8.0, -5.0, 3.0)


class Sled(Line):
    """The line for a robot with inertia."""

    def __init__(self) -> None:
        super().__init__()
        self.velocity = 0.0

    def step(self, action: Array) -> Frame:
        """Glide."""
        self.velocity += SHARE * (float(action[0]) - self.velocity)
        self.place += self.velocity
        return self._frame(self.place)

    def success(self) -> bool:
        """Drive on: where it ends up counts."""
        return False

    def _frame(self, place: float) -> Frame:
        pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
        pixels[0, 0, :2] = divmod(round(256 * (place + 128)), 256)
        return Frame(pixels, np.array([place]))


class Place(nn.Module):
    """Reads a place off an image of the sled, which shows no velocity."""

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 1)."""
        return pixels[:, 0, 0, :1] + pixels[:, 1, 0, :1] / 256 - 128


class Glide(nn.Module):
    """Knows how the sled moves from rest."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(SHARE))

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """(..., 1), (..., K) -> (..., 1)."""
        velocity = torch.zeros_like(z)
        for raw in action.split(1, dim=-1):
            velocity = velocity + self.share * (raw - velocity)
            z = z + velocity
        return z


def missed_by(delay: int, compensate: str) -> float:
    """Drive sleds to their goals; return how far away they are in the last ten of 40 steps."""
    made, one = tiny_checkpoint(), np.ones(1)
    made.smwm.encoder, made.smwm.forward_model = Place(), Glide()  # type: ignore[assignment]
    made.smwm.latent = 1
    made = made._replace(
        robot=replace(ROBOT, command=FIELD),
        dataset=replace(made.dataset, action_block=4),
        planner=Planner(horizon=5, samples=64, iterations=4, elites=8),
        scaler=ActionScaler(0 * one, one),
    )
    agent = PlannerAgent(Pilot(made), 1, delay, compensate)
    pairs = [Pair(0 * one, goal * one, 0, 1, 0) for goal in GOALS]
    outcomes = run_pairs([Sled() for _ in GOALS], pairs, agent, 40, '')
    ends = np.array([outcome.path[-10:] for outcome in outcomes])[:, :, 0]
    return float(np.abs(ends - np.array(GOALS)[:, None]).mean())


@pytest.mark.usefixtures('one_thread')
def test_a_late_robot_with_inertia_swings_about_its_goal_unless_plans_know_of_it() -> None:
    known = missed_by(3, 'sent')
    assert known < 1.5 * missed_by(0, 'sent')
    assert missed_by(3, 'skip') > 2 * known, 'the actions that were sent are those of older plans'
    assert missed_by(3, 'nothing') > 4 * known
