# SPDX-License-Identifier: Apache-2.0
"""Find bags and videos on disk: their files, names, and fingerprints of their content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
import os
from pathlib import Path
import re
from typing import NamedTuple

from smwm_ros.data.shards import safe_name
from smwm_ros.errors import BagError

_SPLIT = re.compile(r'(?P<name>.+)_\d+')  # rosbag2 numbers the files of one recording
ROS1 = ('.bag', '.bag.active')  # '.active' is the suffix of a bag that was never closed
_SUFFIXES = ('.mcap', '.db3', *ROS1, '.mcap.zstd', '.db3.zstd')
VIDEOS = ('.mp4', '.mkv', '.mov', '.avi', '.webm')
METADATA = 'metadata.yaml'
_MAX_METADATA = 1 << 23  # bytes; it is parsed in memory, and slowly
_SAMPLES, _SAMPLE = 64, 4096  # places hashed in a file, and bytes hashed at each


class Bag(NamedTuple):
    """The files of one rosbag, or a video file."""

    name: str  # also the name of its shard
    paths: tuple[Path, ...]  # a folder with metadata.yaml, or the files of one recording
    msgs: tuple[Path, ...] = ()  # folders of .msg files, for types that the bag does not define

    @property
    def is_video(self) -> bool:
        """Return whether this is a video file, to be read like a bag of one camera."""
        return bool(_video_suffix(self.paths[0])) and not self.paths[0].is_dir()

    def files(self) -> list[Path]:
        """Return the files that hold the messages."""
        if self.paths[0].is_dir():
            return sorted(
                path for path in self.paths[0].iterdir() if _bag_suffix(path) and path.is_file()
            )
        return list(self.paths)

    def parts(self) -> list[Path]:
        """Return the files, with the write-ahead logs (-wal) of sqlite."""
        files = self.files()
        return [*files, *filter(None, map(write_ahead, files))]

    def size(self) -> int:
        """Return the total size of the files [bytes]."""
        return sum(path.stat().st_size for path in self.parts())

    def fingerprint(self) -> str:
        """Return a hash of names, sizes and samples of the files; hashing all is too slow."""
        found = blake2b(digest_size=16)
        for path in self.parts():
            size = path.stat().st_size
            found.update(f'{path.name}:{size};'.encode())
            with path.open('rb') as file:
                for number in range(_SAMPLES):
                    file.seek(max(size - _SAMPLE, 0) * number // (_SAMPLES - 1))
                    found.update(file.read(_SAMPLE))
        return found.hexdigest()


def write_ahead(path: Path) -> Path | None:
    """Return the write-ahead log of a sqlite file, None if there is none or it is empty."""
    ahead = path.with_name(f'{path.name}-wal')
    # os.path, because pathlib raises where the name with -wal is too long for the file system.
    if path.suffix == '.db3' and os.path.isfile(ahead) and ahead.stat().st_size:
        return ahead
    return None


def find_bags(paths: Iterable[Path], msgs: Iterable[Path] = ()) -> list[Bag]:
    """
    Return every bag and video at these paths and in their folders.

    msgs: folders of .msg files that define the messages which bags do not define.
    """
    found: list[Bag] = []
    for path in paths:
        bags = _bags_at(path)
        if not bags:
            raise BagError(
                f'{path}: no rosbag or video found; expected a file or a folder of {_kinds()}'
            )
        found += bags
    unique = {tuple(path.resolve() for path in bag.paths): bag for bag in found}
    defined = tuple(msgs)
    return [bag._replace(msgs=defined) for bag in _named_apart(list(unique.values()))]


def _bags_at(path: Path) -> list[Bag]:
    """Return the bag at a path, or the bags in that folder."""
    if not path.is_file() and not path.is_dir():
        raise BagError(f'{path}: no such file or folder')
    if path.is_file():
        suffix = _suffix(path)
        if not suffix:
            raise BagError(
                f"{path}: '{path.suffix}' is not a rosbag or video; expected {_kinds()}"
            )
        return [Bag(path.name[: -len(suffix)], (path,))]
    if (path / METADATA).is_file():
        _require_plain(path)
        return [Bag(path.resolve().name, (path,))]
    bags = _loose(sorted(item for item in path.iterdir() if item.is_file() and _suffix(item)))
    for item in sorted(path.iterdir()):
        if item.is_dir() and not item.name.startswith('.') and not _is_around(item, path):
            bags += _bags_at(item)
    return bags


def _require_plain(folder: Path) -> None:
    """Require that a bag's folder holds files only: opening a pipe would block."""
    for item in folder.iterdir():
        if not item.is_file() and not item.is_dir():
            raise BagError(f'{item}: expected a file, found a pipe, a device or a broken link')
    size = (folder / METADATA).stat().st_size
    if size > _MAX_METADATA:
        raise BagError(f'{folder / METADATA}: {size} bytes, expected at most {_MAX_METADATA}')


def _is_around(link: Path, folder: Path) -> bool:
    """Return whether a link in a folder leads back to that folder or a parent of it."""
    return link.is_symlink() and folder.resolve().is_relative_to(link.resolve())


def _loose(files: Sequence[Path]) -> list[Bag]:
    """Group files without metadata.yaml into bags: NAME_0, NAME_1, ... are one bag."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in files:
        suffix = _suffix(path)
        name = path.name[: -len(suffix)]
        match = _SPLIT.fullmatch(name) if suffix not in (*ROS1, *VIDEOS) else None
        groups.setdefault((match['name'] if match else name, suffix), []).append(path)
    ordered = {key: sorted(paths, key=_number) for key, paths in groups.items()}
    return [Bag(name, tuple(paths)) for (name, _), paths in ordered.items()]


def _number(path: Path) -> int:
    """Return the number of a file within its bag, so that 10 sorts after 9."""
    digits = re.findall(r'\d+', path.name.removesuffix(_suffix(path)))
    return int(digits[-1]) if digits else 0


def _named_apart(bags: Sequence[Bag]) -> list[Bag]:
    """Prefix names that are not unique with the names of their parent folders."""
    names = Counter(bag.name for bag in bags)
    apart = []
    for bag in bags:
        name, parent = bag.name, bag.paths[0].resolve().parent
        if names[bag.name] > 1:
            name = f'{parent.name}_{name}'
        apart.append(Bag(safe_name(name), bag.paths))
    first: dict[str, Path] = {}
    for bag in apart:
        same = first.setdefault(bag.name, bag.paths[0])
        if same != bag.paths[0]:
            raise BagError(
                f"two bags would both be called '{bag.name}': {same} and {bag.paths[0]}; "
                'rename one'
            )
    return sorted(apart)


def _suffix(path: Path) -> str:
    """Return the suffix of a file of a rosbag or of a video, or ''."""
    return _bag_suffix(path) or _video_suffix(path)


def _bag_suffix(path: Path) -> str:
    return next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), '')


def _video_suffix(path: Path) -> str:
    suffix = path.suffix.lower()  # cameras write .MP4
    return suffix if suffix in VIDEOS and not path.name.startswith('.') else ''


def _kinds() -> str:
    return ', '.join((*_SUFFIXES, *VIDEOS))
