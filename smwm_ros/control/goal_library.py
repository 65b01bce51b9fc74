# SPDX-License-Identifier: Apache-2.0
"""
Store named goals in a folder: a picture is a goal, a folder of pictures is a route.

`dock.png` is the goal `dock`; `patrol/000.png`, `patrol/001.png` ... are the route `patrol`.
The alpha channel of a goal is its mask: what is transparent does not count.
Users may add, rename and remove pictures by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import shutil
import tempfile

import cv2
import numpy as np
from smwm_ros.codec.goal_masks import mask_of_file
from smwm_ros.codec.image_files import read_folder, read_picture, SUFFIXES
from smwm_ros.config import GOAL_NAME
from smwm_ros.errors import ConfigError, did_you_mean, writing
from smwm_ros.files import publish
from smwm_ros.interfaces import Array
from smwm_ros.lock import hold

MOST = 1000  # goals in a folder
_SHOWN = 80  # characters of a wrong name that an error shows


class GoalLibrary:
    """The goals in a folder; save() creates it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> dict[str, int]:
        """Return the name of each goal and route, with its number of pictures."""
        if not self.folder.is_dir():
            return {}
        found = {}
        for path in sorted(self.folder.iterdir()):
            if path.is_dir() and GOAL_NAME.fullmatch(path.name):
                count = sum(item.suffix.lower() in SUFFIXES for item in path.iterdir())
                found.update({path.name: count} if count else {})
            elif _is_goal(path):
                found[path.stem] = 1
        return found

    def load(self, name: str, size: int, how: str) -> Array:
        """Return the pictures (N, S, S, 3) uint8 RGB of a goal or route, resized for the model."""
        names = self.names()
        if name not in names:
            hint = did_you_mean(name, names) if names else 'the folder has no goals'
            raise ConfigError(f"no goal '{name[:_SHOWN]}' in {self.folder}; {hint}")
        if (self.folder / name).is_dir():
            return read_folder(self.folder / name, size, how)
        return read_picture(min(self._files(name)), size, how)[None]

    def mask(self, name: str, size: int, how: str) -> Array | None:
        """Return the mask (S, S) bool of a goal, at the size of the model, None if it has none."""
        if (self.folder / name).is_dir():
            return None
        return mask_of_file(min(self._files(name)), size, how)

    def save(self, name: str, pictures: Sequence[Array]) -> Path:
        """
        Write a goal, or a route of several pictures (H, W, 3), over one of the same name.

        A goal with a mask is (H, W, 4), with the mask as its alpha channel.
        """
        if not GOAL_NAME.fullmatch(name):
            raise ConfigError(
                f"'{name[:_SHOWN]}' is not a valid name of a goal; expected at most 64 letters, "
                'digits, _ and -'
            )
        names = self.names()
        if len(names) >= MOST and name not in names:
            raise ConfigError(
                f'{self.folder}: {len(names)} goals, expected fewer than {MOST}; remove some, or '
                'save this one under the name of another'
            )
        path = self.folder / name if len(pictures) > 1 else self.folder / f'{name}.png'
        with (
            hold(self.folder),
            writing(path),
            tempfile.TemporaryDirectory(prefix='.', dir=self.folder) as work,
        ):
            whole = Path(work, path.name)
            if len(pictures) > 1:
                whole.mkdir()
            for number, picture in enumerate(pictures):
                file = whole / f'{number:03}.png' if len(pictures) > 1 else whole
                file.write_bytes(_png(picture))
            for old in (self.folder / name, *self._files(name)):
                if old.is_dir():
                    shutil.move(old, Path(work, 'old'))
                elif old != path:
                    old.unlink(missing_ok=True)
            publish(whole, path)
        return path

    def _files(self, name: str) -> list[Path]:
        """Return the picture files of a goal."""
        return [path for path in self.folder.iterdir() if _is_goal(path) and path.stem == name]


def _is_goal(path: Path) -> bool:
    """Return whether a file is a picture with a valid name of a goal."""
    named = path.suffix.lower() in SUFFIXES and GOAL_NAME.fullmatch(path.stem)
    return bool(named) and path.is_file()


def _png(picture: Array) -> bytes:
    """Encode a picture (H, W, 3) RGB or (H, W, 4) RGBA as PNG."""
    code = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), code)
    data: bytes = cv2.imencode('.png', bgr)[1].tobytes()
    return data
