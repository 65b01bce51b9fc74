# SPDX-License-Identifier: Apache-2.0
"""Errors that the user can correct; any other exception is a bug and shows a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
import errno
from pathlib import Path

from smwm_ros.text import cut, line

_COMPARED = 100  # characters of a word
_SAID = 300  # characters of the error of a library
_FULL = 'free some space, or choose another place'
_FORBIDDEN = 'choose another place, or change its permissions'
# What to do where a file cannot be written, by errno.
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
    Base of all errors that the user can correct; the message is one printable line.

    It is made printable here, since names, values and errors of libraries come from foreign files.
    """

    def __init__(self, message: str = '') -> None:
        super().__init__(line(message))


class ConfigError(SmwmError):
    """A knob is unknown, of the wrong type, or out of range."""


class BagError(SmwmError):
    """A rosbag is missing or damaged, or lacks a topic or a message."""


class DatasetError(SmwmError):
    """A dataset is missing or incomplete, or does not fit its use."""


class TrainingError(SmwmError):
    """Training cannot start, or its loss is not finite."""


class CheckpointError(SmwmError):
    """A checkpoint is missing or damaged, or was made for another robot."""


class NotAdaptedError(CheckpointError):
    """An adapted model would be no better than the model as it is."""


class OutputError(SmwmError):
    """A file or folder cannot be written, or another process is writing it."""


class ArenaError(SmwmError):
    """An arena is unknown or was used wrongly."""


class CodecError(SmwmError):
    """A message cannot be converted to or from an action or an image."""


class MissingExtraError(SmwmError):
    """An optional extra of this package is not installed."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return the end of an error message: the nearest valid choice, and all choices."""
    names = sorted(choices)
    # Comparing long words takes time, and a word may come from any file.
    near = get_close_matches(word[:_COMPARED], names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ''
    return f'{hint}valid: {", ".join(names)}' if names else 'there are no valid choices'


def one_line(error: BaseException) -> str:
    """Return the error of a library in one line, with its type where that explains it."""
    words = cut(' '.join(str(error).split()), _SAID)
    kind = type(error)
    if words and kind.__module__ != 'builtins':  # errors of libraries explain themselves
        return words
    return f'{kind.__name__}: {words}' if words else kind.__name__


def in_words(error: Exception) -> str:
    """Return in one line why a file cannot be written, and what to do."""
    if not isinstance(error, OSError) or not error.strerror:
        return one_line(error)
    return f'{error.strerror}; {ADVICE.get(error.errno or 0, "choose another place")}'


@contextmanager
def writing(path: Path, *others: type[Exception]) -> Iterator[None]:
    """Raise OutputError in place of OSError, and of `others`, while a path is written."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (OSError, *others)):
            raise
        raise OutputError(f'{path}: cannot be written: {in_words(error)}') from error


def place(error: BaseException) -> str:
    """Return an error in one line, with its file and line in the code."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f' ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})' if trace else ''
    return f'{one_line(error)}{where}'


def missing_extra(what: str, extra: str, packages: str) -> MissingExtraError:
    """Return the error that says how to install an optional extra."""
    return MissingExtraError(
        f"{what} needs the extra '{extra}' of this package, which is not installed: "
        f'pip install {packages}'
    )
