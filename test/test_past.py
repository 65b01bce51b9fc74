# SPDX-License-Identifier: Apache-2.0
"""A forward model with a history plans from the real past: in evaluation as in the node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.control.command_record import CommandRecord, PlanStart
from smwm_ros.errors import DatasetError
from smwm_ros.evaluation.agents import Attempt, PlannerAgent
from smwm_ros.evaluation.replay import replay
from smwm_ros.interfaces import Array, Frame
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.networks import Heads
from smwm_ros.model.past import advanced, joined, parted, Recent, steps_before
from smwm_ros.model.vit import LATENT, Predictor
from smwm_ros.model.world_model import Smwm
from smwm_ros.nodes.goal_planner import GoalInput, GoalPlanner
from smwm_ros.planning.actor_rollout import ActorRollout
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs
from smwm_ros.planning.image_history import history_of, ImageHistory
from smwm_ros.planning.pilot import Pilot
from smwm_ros.planning.policy import Policy
from smwm_ros.planning.roadmap import Mover, Roadmap, RoadmapPlanner
from smwm_ros.training.train import train
from test_history import grey, levels
from test_onnx import tiny
import torch
from torch import Tensor
from worlds import BLOCK, dot_dataset, Line, SIZE

HISTORY, ACTION = 3, 2 * BLOCK
DT = 0.1
pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def checkpoint() -> Checkpoint:
    return tiny(HISTORY, SIZE)


@pytest.fixture(scope='module')
def model(checkpoint: Checkpoint) -> Smwm:
    return checkpoint.smwm


def recent(steps: int, *lead: int) -> Recent:
    draw = torch.Generator().manual_seed(steps)
    latents = torch.randn(*lead, steps + 1, LATENT, generator=draw)
    return Recent(latents, torch.randn(*lead, steps, ACTION, generator=draw))


def pictures(count: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    tiles = rng.integers(0, 2, (count, 2, 2, 3)) * 255  # noise would look alike everywhere
    return tiles.repeat(SIZE // 2, axis=1).repeat(SIZE // 2, axis=2).astype(np.uint8)


def moves(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-0.4, 0.4, (count, 2))


def test_a_latent_and_its_past_are_one_row_and_come_apart_again() -> None:
    for steps in range(4):
        whole = recent(steps, 5, 2)
        z = joined(whole)
        assert z.shape == (5, 2, LATENT + steps * (LATENT + ACTION))
        assert torch.equal(z[..., :LATENT], whole.latents[..., -1, :]), 'the newest comes first'
        for part, other in zip(whole, parted(z, LATENT, ACTION), strict=True):
            assert torch.equal(part, other)
    with pytest.raises(ValueError, match=r'width 192, or 196 more for each .* found 193'):
        steps_before(LATENT + 1, LATENT, ACTION)


@torch.inference_mode()
@pytest.mark.parametrize('steps', [1, 2])
def test_a_rollout_reads_the_last_steps_whether_they_were_or_are_predicted(
    model: Smwm, steps: int
) -> None:
    past, ahead = recent(steps, 6), torch.randn(6, 4, ACTION)
    predictor = model.forward_model
    assert isinstance(predictor, Predictor)
    latents, actions = past.latents, torch.cat([past.actions, ahead], dim=1)
    for end in range(steps + 1, steps + 5):
        window = slice(max(end - HISTORY, 0), end)
        after = predictor.predict_sequence(latents[:, window], actions[:, window])[:, -1:]
        latents = torch.cat([latents, after], dim=1)
    found = model.rollout(joined(past), ahead)
    assert torch.allclose(found, latents[:, steps + 1 :], atol=1e-5)
    many = joined(past).unsqueeze(1).expand(-1, 3, -1)
    assert torch.allclose(
        model.rollout(many, ahead.unsqueeze(1).expand(-1, 3, -1, -1))[:, 1], found, atol=1e-5
    )
    step = advanced(model, joined(past), ahead[:, 0])
    moved = Recent(latents[:, 1 : steps + 2], actions[:, 1 : steps + 1])
    assert torch.allclose(step, joined(moved), atol=1e-5), 'the past moves on by a step'
    alone = latents[:, steps]
    assert torch.equal(advanced(model, alone, ahead[:, 0]), model.predict(alone, ahead[:, 0]))


def planned(pilot: Pilot, pixels: Array, before: Array | None = None) -> Array:
    """Return the actions of a plan and, last, its cost."""
    pilot.reset()
    plan = pilot.plan(pixels, 0, None, before)
    return np.array([*plan.actions.ravel(), plan.cost])


def test_a_plan_depends_on_the_images_and_actions_before(checkpoint: Checkpoint) -> None:
    pilot = Pilot(checkpoint)
    goal, *images = pictures(4)
    pilot.set_goal(goal)
    seen, before = np.concatenate(images, axis=-1), moves(2 * BLOCK)
    usual = planned(pilot, seen, before)
    assert np.array_equal(planned(pilot, seen, before), usual)
    for part in (0, 1):
        other = seen.copy()
        other[..., 3 * part : 3 * part + 3] = pictures(1, seed=9)[0]
        assert not np.array_equal(planned(pilot, other, before), usual)
    for row in range(2 * BLOCK):
        changed = before.copy()
        changed[row] = -changed[row]
        assert not np.array_equal(planned(pilot, seen, changed), usual)
    older = np.concatenate([moves(5, seed=7), before])
    assert np.array_equal(planned(pilot, seen, older), usual), 'further ones are not read'
    alone = planned(pilot, images[2])
    assert not np.allclose(alone[:-1], usual[:-1]), 'other actions, too'
    for short in (None, before[: BLOCK - 1], before[:0]):
        assert np.array_equal(planned(pilot, seen, short), alone), 'no step is known'
    last = planned(pilot, seen[..., 3:], before[BLOCK:])
    assert np.array_equal(planned(pilot, seen, before[1:]), last), 'one step is known'
    plan = pilot.plan(seen, 0, None, before)
    assert plan.latent == pytest.approx(pilot.encode(images[2][None])[0], abs=1e-5)
    assert pilot.encode(seen[None])[0] == pytest.approx(plan.latent, abs=1e-6)
    with pytest.raises(ValueError, match=r'16, 9\) uint8, found \(16, 16, 12\)'):
        pilot.plan(np.concatenate([seen, goal], axis=-1), 0)


def test_problems_with_a_past_are_planned_as_if_alone(checkpoint: Checkpoint) -> None:
    pilot = Pilot(checkpoint)
    goals, seen = pictures(2), pictures(6).reshape(2, 3, SIZE, SIZE, 3)
    seen = seen.transpose(0, 2, 3, 1, 4).reshape(2, SIZE, SIZE, 9)
    before = np.stack([moves(4, seed) for seed in (1, 2)])
    pilot.set_goals(goals)
    together = pilot.plan_many(seen, 0, None, before)
    for lane in (0, 1):
        pilot.set_goal(goals[lane])
        alone = planned(pilot, seen[lane], before[lane])
        assert alone[:-1] == pytest.approx(together[lane].actions.ravel(), abs=1e-4)


def test_a_pilot_warms_up_with_the_whole_past(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    pilot = Pilot(checkpoint)
    widths = []
    plan_many = pilot._planner.plan_many

    def note(z: Tensor, *others: Any) -> object:
        widths.append(z.shape[1])
        return plan_many(z, *others)

    monkeypatch.setattr(pilot._planner, 'plan_many', note)
    pilot.warm_up()
    assert widths == [LATENT + 2 * (LATENT + ACTION)] * 3


def test_policies_actors_heads_and_roadmaps_read_the_newest_latent(model: Smwm) -> None:
    z = joined(recent(2, 2))
    goal = torch.randn(2, LATENT)
    policy = Policy(LATENT, ACTION).eval()
    with torch.inference_mode():
        proposed = policy.propose(model, z, goal, 2)
        alone = policy.propose(model, z[:, :LATENT], goal, 2)
        assert torch.equal(proposed[:, :, 0], alone[:, :, 0])
        assert not torch.allclose(proposed[:, :, 1], alone[:, :, 1]), 'the next step differs'

        class Steer(torch.nn.Module):
            steps = torch.tensor([2])

            def forward(self, z: Tensor, goal: Tensor, left: Tensor) -> tuple[Tensor]:
                return (0.1 * (goal - z)[:, :ACTION],)

        bounds = Bounds(torch.full((ACTION,), -1.0), torch.full((ACTION,), 1.0), BLOCK)
        act = ActorRollout(Steer(), model, bounds, 2)  # type: ignore[arg-type]
        assert torch.equal(act(z, goal)[:, :, 0], act(z[:, :LATENT], goal)[:, :, 0])
        heads = Heads(LATENT, ACTION, 2)
        settings = config.Planner(doubt_weight=1.0)
        costs = Costs(model, settings, bounds, heads=heads)
        assert costs(z, goal, torch.randn(2, 3, 2, ACTION)).shape == (2, 3)
    seen = list[Tensor]()

    class Inner:
        def plan_many(self, z: Tensor, goal: Tensor, past: Tensor | None = None) -> None:
            seen.append(z)
            raise InterruptedError

    road = Roadmap(torch.randn(5, LATENT), torch.tensor([[0, 1], [1, 2]]), 1.0, 1.0)
    mover = Mover(model, bounds.low, bounds.high)
    with pytest.raises(InterruptedError):
        RoadmapPlanner(Inner(), road, mover).plan_many(z, goal)  # type: ignore[arg-type]
    assert torch.equal(seen[0], z), 'the search still gets the past'


def test_images_of_the_past_are_a_model_step_apart_and_none_is_made_up() -> None:
    knobs = config.Model(preset='tiny', history=3)
    history = history_of(knobs, 4, DT)
    found = [levels(history.add(grey(tick), DT * tick)) for tick in range(13)]
    assert found[:4] == [[0], [1], [2], [3]], 'before there is a model step there is no past'
    assert found[4:8] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert found[8:] == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11], [4, 8, 12]]
    assert levels(history.add(grey(50), 3.0)) == [50], 'what a gap hides is unknown'
    assert levels(history.add(grey(51), 3.4)) == [50, 51]
    slow = history_of(knobs, 4, DT)  # a camera of 3 Hz
    found = [levels(slow.add(grey(tick), tick / 3)) for tick in range(5)]
    assert found[:2] == [[0], [1]]
    assert found[4] == [2, 3, 4]
    assert levels(history_of(config.Model(history=3), 4, DT).add(grey(7), 0.0)) == [7, 7, 7]


def test_the_commands_before_a_plan_are_those_of_its_periods() -> None:
    record = CommandRecord(DT, np.zeros(1), past=400)
    for tick in range(100):
        record.add(DT * tick, np.array([float(tick)]))
    start = DT * 60 - DT / 2  # of a plan whose first row is for tick 60
    found = record.before(start, 4)
    assert found is not None
    assert found[:, 0].tolist() == [56, 57, 58, 59]
    early = record.before(DT * 2 - DT / 2, 4)
    assert early is not None
    assert early[:, 0].tolist() == [0, 0, 0, 1], 'at rest before the first command'
    unknown = CommandRecord(DT, None)
    unknown.add(0.0, np.array([5.0]))
    known = unknown.before(DT * 2 - DT / 2, 4)
    assert known is not None
    assert known[:, 0].tolist() == [5, 5], 'nothing is known of a robot that holds'
    assert unknown.before(-DT, 4) is None
    for tick in range(100, 800):
        record.add(DT * tick, np.array([float(tick)]))
    old = record.before(DT * 800 - DT / 2, 650)
    assert old is not None
    assert old[0, 0] == 150, 'as many are kept as a model reads'


def test_the_node_and_an_evaluation_plan_alike(checkpoint: Checkpoint) -> None:
    ticks, shown = 3 * BLOCK, pictures(3 * BLOCK, seed=3)
    goal = pictures(1, seed=4)[0]
    agent = PlannerAgent(Pilot(checkpoint), execute=1, delay=0)
    agent.begin([Attempt(Line(), Frame(goal, np.zeros(1)), (0,))])
    driven = [agent.act([0], [Frame(one, np.zeros(1))])[0].action for one in shown]

    node = GoalPlanner(Pilot(checkpoint), DT)
    node.set_goal(GoalInput(pixels=goal[None]))
    history = history_of(checkpoint.model_config, BLOCK, DT)
    past = (HISTORY - 1) * BLOCK
    record = CommandRecord(DT, np.zeros(2), past)
    for tick in range(ticks):
        time = 7 + DT * tick
        seen = history.add(shown[tick], time)
        assert seen.shape[-1] == 3 * min(1 + tick // BLOCK, HISTORY)
        node.prepare(fresh=tick == 0, observation=seen)
        start = time - DT / 2
        plan = node.plan(seen, PlanStart(start, None, record.before(start, past)))
        assert plan.actions[0] == pytest.approx(driven[tick], abs=1e-4), tick
        record.add(time, driven[tick])


def test_lanes_remember_their_own_actions_and_begin_anew(checkpoint: Checkpoint) -> None:
    pilot = Pilot(checkpoint)
    noted = list[Array | None]()
    plan_many = pilot.plan_many

    def note(
        pixels: Array, elapsed: int, sent: Array | None, before: Array | None
    ) -> list[object]:
        noted.append(before)
        return list(plan_many(pixels, elapsed, sent, before))

    pilot.plan_many = note  # type: ignore[method-assign, assignment]
    agent = PlannerAgent(pilot, execute=1, delay=1)
    goals = [Attempt(Line(), Frame(one, np.zeros(1)), (0,)) for one in pictures(2, seed=5)]
    for ticks in (2, 6):
        noted.clear()
        agent.begin(goals)
        done: list[list[Array]] = [[], []]
        for tick in range(ticks):
            lanes = [0, 1] if tick < 4 else [1]
            frames = [Frame(one, np.zeros(1)) for one in pictures(len(lanes), seed=tick)]
            for lane, move in zip(lanes, agent.act(lanes, frames), strict=True):
                done[lane].append(move.action)
        assert noted[0] is None
        for tick, before in enumerate(noted[1:], start=1):
            lanes = [0, 1] if tick < 4 else [1]
            wanted = [done[lane][:tick][-2 * BLOCK :] for lane in lanes]
            assert np.array_equal(before, wanted)  # type: ignore[arg-type]


def test_a_replay_shows_what_its_leg_has_shown_so_far(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    data = dot_dataset(tmp_path, episodes=2, length=8)
    pilot = Pilot(checkpoint)
    noted = list[tuple[Array, Array | None]]()
    plan_many = pilot.plan_many

    def note(pixels: Array, elapsed: int, *known: Array | None) -> list[object]:
        noted.append((pixels, known[-1] if known else None))
        return list(plan_many(pixels, elapsed, *known))

    pilot.plan_many = note  # type: ignore[method-assign, assignment]
    replay(pilot, data, 6)
    starts = np.array([drive.start for drive in data.drives])
    for tick, (pixels, before) in enumerate(noted):
        steps = min(tick // BLOCK, HISTORY - 1)
        rows = [starts + tick - back * BLOCK for back in range(steps, -1, -1)]
        assert np.array_equal(pixels, np.concatenate([data.pixels(row) for row in rows], axis=-1))
        assert (before is None) == (steps == 0)
        for lane, start in enumerate(starts):
            acted = data.actions(np.arange(start + tick - steps * BLOCK, start + tick))
            assert before is None or np.array_equal(before[lane], acted)


def swinging(count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return latents (B, T+1, D) with a velocity that one latent does not show, and actions."""
    draw = torch.Generator().manual_seed(seed)
    place, velocity = torch.randn(2, count, 4, generator=draw)
    push = torch.randn(count, length, 4, generator=draw)
    shows = torch.randn(4, LATENT, generator=torch.Generator().manual_seed(99))
    places = [place]
    for step in range(length):
        velocity = 0.9 * velocity + 0.3 * push[:, step]
        place = 0.8 * place + velocity
        places.append(place)
    return 0.3 * torch.stack(places, dim=1) @ shows, push


