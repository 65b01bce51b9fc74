# SPDX-License-Identifier: Apache-2.0
"""Checks of the promises of each Protocol; the tests of every implementation call them."""

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
import json
import pickle
from typing import Any

import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.errors import ArenaError, CodecError, SmwmError
from smwm_ros.evaluation.agents import Agent, Attempt
from smwm_ros.interfaces import (
    ActionCodec,
    Arena,
    Array,
    Frame,
    Planner,
    Plans,
    Window,
)
from smwm_ros.planning.search import CancelledError
import torch
from torch import Tensor

STEPS = 30
MOVING = ('reacher_torque',)  # arenas with velocities that their measured states do not contain
COASTING = 80  # raw steps in which a robot with inertia comes to rest


def require_mujoco() -> None:
    """Skip a test where MuJoCo is missing, or has nothing to render with."""
    try:
        with closing(make_arena('two_room', 16, 'mujoco')) as arena:
            arena.reset(0)
    except SmwmError as error:
        pytest.skip(str(error))


def check_arena(name: str, engine: str = 'pybullet') -> None:
    """Check what every arena promises, under the name by which users know it."""
    arena, other = make_arena(name, 32, engine), make_arena(name, 32, engine)
    try:
        check_spec(arena)
        check_frames(arena, 32)
        check_all_but_states(arena, other)
        if name in MOVING:
            check_inertia(arena, other)
        else:
            check_states(arena)
    finally:
        arena.close()
        other.close()
    arena.close()  # closing twice is legal
    with pytest.raises(ArenaError, match='closed'):
        arena.reset(0)


def check_all_but_states(arena: Arena, other: Arena) -> None:
    """Check what holds with and without inertia."""
    check_seeds(arena, other)
    check_neighbours(arena, other)
    check_goals(arena)
    check_saves(arena, other)
    check_time_and_draws(arena)
    check_refusals(arena)


def drive(arena: Arena, seed: int) -> tuple[list[Frame], list[np.ndarray]]:
    """Reset and drive at random; return all frames and the actions between them."""
    rng = np.random.default_rng(seed)
    frames, actions = [arena.reset(seed)], []
    for _ in range(STEPS):
        actions.append(rng.uniform(arena.spec.low, arena.spec.high))
        frames.append(arena.step(actions[-1]))
    return frames, actions


def equal(a: Frame, b: Frame) -> bool:
    """Say whether two frames are the same to the bit."""
    return np.array_equal(a.pixels, b.pixels) and np.array_equal(a.state, b.state)


def check_spec(arena: Arena) -> None:
    """Check that the spec is whole before the first step."""
    assert arena.spec.size == len(arena.spec.low) == len(arena.spec.high) > 0
    assert arena.spec.dt > 0
    assert all(low < high for low, high in zip(arena.spec.low, arena.spec.high, strict=True))


def check_frames(arena: Arena, size: int) -> None:
    """Check shapes and types of frames, and that they can be kept."""
    first = arena.reset(1)
    kept = Frame(first.pixels.copy(), first.state.copy())
    frame = arena.step(np.array(arena.spec.high))
    for seen in (first, frame):
        assert seen.pixels.shape == (size, size, 3)
        assert seen.pixels.dtype == np.uint8
        assert seen.pixels.flags.c_contiguous
        assert seen.state.ndim == 1
        assert seen.state.dtype == np.float32
    assert equal(first, kept), 'a frame changed under the hands of its owner'
    assert not equal(first, frame), 'full speed moves something'
    assert arena.expert().shape == (arena.spec.size,)
    assert arena.render(48).shape == (48, 48, 3)


def check_seeds(arena: Arena, other: Arena) -> None:
    """Check that a seed gives one episode, after others and in another arena too."""
    frames, _ = drive(arena, 5)
    drive(arena, 6)
    for again in (drive(arena, 5)[0], drive(other, 5)[0]):
        assert all(map(equal, frames, again))
    assert not equal(frames[0], arena.reset(6)), 'another seed is another episode'


def check_neighbours(arena: Arena, other: Arena) -> None:
    """Check that two arenas in a process do not disturb each other."""
    frames, actions = drive(arena, 7)
    assert equal(frames[0], arena.reset(7))
    for action, expected in zip(actions, frames[1:], strict=True):
        other.reset(int(1e6 * action[0]) % 1000)
        other.step(np.array(other.spec.low))
        assert equal(expected, arena.step(action))


