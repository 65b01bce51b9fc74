# SPDX-License-Identifier: Apache-2.0
"""A conversion warns of recordings from which little can be learnt, and of no others."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest
from recordings import image, made, TinyBag
from smwm_ros.bags.converting.camera_check import CameraCheck
from smwm_ros.config import Dataset
from videos import write_video

TICKS = 120


def texture(height: int, width: int, seed: int = 0) -> NDArray[Any]:
    """Return a picture of blobs (height, width, 3)."""
    rng = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(rng.random((height, width, 3)), (0, 0), 3)
    low, high = soft.min(), soft.max()
    return (255 * (soft - low) / (high - low)).astype(np.uint8)


def disc(at: float, background: NDArray[Any]) -> NDArray[Any]:
    """Return a background (S, S, 3) with a disc on it."""
    shown, size = background.copy(), len(background)
    place = (round(size * (0.5 + 0.3 * np.cos(at))), round(size * (0.5 + 0.3 * np.sin(at))))
    cv2.circle(shown, place, size // 16, (255, 40, 40), -1)
    return shown


def disc_drives(count: int = TICKS, size: int = 64) -> NDArray[Any]:
    """Return what a fixed camera sees of a robot (count, S, S, 3)."""
    return np.stack([disc(tick / 8, texture(size, size)) for tick in range(count)])


def pan(speed: float = 2.0, count: int = TICKS) -> NDArray[Any]:
    """Return what a camera sees that moves along a wall, at a speed [px/tick]."""
    wall = texture(64, 64 + int(speed * count))
    return np.stack([wall[:, round(speed * t) : round(speed * t) + 64] for t in range(count)])


def notes(pixels: NDArray[Any], times: Any = (), **knobs: Any) -> list[str]:
    check = CameraCheck(Dataset(**knobs), 0.1)
    check.add_frames(np.array(times, np.int64))
    for half in np.array_split(np.arange(len(pixels)), 2):  # as the rows come, in blocks
        check.add_rows(pixels[half], np.zeros(len(half), int))
    return check.notes()


def noise(pixels: NDArray[Any], sigma: float = 2.0) -> NDArray[Any]:
    rng = np.random.default_rng(1)
    return np.clip(pixels + rng.normal(0, sigma, pixels.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('size', [64, 224])
def test_a_robot_before_a_fixed_camera_needs_no_note(size: int) -> None:
    assert notes(disc_drives(size=size), image_size=size) == []
    assert notes(noise(disc_drives(size=size)), image_size=size) == []


def test_a_robot_that_rests_half_of_the_time_needs_no_note() -> None:
    moving = disc_drives()
    resting = np.concatenate([moving[:60], np.repeat(moving[60:61], 60, 0), moving[60:]])
    assert notes(resting) == []


def test_in_a_still_world_nothing_can_be_learnt() -> None:
    still = np.repeat(disc_drives(1), TICKS, 0)
    for pixels in (still, noise(still)):
        (note,) = notes(pixels)
        assert note.startswith('nothing moves: 0.00% of the pixels change within a model step of')
    assert notes(still[:10]) == [], 'too short to say'


@pytest.mark.parametrize(
    ('rate', 'said'),
    [(5, 'robot.dt=0.2, or dataset.action_block to 2'), (2.5, 'robot.dt=0.4'), (7, '=0.14')],
)
def test_images_that_are_repeated_name_the_rate_of_the_camera(rate: float, said: str) -> None:
    shown = np.floor(np.arange(TICKS) * 0.1 * rate + 1e-9).astype(int)
    (note,) = notes(disc_drives()[shown])
    found = re.search('the camera has (.*) new images per second', note)
    assert found
    assert float(found[1]) == pytest.approx(rate, rel=0.02)
    assert said in note


def test_a_camera_that_moves_is_reported_with_what_follows() -> None:
    for pixels in (pan(), pan(1.0), pan(4.0), noise(pan()), pan(2.0).swapaxes(1, 2)):
        (note,) = notes(np.ascontiguousarray(pixels))
        assert note.startswith('the camera moves: most of the image shifts as a whole in ')
        assert 'latent actions then include the motion of the camera' in note


def test_light_that_flickers_is_no_motion_of_the_camera() -> None:
    light = 0.6 + 0.4 * np.random.default_rng(0).random(TICKS)
    assert notes((disc_drives() * light[:, None, None, None]).astype(np.uint8)) == []


def test_many_things_that_move_are_no_motion_of_the_camera() -> None:
    pixels = np.stack([texture(64, 64, seed) for seed in range(TICKS)])
    assert notes(pixels) == []


def test_episodes_are_not_compared_with_each_other() -> None:
    check = CameraCheck(Dataset(), 0.1)
    rng = np.random.default_rng(0)
    for episode in range(TICKS):
        still = np.full((5, 64, 64, 3), rng.integers(256), np.uint8)
        check.add_rows(still, np.full(5, episode))
    assert check.notes() == []  # no model step within an episode
    check = CameraCheck(Dataset(action_block=2), 0.1)
    for episode in range(TICKS):
        check.add_rows(np.full((5, 64, 64, 3), 2 * episode, np.uint8), np.full(5, episode))
    assert check.notes()[0].startswith('nothing moves')


def test_a_frame_rate_that_varies_is_reported_without_the_gaps() -> None:
    even = np.arange(200) * 33_333_333
    gap = np.concatenate([even, even + even[-1] + 10**10])
    assert notes(disc_drives(), even) == []
    assert notes(disc_drives(), gap) == []
    rounded = np.rint(even / 1e6) * 1e6  # as Matroska stores it
    assert notes(disc_drives(), rounded) == []
    uneven = np.cumsum(np.tile([20_000_000, 20_000_000, 80_000_000], 60))
    (note,) = notes(disc_drives(), uneven)
    assert note.startswith('the frame rate varies: 50 Hz in the median, 12.5 to 50 Hz in nine')


def test_the_notes_are_stored_with_the_shard_of_a_bag(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick, pixels in enumerate(pan()):
        bag.send('/camera/image_raw', image(pixels), tick)
        bag.command(tick)
    data = made(tmp_path, bag.close(), 'dataset.image_size=64')
    (note,) = data.metas['bag']['notes']
    assert note.startswith('the camera moves: ')


def test_repeated_frames_are_found_in_a_compressed_video(tmp_path: Path) -> None:
    size = 128
    frames = [disc(tick // 3 / 8, texture(size, size)) for tick in range(3 * 40)]
    path = write_video(tmp_path / 'clip.mp4', frames, rate=30)
    words = ['dataset.action=none', 'dataset.image_size=64', 'robot.dt=0.0334']
    (note,) = made(tmp_path, path, *words).metas['clip']['notes']
    assert 'the camera has 9.98 new images per second. Set robot.dt=0.1' in note