def test_the_real_past_predicts_held_out_drives_no_worse() -> None:
    torch.manual_seed(0)
    predictor = Predictor(4, HISTORY, layers=1)
    optimiser = torch.optim.AdamW(predictor.parameters(), lr=2e-3)
    z, actions = swinging(16 * 32, HISTORY, seed=1)
    for step in range(16):
        some = slice(32 * step, 32 * (step + 1))
        found = predictor.predict_sequence(z[some, :-1], actions[some])
        loss = (found - z[some, 1:]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    predictor.eval()
    z, actions = swinging(256, HISTORY + 2, seed=2)
    errors = []
    with torch.inference_mode():
        for steps in range(HISTORY):
            first = HISTORY - 1 - steps
            past = Recent(z[:, first:HISTORY], actions[:, first : HISTORY - 1])
            ahead = predictor.rollout(joined(past), actions[:, HISTORY - 1 :])
            errors.append(float((ahead - z[:, HISTORY:]).square().mean()))
    assert max(errors[1:]) < 0.8 * errors[0], errors


def test_a_history_that_no_episode_has_is_refused(tmp_path: Path) -> None:
    data = dot_dataset(tmp_path / 'dots', episodes=6, length=12)
    knobs = replace(config.Model(preset='tiny'), history=7)
    few = config.Train(steps=2, batch=4)
    with pytest.raises(
        DatasetError, match=r'longer than 14 ticks \(7 model steps .* smaller .* model.history'
    ):
        train(data, tmp_path / 'run', knobs, few, config.Planner())


def test_a_history_of_one_image_reads_no_past() -> None:
    assert isinstance(history_of(config.Model(preset='tiny', history=1), 4, DT), ImageHistory)
    assert Pilot(tiny(1, SIZE)).past_steps == 0