def check_states(arena: Arena) -> None:
    """Check that a recorded state brings back its frame and what follows, in any order."""
    frames, actions = drive(arena, 8)
    assert equal(frames[-1], arena.set_state(frames[-1].state))
    for step in np.random.default_rng(0).permutation(len(actions)):
        assert equal(frames[step], arena.set_state(frames[step].state))
        assert equal(frames[step + 1], arena.step(actions[step]))


def check_inertia(arena: Arena, other: Arena) -> None:
    """Check that a robot coasts, unseen in any one image, and that placing it stops it."""
    still, rng = np.zeros(arena.spec.size), np.random.default_rng(0)
    arena.reset(1)
    for _ in range(3):
        moving = arena.step(np.array(arena.spec.high))
    saved = pickle.dumps(arena.save())
    coasting = [arena.step(still) for _ in range(COASTING)]
    assert np.abs(coasting[0].state - moving.state).max() > 1e-3, 'it stopped with its command'
    assert np.abs(coasting[-1].state - coasting[-2].state).max() < 1e-3, 'it never stops'
    other.reset(2)
    for again in (arena, other):
        again.restore(pickle.loads(saved))
        again.set_goal(again.sample(rng))
        assert np.array_equal(again.idle().state, moving.state)
        for expected in coasting[:3]:
            assert equal(expected, again.step(still)), 'it does not go on as it did'
        # The same image with another velocity: what follows is different.
        assert equal(moving, again.set_state(moving.state))
        assert np.abs(again.step(still).state - moving.state).max() < 1e-4, 'it was not at rest'


def check_goals(arena: Arena) -> None:
    """Check that a goal looks like its state, is reached there, and moves nothing."""
    frames, actions = drive(arena, 9)
    arena.set_state(frames[0].state)
    assert equal(frames[-1], arena.set_goal(frames[-1].state))
    arena.set_state(frames[-1].state)
    assert arena.success()
    arena.set_goal_state(arena.sample(np.random.default_rng(1)))
    assert not arena.success()
    arena.set_goal_state(frames[-1].state)
    assert arena.success()
    arena.reset(9)
    arena.set_goal(frames[-1].state)
    assert equal(frames[1], arena.step(actions[0])), 'the goal disturbed the episode'
    state = arena.sample(np.random.default_rng(0))
    assert np.array_equal(arena.set_goal(state).state, np.asarray(state, np.float32))


def check_saves(arena: Arena, other: Arena) -> None:
    """Check that what was saved goes on as it did, in another arena and process too."""
    frames, actions = drive(arena, 10)
    arena.reset(10)
    for action in actions[:10]:
        arena.step(action)
    saved, wanted = pickle.dumps(arena.save()), arena.expert()
    drive(arena, 11)
    for again in (arena, other):
        assert equal(frames[10], again.restore(pickle.loads(saved)))
        assert np.array_equal(again.expert(), wanted), 'the goal was not restored'
        for action, expected in zip(actions[10:], frames[11:], strict=True):
            assert equal(expected, again.step(action))
        assert equal(frames[10], again.restore(pickle.loads(saved))), 'what was saved has changed'


def check_time_and_draws(arena: Arena) -> None:
    """Check that neither time nor new draws move what is measured, and that draws are repeated."""
    frames, _ = drive(arena, 12)
    arena.set_goal_state(frames[-1].state)
    for _ in range(3):
        assert np.array_equal(arena.idle().state, frames[-1].state)
    arena.randomise(13)
    drawn = arena.drawn()
    assert json.loads(json.dumps(drawn)) == drawn
    assert np.array_equal(arena.idle().state, frames[-1].state)
    assert arena.success(), 'the goal was not kept'
    arena.reset(12)
    arena.randomise(13)
    assert arena.drawn() == drawn


def check_refusals(arena: Arena) -> None:
    """Check that nonsense is refused, and that what is beyond the limits is clipped."""
    size = arena.spec.size
    first, high = arena.reset(3), np.array(arena.spec.high)
    wrong: list[Any] = [np.zeros(size + 1), np.zeros(size - 1), np.zeros((1, size))]
    wrong += [['a'] * size, None]
    for number in (np.nan, np.inf):
        wrong.append(np.where(np.arange(size) == size - 1, number, high))
    for action in wrong:
        with pytest.raises(ArenaError, match='action: expected'):
            arena.step(action)
    with pytest.raises(ArenaError, match='state: expected'):
        arena.set_state(np.full_like(first.state, np.inf))
    with pytest.raises(ArenaError, match='state: expected'):
        arena.set_goal(np.zeros(0))
    after = arena.step(high)
    assert equal(first, arena.reset(3))
    assert equal(after, arena.step(high)), 'what was refused left a trace'
    arena.reset(3)
    assert equal(after, arena.step(1e300 * high))


