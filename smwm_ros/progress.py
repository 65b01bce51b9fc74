# SPDX-License-Identifier: Apache-2.0
"""Progress: a bar on a terminal, and a line every few seconds in a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from datetime import timedelta
import logging
import os
import sys
from time import monotonic
from typing import Any, TextIO

from smwm_ros.text import echo, line

try:
    from tqdm import tqdm
except Exception:  # missing or broken: lines will do
    tqdm = None

EVERY = 5.0  # between two lines in a log [s]


def show_progress(items: Iterable[Any] | None = None, **words: Any) -> Any:
    """Return a bar that iterates over items, or is updated by hand; keywords are those of tqdm."""
    words['desc'] = line(words['desc'])
    return Bar(items, **words) if _draws_bars() else Lines(items, **words)


@contextmanager
def show_log() -> Iterator[None]:
    """Print on stderr what the package logs meanwhile, from level INFO on."""
    logger, handler = logging.getLogger('smwm_ros'), _LogPrinter()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class Bar(tqdm or object):  # type: ignore[misc]  # tqdm has no types
    """A bar of tqdm, which escapes control characters in its texts."""

    @classmethod
    def write(cls, text: str, file: TextIO | None = None) -> None:
        """Print a line above the bar, on stdout unless a file is given."""
        super().write(line(text), file)

    def set_postfix_str(self, text: str = '', refresh: bool = True) -> None:
        """Set the text after the bar."""
        super().set_postfix_str(line(text), refresh)


class Lines:
    """A bar that prints whole lines, with the part of the interface of tqdm that is used here."""

    def __init__(
        self,
        items: Iterable[Any] | None = None,
        *,
        desc: str,
        unit: str,
        total: int | None = None,
        initial: int = 0,
        unit_scale: int = 1,  # units in a step
        disable: bool = False,
        **looks: object,  # of a bar; ignored
    ) -> None:
        self.total = len(items) if total is None and isinstance(items, Sized) else total
        self.n = self._initial = initial
        self._items, self._desc, self._unit, self._scale = items, desc, unit.strip(), unit_scale
        self._mute = disable or bool(os.environ.get('TQDM_DISABLE'))  # as tqdm understands it
        self._file: TextIO = sys.stderr
        self._begun = self._told = monotonic()
        self._postfix = ''

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the items."""
        with self:
            for item in self._items or ():
                yield item
                self.update()

    def __enter__(self) -> Lines:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """Print the last line, also after an error."""
        self._tell(f' in {_clock(monotonic() - self._begun)}', '')

    def update(self, steps: int = 1) -> None:
        """Count steps; print a line if one is due and it is not the last."""
        self.n += steps
        if monotonic() - self._told >= EVERY and self.n != self.total:
            self._told = monotonic()
            left = (self.total or 0) - self.n
            done = (self.n - self._initial) / (self._told - self._begun)
            self._tell('', f', {_clock(left / done)} left' if left > 0 and done else '')

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Set the text at the end of the next lines."""
        self._postfix = text

    def write(self, text: str, file: TextIO | None = None) -> None:
        """Print a line, on stdout unless a file is given."""
        echo(text, file=file)

    def _tell(self, took: str, left: str) -> None:
        """Print one line of progress."""
        if self._mute:
            return
        count, total = self.n * self._scale, self.total and self.total * self._scale
        seconds = monotonic() - self._begun
        rate = (self.n - self._initial) * self._scale / seconds if seconds else 0.0
        words = f'{self._desc}: {count}' + (f'/{total}' if total else '') + took
        if rate:
            words += f', {_pace(rate, self._unit)}'
        echo(words + left + (f', {self._postfix}' if self._postfix else ''), file=self._file)


class _LogPrinter(logging.Handler):
    """Prints log records as lines, above a bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f'{record.levelname.lower()}: {text}'
        if _draws_bars():
            Bar.write(text, file=sys.stderr)
        else:
            echo(text, file=sys.stderr)


def _draws_bars() -> bool:
    return bool(tqdm) and sys.stderr.isatty()


def _pace(rate: float, unit: str) -> str:
    """Return the units per second, or the seconds per unit where these are more than 1."""
    if rate < 1:
        return f'{1 / rate:.3g} s/{unit}'
    return f'{rate:.0f} {unit}/s' if rate >= 100 else f'{rate:.3g} {unit}/s'


def _clock(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
