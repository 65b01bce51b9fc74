# SPDX-License-Identifier: Apache-2.0
"""An actor learns with its model what leads to goals ahead, and plans by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.interfaces import GoalAhead, Obs, Window
from smwm_ros.load import load_config
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.model.actor import Actor
from smwm_ros.model.any_model import make_any, make_model
from smwm_ros.planning.actor_rollout import ActorRollout
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.guides import Guides, load_guides
from smwm_ros.planning.pilot import Pilot
from smwm_ros.planning.planner import make_planner
from smwm_ros.planning.roadmap import Roadmap
from smwm_ros.training.augment import augment, Strength
from smwm_ros.training.batches import Batches, Shuffle
from smwm_ros.training.feed import open_feed
from smwm_ros.training.goals import with_goals, WithGoals
from smwm_ros.training.train import train
import torch
from torch import nn, Tensor
from worlds import BLOCK, dot_dataset, PointMass, SIZE, TINY, tiny_checkpoint

CPU = torch.device('cpu')
KINDS = ('intent', 'steps_left')
ACTIVE = replace(TINY, actor='intent', actor_reach=6)
LOW, HIGH = torch.full((6,), -0.5), torch.full((6,), 0.7)  # 3 raw actions of 2 numbers
PLANNER = config.Planner(horizon=4, samples=64, iterations=3, elites=8, cost='last')


@pytest.fixture(scope='module')
def dots(tmp_path_factory: pytest.TempPathFactory) -> TransitionDataset:
    return dot_dataset(tmp_path_factory.mktemp('dots'), episodes=40)


def window(actor: str = 'intent', left: float = 3.0, **knobs: Any) -> tuple[Any, Window]:
    """Return a model, and a batch of windows of 2 model steps with goals."""
    torch.manual_seed(0)
    model = make_model(replace(TINY, actor=actor, **knobs), SIZE, 2 * BLOCK)
    pixels = torch.randint(0, 256, (4, 8, 3, SIZE, SIZE)).byte()
    ticks = torch.arange(2 * BLOCK).reshape(2, 1, BLOCK).expand(-1, 8, -1)
    goal = GoalAhead(pixels[3], left - ticks)
    obs = Obs(pixels[:3], torch.zeros(3, 8, 0))
    return model, Window(obs, torch.randn(2, 8, 2 * BLOCK), goal=goal)


def test_goals_are_later_frames_of_the_same_episode_within_reach(dots: TransitionDataset) -> None:
    starts = dots.starts('train')
    ends = {row: e.stop - 1 for e in dots.episodes for row in range(e.start, e.stop)}
    drawn = [with_goals(starts, dots, 6, [0, step])[1] - starts for step in range(30)]
    ahead = np.stack(drawn)  # (30, n)
    most = np.minimum([ends[row] - row for row in starts.tolist()], 6)
    assert (ahead.min(0) >= 1).all()
    assert (ahead <= most).all()
    whole = ahead[:, most == 6]
    shares = np.bincount(whole.ravel(), minlength=7)[1:] / whole.size
    assert np.allclose(shares, 1 / 6, atol=0.02)


@pytest.mark.parametrize('stack', [1, 3])
def test_every_feed_has_the_goals_of_its_step(dots: TransitionDataset, stack: int) -> None:
    batches = Batches(dots, dots.action_scaler(), CPU, 2, stack=stack)
    sampler = WithGoals(Shuffle(batches.starts('train'), 8, 0), dots, 6, 0)
    starts, goals = sampler(4)
    share, steps = slice(2, 6), range(5, 6)
    for kind in ('direct', 'resident', 'prefetch'):
        with open_feed(kind, batches, sampler, share, steps) as feed:
            found = feed(5)
        assert found.goal
        images = found.goal.pixels.unflatten(1, (stack, 3))
        expected = torch.from_numpy(dots.pixels(goals[share])).permute(0, 3, 1, 2)
        for number in range(stack):  # a goal is at rest
            assert torch.equal(images[:, number], expected)
        place = starts + BLOCK  # of the second model step
        assert torch.equal(found.goal.left[1, :, 1], torch.from_numpy(goals - place - 1).float())


def test_goals_differ_at_every_step_and_depend_on_the_seed_and_the_step_alone(
    dots: TransitionDataset,
) -> None:
    rows = dots.starts('train')[:64]

    def ahead(seed: int, step: int) -> list[int]:
        starts, goals = WithGoals(lambda _: rows, dots, 6, seed)(step)
        assert np.array_equal(starts, rows)
        return list(goals - starts)

    assert ahead(0, 4) == ahead(0, 4)
    assert ahead(0, 4) != ahead(0, 5)
    assert ahead(0, 4) != ahead(1, 4)


def test_a_goal_is_warped_as_its_window_and_lit_by_itself() -> None:
    _, batch = window()
    assert batch.goal
    same = batch.obs.pixels[:1].expand(3, -1, -1, -1, -1)
    batch = batch._replace(
        obs=batch.obs._replace(pixels=same), goal=batch.goal._replace(pixels=same[0])
    )
    torch.manual_seed(0)
    warped = augment(batch, Strength(1.0, 0.0, 2), slice(0, 8))
    assert warped.goal
    assert torch.equal(warped.goal.pixels, warped.obs.pixels[0])
    assert not torch.equal(warped.goal.pixels, same[0])
    lit = augment(batch, Strength(0.0, 1.0), slice(0, 8))
    assert lit.goal
    assert lit.obs.pixels.shape == same.shape
    assert not torch.equal(lit.goal.pixels[0], lit.obs.pixels[0, 0])


@pytest.mark.parametrize('actor', KINDS)
def test_actions_after_a_goal_do_not_count(actor: str) -> None:
    model, batch = window(actor, left=1.0)  # the goal is one raw step ahead
    z = [part.detach() for part in model.latents(batch)]
    before = model.terms(z, batch)
    for tick, counts in ((0, True), (1, False), (2, False), (3, False)):
        raw = batch.action.reshape(2, 8, BLOCK, 2).clone()
        raw[tick // BLOCK, :, tick % BLOCK] += 1
        after = model.terms(z, batch._replace(action=raw.flatten(2)))
        assert (float(after['actor'].detach()) != float(before['actor'].detach())) == counts


@pytest.mark.parametrize('actor', KINDS)
def test_a_weight_of_0_leaves_a_transition_out(actor: str) -> None:
    model, batch = window(actor, left=9.0)
    z = torch.stack(model.latents(batch))
    weight = torch.ones(2, 8)
    weight[:, 5:] = 0
    few = batch._replace(
        action=batch.action[:, :5],
        obs=Obs(*(part[:, :5] for part in batch.obs)),
        goal=GoalAhead(batch.goal.pixels[:5], batch.goal.left[:, :5]),  # type: ignore[union-attr]
    )
    expected = model.terms(tuple(z[:, :5]), few)
    found = model.terms(tuple(z), batch._replace(weight=weight))
    names = [name for name in expected if name.startswith('actor')]
    assert len(names) == (2 if actor == 'intent' else 1)
    for name in names:
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-4)


def test_goals_get_no_gradient_and_neighbouring_frames_get_it() -> None:
    model, batch = window(left=9.0)
    z = [part.detach().requires_grad_() for part in model.latents(batch)]
    terms = model.terms(tuple(z), batch)
    ahead = torch.autograd.grad(terms['actor'], z, retain_graph=True, allow_unused=True)
    assert [slope is not None and bool(slope.any()) for slope in ahead] == [
        True,
        True,
        False,
        False,
    ]
    near = torch.autograd.grad(terms['actor_local'], z[:3])
    assert all(bool(slope.any()) for slope in near)


def test_a_loss_weight_multiplies_its_term() -> None:
    terms = []
    for weight in (1.0, 3.0):
        model, batch = window(actor_weight=weight, actor_local_weight=2 * weight)
        terms.append(model.losses(batch))
    for name in ('actor', 'actor_local'):
        assert float(terms[1][name]) == pytest.approx(3 * float(terms[0][name]), rel=1e-4)
    model, batch = window(actor_local_weight=0.0)
    assert 'actor_local' not in model.losses(batch)


def test_the_steps_left_tell_near_goals_from_far_ones() -> None:
    torch.manual_seed(0)
    actor = Actor(replace(TINY, actor='steps_left'), 4, 4, 32)
    z, goal = torch.randn(2, 6, 4)
    near, far = (actor(z, goal, torch.full((6,), left))[0] for left in (2.0, 40.0))
    assert torch.equal(near, far)  # to begin with
    with torch.no_grad():
        for weight in actor.time.parameters():  # type: ignore[union-attr]
            weight.normal_()
    near, far = (actor(z, goal, torch.full((6,), left))[0] for left in (2.0, 40.0))
    assert not torch.allclose(near, far, atol=1e-2)


@pytest.fixture(scope='module')
def trained(dots: TransitionDataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp('runs') / 'intent'
    settings = config.Train(steps=250, batch=64, eval_every=250, lr=1e-2, warp=0, colour_jitter=0)
    return train(dots, folder, ACTIVE, settings, config.Planner(kind='direct', horizon=2))


def test_an_actor_learns_what_leads_to_goals_ahead(trained: checkpoints.Checkpoint) -> None:
    summary = trained.info.summary
    assert summary['actor_r2'] > 0.2  # most actions do not show in the goal: they are random
    assert summary['actor_r2'] > summary['goal_inverse_r2'] + 0.05


def test_an_actor_is_saved_and_loaded_with_its_model(trained: checkpoints.Checkpoint) -> None:
    assert trained.folder
    again = checkpoints.load(trained.folder).model
    assert trained.model.actor
    assert again.actor
    for name, weight in trained.model.actor.state_dict().items():
        assert torch.equal(weight, again.actor.state_dict()[name])
    assert load_guides(trained, trained.planner).actor is trained.model.actor


@pytest.mark.parametrize('kind', ['direct', 'guarded'])
def test_an_actor_asked_of_a_run_without_one_is_an_error(kind: str) -> None:
    with pytest.raises(CheckpointError, match=r'trained with model\.actor=none; train with'):
        load_guides(tiny_checkpoint(), replace(PLANNER, kind=kind))


def test_models_that_cannot_have_an_actor_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'model\.actor: intent, but preset toy'):
        make_model(config.Model(preset='toy', actor='intent'), 64, 2)
    with pytest.raises(ConfigError, match=r'model\.actor: intent, but kind latent_action'):
        make_any(config.Model(kind='latent_action', actor='intent'), 64, 2)


class Walker(nn.Module):
    """An actor of the point mass that goes straight to the goal, at most `pace` in a raw step."""

    def __init__(self, pace: float, *steps: float) -> None:
        super().__init__()
        self.pace, self.steps = pace, torch.tensor(steps or (1.0,))

    def forward(self, z: Tensor, goal: Tensor, left: Tensor) -> tuple[Tensor, None]:
        """Share the way among the raw steps left, 3 at least."""
        way = (goal - z) / left.clamp(min=3).unsqueeze(-1)
        return way.clamp(-self.pace, self.pace).repeat(1, 3), None


HERE, THERE = torch.tensor([[1.0, -1.0], [0.0, 0.0]]), torch.tensor([[2.5, 0.5], [0.4, -0.2]])


class Even(PointMass):
    """A point mass that knows which equal raw actions make a move."""

    def infer(self, z: Tensor, z_next: Tensor) -> Tensor:
        """Share the way."""
        return ((z_next - z) / 3).repeat(1, 3)


def planner(
    actor: Any = None,
    step: float = 0.0,
    model: Any = None,
    roadmap: Roadmap | None = None,
    **knobs: Any,
) -> Any:
    settings = replace(PLANNER, **knobs)
    acting: Any = actor or Walker(0.3)
    guides = Guides(roadmap=roadmap, actor=acting)
    steps = torch.full((2,), step) if step else None
    return make_planner(model or PointMass(), settings, LOW, HIGH, 3, step=steps, guides=guides)


def test_direct_does_what_the_actor_does_in_the_predictions() -> None:
    plans = planner(kind='direct').plan_many(HERE, THERE)
    z = HERE
    for action in plans.actions.unbind(dim=1):
        expected = Walker(0.3)(z, THERE, torch.full((2,), 3.0))[0]
        assert torch.allclose(action, expected, atol=1e-6)
        z = PointMass().predict(z, action)
    assert torch.allclose(z, THERE, atol=1e-5)
    assert torch.allclose(plans.cost, plans.shares['goal'])
    assert float(plans.cost.max()) < 1e-6


@pytest.mark.parametrize('kind', ['direct', 'guarded'])
def test_plans_keep_the_limits_and_begin_with_what_was_sent(kind: str) -> None:
    past = torch.tensor([[[0.1, 0.2], [0.2, 0.1], [0.2, 0.2], [0.3, 0.1]]]).expand(2, -1, -1)
    plans = planner(Walker(9.0), 0.1, kind=kind).plan_many(HERE, THERE, past)
    raw = plans.actions.reshape(2, 12, 2)
    assert torch.equal(raw[:, :4], past)
    assert bool((raw >= -0.5).all())
    assert bool((raw <= 0.7).all())
    change = raw[:, 4:].diff(dim=1, prepend=past[:, -1:])
    assert float(change.abs().max()) <= 0.1 + 1e-6
    later = planner(Walker(9.0), 0.1, kind=kind)
    first = later.plan_many(HERE, THERE).actions.reshape(2, 12, 2)
    later.shift(2)
    again = later.plan_many(HERE, THERE).actions.reshape(2, 12, 2)
    assert float((again[:, 0] - first[:, 1]).abs().max()) <= 0.1 + 1e-6


def test_what_was_sent_moves_the_robot_before_the_actor_acts() -> None:
    past = torch.full((2, 3, 2), 0.4)  # a whole model step
    bounds = Bounds(LOW, HIGH, 3, torch.full((2,), 9.0))
    plan = ActorRollout(Walker(0.3), PointMass(), bounds, 2)(HERE, THERE, None, past)  # type: ignore[arg-type]
    moved = HERE + 3 * 0.4
    expected = Walker(0.3)(moved, THERE, torch.full((2,), 3.0))[0]
    assert torch.allclose(plan[:, 0, 1], expected, atol=1e-6)


def test_of_the_times_until_the_goal_the_one_with_the_lowest_cost_is_planned_for() -> None:
    fast, slow = (planner(Walker(0.3, *steps), kind='direct') for steps in ((1.0,), (9.0,)))
    both = planner(Walker(0.3, 9.0, 1.0), kind='direct').plan_many(HERE, THERE)
    costs = [one.plan_many(HERE, THERE).cost for one in (fast, slow)]
    assert torch.allclose(both.cost, torch.minimum(*costs), atol=1e-6)
    assert not torch.allclose(costs[0], costs[1], atol=1e-3)


class Spy(PointMass):
    """Keeps all action sequences that it is asked about."""

    def __init__(self) -> None:
        self.tried: list[Tensor] = []

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Move step after step."""
        self.tried.append(actions.clone())
        return super().rollout(z, actions)


