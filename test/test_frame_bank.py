# SPDX-License-Identifier: Apache-2.0
"""Tests for planning/frame_bank.py and nodes/plan_panel.py: what people are shown of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import CheckpointError
from smwm_ros.model import sidecar
from smwm_ros.model.checkpoint import load, save
from smwm_ros.model.encoding import encode_rows
from smwm_ros.model.regression import r2
from smwm_ros.nodes.plan_panel import CAPTION, GAP, panel, TILE
from smwm_ros.planning import frame_bank
import torch
from worlds import dot_dataset, tiny_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, frame_bank.FrameBank]:
    """Return a run folder with an album of dots, and the album."""
    folder = tmp_path / 'run'
    save(folder, tiny_checkpoint())
    dataset = dot_dataset(tmp_path / 'data')
    made = frame_bank.make(load(folder), dataset)
    frame_bank.save(folder, made, dataset.fingerprint)
    return folder, made


def test_an_album_is_read_back_as_it_was_made(run: tuple[Path, frame_bank.FrameBank]) -> None:
    folder, made = run
    again = frame_bank.load(folder, 'a test')
    assert again.jpegs == made.jpegs
    assert torch.equal(again.latents, made.latents)
    assert np.allclose(again.read(made.latents), made.read(made.latents))
    assert again.skill == pytest.approx(made.skill, abs=1e-4, nan_ok=True)


def test_each_page_is_the_nearest_to_its_own_latent(
    run: tuple[Path, frame_bank.FrameBank],
) -> None:
    _, made = run
    assert len(made.jpegs) == len(made.latents) <= frame_bank.FRAMES
    for number in (0, len(made.latents) // 2, len(made.latents) - 1):
        frame, distance = made.nearest(made.latents[number] + 1e-7)
        assert distance < 1e-4
        assert frame.dtype == np.uint8
        same, _ = made.nearest(made.latents[number])
        assert np.array_equal(frame, same)


def test_the_probe_reads_what_depends_linearly_on_the_latent() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(300, 6))
    states = latents @ rng.normal(size=(6, 2)) + [5.0, -3.0]
    weights, offset = frame_bank._fit(latents, states)
    assert r2(latents @ weights + offset, states) == pytest.approx([1.0, 1.0], abs=1e-4)
    almost = states * [1.0, 0.0] + 1e-7 * states  # rounding alone gives as much
    score, constant = r2(states[::-1], almost, frame_bank.LEAST_VARIANCE)
    assert score < 0.5
    assert np.isnan(constant)


def test_the_probe_learns_where_the_state_was_measured_and_of_nothing_reads_nothing(
    tmp_path: Path,
) -> None:
    save(tmp_path / 'run', tiny_checkpoint())
    checkpoint = load(tmp_path / 'run')
    whole = frame_bank.make(checkpoint, dot_dataset(tmp_path / 'whole'))
    holes = frame_bank.make(
        checkpoint, dot_dataset(tmp_path / 'holes', unmeasured=slice(0, None, 5))
    )
    assert holes.jpegs == whole.jpegs
    assert holes.skill == pytest.approx(whole.skill, abs=0.1)
    nothing = frame_bank.make(checkpoint, dot_dataset(tmp_path / 'none', unmeasured=slice(None)))
    assert nothing.jpegs == whole.jpegs
    assert np.isnan(nothing.skill).all()
    assert np.isfinite(nothing.read(nothing.latents)).all()


def test_without_an_album_or_with_one_of_other_weights_the_command_is_named(
    run: tuple[Path, frame_bank.FrameBank], tmp_path: Path
) -> None:
    folder, _ = run
    save(folder, tiny_checkpoint(seed=1))
    with pytest.raises(CheckpointError, match=r'was made for other weights .* smwm prepare'):
        frame_bank.load(folder, 'a test')
    save(tmp_path / 'bare', tiny_checkpoint())
    with pytest.raises(CheckpointError, match=r'a test: .* has no album yet; make it: smwm prep'):
        frame_bank.load(tmp_path / 'bare', 'a test')


def tiles(image: np.ndarray | None) -> list[tuple[str, np.ndarray | None, str]]:
    """Return two tiles, the second of which may be missing."""
    return [('camera', np.full((8, 8, 3), 77, np.uint8), ''), ('goal', image, 'there is none')]


def bar(sheet: np.ndarray) -> int:
    """Return how many pixels of the middle of the bar are filled."""
    line = sheet[CAPTION + TILE + GAP + 23].astype(int)
    return int((line.max(1) - line.min(1) > 60).sum())


def test_the_panel_shows_its_tiles_or_says_why_not_and_a_bar_of_the_distance() -> None:
    whole = panel(tiles(np.full((8, 8, 3), 99, np.uint8)), 2.0, 2.0, 0.0)
    assert (whole[CAPTION : CAPTION + TILE, GAP : GAP + TILE] == 77).all()
    assert (whole == 99).all(2).sum() == TILE * TILE
    half = panel(tiles(None), 1.0, 2.0, 0.0)
    assert half.shape == whole.shape
    assert not (half == 99).all(2).any()
    assert half[CAPTION : CAPTION + TILE, 2 * GAP + TILE :].std() > 0, 'the reason is written'
    assert bar(half) == pytest.approx(bar(whole) / 2, abs=3)


def test_the_bar_is_green_where_the_goal_counts_as_reached_and_empty_without_a_number() -> None:
    far, near = (panel(tiles(None), distance, 2.0, 0.5) for distance in (1.5, 0.4))
    row = CAPTION + TILE + GAP + 23
    assert far[row, GAP + 5].argmax() == 0, 'red'
    assert near[row, GAP + 5].argmax() == 1, 'green'
    assert bar(panel(tiles(None), float('nan'), 2.0, 0.5)) == 0


def test_a_run_without_measured_states_has_an_album_without_a_probe(tmp_path: Path) -> None:
    bound = frame_bank.make(
        tiny_checkpoint(), dot_dataset(tmp_path / 'data', state=config.State())
    )
    assert bound.read(bound.latents).shape == (len(bound.latents), 0)
    assert bound.skill == ()


@pytest.mark.parametrize('frames', [frame_bank.FRAMES, 20])
def test_usual_distances_are_those_of_held_out_frames_or_of_frames_outside_the_album(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    monkeypatch.setattr(frame_bank, 'FRAMES', frames)
    save(tmp_path / 'run', tiny_checkpoint())
    checkpoint, dataset = load(tmp_path / 'run'), dot_dataset(tmp_path / 'data')
    held = frame_bank.make(checkpoint, dataset)
    rows = evenly_spaced(dataset.starts('val', unlabelled=True), frame_bank.HELD_OUT)
    expected = held.distances(encode_rows(checkpoint.model, dataset, rows))
    assert torch.equal(held.held_out, expected.sort().values)
    starts = dataset.starts
    monkeypatch.setattr(
        dataset,
        'starts',
        lambda split, **words: starts('train', **words)[: 0 if split == 'val' else 200],
    )
    alone = frame_bank.make(checkpoint, dataset)
    assert len(alone.held_out) > 10
    assert alone.held_out.median() > 0, 'no frame is compared with itself'


def test_an_album_without_usual_distances_is_read_and_a_damaged_one_refused(
    run: tuple[Path, frame_bank.FrameBank], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, made = run
    write = sidecar.save

    def without(folder: Path, name: str, tensors: dict[str, torch.Tensor], info: Any) -> None:
        """Write an album as older versions did."""
        write(folder, name, {key: one for key, one in tensors.items() if key != 'held_out'}, info)

    assert torch.equal(frame_bank.load(folder, 'a test').held_out, made.held_out)
    frame_bank.save(folder, made._replace(held_out=torch.ones(3, 1)), '')
    with pytest.raises(CheckpointError, match=r'its album is damaged; make it again'):
        frame_bank.load(folder, 'a test')
    monkeypatch.setattr(sidecar, 'save', without)
    frame_bank.save(folder, made, '')
    assert len(frame_bank.load(folder, 'a test').held_out) == 0


def test_notes_stand_beside_the_distance() -> None:
    plain, noted = (panel(tiles(None), 1.0, 2.0, 0.0, notes) for notes in ('', 'novelty 1'))
    alarm = panel(tiles(None), 1.0, 2.0, 0.0, 'novelty 1', True)
    where = np.argwhere((plain != noted).any(2))
    assert len(where) > 20
    assert where[:, 0].min() > CAPTION + TILE
    red = (alarm != plain).any(2)
    assert alarm[red][:, 0].mean() > 1.5 * alarm[red][:, 2].mean()
