# SPDX-License-Identifier: Apache-2.0
"""The page of `smwm toy`: the drawings, the latents, and what probes read from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from smwm_ros.interfaces import Array
from smwm_ros.pages import charts, html
from smwm_ros.pages.numbers import number
from smwm_ros.pages.parts import table
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.toys.arrow import Arrow
from smwm_ros.toys.decoder import decode, Pictures
from smwm_ros.toys.judge import Found
from smwm_ros.toys.worlds import Toy, TOYS

DIRECTIONS = 12  # of a spectrum
SHOWN = 8  # transitions, and pictures of the decoder
_WIDTH = 720
_HEAD = (
    'world', 'what moves', 'controlled', 'significant', 'effective rank', 'latent std',
    'inverse model, R2', 'forward error / copy baseline',
)  # fmt: skip


def in_words(toy: Toy, found: Found) -> str:
    """Return the findings in one line."""
    measures = found.measures
    return (
        f'{toy.dimensions} controlled, {found.significant} significant directions, effective rank '
        f'{measures["effective_rank"]:.2f}, latent std {measures["latent_std"]:.3f}, inverse '
        f'model R2 {measures["inverse_r2"]:.2f}'
    )


def plain(toy: Toy, found: Found) -> dict[str, Any]:
    """Return the findings as plain data."""
    return {
        'about': toy.about,
        'controlled': toy.dimensions,
        'significant': found.significant,
        'shares': found.shares[:DIRECTIONS].round(5).tolist(),
        'probes': found.probes,
        'kept': found.kept,
        'measures': found.measures,
    }


def sheet(found: Mapping[str, Found], progress: ShowProgress = NoProgress) -> str:
    """Return the page."""
    rows = [_row(name, TOYS[name], one) for name, one in found.items()]
    about = (
        'The latent keeps what the actions control, whatever else moves in the image. '
        'All figures are measured on held-out transitions.'
    )
    body = [
        table(_HEAD, rows),
    ]
    for name, one in found.items():
        body += _world(name, TOYS[name], one, progress)
    icon = next(iter(found.values())).moves.pixels[0, 0] if found else None
    return html.page('Toy worlds', about, body, icon=icon)


def _row(name: str, toy: Toy, found: Found) -> list[str]:
    """Return the figures of a world."""
    names = ('effective_rank', 'latent_std', 'inverse_r2', 'forward_over_copy')
    figures = [number(found.measures[key]) for key in names]
    if toy.dimensions == 0:  # ratios mean nothing for a collapsed latent
        figures[-1] = ''
    return [name, toy.about, str(toy.dimensions), str(found.significant), *figures]


def _world(name: str, toy: Toy, found: Found, progress: ShowProgress) -> list[str]:
    """Return the section of a world."""
    strip = np.concatenate(
        [np.concatenate(list(pair), axis=0) for pair in found.moves.pixels[:SHOWN]], axis=1
    )
    body = [
        f'<h2>{name}: {toy.about}</h2>',
        html.picture(
            _large(strip), 'Transitions: before (top) and after (bottom).', _WIDTH, strip=True
        ),
        html.row(_charts(toy, found)),
        table(
            ['', *found.probes],
            [
                ['linear probe, R2', *(f'{value:.2f}' for value in found.probes.values())],
                ['variance of the latent', *(f'{value:.1%}' for value in found.kept.values())],
            ],
        ),
    ]
    return body + (_decoded(found, progress) if isinstance(toy.world, Arrow) else [])


def _charts(toy: Toy, found: Found) -> list[str]:
    """Return the spectrum, and the latents in the plane of their first two directions."""
    shares = found.shares[:DIRECTIONS]
    drawn = [
        charts.bars(
            'Variance of the latent by direction',
            'principal direction',
            'share of the variance',
            shares,
            np.arange(len(shares) + 1),
            {'controlled:': toy.dimensions},
        )
    ]
    before = found.latents[: len(found.moves.state)]
    _, _, axes = np.linalg.svd(before - before.mean(0), full_matrices=False)
    plane = (before - before.mean(0)) @ axes[:2].T
    for field, state in enumerate(toy.world.states[:2]):
        title = f'Latents, coloured by {state}'
        shades = found.moves.state[:, 0, field]
        drawn.append(
            charts.scatter(
                title,
                'first principal direction',
                'second',
                plane[:, 0],
                plane[:, -1],
                (state, shades),
                equal=True,
            )
        )
    return drawn


def _decoded(found: Found, progress: ShowProgress) -> list[str]:
    """Return images, and below them what a decoder reconstructs from their latents."""
    pictures = painted(found, progress)
    true = found.moves.pixels[: len(pictures.pixels), 0][:SHOWN]
    rows = [np.concatenate(list(images), axis=1) for images in (true, pictures.pixels[:SHOWN])]
    caption = (
        'Images (top) and reconstructions from their latents (bottom). The decoder error is '
        f'{pictures.error:.2f} of that of the mean image.'
    )
    return [html.picture(_large(np.concatenate(rows)), caption, _WIDTH, strip=True)]


def painted(found: Found, progress: ShowProgress = NoProgress) -> Pictures:
    """Fit a decoder on the frames after each transition, and apply it to those before."""
    count = len(found.moves.state)
    before, after = found.moves.pixels[:, 0], found.moves.pixels[:, 1]
    latents = found.latents
    return decode(latents[count:], after, latents[:count], before, progress=progress)


def _large(image: Array) -> Array:
    """Enlarge a picture."""
    height = round(image.shape[0] * _WIDTH / image.shape[1])
    large: Array = cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    return large
