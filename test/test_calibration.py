# SPDX-License-Identifier: Apache-2.0
"""A model is fitted to the images of a camera while they come, and only if that helps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from smwm_ros.errors import CheckpointError
from smwm_ros.evaluation import calibration
from smwm_ros.evaluation.calibration import Calibrated, Calibrator
from smwm_ros.evaluation.fit_to_images import Novelty
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.planning import frame_bank
from smwm_ros.training.adapt import FEWEST
import torch
from torch import Tensor

SHIPPED = Path(__file__).resolve().parents[1] / 'models' / 'two_room'


@pytest.fixture(scope='module')
def model() -> Checkpoint:
    return load(SHIPPED)


@pytest.fixture(scope='module')
def places() -> Array:
    """Return images (N, S, S, 3) of all places, as they look in training."""
    shots = [np.frombuffer(jpeg, np.uint8) for jpeg in frame_bank.load(SHIPPED, 'a test').jpegs]
    images = [cv2.cvtColor(cv2.imdecode(shot, 1), cv2.COLOR_BGR2RGB) for shot in shots]
    return np.random.default_rng(0).permutation(np.stack(images))


def dark(images: Array) -> Array:
    """Return images as a camera takes them in little light."""
    return (0.3 * images).astype(np.uint8)


def latents(checkpoint: Checkpoint, images: Array) -> Tensor:
    with torch.inference_mode():
        return checkpoint.smwm.encode(torch.from_numpy(images).permute(0, 3, 1, 2))


def feed(calibrator: Calibrator, images: Array) -> list[Calibrated]:
    """Show images; return the calibrations."""
    return [found for image in images if (found := calibrator.add(image)) is not None]


def test_a_drive_in_the_dark_makes_dark_images_mean_what_bright_ones_do(
    model: Checkpoint, places: Array
) -> None:
    before = {name: value.clone() for name, value in model.smwm.state_dict().items()}
    calibrator = Calibrator(model)
    drive = dark(places)
    assert feed(calibrator, drive[: FEWEST - 1]) == []
    found, *later = feed(calibrator, drive[FEWEST - 1 : 150])
    assert later == []
    bound = Novelty(model).bound
    assert found.before > bound > found.after
    assert found.frames == FEWEST - FEWEST // calibration.HELD_OUT
    bright, unseen = latents(model, places[150:]), drive[150:]
    errors = [
        float((latents(one, unseen) - bright).norm(dim=1).median())
        for one in (model, found.checkpoint)
    ]
    assert errors[1] < 0.6 * errors[0]
    assert all(value.equal(before[name]) for name, value in model.smwm.state_dict().items())
    values = calibrator.values()
    assert values['calibrated'] is True
    assert (values['novelty_before'], values['novelty_after']) == (found.before, found.after)
    assert f'{found.before:.2f} to {found.after:.2f}' in found.describe()
    assert calibrator.problems() == []
    # Gradients can flow through the new model, as planner.refine needs.
    z = torch.zeros(1, model.model.latent, requires_grad=True)
    action = torch.zeros(1, model.action_block * model.spec.size)
    found.checkpoint.model.predict(z, action).sum().backward()


def test_a_robot_that_stands_still_changes_nothing_and_is_asked_to_be_driven(
    model: Checkpoint, places: Array
) -> None:
    noise = np.random.default_rng(0).normal(0, 3, (2 * FEWEST, *places.shape[1:]))
    calibrator = Calibrator(model)
    assert feed(calibrator, (dark(places[:1]) + noise).clip(0, 255).astype(np.uint8)) == []
    (problem,) = calibrator.problems()
    assert '1 different image, expected at least 100' in problem
    assert 'vary by 0.0%' in problem
    assert 'drive it by hand' in problem
    assert calibrator.values() == {
        'calibrated': False,
        'calibration_frames': 1,
        'calibration_variety': 0.0,
    }


def test_images_as_in_training_need_no_calibration(model: Checkpoint, places: Array) -> None:
    calibrator = Calibrator(model)
    assert feed(calibrator, places) == []
    assert calibrator.values()['calibration_frames'] > FEWEST
    assert calibrator.problems() == []


def test_statistics_with_which_images_stay_novel_are_rejected(
    model: Checkpoint, places: Array
) -> None:
    """One room has statistics of its own."""
    calibrator = Calibrator(model)
    drive = 255 - places
    assert feed(calibrator, drive) == []
    values = calibrator.values()
    assert values['calibration_variety'] > 0.05
    (problem,) = calibrator.problems()
    assert 'show too few places' in problem


def test_more_images_replace_statistics_only_with_better_ones(
    model: Checkpoint, places: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, 'FEWEST', 25)
    monkeypatch.setattr(calibration, 'MOST', 200)
    calibrator = Calibrator(model)
    found = feed(calibrator, dark(places))
    assert len(found) > 1
    assert calibrator.best is found[-1]
    assert found[-1].frames in (75, 150)
    assert calibrator.values()['calibration_frames'] == 200
    mixed = Calibrator(model)
    (first,) = feed(mixed, dark(places[:30]))
    assert feed(mixed, 255 - places) == [], 'better than before, and novel'
    assert mixed.best is first


def test_a_model_that_cannot_be_calibrated_is_refused(
    model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = frame_bank.load(SHIPPED, 'a test')._replace(held_out=torch.empty(0))
    monkeypatch.setattr('smwm_ros.evaluation.fit_to_images.load', lambda *_: old)
    with pytest.raises(CheckpointError, match='smwm prepare adds them'):
        Calibrator(model)