def test_the_general_recipe_learns_from_images_and_actions_and_plans_around_its_actor(
    tmp_path: Path,
) -> None:
    dots = dot_dataset(tmp_path / 'dots', state=config.State(topic=''))
    words = ['model.hidden=16', 'model.history=1', 'train.steps=2', 'train.batch=8']
    recipe = load_config('general', words)
    trained = train(dots, tmp_path / 'run', recipe.model, recipe.train, recipe.planner)
    assert trained.model.actor is not None
    assert trained.planner.kind == 'guarded'
    pilot = Pilot(trained)
    here, there = dots.pixels(np.array([0, 5]))
    pilot.set_goal(there)
    plan = pilot.plan(here, 1)
    assert np.isfinite(plan.actions).all()


def test_guarded_searches_around_what_the_actor_does() -> None:
    spy, actor = Spy(), Walker(0.05)
    guarded = planner(actor, model=spy, kind='guarded', samples=512, guard_std=0.1)
    guarded.plan_many(HERE, THERE)
    own = planner(actor, kind='direct').plan_many(HERE, THERE).actions
    assert_around(spy, own)


def assert_around(spy: Spy, middle: Tensor) -> None:
    samples = next(part for part in spy.tried if part.shape[1] == 512)
    assert torch.allclose(samples[:, 0], middle, atol=1e-6)
    assert 0.08 < float((samples[:, 1:] - middle.unsqueeze(1)).std()) < 0.105
    spy.tried.clear()


