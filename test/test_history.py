# SPDX-License-Identifier: Apache-2.0
"""A model that reads several images sees velocities, everywhere that images are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.cli import main as smwm
from smwm_ros.codec.image_stack import at_rest
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.observations import image_rows, observations
from smwm_ros.errors import ConfigError, DatasetError
from smwm_ros.evaluation.agents import Attempt, PlannerAgent
from smwm_ros.evaluation.replay import replay
from smwm_ros.interfaces import Array, Frame
from smwm_ros.model.any_model import make_any
from smwm_ros.model.checkpoint import load, save
from smwm_ros.model.encoding import encode_rows
from smwm_ros.model.fast_rollout import accelerate
from smwm_ros.model.networks import ForwardModel, MOTION, StackedEncoder
from smwm_ros.planning.drives import encode_drives
from smwm_ros.planning.image_history import ImageHistory
from smwm_ros.planning.pilot import Pilot, PilotPlan
from smwm_ros.training.batches import Batches
from smwm_ros.training.train import train
from smwm_ros.training.velocity import choose_history
import torch
from worlds import dot_dataset, Line, SIZE, tiny_checkpoint


@pytest.fixture(scope='module')
def dots(tmp_path_factory: pytest.TempPathFactory) -> TransitionDataset:
    return dot_dataset(tmp_path_factory.mktemp('dots'), episodes=4, length=12)


def grey(level: int) -> Array:
    return np.full((2, 2, 3), level, np.uint8)


def levels(observation: Array) -> list[int]:
    return [int(level) for level in observation[0, 0, ::3]]


def test_an_observation_is_the_images_before_it_in_order_and_of_one_drive(
    dots: TransitionDataset,
) -> None:
    assert image_rows(dots, np.array([5, 12, 13, 14, 23]), 3).tolist() == [
        [3, 4, 5],
        [12, 12, 12],  # the first of its drive
        [12, 12, 13],
        [12, 13, 14],
        [21, 22, 23],
    ]
    found = observations(dots, np.array([14, 3]), 3)
    assert found.shape == (2, SIZE, SIZE, 9)
    for part, rows in enumerate(([12, 1], [13, 2], [14, 3])):
        assert np.array_equal(found[..., 3 * part : 3 * part + 3], dots.pixels(np.array(rows)))
    assert np.array_equal(observations(dots, np.array([7]), 1), dots.pixels(np.array([7])))


def test_a_batch_has_the_images_before_each_of_its_frames(dots: TransitionDataset) -> None:
    batches = Batches(dots, dots.action_scaler(), torch.device('cpu'), stack=2)
    rows = batches.starts('train')[2:6]
    window = batches.at(rows)
    for step, ahead in enumerate((0, dots.info.action_block)):
        seen = observations(dots, rows + ahead, 2).transpose(0, 3, 1, 2)
        assert np.array_equal(window.obs.pixels[step], seen)


def test_images_are_chosen_by_their_time_whatever_the_rate_of_the_camera() -> None:
    fast = ImageHistory(3, 0.1)
    for tick in range(21):  # 50 Hz
        found = fast.add(grey(tick), 0.02 * tick)
    assert levels(found) == [10, 15, 20]
    slow = ImageHistory(3, 0.1)
    assert levels(slow.add(grey(1), 5.0)) == [1, 1, 1], 'nothing else is known'
    assert levels(slow.add(grey(2), 5.1)) == [1, 1, 2]
    assert levels(slow.add(grey(3), 5.21)) == [1, 2, 3]
    assert levels(slow.add(grey(4), 7.0)) == [4, 4, 4], 'an old image shows no velocity'
    assert levels(slow.add(grey(5), 6.0)) == [5, 5, 5], 'time has jumped back'
    assert levels(ImageHistory(1, 0.1).add(grey(6), 0.0)) == [6]


def test_a_long_history_keeps_no_more_images_than_it_needs() -> None:
    history = ImageHistory(3, 0.1)
    for tick in range(1000):
        history.add(grey(0), 0.01 * tick)
    assert 20 <= len(history._images) <= 22


def test_a_model_that_sees_the_velocity_predicts_a_dot_with_inertia(
    tmp_path: Path, one_thread: None
) -> None:
    data = dot_dataset(tmp_path / 'dots', 60, 30, inertia=0.8)
    still = config.Train(steps=600, batch=64, warp=0, colour_jitter=0, eval_every=600)
    errors = {}
    for history in (1, 2):
        model = config.Model(latent=8, hidden=64, history=history)
        made = train(data, tmp_path / str(history), model, still, config.Planner())
        errors[history] = made.info.summary['forward_over_copy']
        read = load(tmp_path / str(history))
        assert read.model_config.history == history
    assert errors[2] < 0.6 * errors[1], errors


def test_a_history_is_chosen_where_earlier_images_help_to_predict(
    tmp_path: Path, one_thread: None
) -> None:
    heavy = dot_dataset(tmp_path / 'heavy', 60, 30, inertia=0.9)
    light = dot_dataset(tmp_path / 'light', 60, 30)
    nano = config.Model()
    assert choose_history(heavy, nano).images == 3
    assert choose_history(light, nano).images == 1
    assert 'only preset nano' in choose_history(heavy, config.Model(preset='tiny')).why
    few = dot_dataset(tmp_path / 'few', 4, 12, inertia=0.9)
    assert choose_history(few, nano) == (1, 'too few windows to see whether earlier images help')


def test_smwm_train_says_which_history_it_chose(
    tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    dot_dataset(tmp_path / 'heavy', 60, 30, inertia=0.9)
    words = [str(tmp_path / 'heavy'), '--out', str(tmp_path / 'run')]
    knobs = ['train.steps=5', 'train.batch=8', 'model.latent=4', 'model.hidden=16']
    assert smwm(['train', *words, *knobs]) == 0
    assert 'model.history=3: with the 2 images before' in capsys.readouterr().out
    assert load(tmp_path / 'run').model_config.history == 3
    assert smwm(['train', *words, '--fresh', *knobs, 'model.history=1']) == 0
    assert 'model.history' not in capsys.readouterr().out
    assert load(tmp_path / 'run').model_config.history == 1


def test_goals_are_pictures_in_which_nothing_moves(tmp_path: Path) -> None:
    data = dot_dataset(tmp_path, episodes=4, length=12)
    checkpoint = tiny_checkpoint(history=2)
    rows = np.arange(12)
    drives = encode_drives(checkpoint, data)
    first = data.episodes[0] if data.episodes[0].split == 'train' else data.episodes[1]
    mine = rows + first.start
    assert torch.equal(drives.latents[:12], encode_rows(checkpoint.model, data, mine))
    assert torch.equal(drives.goals[:12], encode_rows(checkpoint.model, data, mine, at_rest=True))
    assert torch.equal(drives.goals[0], drives.latents[0]), 'a drive begins at rest'
    assert not torch.allclose(drives.goals[1:], drives.latents[1:])
    alone = encode_drives(tiny_checkpoint(), data)
    assert alone.goals is alone.latents


def test_a_pilot_plans_from_observations_and_takes_an_image_for_one_at_rest() -> None:
    pilot = Pilot(tiny_checkpoint(history=3))
    rng = np.random.default_rng(0)
    goal, *images = rng.integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    pilot.set_goal(goal)

    def plan(pixels: Array) -> PilotPlan:
        pilot.reset()
        return pilot.plan(pixels, elapsed=0)

    moving, alone = plan(np.concatenate(images, axis=-1)), plan(images[2])
    assert plan(at_rest(images[2], 3)).distance == alone.distance
    assert moving.distance != alone.distance
    assert plan(goal).distance == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(ValueError, match=r'\(16, 16, 3\) or \(16, 16, 9\) uint8, found .*6\)'):
        plan(at_rest(goal, 2))
    other = Pilot(tiny_checkpoint())
    other.set_goal(goal)
    with pytest.raises(ValueError, match=r'expected \(16, 16, 3\) uint8, found'):
        other.plan(at_rest(goal, 3), elapsed=0)


class Eyes:
    """A pilot that notes what it is given."""

    raw_steps, past_steps, action_block, model_config = 8, 0, 1, config.Model(history=3)
    spec = tiny_checkpoint().spec

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def set_goals(self, pixels: Array, metrics: Array | None = None) -> None:
        """Need none."""

    def keep(self, problems: list[int]) -> None:
        """Keep them all."""

    def plan_many(
        self, pixels: Array, elapsed: int, sent: Array | None, before: None
    ) -> list[PilotPlan]:
        self.seen += [levels(one) for one in pixels]
        return [PilotPlan(np.zeros((8, 2)), 0.0, 0.0, 0.0)] * len(pixels)


def test_an_agent_also_remembers_images_between_its_plans() -> None:
    eyes = Eyes()
    agent = PlannerAgent(eyes, execute=2, delay=0)  # type: ignore[arg-type]
    for begin in (10, 50):
        goal = Frame(grey(0), np.zeros(1))
        agent.begin([Attempt(Line(), goal, (0,))] * 2)
        for tick in range(4):
            shown = [Frame(grey(begin + 20 * lane + tick), np.zeros(1)) for lane in (0, 1)]
            agent.act([0, 1], shown)
    assert eyes.seen == [
        [10, 10, 10], [30, 30, 30], [10, 11, 12], [30, 31, 32],
        [50, 50, 50], [70, 70, 70], [50, 51, 52], [70, 71, 72],
    ]  # fmt: skip


def test_a_replay_shows_the_images_before_each_plan(tmp_path: Path) -> None:
    data = dot_dataset(tmp_path, episodes=3, length=12)
    pilot = Pilot(tiny_checkpoint(history=2))
    (leg, *_) = replay(pilot, data, 10)
    goal = pilot.encode(data.pixels(np.array([10])))
    z = pilot.encode(observations(data, np.arange(10), 2))
    assert leg.distance == pytest.approx(np.linalg.norm(z - goal, axis=1), rel=1e-4)


def test_what_a_history_cannot_be_is_refused(tmp_path: Path) -> None:
    data = dot_dataset(tmp_path / 'dots', episodes=6, length=12)
    few = config.Train(steps=2, batch=4)
    with pytest.raises(
        DatasetError, match=r'model.history: 11, but the longest .* 12 ticks; .*13'
    ):
        train(data, tmp_path / 'run', config.Model(history=11), few, config.Planner())
    latent = config.Model(kind='latent_action', history=2)
    with pytest.raises(
        ConfigError, match=r'model.history: 2, but a latent-action model reads one'
    ):
        make_any(latent, SIZE, 4)


def test_a_model_with_a_history_is_saved_and_read_again(tmp_path: Path) -> None:
    knobs = config.Model(latent=4, hidden=32, history=3)
    model = make_any(knobs, SIZE, 4).eval().requires_grad_(False)
    save(tmp_path, tiny_checkpoint()._replace(model=model, model_config=knobs))
    pixels = torch.randint(0, 256, (3, 9, SIZE, SIZE)).byte()
    read = load(tmp_path).model
    assert read.latent == 12
    assert torch.equal(read.encode(pixels), model.encode(pixels))


def test_a_latent_is_that_of_the_newest_image_and_its_changes_before() -> None:
    model = tiny_checkpoint(history=3).smwm
    pixels = torch.randint(0, 256, (5, 9, SIZE, SIZE)).byte()
    assert isinstance(model.encoder, StackedEncoder)
    old, middle, new = (model.encoder.encoder(pixels[:, part : part + 3]) for part in (0, 3, 6))
    expected = torch.cat([new, MOTION * (middle - old), MOTION * (new - middle)], dim=1)
    assert torch.allclose(model.encode(pixels), expected, atol=1e-5)
    still = model.encode(pixels[:, :3].repeat(1, 3, 1, 1))
    assert still[:, 4:].abs().max() < 1e-5, 'at rest nothing changes'


def test_velocities_predict_but_explain_no_action() -> None:
    model = tiny_checkpoint(history=3).smwm
    z, then = torch.randn(2, 6, model.latent)
    action = torch.randn(6, 4)
    faster = z + torch.cat([torch.zeros(4), torch.ones(8)])
    assert torch.equal(model.infer(faster, then), model.infer(z, then))
    assert not torch.allclose(
        model.predict(faster, action)[:, :4], model.predict(z, action)[:, :4]
    )
    fast = accelerate(model)
    assert fast
    assert torch.allclose(fast.predict(z, action), model.predict(z, action), atol=1e-5)


def test_a_forward_error_of_a_velocity_counts_as_much_as_that_of_a_place() -> None:
    model = tiny_checkpoint(history=2).smwm
    assert isinstance(model.forward_model, ForwardModel)
    place, change = model.forward_model.scaled(torch.ones(1, model.latent)).chunk(2, dim=1)
    assert (place == 1).all()
    assert (change * MOTION >= 2).all(), 'a change in a raw step, as a change in a model step'


def test_the_toys_of_the_paper_read_one_image() -> None:
    with pytest.raises(ConfigError, match=r'model.history: 2, but preset toy reads one image'):
        make_any(config.Model(preset='toy', history=2), SIZE, 4)
