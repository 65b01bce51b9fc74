# SPDX-License-Identifier: Apache-2.0
"""
Floors for arenas: drawn wood, tiles, carpet, concrete, terrazzo and linoleum, or photographs.

A floor is a square image. Lengths are in units of half the width of the visible floor, so a plank
is as wide in a small arena as in a large one, measured in pixels of the camera.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from smwm_ros.arenas.bodies import Colour
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of

WIDTH = 5.0  # of a floor
LATTICE = 64  # points along a side of a noise pattern, which then repeats
PHOTOS = 2  # photographs along a side of a floor, each the mirror image of the next


class Points:
    """Coordinates u and v of the pixels of a floor, turned by a drawn angle, and its noise."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng = rng
        x, y = np.meshgrid(*2 * [(np.arange(size, dtype=np.float32) + 0.5) / size * WIDTH])
        angle = rng.uniform(0, 2 * np.pi)
        self.u = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
        self.v = np.float32(np.cos(angle)) * y - np.float32(np.sin(angle)) * x

    def noise(self, along: float, across: float) -> Array:
        """Return smooth noise (H, W), mean 0, deviation about 0.5, of these lengths in u and v."""
        lattice = self.rng.uniform(-1, 1, (LATTICE, LATTICE)).astype(np.float32)
        u, v = self.u / np.float32(along) % LATTICE, self.v / np.float32(across) % LATTICE
        noise: Array = cv2.remap(lattice, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return noise

    def rough(self, length: float, octaves: int = 4) -> Array:
        """Return noise (H, W) of many lengths, the longest one being given."""
        parts = [self.noise(length / 2**k, length / 2**k) / 2**k for k in range(octaves)]
        total: Array = np.stack(parts).sum(axis=0)
        return total

    def of_each(self, column: Array, row: Array) -> Array:
        """Return a random number from -1 to 1 for each cell of a grid (H, W)."""
        table = self.rng.uniform(-1, 1, (LATTICE, LATTICE)).astype(np.float32)
        found: Array = table[row.astype(int) % LATTICE, column.astype(int) % LATTICE]
        return found


def wood(points: Points, colours: Array) -> Array:
    """Draw planks with grain, staggered from row to row."""
    rng = points.rng
    width, length, seam = rng.uniform(0.12, 0.28), rng.uniform(0.9, 2.0), rng.uniform(0.012, 0.02)
    row = np.floor(points.v / width)
    along = points.u / length + points.of_each(np.zeros_like(row), row)
    plank = np.floor(along)
    light = 0.16 * points.of_each(plank, row) + 0.16 * points.noise(0.5, 0.035)
    light += 0.06 * points.noise(1.2, 0.3)
    edge = np.minimum(_to_edge(points.v / width) * width, _to_edge(along) * length)
    return _lit(colours[0], light - 0.35 * (edge < seam))


def tiles(points: Points, colours: Array) -> Array:
    """Draw square tiles with grout between them."""
    rng = points.rng
    side, grout = rng.uniform(0.25, 0.6), rng.uniform(0.012, 0.03)
    u, v = points.u / side, points.v / side
    light = 0.08 * points.of_each(np.floor(u), np.floor(v)) + 0.08 * points.rough(0.3)
    edge = side * np.minimum(_to_edge(u), _to_edge(v))
    return _mixed(
        _lit(colours[0], light), _lit(colours[1], 0.1 * points.noise(0.2, 0.2)), edge < grout
    )


def carpet(points: Points, colours: Array) -> Array:
    """Draw a weave with fine noise, and wide stripes on some."""
    rng = points.rng
    thread = rng.uniform(0.05, 0.09)
    turn = np.float32(2 * np.pi / thread)
    light = 0.10 * np.sin(turn * points.u) * np.sin(turn * points.v)
    light += 0.16 * points.noise(0.03, 0.03) + 0.12 * points.rough(0.6, 3)
    striped = rng.random() < 0.5
    stripe = _to_edge(points.v / rng.uniform(0.4, 0.9)) < rng.uniform(0.08, 0.2)
    return _mixed(_lit(colours[0], light), _lit(colours[1], light), striped & stripe)


def concrete(points: Points, colours: Array) -> Array:
    """Draw clouds of many sizes with dark stains and the joints between slabs."""
    rng = points.rng
    light = 0.2 * points.rough(1.2, 6) + 0.05 * points.noise(0.02, 0.02)
    stain = np.clip(points.rough(0.7) - rng.uniform(0.3, 0.5), 0, 0.4)
    slab = rng.uniform(1.2, 2.2)
    joint = slab * np.minimum(_to_edge(points.u / slab), _to_edge(points.v / slab)) < 0.012
    return _lit(colours[0], light - 0.7 * stain - 0.25 * joint)


def terrazzo(points: Points, colours: Array) -> Array:
    """Draw chips of several colours in a plain ground."""
    image = _lit(colours[0], 0.06 * points.rough(0.8))
    for colour in colours[1:]:
        size = points.rng.uniform(0.035, 0.09)
        chips = points.noise(size, size) > points.rng.uniform(0.42, 0.6)
        image = _mixed(image, _lit(colour, 0.06 * points.noise(0.05, 0.05)), chips)
    return image


def linoleum(points: Points, colours: Array) -> Array:
    """Draw a chequered floor of two colours with marbling."""
    side = points.rng.uniform(0.22, 0.5)
    odd = (np.floor(points.u / side) + np.floor(points.v / side)) % 2 > 0
    light = 0.14 * points.rough(0.35) + 0.06 * points.noise(0.3, 0.06)
    return _mixed(_lit(colours[0], light), _lit(colours[1], light), odd)


# Colours of each kind, of which each floor draws some.
PALETTES: dict[str, Sequence[Colour]] = {
    'wood': [(0.72, 0.54, 0.36), (0.45, 0.30, 0.20), (0.84, 0.71, 0.52), (0.60, 0.55, 0.50)],
    'tiles': [(0.86, 0.85, 0.82), (0.70, 0.68, 0.64), (0.69, 0.43, 0.32), (0.48, 0.54, 0.58)],
    'carpet': [(0.30, 0.37, 0.52), (0.50, 0.50, 0.50), (0.38, 0.48, 0.40), (0.66, 0.58, 0.47)],
    'concrete': [(0.62, 0.61, 0.59), (0.50, 0.51, 0.52), (0.72, 0.69, 0.64)],
    'terrazzo': [(0.82, 0.80, 0.76), (0.55, 0.50, 0.45), (0.35, 0.36, 0.38), (0.70, 0.52, 0.42)],
    'linoleum': [(0.84, 0.81, 0.73), (0.40, 0.48, 0.47), (0.28, 0.28, 0.30), (0.66, 0.44, 0.36)],
}
KINDS: dict[str, Callable[[Points, Array], Array]] = {
    'wood': wood,
    'tiles': tiles,
    'carpet': carpet,
    'concrete': concrete,
    'terrazzo': terrazzo,
    'linoleum': linoleum,
}


def draw_floor(key: Sequence[int], size: int) -> Array:
    """Return the floor (size, size, 3) uint8 RGB of a key."""
    rng = np.random.default_rng(key)
    kind = str(rng.choice(list(KINDS)))
    return draw_kind(kind, rng, size)


def draw_kind(kind: str, rng: np.random.Generator, size: int) -> Array:
    """Return a floor (size, size, 3) uint8 RGB of one kind."""
    colours = rng.permutation(np.array(PALETTES[kind]))
    colours = colours + rng.uniform(-0.08, 0.08) + rng.uniform(-0.025, 0.025, 3)
    # Drawn finer than needed: edges between pixels are smooth then.
    image = KINDS[kind](Points(rng, 2 * size), colours.astype(np.float32))
    fine = (255 * np.clip(image, 0, 1)).astype(np.uint8)
    floor: Array = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)
    return floor