def test_guarded_starts_from_the_last_plan_only_where_that_is_better() -> None:
    spy, actor = Spy(), Walker(0.05)  # slower than what a search finds
    guarded = planner(actor, model=spy, kind='guarded', samples=512, guard_std=0.1)
    first = guarded.plan_many(HERE, THERE).actions
    spy.tried.clear()
    guarded.plan_many(HERE, THERE)
    assert_around(spy, first)
    guarded.plan_many(THERE, HERE)  # the last plan leads away from there
    assert_around(spy, planner(actor, kind='direct').plan_many(THERE, HERE).actions)


def test_guarded_is_no_worse_than_the_actor_and_finds_what_it_misses() -> None:
    actor = Walker(0.05)  # too slow
    plans = [planner(actor, kind=kind).plan_many(HERE, THERE) for kind in ('direct', 'guarded')]
    assert bool((plans[1].cost <= plans[0].cost).all())
    assert float(plans[1].cost[0]) < 0.7 * float(plans[0].cost[0])


@pytest.mark.parametrize('kind', ['direct', 'guarded'])
def test_many_problems_are_planned_for_as_each_alone(kind: str) -> None:
    together = planner(step=0.1, kind=kind)
    first = together.plan_many(HERE, THERE)
    together.shift(2)
    together.keep([1])
    later = together.plan_many(HERE[1:] + 0.1, THERE[1:])
    alone = planner(step=0.1, kind=kind)
    assert torch.allclose(alone.plan_many(HERE[1:], THERE[1:]).actions, first.actions[1:])
    alone.shift(2)
    again = alone.plan_many(HERE[1:] + 0.1, THERE[1:])
    assert torch.allclose(again.actions, later.actions, atol=1e-5)
    assert torch.allclose(again.cost, later.cost, atol=1e-4)