def check_agent(make_agent: Callable[[], Agent], arenas: Sequence[Arena]) -> None:
    """Check what every agent of a closed loop promises, in arenas of one kind."""
    agent, seeds, steps = make_agent(), range(len(arenas)), 7
    together = attempt(agent, arenas, seeds, [steps] * len(arenas))
    assert_same(attempt(agent, arenas, seeds, [steps] * len(arenas)), together, 'begun again')
    assert_same(attempt(make_agent(), arenas, seeds, [steps] * len(arenas)), together, 'another')
    lengths = [steps if lane % 2 else 3 for lane in range(len(arenas))]
    shorter = [actions[:length] for actions, length in zip(together, lengths, strict=True)]
    assert_same(attempt(agent, arenas, seeds, lengths), shorter, 'lanes ended beside it')
    for lane, arena in enumerate(arenas):
        alone = attempt(agent, [arena], [seeds[lane]], [steps])
        assert_same(alone, [together[lane]], 'other lanes changed the actions')


def attempt(
    agent: Agent, arenas: Sequence[Arena], seeds: Sequence[int], lengths: Sequence[int]
) -> list[list[np.ndarray]]:
    """Run an agent for so many raw steps in each lane; return the actions in each."""
    attempts, frames = [], []
    for arena, seed in zip(arenas, seeds, strict=True):
        arena.reset(seed)
        rng = np.random.default_rng(seed)
        attempts.append(Attempt(arena, arena.set_goal(arena.sample(rng)), (seed, 0)))
        frames.append(arena.set_state(arena.sample(rng)))
    agent.begin(attempts)
    actions: list[list[np.ndarray]] = [[] for _ in arenas]
    for step in range(max(lengths)):
        lanes = [lane for lane, length in enumerate(lengths) if step < length]
        shown = [Frame(frames[lane].pixels.copy(), frames[lane].state.copy()) for lane in lanes]
        moves = agent.act(lanes, shown)
        assert len(moves) == len(lanes), 'one move for each lane'
        for lane, seen, move in zip(lanes, shown, moves, strict=True):
            assert equal(seen, frames[lane]), 'the agent changed a frame'
            assert move.action.shape == (arenas[lane].spec.size,)
            assert np.isfinite(move.action).all()
            assert move.distance is None or 0 <= move.distance < np.inf
            assert np.array_equal(seen.state, arenas[lane].idle().state), 'it moved the robot'
            actions[lane].append(move.action.copy())
            frames[lane] = arenas[lane].step(move.action)
    return actions


def assert_same(
    found: Sequence[Sequence[np.ndarray]], expected: Sequence[Sequence[np.ndarray]], why: str
) -> None:
    """Check that all lanes have the same actions, but for rounding in a batch of another size."""
    for lane, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(lane, others, atol=1e-4, err_msg=why)


def check_planner(make: Callable[[], Planner], z: Tensor, goal: Tensor, past: Tensor) -> None:
    """
    Check what every planner promises, on at least three problems z, goal (B, D).

    make() returns a new planner of one kind and seed; past (B, n, A) are raw actions sent before.
    """
    fresh = make()
    fresh.keep([0])  # legal before the first plan, as is the next
    fresh.shift(3)
    given = z.clone(), goal.clone(), past.clone()
    first = fresh.plan_many(z, goal)
    check_plans(first, len(z))
    check_problems_alone(make, first, z, goal)
    fresh.reset()
    assert torch.equal(fresh.plan_many(z, goal).actions, first.actions), 'after a reset'
    assert torch.equal(make().plan_many(z, goal).actions, first.actions), 'by another planner'
    for raw_steps in (0, 1, 1000):
        fresh.shift(raw_steps)
        check_plans(fresh.plan_many(z, goal), len(z))
    after = make().plan_many(z, goal, past)
    check_plans(after, len(z))
    raw = after.actions.reshape(len(z), -1, past.shape[2])
    assert torch.equal(raw[:, : past.shape[1]], past), 'the plan begins with the past'
    assert all(map(torch.equal, given, (z, goal, past))), 'the planner changed its input'
    check_cancelling(make(), first, z, goal)


