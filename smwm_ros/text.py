# SPDX-License-Identifier: Apache-2.0
"""
Text for people: the one place that prints, and what makes foreign text fit to be printed.

Names of topics, files and fields come from recordings of others. A control character in one would
steer a terminal, a mark of direction would make it read as another name, and a megabyte of it
would hide everything else.
"""

from __future__ import annotations

import re
from reprlib import Repr
import sys
from typing import Any, TextIO

LINE = 4000  # characters of a line, at most
WORD = 500  # characters without a space, at most
VALUE = 100  # characters of a value that is quoted
_NOTE = 40  # characters that say how much was left out
_LONG_WORD = re.compile(rf'\S{{{WORD + 1},}}')
_quote = Repr()
_quote.maxstring = _quote.maxother = _quote.maxlong = VALUE
_quote.maxlevel = 3


def printable(text: str) -> str:
    r"""Escape what moves a cursor, turns text around or breaks a line: '\x1b', '\u202e', '\n'."""
    if text.isprintable():
        return text
    return ''.join(
        letter if letter.isprintable() else letter.encode('unicode_escape').decode()
        for letter in text
    )


def cut(text: str, most: int = LINE) -> str:
    """Leave out the middle of a text that is too long, and say how much was left out."""
    if len(text) <= most:
        return text
    tail = most // 4
    head = most - tail - _NOTE
    return f'{text[:head]}... ({len(text) - head - tail} characters) ...{text[-tail:]}'


def line(text: str) -> str:
    """Return a text as one line that can be printed."""
    # Cut before it is escaped, which makes it longer, and again after that.
    return cut(_cut_words(printable(_cut_words(cut(text)))))


def count_of(number: int, what: str, mark: str = '') -> str:
    """Say how many there are of something; a mark such as ',' parts the thousands."""
    many = 'es' if what.endswith('ch') else 's'
    return f'{number:{mark}} {what}{"" if number == 1 else many}'


def brief(value: Any) -> str:
    """Quote a value of any size and depth in short."""
    return cut(_quote.repr(value), VALUE)


def block(text: str) -> str:
    """Return a text of several lines such that each can be printed."""
    return '\n'.join(map(line, text.split('\n')))


def tell(*lines: object, file: TextIO | None = None) -> None:
    """Print lines, on stdout unless a file is given."""
    stream = file or sys.stdout
    for one in lines:
        print(_encodable(line(str(one)), stream), file=stream, flush=True)


def tell_program(text: str) -> None:
    """Print what a program reads, such as JSON: nothing in it is cut or changed."""
    print(text, flush=True)


def _cut_words(text: str) -> str:
    return _LONG_WORD.sub(lambda word: cut(word[0], WORD), text)


def _encodable(text: str, stream: TextIO) -> str:
    """Escape what the encoding of a terminal does not have."""
    encoding = getattr(stream, 'encoding', None) or 'utf-8'
    return text.encode(encoding, 'backslashreplace').decode(encoding)
