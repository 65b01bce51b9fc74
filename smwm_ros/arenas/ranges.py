# SPDX-License-Identifier: Apache-2.0
"""
Ranges of domain randomisation, and the values drawn from them for an episode.

Every knob has its own stream of random numbers: randomising one more knob does not change the
values of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from smwm_ros.config import Randomise
from smwm_ros.errors import ArenaError, did_you_mean
from smwm_ros.interfaces import Array

Range: TypeAlias = tuple[float, float]
Ranges: TypeAlias = Mapping[str, Sequence[Range]]  # a knob is drawn from one of its ranges

NEUTRAL: dict[str, Range] = {
    name: only for name, only in vars(Randomise()).items() if isinstance(only, tuple)
}
WHOLE = ('latency', 'clutter')  # knobs whose values are whole numbers
USUAL: dict[str, Range] = {
    'light': (0.85, 1.15),
    'light_turn': (-60.0, 60.0),
    'light_tilt': (-10.0, 10.0),
    'shadow': (0.0, 0.0),
    'colour': (-0.05, 0.05),
    'texture': (0.0, 0.15),
    'floor': (0.0, 0.0),
    'clutter': (0, 0),
    'vignette': (0.0, 0.0),
    'uneven': (0.0, 0.0),
    'camera_eye': (-0.02, 0.02),
    'camera_target': (-0.01, 0.01),
    'camera_roll': (-2.0, 2.0),
    'camera_tilt': (0.0, 0.0),
    'fov': (0.97, 1.03),
    'noise': (0.0, 4.0),
    'friction': (0.8, 1.25),
    'mass': (0.8, 1.25),
    'gain': (0.9, 1.1),
    'latency': (0, 1),
    'lag': (0.0, 0.0),
    'frame_drop': (0.0, 0.05),
}
# What a camera sees in a real room. How things move stays as it is.
ROOM: dict[str, Range] = {
    'light': (0.75, 1.1),
    'light_turn': (-180.0, 180.0),
    'light_tilt': (-10.0, 25.0),
    'shadow': (0.6, 1.0),
    'colour': (-0.08, 0.08),
    'texture': (0.0, 0.25),
    'floor': (0.75, 1.0),
    'clutter': (4, 12),
    'vignette': (0.1, 0.4),
    'uneven': (0.1, 0.3),
    'camera_eye': (-0.02, 0.02),
    'camera_target': (-0.02, 0.02),
    'camera_roll': (-5.0, 5.0),
    'camera_tilt': (-12.0, 12.0),
    'fov': (1.2, 1.3),  # wide, so that everything stays in the image
    'noise': (1.0, 4.0),
}
# Held-out shifts for evaluation. They lie outside the usual ranges, so a model trained with those
# has not seen them either.
SHIFTS: dict[str, Ranges] = {
    'camera': {
        'camera_eye': ((-0.06, -0.03), (0.03, 0.06)),
        'camera_target': ((-0.02, -0.012), (0.012, 0.02)),
        'camera_roll': ((-6.0, -3.0), (3.0, 6.0)),
        'fov': ((1.05, 1.1),),  # wider, so that everything stays in the image
    },
    'light': {
        'light': ((0.6, 0.75), (1.25, 1.4)),
        'light_turn': ((-180.0, -90.0), (90.0, 180.0)),
        'light_tilt': ((15.0, 30.0),),
    },
    'colours': {'colour': ((-0.15, -0.08), (0.08, 0.15))},
    'texture': {'texture': ((0.25, 0.4),)},
    'noise': {'noise': ((8.0, 16.0),)},
    'friction': {'friction': ((0.4, 0.6), (1.6, 2.5))},
    'mass': {'mass': ((0.4, 0.6), (1.6, 2.5))},
    'gain': {'gain': ((0.7, 0.8), (1.2, 1.3))},
    'latency': {'latency': ((2, 3),)},
    'frame_drop': {'frame_drop': ((0.2, 0.4),)},
}


def ranges_of(randomise: Randomise) -> dict[str, Sequence[Range]]:
    """Return the range of every knob: the given one, that of a room, or the usual one."""
    given = {name: getattr(randomise, name) for name in NEUTRAL}
    otherwise = {
        **NEUTRAL,
        **({'floor': (1.0, 1.0)} if randomise.photos else {}),
        **(USUAL if randomise.usual else {}),
        **(ROOM if randomise.room else {}),
    }
    return {
        name: (otherwise[name] if value == NEUTRAL[name] else value,)
        for name, value in given.items()
    }


def shift_of(name: str) -> Ranges:
    """Return the ranges of a held-out shift; raise with the existing names if there is none."""
    if name not in SHIFTS:
        raise ArenaError(f"'{name}': no such shift; {did_you_mean(name, SHIFTS)}")
    return SHIFTS[name]


def stream(key: Sequence[int], name: str, *more: int) -> np.random.Generator:
    """Return the random generator of one purpose in one episode."""
    return np.random.default_rng([*key, crc32(name.encode()), *more])


def draw(ranges: Ranges, key: Sequence[int], colours: int) -> dict[str, Any]:
    """Draw a value for every knob, as plain data, for an arena with so many colours."""
    shapes: dict[str, tuple[int, ...]] = {
        'camera_eye': (3,),
        'camera_target': (3,),
        'camera_tilt': (2,),
        'colour': (colours, 3),
    }
    return {
        name: _draw(ranges[name], stream(key, name), shapes.get(name, ()), name in WHOLE)
        for name in NEUTRAL
    }


def _draw(
    ranges: Sequence[Range], rng: np.random.Generator, shape: tuple[int, ...], whole: bool
) -> Any:
    """Draw an array of a shape; each number comes from one of the ranges."""
    bounds = np.array(ranges, float)[rng.integers(len(ranges), size=shape)]
    low, high = bounds[..., 0], bounds[..., 1]
    share = rng.random(shape)
    if whole:
        return int(low + np.floor(share * (high - low + 1)))
    drawn: Array = low + share * (high - low)
    return np.minimum(drawn, high).tolist()  # rounding may exceed the range
