# SPDX-License-Identifier: Apache-2.0
"""A mask says what of a goal picture counts; where the robot ends does not matter then."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.codec.goal_masks import box_mask, fit_masked, mask_of_message, read_mask, with_mask
from smwm_ros.codec.images import fill_image
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.control.route import Event, GoalTolerance, Route
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Array
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs
from smwm_ros.planning.frame_bank import to_jpeg
from smwm_ros.planning.masked_goals import MaskedGoals, RecordedFrames, require_distance
from smwm_ros.verbs.options import masked
import torch
from worlds import PointMass

SIZE = 32
HALF = np.zeros((SIZE, SIZE), bool)
HALF[: SIZE // 2] = True  # where objects are; robots are below
THINGS = np.random.default_rng(0).uniform(3, 28, (1500, 2))  # columns of object and robot


def draw(thing: float, robot: float) -> Array:
    """Draw an object above and a robot below, as smooth bumps at two columns."""
    columns = np.arange(SIZE)
    picture = np.full((SIZE, SIZE, 3), 20, np.uint8)
    for rows, place, colour in ((slice(4, 12), thing, 0), (slice(20, 28), robot, 2)):
        bump = 200 * np.exp(-0.5 * np.square((columns - place) / 2))
        picture[rows, :, colour] = bump.astype(np.uint8)
    return picture


def encode(things: Array) -> Array:
    """Return latents (N, 4): object and robot are mixed in all but one, which is constant."""
    mix = np.array([[0.6, 0.8, 0.1, 0], [0.8, -0.6, 0.3, 0]])
    latents: Array = things / 5 @ mix
    return latents


def masked_goals(things: Array = THINGS, near: float | None = 1.0) -> MaskedGoals:
    jpegs = tuple(to_jpeg(draw(*thing)) for thing in things)
    latents = torch.from_numpy(encode(things)).float()
    return MaskedGoals(RecordedFrames(jpegs, latents, SIZE), near, 'runs/mine')


@pytest.fixture(scope='module')
def goals() -> MaskedGoals:
    return masked_goals()


def distance(metric: Array, things: list[tuple[float, float]], goal: tuple[float, float]) -> Array:
    """Return the masked distances of places (object, robot) from a goal."""
    away = encode(np.array(things)) - encode(np.array([goal]))
    return np.linalg.norm(away @ metric, axis=1)


def test_where_the_robot_is_hardly_counts_and_places_of_the_object_keep_their_order(
    goals: MaskedGoals,
) -> None:
    goal = (15.0, 5.0)
    metric = goals.metric(draw(*goal), HALF)
    robots = distance(metric, [(15, 25)], goal)
    objects = distance(metric, [(16, 5), (17, 25), (19, 5), (23, 25)], goal)
    assert (np.diff(objects) > 0).all()
    plain = np.linalg.norm(
        encode(np.array([[15, 25], [19, 5]])) - encode(np.array([goal])), axis=1
    )
    assert plain[0] > 3 * plain[1], 'without the mask, the place of the robot is what counts'
    assert robots[0] < objects[2]


def test_matches_with_the_object_beside_its_place_show_what_counts_too() -> None:
    goal = (15.0, 5.0)
    few = masked_goals(THINGS[:100])  # half of which are the matches
    robot, thing = distance(few.metric(draw(*goal), HALF), [(15, 25), (19, 5)], goal)
    assert robot < 0.8 * thing


def test_pictures_that_differ_outside_the_mask_alone_give_the_same_metric(
    goals: MaskedGoals,
) -> None:
    metrics = [goals.metric(draw(15.0, robot), HALF) for robot in (4.0, 27.0)]
    assert np.array_equal(metrics[0], metrics[1])
    other = goals.metric(draw(8.0, 4.0), HALF)
    assert not np.array_equal(other, metrics[0])


def test_masked_distances_have_the_scale_of_latents(goals: MaskedGoals) -> None:
    goal = (15.0, 5.0)
    metric = goals.metric(draw(*goal), HALF)
    twice = masked_goals(near=2.0).metric(draw(*goal), HALF)
    assert np.allclose(twice, 2 * metric, rtol=1e-4)
    # The best matches, with robots anywhere, are as far apart as frames of two periods.
    nearest = THINGS[np.abs(THINGS[:, 0] - 15.0).argsort()[:20]]
    same = encode(nearest) @ metric
    apart = np.linalg.norm(same[:, None] - same, axis=2)[np.triu_indices(20, 1)]
    assert np.median(apart) == pytest.approx(1.0, rel=0.2)


def test_a_direction_that_hardly_varies_does_not_count_most(goals: MaskedGoals) -> None:
    metric = goals.metric(draw(15.0, 5.0), HALF)
    constant, largest = metric[3, 3], np.linalg.eigvalsh(metric)[-1]
    assert constant <= 1.01 * largest
    assert largest < 10 * np.linalg.eigvalsh(metric)[0], 'model errors would count too much'


def test_masks_that_no_recorded_frame_can_explain_are_refused(goals: MaskedGoals) -> None:
    picture = draw(15.0, 5.0)
    picture[HALF] = 255 - picture[HALF]
    with pytest.raises(ConfigError, match=r'none of 1500 recorded frames .* the best one differs'):
        goals.metric(picture, HALF)
    edge = np.zeros_like(HALF)
    edge[:2] = True
    with pytest.raises(ConfigError, match='does not show where the object is'):
        goals.metric(draw(15.0, 5.0), edge)
    with pytest.raises(ConfigError, match='only 49 recorded frames of runs/mine, expected 50'):
        masked_goals(THINGS[:49]).metric(draw(15.0, 5.0), HALF)


def test_the_cost_of_a_plan_is_the_masked_distance() -> None:
    low, high = torch.full((2,), -1.0), torch.full((2,), 1.0)
    z, goal = torch.zeros(2, 2), torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    samples = torch.rand(2, 6, 4, 2, generator=torch.Generator().manual_seed(0))
    metric = torch.stack([torch.eye(2), torch.diag(torch.tensor([2.0, 0.0]))])
    costs = Costs(PointMass(), config.Planner(cost='sum'), Bounds(low, high))
    plain, found = costs(z, goal, samples), costs(z, goal, samples, metric=metric)
    assert torch.allclose(found[0], plain[0])
    future = PointMass().rollout(z[1:].unsqueeze(1).expand(-1, 6, -1), samples[1:])
    assert torch.allclose(found[1], 4 * (future[0, :, :, 0] - 1).square().sum(dim=1), atol=1e-5)


def test_a_goal_is_reached_by_its_masked_distance() -> None:
    tolerance, goal = GoalTolerance(1.0, 2.0, 1), np.zeros((1, 2))
    aside = np.array([0.0, 9.0])
    assert Route(goal, tolerance).update(aside) is Event.NOTHING
    assert Route(goal, tolerance, np.diag([1.0, 0.1])).update(aside) is Event.REACHED


@pytest.mark.parametrize(
    ('knobs', 'reason'),
    [
        ({'cost': 'time'}, r'not planner\.cost=time'),
        ({'kind': 'roadmap'}, r'not planner\.kind=roadmap'),
        ({'kind': 'amortised'}, r'not planner\.kind=amortised'),
        ({'kind': 'direct'}, r'not planner\.kind=direct'),
    ],
)
def test_planners_that_head_for_the_whole_picture_are_refused(
    knobs: dict[str, str], reason: str
) -> None:
    require_distance(config.Planner())
    with pytest.raises(ConfigError, match=reason):
        require_distance(replace(config.Planner(), **knobs))  # type: ignore[arg-type]


def test_a_mask_is_read_in_the_size_of_its_picture(tmp_path: Path) -> None:
    picture = np.zeros((30, 40, 3), np.uint8)
    drawn = np.zeros((60, 80), np.uint8)
    drawn[20:40, 40:60] = 1  # any value but black
    cv2.imwrite(str(tmp_path / 'mask.png'), drawn)
    mask = read_mask(tmp_path / 'mask.png', picture)
    assert np.array_equal(mask, box_mask((20, 10, 10, 10), picture))
    cv2.imwrite(str(tmp_path / 'wide.png'), drawn[:30])
    with pytest.raises(ConfigError, match='a mask of 80x30, expected 40x30 as the picture'):
        read_mask(tmp_path / 'wide.png', picture)
    for value, reason in ((0, 'the mask is empty'), (255, 'covers the whole picture')):
        cv2.imwrite(str(tmp_path / 'even.png'), np.full((30, 40), value, np.uint8))
        with pytest.raises(ConfigError, match=reason):
            read_mask(tmp_path / 'even.png', picture)
    for box in ((0, 0, 41, 5), (35, 0, 10, 5), (0, 0, 0, 5), (0, 28, 5, 5)):
        with pytest.raises(ConfigError, match='inside the picture of 40x30'):
            box_mask(box, picture)


def test_a_goal_keeps_its_mask_as_the_alpha_channel(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    library = GoalLibrary(tmp_path)
    library.save('block', [fit_masked(with_mask(picture, HALF), SIZE, 'stretch')])
    library.save('dock', [picture])
    assert np.array_equal(library.load('block', SIZE, 'stretch'), picture[None])
    mask = library.mask('block', SIZE, 'stretch')
    assert mask is not None
    assert np.array_equal(mask, HALF)
    assert library.mask('dock', SIZE, 'stretch') is None
    library.save('empty', [with_mask(picture, np.zeros_like(HALF))])
    with pytest.raises(ConfigError, match=r'empty\.png: the mask of the goal is empty'):
        library.mask('empty', SIZE, 'stretch')
    args = Namespace(mask=None, box=None)
    again = masked(picture, args, tmp_path / 'block.png')
    assert np.array_equal(again[..., 3] > 0, HALF), 'a picture that has a mask keeps it'


def test_the_alpha_channel_of_a_message_is_a_mask() -> None:
    picture = draw(15.0, 5.0)
    message = fill_image(SimpleNamespace(encoding=''), with_mask(picture, HALF))
    assert message.encoding == 'rgba8'
    mask = mask_of_message(message, SIZE // 2, 'stretch')
    assert mask is not None
    assert np.array_equal(mask, HALF[::2, ::2])
    message.data = list(message.data)  # without the buffer protocol, as a Buffer of Lyrical
    again = mask_of_message(message, SIZE // 2, 'stretch')
    assert again is not None
    assert np.array_equal(again, mask)
    assert mask_of_message(fill_image(SimpleNamespace(encoding=''), picture), 8, 'crop') is None
    opaque = with_mask(picture, np.ones_like(HALF))
    assert mask_of_message(fill_image(SimpleNamespace(encoding=''), opaque), 8, 'crop') is None
