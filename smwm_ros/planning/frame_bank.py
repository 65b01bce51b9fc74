# SPDX-License-Identifier: Apache-2.0
"""
The album of a run: recorded frames with their latents, which show what a plan predicts.

A predicted latent is shown by the frame with the nearest latent, and by the measured state that a
linear probe reads off it. The distances of held-out frames to the album tell usual images from
others. Planning uses none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import CheckpointError
from smwm_ros.interfaces import Array
from smwm_ros.model import sidecar
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.encoding import encode_rows
from smwm_ros.model.regression import r2, ridge
from smwm_ros.planning.roadmap import farthest_points
import torch
from torch import Tensor

NAME = 'album'
FRAMES = 256  # in an album
CANDIDATES = 2048  # frames to choose from, and to fit the probe to
HELD_OUT = 512  # frames that the probe is tested on, and whose distances are stored
RIDGE = 1e-3
LEAST_VARIANCE = 1e-12  # of a state; rounding alone gives a constant one as much
_QUALITY = 90  # of the frames as JPEG


class FrameBank(NamedTuple):
    """Frames, their latents, and a linear probe of the measured state."""

    jpegs: tuple[bytes, ...]  # of N frames
    latents: Tensor  # (N, D)
    weights: Tensor  # (D, P)
    offset: Tensor  # (P,)
    skill: tuple[float, ...]  # (P,) held-out R2; nan for a state that is constant or unknown
    held_out: Tensor  # (H,) distances of held-out frames to the album, rising; (0,) if unknown

    def nearest(self, latent: Tensor) -> tuple[Array, float]:
        """Return the frame (S, S, 3) uint8 RGB nearest to a latent (D,), and its distance."""
        distance = torch.linalg.vector_norm(self.latents - latent, dim=1)
        number = int(distance.argmin())
        return next(decoded(self.jpegs[number : number + 1])), float(distance[number])

    def read(self, latents: Tensor) -> Array:
        """Return the states (..., P) that the probe reads off latents (..., D)."""
        states: Array = (latents @ self.weights + self.offset).numpy()
        return states

    def distances(self, latents: Tensor) -> Tensor:
        """Return the distances (n,) of latents (n, D) to their nearest frames."""
        return torch.cdist(latents, self.latents).amin(dim=1)

    def calibrated(self, latents: Tensor) -> FrameBank:
        """Return the album with the distances of these latents (n, D) as those of usual images."""
        return self._replace(held_out=self.distances(latents).sort().values)


def make(checkpoint: Checkpoint, dataset: TransitionDataset) -> FrameBank:
    """Choose training frames with latents far from each other, and fit the probe."""
    rows = evenly_spaced(dataset.starts('train', unlabelled=True), CANDIDATES)
    latents = encode_rows(checkpoint.model, dataset, rows)
    chosen = farthest_points(latents, 0.0, min(FRAMES, len(rows)))[0]
    jpegs = tuple(to_jpeg(frame) for frame in dataset.pixels(rows[chosen.numpy()]))
    weights, offset, skill = _probe(checkpoint, dataset, rows, latents)
    return FrameBank(
        jpegs,
        latents[chosen],
        torch.from_numpy(weights).float(),
        torch.from_numpy(offset).float(),
        skill,
        _held_out(checkpoint, dataset, latents, chosen),
    )


def _held_out(
    checkpoint: Checkpoint, dataset: TransitionDataset, latents: Tensor, chosen: Tensor
) -> Tensor:
    """Return the distances to the album, rising, of frames that it was not made from."""
    album = latents[chosen]
    rows = dataset.starts('val', unlabelled=True)
    if len(rows):
        others = encode_rows(checkpoint.model, dataset, evenly_spaced(rows, HELD_OUT))
    else:  # no episode is held out
        rest = np.setdiff1d(np.arange(len(latents)), chosen.numpy())
        others = latents[evenly_spaced(rest, HELD_OUT)]
    apart = torch.cdist(others, album)
    if not len(others):  # the album holds all frames: each is compared with the others
        apart = torch.cdist(album, album).fill_diagonal_(float('inf'))
    nearest = apart.amin(dim=1)
    return nearest[nearest.isfinite()].sort().values


def _probe(
    checkpoint: Checkpoint, dataset: TransitionDataset, rows: Array, latents: Tensor
) -> tuple[Array, Array, tuple[float, ...]]:
    """Fit the probe to frames with a measured state; return weights, offset and held-out R2."""
    known, size = dataset.measured(rows), dataset.info.state_size
    if not known.any():
        return np.zeros((latents.shape[1], size)), np.zeros(size), (float('nan'),) * size
    states = dataset.states(rows[known]).astype(np.float64)
    weights, offset = _fit(latents.numpy()[known].astype(np.float64), states)
    tried = dataset.starts('val', unlabelled=True)
    tried = tried[dataset.measured(tried)]
    tried = evenly_spaced(tried, HELD_OUT) if len(tried) else rows[known]
    read = encode_rows(checkpoint.model, dataset, tried).numpy() @ weights + offset
    skill = r2(read, dataset.states(tried), LEAST_VARIANCE)
    return weights, offset, tuple(skill.tolist())


def add(checkpoint: Checkpoint, dataset: TransitionDataset) -> None:
    """Make the album of a run from a dataset, and write it beside the model."""
    assert checkpoint.folder is not None
    save(checkpoint.folder, make(checkpoint, dataset), dataset.fingerprint)


def save(folder: Path, bank: FrameBank, dataset: str) -> None:
    """Write an album beside its model."""
    frames = [np.frombuffer(jpeg, np.uint8) for jpeg in bank.jpegs]
    tensors = {
        'jpeg': torch.from_numpy(np.concatenate(frames)),
        'ends': torch.from_numpy(np.cumsum([len(frame) for frame in frames])),
        'latents': bank.latents,
        'weights': bank.weights,
        'offset': bank.offset,
        'held_out': bank.held_out,
    }
    skill = [None if np.isnan(score) else round(score, 4) for score in bank.skill]
    sidecar.save(folder, NAME, tensors, {'skill': skill, 'dataset': dataset})


def load(folder: Path | None, needed_by: str) -> FrameBank:
    """Read the album beside a model."""
    sizes = {
        'jpeg': ('B',),
        'ends': ('N',),
        'latents': ('N', 'D'),
        'weights': ('D', 'P'),
        'offset': ('P',),
    }
    tensors, meta = sidecar.load(folder, NAME, needed_by, sizes, {'skill': list})
    data, ends = tensors['jpeg'].numpy().tobytes(), tensors['ends'].long().tolist()
    jpegs = tuple(data[a:b] for a, b in zip([0, *ends], ends, strict=False))
    if not all(map(_is_image, jpegs)):
        raise CheckpointError(f'{folder}: its {NAME} is damaged; make it again: smwm prepare')
    skill = tuple(
        float(score) if isinstance(score, (int, float)) else float('nan')
        for score in meta['skill']
    )
    held_out = tensors.get('held_out', torch.empty(0))  # older versions stored none
    if held_out.ndim != 1:
        raise CheckpointError(f'{folder}: its {NAME} is damaged; make it again: smwm prepare')
    return FrameBank(
        jpegs,
        tensors['latents'],
        tensors['weights'],
        tensors['offset'],
        skill,
        held_out.float().sort().values,
    )


def _is_image(jpeg: bytes) -> bool:
    """Return whether a frame can be decoded."""
    try:
        return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) is not None
    except cv2.error:
        return False


def decoded(jpegs: Iterable[bytes]) -> Iterator[Array]:
    """Yield frames (S, S, 3) uint8 RGB."""
    for jpeg in jpegs:
        bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def to_jpeg(frame: Array) -> bytes:
    """Return a frame (S, S, 3) RGB as JPEG."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    coded: bytes = cv2.imencode('.jpg', bgr, quality)[1].tobytes()
    return coded


def _fit(latents: Array, states: Array) -> tuple[Array, Array]:
    """Fit states (n, P) to latents (n, D); return weights (D, P) and offset (P,)."""
    middle, mean = latents.mean(0), states.mean(0)
    x = latents - middle
    penalty = RIDGE * len(x) * max(float(x.var()), 1e-12)
    weights = ridge(x, states - mean, penalty)
    return weights, mean - middle @ weights