@pytest.mark.parametrize('kind', ['direct', 'guarded'])
def test_an_actor_leads_from_subgoal_to_subgoal(kind: str) -> None:
    nodes = torch.tensor([[1.0, -1.0], [1.0, 0.5], [4.0, 0.5]])  # the last is far from the first
    road = Roadmap(nodes, torch.tensor([[0, 1], [1, 2]]), 0.9, 0.1)
    made = planner(model=Even(), roadmap=road, kind='roadmap', subplanner=kind)
    plans = made.plan_many(HERE[:1], nodes[2:])
    assert plans.to_go is not None
    ends = PointMass().rollout(HERE[:1], plans.actions)[:, -1]
    assert float((ends - nodes[1]).abs().max()) < 0.2


def test_the_planner_that_agrees_with_recorded_actions_is_chosen(
    dots: TransitionDataset, trained: checkpoints.Checkpoint
) -> None:
    from smwm_ros.evaluation.planner_choice import by_agreement

    choice = by_agreement(trained, dots)
    assert set(choice.figures) == {'direct', 'guarded', 'cem'}
    assert choice.figures[choice.kind] == max(choice.figures.values())
    summary = trained.info.summary
    assert choice.figures['direct'] == pytest.approx(summary['actor_r2'], abs=0.1)


def test_a_planner_is_chosen_where_none_is_set_and_stays(
    dots: TransitionDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from smwm_ros.cli import main

    few = ['train.steps=4', 'train.batch=8', 'model.latent=4', 'model.hidden=16']
    few += [
        'model.actor=intent',
        'planner.samples=8',
        'planner.elites=4',
        'evaluate.budget=2',
        'evaluate.lanes=2',
    ]
    words = ['train', str(dots.folder), '--out', str(tmp_path / 'run'), *few]
    assert main(words) == 0
    said = next(line for line in capsys.readouterr().out.split('\n') if 'Planner:' in line)
    kind = checkpoints.load(tmp_path / 'run').planner.kind
    assert f'Planner: {kind}, chosen by the' in said
    assert checkpoints.load(tmp_path / 'run' / 'best').planner.kind == kind
    assert main(words) == 0  # a finished run is kept, with its planner
    assert said in capsys.readouterr().out.split('\n')
    other = 'cem' if kind != 'cem' else 'direct'
    assert main([*words, f'planner.kind={other}']) == 0
    assert 'Planner:' not in capsys.readouterr().out
    assert checkpoints.load(tmp_path / 'run').planner.kind == other
