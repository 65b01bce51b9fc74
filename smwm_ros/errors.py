# SPDX-License-Identifier: Apache-2.0
"""What can go wrong by the user's hand; everything else is our bug and shows a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
import errno
from pathlib import Path

from smwm_ros.text import cut, line

_COMPARED = 100  # characters of a word
_SAID = 300  # characters of an error that is not ours
_FULL = 'free some space, or choose another place'
_FORBIDDEN = 'choose another place, or change its permissions'
# What to do where the system does not let a file be written, by the number of its error.
ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: 'raise the limit of file sizes (ulimit -f), or choose another file system',
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _FORBIDDEN,
    errno.ENOTDIR: 'a file is in the way; choose another path',
    errno.EISDIR: 'expected a file; choose another path',
    errno.EEXIST: 'expected a folder; choose another path',
    errno.ENOTEMPTY: 'remove it, or choose another path',
    errno.ENAMETOOLONG: 'choose a shorter name',
    errno.ELOOP: 'a link leads back to itself; choose another path',
    errno.EIO: 'the disk or its connection may be damaged; choose another place',
}


class SmwmError(Exception):
    """
    Base of all errors that a user can mend, in one line whoever prints it.

    Much of what it says comes from files: names, values, errors of the libraries that read them.
    """

    def __init__(self, message: str = '') -> None:
        super().__init__(line(message))


class ConfigError(SmwmError):
    """A knob is unknown, of the wrong type, or out of range."""


class BagError(SmwmError):
    """A rosbag is missing, damaged, or lacks what was asked of it."""


class DatasetError(SmwmError):
    """A transition dataset is missing, incomplete, or does not fit."""


class TrainingError(SmwmError):
    """Training cannot start here, or its loss is no number any more."""


class CheckpointError(SmwmError):
    """A checkpoint is missing, damaged, or was made for another robot."""


class OutputError(SmwmError):
    """A file or folder cannot be written, or another process is writing it."""


class ArenaError(SmwmError):
    """An arena is unknown or was driven wrongly."""


class CodecError(SmwmError):
    """A message and an action or image do not fit each other."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return the tail of an error message: the nearest valid choice, and all of them."""
    names = sorted(choices)
    # Comparing takes time, and a word may come from anywhere.
    near = get_close_matches(word[:_COMPARED], names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ''
    return f'{hint}valid: {", ".join(names)}' if names else 'there are no valid choices'


def video_hint(kind: str) -> str:
    """Return what to do about a message type or an image format of video, else nothing."""
    if not any(word in kind.lower() for word in ('video', 'ffmpeg', 'h264', 'h265', 'hevc')):
        return ''
    return (
        'video is not read yet: play the bag, let image_transport republish make '
        'sensor_msgs/msg/Image of it, and record that'
    )


def one_line(error: BaseException) -> str:
    """Say in one line what a library raised about a file, and which kind of error it was."""
    words = cut(' '.join(str(error).split()), _SAID)
    kind = type(error)
    if words and kind.__module__ != 'builtins':  # errors of libraries explain themselves
        return words
    return f'{kind.__name__}: {words}' if words else kind.__name__


def in_words(error: Exception) -> str:
    """Say in one line why the system does not let a file be written, and what to do."""
    if not isinstance(error, OSError) or not error.strerror:
        return one_line(error)
    return f'{error.strerror}; {ADVICE.get(error.errno or 0, "choose another place")}'


@contextmanager
def writing(path: Path, *others: type[Exception]) -> Iterator[None]:
    """Turn what the system raises while a file or folder is written, and others, into one line."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (OSError, *others)):
            raise
        raise OutputError(f'{path}: cannot be written: {in_words(error)}') from error


def place(error: BaseException) -> str:
    """Say in one line what happened and where in the code, for who may have to mend it."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f' ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})' if trace else ''
    return f'{one_line(error)}{where}'


def missing_extra(what: str, extra: str, packages: str) -> SmwmError:
    """Return the error that says how to install what an optional part needs."""
    return SmwmError(
        f"{what} needs what is not installed here (the extra '{extra}' of this package): "
        f'pip install {packages}'
    )
