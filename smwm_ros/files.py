# SPDX-License-Identifier: Apache-2.0
"""
Atomic files and folders: complete, or absent.

Each is written under a hidden name beside its own, flushed to the disk (fsync), and renamed. The
leftover of a killed process under the hidden name is overwritten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, ExitStack, suppress
import errno
import os
from pathlib import Path
import shutil

from smwm_ros.errors import OutputError, writing
from smwm_ros.lock import claim, hidden, hold_name, is_at, made

_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}  # file systems without fsync of folders


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file, and create its folders; write to a device or a pipe directly."""
    with writing(path):
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
    write_together({path: data})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """
    Write files that belong together; a file that cannot be written leaves all as they were.

    The last one marks the others as complete, so it is removed before they are replaced.
    """
    # Follow links: /dev/stdout, and links to files in other folders.
    wanted = {path: Path(os.path.realpath(path)) for path in contents}
    last = list(wanted.values())[-1]
    with ExitStack() as stack:
        parts = {
            path: stack.enter_context(_part(path, wanted[path], data))
            for path, data in contents.items()
        }
        with writing(last):
            if len(parts) > 1:
                last.unlink(missing_ok=True)
        for path, part in parts.items():
            with writing(path):
                part.replace(wanted[path])
                _sync_folder(wanted[path].parent)


@contextmanager
def appearing(path: Path, replace: bool = False) -> Iterator[Path]:
    """
    Yield a hidden path to write a file or folder at; rename it to `path` afterwards.

    A path that exists is an error, unless a file may `replace` it.
    """
    part = hidden(path, 'part')
    with hold_name(path):
        if not replace:
            require_new(path)
        remove(part)
        try:
            yield part
            publish(part, path)
        finally:
            remove(part)


def require_new(path: Path) -> None:
    """Raise OutputError where a path exists."""
    if os.path.lexists(path):
        raise OutputError(f'{path}: exists already; remove it or choose another path')


def publish(whole: Path, path: Path) -> None:
    """Flush a file or folder to the disk, and rename it to `path`."""
    with writing(path):
        _sync(whole)
        whole.replace(path)
        _sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder, and ignore errors."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def _part(path: Path, wanted: Path, data: bytes) -> Iterator[Path]:
    """Write a file under a hidden name; remove it afterwards unless it was renamed."""
    part = hidden(wanted, 'part')
    with made(wanted.parent):
        with writing(path):
            descriptor, _ = claim(part, wait=True)
        try:
            with writing(path), open(descriptor, 'wb', closefd=False) as file:
                file.truncate()
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            yield part
        finally:
            with suppress(OSError):
                if is_at(descriptor, part):
                    part.unlink()
            os.close(descriptor)


def _sync(path: Path) -> None:
    """Flush a file, or a folder with its contents, to the disk."""
    if path.is_dir():
        for item in path.iterdir():
            _sync(item)
        _sync_folder(path)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, where the file system supports it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