class Floors:
    """Makes floors: drawn ones, or photographs of a folder."""

    def __init__(self, photos: str = '') -> None:
        self._photos = find_photos(Path(photos)) if photos else []

    def make(self, key: Sequence[int], size: int) -> Array:
        """Return the floor (size, size, 3) uint8 RGB of a key."""
        if not self._photos:
            return draw_floor(key, size)
        rng = np.random.default_rng(key)
        photo = read_photo(self._photos[rng.integers(len(self._photos))], size // PHOTOS)
        photo = np.rot90(photo, int(rng.integers(4)))
        row = np.hstack([photo, photo[:, ::-1]])
        return np.ascontiguousarray(np.vstack([row, row[::-1]]))


def find_photos(folder: Path) -> list[Path]:
    """Return the images of a folder, sorted; raise if there are none, or one is unreadable."""
    where = f'randomise.photos: {folder}'
    if not folder.is_dir():
        raise ArenaError(f'{where}: no such folder; expected a folder of images')
    files = sorted(path for path in folder.iterdir() if not path.name.startswith('.'))
    files = [path for path in files if path.is_file()]
    if not files:
        raise ArenaError(
            f'{where}: is empty; expected images of floors, such as PNG or JPEG files'
        )
    bad = [path.name for path in files if not cv2.haveImageReader(str(path))]
    if bad:
        raise _unreadable(where, bad)
    return files


def read_photo(path: Path, size: int) -> Array:
    """Return the square in the middle of an image, as (size, size, 3) uint8 RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise _unreadable(f'randomise.photos: {path.parent}', [path.name])
    side = min(image.shape[:2])
    top, left = (np.array(image.shape[:2]) - side) // 2
    square = cv2.resize(
        image[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA
    )
    rgb: Array = cv2.cvtColor(square, cv2.COLOR_BGR2RGB)
    return rgb


def _unreadable(where: str, names: Sequence[str]) -> ArenaError:
    """Return the error of files that are no images."""
    return ArenaError(
        f'{where}: {count_of(len(names), "file")} cannot be read as an image '
        f'({", ".join(names[:3])}{", ..." if len(names) > 3 else ""}); '
        'expected images alone, such as PNG or JPEG files'
    )


def _to_edge(cells: Array) -> Array:
    """Return the distance to the nearest whole number (H, W)."""
    distance: Array = np.abs(cells - np.rint(cells))
    return distance


def _lit(colour: Array, light: Array) -> Array:
    """Return a colour (3,) made lighter or darker by shares (H, W)."""
    lit: Array = colour * (1 + light[..., None])
    return lit


def _mixed(image: Array, other: Array, where: Array) -> Array:
    """Return an image (H, W, 3) with another one where a mask (H, W) holds."""
    return np.where(where[..., None], other, image)