def check_plans(plans: Plans, count: int) -> None:
    """Check shapes and numbers of the plans for so many problems."""
    assert plans.actions.ndim == 3
    assert len(plans.actions) == count
    assert plans.actions.isfinite().all()
    for numbers in (plans.cost, plans.spread, *plans.shares.values()):
        assert numbers.shape == (count,)
        assert numbers.isfinite().all()
    assert (plans.spread >= 0).all()
    assert torch.allclose(torch.stack([*plans.shares.values()]).sum(dim=0), plans.cost, atol=1e-5)
    assert plans.to_go is None or plans.to_go.shape == (count,)


def check_problems_alone(
    make: Callable[[], Planner], plans: Plans, z: Tensor, goal: Tensor
) -> None:
    """Check that problems in a batch, and those that are kept, are solved as if alone."""
    kept = [2, 0]
    together = make()
    together.plan_many(z, goal)
    together.shift(1)
    together.keep(kept)
    later = together.plan_many(z[kept], goal[kept])
    for row, problem in enumerate(kept):
        one, alone = slice(problem, problem + 1), make()
        found = alone.plan_many(z[one], goal[one])
        assert torch.allclose(found.actions[0], plans.actions[problem], atol=1e-4)
        alone.shift(1)
        found = alone.plan_many(z[one], goal[one])
        assert torch.allclose(found.actions[0], later.actions[row], atol=1e-4), 'after keep()'


def check_cancelling(planner: Planner, plans: Plans, z: Tensor, goal: Tensor) -> None:
    """Check that a planner that was cancelled ends, and plans as before after a reset."""
    planner.cancel()
    with suppress(CancelledError):  # a planner that does not search has nothing to end
        check_plans(planner.plan_many(z, goal), len(z))
    planner.reset()
    assert torch.equal(planner.plan_many(z, goal).actions, plans.actions)


def check_codec(codec: ActionCodec, make: Callable[[], Any], action: Array) -> None:
    """Check what every codec promises, with an action (A,) that make() has room for."""
    size = codec.spec.size
    assert action.shape == (size,)
    message = make()
    assert codec.decode(action, message) is message
    for _ in range(2):  # reading changes nothing
        read = codec.encode(message)
        assert read.shape == (size,)
        assert read.dtype == np.float64
        np.testing.assert_allclose(read, action, rtol=1e-6)
    np.testing.assert_allclose(codec.encode(codec.decode(-action, message)), -action, rtol=1e-6)
    for wrong in (action[1:], np.append(action, 0.0), action[None]):
        with pytest.raises(CodecError, match='action has shape'):
            codec.decode(wrong, message)
    np.testing.assert_allclose(codec.encode(message), -action, rtol=1e-6)


def check_world_model(model: Any, batch: Window) -> None:
    """Check what every world model promises, on a batch of at least four windows."""
    steps, count, width = batch.action.shape
    assert batch.obs.pixels.shape[:2] == (steps + 1, count)
    terms = model.losses(batch)
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    assert set(terms) >= {'forward', 'inverse'}
    torch.stack(list(terms.values())).sum().backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not idle, f'never trained: {idle}'
    model.eval()
    with torch.inference_mode():
        action = batch.action[0]
        z, z_next = map(model.encode, batch.obs.pixels[:2])
        assert z.shape == z_next.shape == (count, model.latent)
        assert model.predict(z, action).shape == z.shape
        assert model.infer(z, z_next).shape == (count, width)
        alone = model.encode(batch.obs.pixels[0, 1:2])[0]
        assert torch.allclose(alone, z[1], atol=1e-5), 'neighbours leak in'
        one = model.predict(z[1:2], action[1:2])[0]
        assert torch.allclose(one, model.predict(z, action)[1], atol=1e-5)
        path = model.rollout(z, torch.stack([action, action], dim=1))
        assert path.shape == (count, 2, model.latent)
        assert torch.allclose(path[:, 0], model.predict(z, action), atol=1e-5)
        other = model.predict(z, action + 1)
        assert not torch.allclose(other, model.predict(z, action)), 'actions do nothing'
