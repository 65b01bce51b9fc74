# SPDX-License-Identifier: Apache-2.0
"""
Printing, and functions that make text of unknown origin printable.

Names of topics, files and fields come from foreign recordings. Control characters would move the
cursor of the terminal, direction marks would make a name look like another one, and a megabyte of
text would hide everything else.
"""

from __future__ import annotations

import re
from reprlib import Repr
import sys
from typing import Any, TextIO

LINE = 4000  # characters of a line, at most
WORD = 500  # characters without a space, at most
VALUE = 100  # characters of a quoted value
_NOTE = 40  # characters of the note on what was left out
_LONG_WORD = re.compile(rf'\S{{{WORD + 1},}}')
_quote = Repr()
_quote.maxstring = _quote.maxother = _quote.maxlong = VALUE
_quote.maxlevel = 3


def printable(text: str) -> str:
    r"""Escape control characters, direction marks and line breaks: '\x1b', '\u202e', '\n'."""
    if text.isprintable():
        return text
    return ''.join(
        letter if letter.isprintable() else letter.encode('unicode_escape').decode()
        for letter in text
    )


def cut(text: str, most: int = LINE) -> str:
    """Leave out the middle of a text that is too long, and note how much was left out."""
    if len(text) <= most:
        return text
    tail = most // 4
    head = most - tail - _NOTE
    return f'{text[:head]}... ({len(text) - head - tail} characters) ...{text[-tail:]}'


def line(text: str) -> str:
    """Return a text as one printable line."""
    # Escaping makes it longer, so cut before and after.
    return cut(_cut_words(printable(_cut_words(cut(text)))))


def count_of(number: int, what: str, mark: str = '') -> str:
    """Return a number with its noun, in the plural unless 1; `mark` groups the thousands."""
    many = 'es' if what.endswith('ch') else 's'
    return f'{number:{mark}} {what}{"" if number == 1 else many}'


def brief(value: Any) -> str:
    """Quote a value, shortened to VALUE characters."""
    return cut(_quote.repr(value), VALUE)


def block(text: str) -> str:
    """Return a text of several lines with each line made printable."""
    return '\n'.join(map(line, text.split('\n')))


def echo(*lines: object, file: TextIO | None = None) -> None:
    """Print lines, on stdout unless a file is given."""
    stream = file or sys.stdout
    for one in lines:
        print(_encodable(line(str(one)), stream), file=stream, flush=True)


def echo_raw(text: str) -> None:
    """Print text for programs, such as JSON, unchanged."""
    print(text, flush=True)


def _cut_words(text: str) -> str:
    return _LONG_WORD.sub(lambda word: cut(word[0], WORD), text)


def _encodable(text: str, stream: TextIO) -> str:
    """Escape characters that the encoding of a stream lacks."""
    encoding = getattr(stream, 'encoding', None) or 'utf-8'
    return text.encode(encoding, 'backslashreplace').decode(encoding)
