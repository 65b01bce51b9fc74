# SPDX-License-Identifier: Apache-2.0
"""
One process at a time writes in a folder, and a lock file in it says which one.

The kernel releases the lock when the process ends, however it does, so what a killed process
leaves behind hinders no other. Readers need no lock: files appear when they are whole.
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
_SAID = 120  # characters of a command
_LOCKLESS = {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL, errno.EBADF}
_SETTLED = 0.05  # after this long the name of a process that wrote at the same time is read [s]
_LOOKS = 10  # at the name of a process that may not have written it yet

_held: set[str] = set()  # lock files of this process


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make a folder, and let no other process write in it; it vanishes if it stays empty."""
    with made(folder), _locked(folder / NAME, folder):
        yield


@contextmanager
def hold_name(path: Path) -> Iterator[None]:
    """Let no other process write a file or folder of this name; make the folder around it."""
    with made(path.parent):
        with writing(path), suppress(FileNotFoundError):
            os.lstat(path)  # refuses a name that is too long, before any work is done
        with _locked(hidden(path, 'lock'), path):
            yield


def hidden(path: Path, ending: str) -> Path:
    """Return a hidden name beside a path; it fits wherever the name of the path does."""
    name = f'.{path.name}.{ending}'
    if len(name.encode()) > _LONGEST:
        name = f'.{blake2b(path.name.encode(), digest_size=16).hexdigest()}.{ending}'
    return path.with_name(name)


def claim(path: Path, wait: bool = False) -> tuple[int, bool]:
    """
    Open a file that no other process has claimed; BlockingIOError where one has, unless we wait.

    Return its descriptor, and False where this file system has no locks.
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
        os.close(descriptor)  # the process that had it removed or renamed it meanwhile


def is_at(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder and those around it; in the end remove what was made and stayed empty."""
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
    """Hold a lock file, unless this process does already."""
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
    """Lock a file and write our name into it, or say which process holds it."""
    try:
        descriptor, sure = claim(file)
    except BlockingIOError:
        raise _busy(file, what, sure=True) from None
    try:
        # Without locks, what the file says must do.
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
    """Return what others should know of this process."""
    program = Path(sys.argv[0]).name.replace('cli.py', 'smwm')
    return {
        'pid': str(os.getpid()),
        'host': gethostname(),
        'since': datetime.now().astimezone().isoformat(' ', 'seconds'),
        'command': shlex.join([program, *sys.argv[1:]])[:_SAID],
    }


def _read(file: Path) -> dict[str, str]:
    """Return what a process wrote of itself; nothing where that is unknown."""
    try:
        found = json.loads(file.read_text(encoding='utf-8'))
        return {name: _printable(str(found[name])) for name in _ourselves()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _printable(text: str) -> str:
    return ''.join(letter if letter.isprintable() else '?' for letter in text[:_SAID])


def _is_alive(holder: dict[str, str]) -> bool:
    """Tell whether a process may still run; of another machine nobody knows."""
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
    """Return the error that says which process writes there, and how to go on."""
    for _ in range(_LOOKS):
        holder = _read(file)
        if _is_alive(holder):  # else the name is that of a process before
            break
        time.sleep(_SETTLED)
    else:
        return OutputError(f'{what}: is being written by another process; wait until it ends')
    return OutputError(
        f'{what}: is being written by process {holder["pid"]} on {holder["host"]} '
        f'({holder["command"]}) since {holder["since"]}; wait until it ends, or choose another '
        'path' + ('' if sure else f'; if it has ended already, remove {file}')
    )
