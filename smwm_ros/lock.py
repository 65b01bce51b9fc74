# SPDX-License-Identifier: Apache-2.0
"""
Locks: one process at a time writes in a folder, and the lock file names the process.

The kernel releases a lock when its process ends, also after kill -9, so a lock file that is left
behind blocks nothing. Readers need no lock, since files are renamed when they are complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
import errno
import fcntl
from hashlib import blake2b
import json
import os
from pathlib import Path
import shlex
from socket import gethostname
import sys
import time

from smwm_ros.errors import OutputError, writing

NAME = '.smwm.lock'
_LONGEST = 255  # bytes of a name
_SAID = 120  # characters of a command line
_LOCKLESS = {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL, errno.EBADF}
_SETTLED = 0.05  # wait before the lock file is read, for a process that writes it too [s]
_LOOKS = 10  # attempts to read the name of a process that may not have written it yet

_held: set[str] = set()  # lock files that this process holds


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Create a folder and lock it; remove it afterwards if it is empty."""
    with made(folder), _locked(folder / NAME, folder):
        yield


@contextmanager
def hold_name(path: Path) -> Iterator[None]:
    """Lock the name of a file or folder, and create the folder around it."""
    with made(path.parent):
        with writing(path), suppress(FileNotFoundError):
            os.lstat(path)  # raises for a name that is too long, before any work
        with _locked(hidden(path, 'lock'), path):
            yield


def hidden(path: Path, ending: str) -> Path:
    """Return a hidden path beside a path, no longer than file systems permit."""
    name = f'.{path.name}.{ending}'
    if len(name.encode()) > _LONGEST:
        name = f'.{blake2b(path.name.encode(), digest_size=16).hexdigest()}.{ending}'
    return path.with_name(name)


def claim(path: Path, wait: bool = False) -> tuple[int, bool]:
    """
    Open and lock a file; raise BlockingIOError where another process holds it, unless `wait`.

    Return the descriptor, and False where the file system has no locks.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in _LOCKLESS:
                return descriptor, False
            os.close(descriptor)
            raise
        if is_at(descriptor, path):
            return descriptor, True
        os.close(descriptor)  # the process that held it has removed or renamed it


def is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Create a folder and its parents; remove those that are empty afterwards."""
    new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in new:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _locked(file: Path, what: Path) -> Iterator[None]:
    """Hold a lock file, unless this process holds it already."""
    name = os.path.realpath(file)
    if name in _held:
        yield
        return
    with writing(what):
        descriptor = _take(file, what)
    _held.add(name)
    try:
        yield
    finally:
        _held.discard(name)
        _release(descriptor, file)


def _take(file: Path, what: Path) -> int:
    """Lock a file and write the name of this process; raise OutputError where it is held."""
    try:
        descriptor, sure = claim(file)
    except BlockingIOError:
        raise _busy(file, what, sure=True) from None
    try:
        # Without locks, rely on the content of the file.
        if not sure and _is_alive(_read(file)):
            raise _busy(file, what, sure)
        ours = _ourselves()
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(ours).encode() + b'\n')
        if not sure:
            time.sleep(_SETTLED)
            if _read(file) != ours:
                raise _busy(file, what, sure)
    except OutputError:
        os.close(descriptor)
        raise
    except OSError:
        _release(descriptor, file)
        raise
    return descriptor


def _release(descriptor: int, file: Path) -> None:
    with suppress(OSError):
        if is_at(descriptor, file):
            file.unlink()
    os.close(descriptor)


def _ourselves() -> dict[str, str]:
    """Return the entry of this process in a lock file."""
    program = Path(sys.argv[0]).name.replace('cli.py', 'smwm')
    return {
        'pid': str(os.getpid()),
        'host': gethostname(),
        'since': datetime.now().astimezone().isoformat(' ', 'seconds'),
        'command': shlex.join([program, *sys.argv[1:]])[:_SAID],
    }


def _read(file: Path) -> dict[str, str]:
    """Return the entry in a lock file; empty where it cannot be read."""
    try:
        found = json.loads(file.read_text(encoding='utf-8'))
        return {name: _printable(str(found[name])) for name in _ourselves()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _printable(text: str) -> str:
    return ''.join(letter if letter.isprintable() else '?' for letter in text[:_SAID])


def _is_alive(holder: dict[str, str]) -> bool:
    """Return whether a process may be running; one on another machine counts as running."""
    if not holder or holder['host'] != gethostname():
        return bool(holder)
    try:
        os.kill(int(holder['pid']), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:  # of another user
        pass
    return True


def _busy(file: Path, what: Path, sure: bool) -> OutputError:
    """Return the error that names the process that holds the lock."""
    for _ in range(_LOOKS):
        holder = _read(file)
        if _is_alive(holder):  # else it is the entry of an earlier process
            break
        time.sleep(_SETTLED)
    else:
        return OutputError(f'{what}: is being written by another process; wait until it ends')
    return OutputError(
        f'{what}: is being written by process {holder["pid"]} on {holder["host"]} '
        f'({holder["command"]}) since {holder["since"]}; wait until it ends, or choose another '
        'path' + ('' if sure else f'; if it has ended already, remove {file}')
    )
