# SPDX-License-Identifier: Apache-2.0
"""Find recordings on disk: which files make one bag, what it is called, and whether it changed."""

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
ROS1 = ('.bag', '.bag.active')  # the second one was never closed
_SUFFIXES = ('.mcap', '.db3', *ROS1, '.mcap.zstd', '.db3.zstd')
_METADATA = 'metadata.yaml'
_LARGEST = 1 << 23  # bytes of it; it is read in memory, and slowly
_SAMPLES, _SAMPLE = 64, 4096  # places looked at in a file, and bytes looked at there


class Bag(NamedTuple):
    """One recording."""

    name: str  # also of its shard
    paths: tuple[Path, ...]  # a folder with metadata.yaml, or the files of one recording
    msgs: tuple[Path, ...] = ()  # folders of .msg files, for types that it does not define

    def files(self) -> list[Path]:
        """Return the files that hold the messages."""
        if self.paths[0].is_dir():
            return sorted(
                path for path in self.paths[0].iterdir() if _suffix(path) and path.is_file()
            )
        return list(self.paths)

    def parts(self) -> list[Path]:
        """Return the files, and what sqlite has yet to write into them."""
        files = self.files()
        return [*files, *filter(None, map(write_ahead, files))]

    def size(self) -> int:
        """Return how large the files are [bytes]."""
        return sum(path.stat().st_size for path in self.parts())

    def fingerprint(self) -> str:
        """Hash names, sizes and samples of the files: hashing all bytes would take too long."""
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
    """Return the file of what was not yet written into a sqlite file, if there is any."""
    ahead = path.with_name(f'{path.name}-wal')
    # os.path: the longest names have no room for this one, which pathlib takes for an error.
    if path.suffix == '.db3' and os.path.isfile(ahead) and ahead.stat().st_size:
        return ahead
    return None


def find_bags(paths: Iterable[Path], msgs: Iterable[Path] = ()) -> list[Bag]:
    """
    Return every bag that the paths name, or that lies in the folders they name.

    Folders of .msg files define the messages that bags do not.
    """
    found: list[Bag] = []
    for path in paths:
        bags = _bags_at(path)
        if not bags:
            raise BagError(f'{path}: no rosbag there; expected a file or a folder of {_kinds()}')
        found += bags
    unique = {tuple(path.resolve() for path in bag.paths): bag for bag in found}
    defined = tuple(msgs)
    return [bag._replace(msgs=defined) for bag in _named_apart(list(unique.values()))]


def _bags_at(path: Path) -> list[Bag]:
    """Return the bag that a path is, or the bags in the folder that it is."""
    if not path.is_file() and not path.is_dir():
        raise BagError(f'{path}: no such file or folder')
    if path.is_file():
        suffix = _suffix(path)
        if not suffix:
            raise BagError(f"{path}: '{path.suffix}' is no rosbag; expected {_kinds()}")
        return [Bag(path.name.removesuffix(suffix), (path,))]
    if (path / _METADATA).is_file():
        _require_plain(path)
        return [Bag(path.resolve().name, (path,))]
    bags = _loose(sorted(item for item in path.iterdir() if item.is_file() and _suffix(item)))
    for item in sorted(path.iterdir()):
        if item.is_dir() and not item.name.startswith('.') and not _is_around(item, path):
            bags += _bags_at(item)
    return bags


def _require_plain(folder: Path) -> None:
    """Refuse the folder of a bag in which something is no file: a pipe would be waited for."""
    for item in folder.iterdir():
        if not item.is_file() and not item.is_dir():
            raise BagError(f'{item}: expected a file, found a pipe, a device or a broken link')
    size = (folder / _METADATA).stat().st_size
    if size > _LARGEST:
        raise BagError(
            f'{folder / _METADATA}: {size} bytes; expected at most {_LARGEST}, some for each topic'
        )


def _is_around(link: Path, folder: Path) -> bool:
    """Tell whether a link within a folder leads back to it, or to what it lies in."""
    return link.is_symlink() and folder.resolve().is_relative_to(link.resolve())


def _loose(files: Sequence[Path]) -> list[Bag]:
    """Group files without metadata.yaml: NAME_0, NAME_1, ... are one recording."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in files:
        suffix = _suffix(path)
        name = path.name.removesuffix(suffix)
        match = _SPLIT.fullmatch(name) if suffix not in ROS1 else None
        groups.setdefault((match['name'] if match else name, suffix), []).append(path)
    ordered = {key: sorted(paths, key=_number) for key, paths in groups.items()}
    return [Bag(name, tuple(paths)) for (name, _), paths in ordered.items()]


def _number(path: Path) -> int:
    """Return the number of a file within its recording; 10 follows 9."""
    digits = re.findall(r'\d+', path.name.removesuffix(_suffix(path)))
    return int(digits[-1]) if digits else 0


def _named_apart(bags: Sequence[Bag]) -> list[Bag]:
    """Put the names of parent folders before names that are not unique."""
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
    """Return the suffix by which a file is a rosbag, or nothing."""
    return next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), '')


def _kinds() -> str:
    return ', '.join(_SUFFIXES)
