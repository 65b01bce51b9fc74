# SPDX-License-Identifier: Apache-2.0
"""The index of a folder: every page in it, and in the folders right within it."""

from __future__ import annotations

from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from smwm_ros.pages.html import escape, GENERATOR, page, SUFFIX, write_text
from smwm_ros.text import count_of

NAME = 'index.html'
_HEAD = 100_000  # bytes of a page that are read: its head, with the icon
_FACES = ('data:image/png;base64,', 'data:image/jpeg;base64,')


class PageEntry(NamedTuple):
    """A row of an index."""

    path: Path
    title: str
    about: str
    warnings: int
    icon: str  # an address that holds the picture itself, or nothing


def publish(path: Path, text: str) -> str:
    """
    Write a page, and the index of its folder; return where to look.

    The index of the folder above is updated too if this package wrote it. Other files named
    index.html are not touched.
    """
    write_text(path, text)
    above = path.parent.resolve().parent / NAME
    if _read(above) is not None:
        write_text(above, _index(above.parent))
    index = path.parent / NAME
    if path.name == NAME or (index.exists() and _read(index) is None):
        return str(path)
    write_text(index, _index(path.parent))
    return f'{path} (all pages there: {index})'


def entries(folder: Path) -> list[PageEntry]:
    """Return the entries of all pages in a folder and its subfolders, newest first."""
    found = [
        entry
        for path in [*folder.glob(f'*{SUFFIX}'), *folder.glob(f'*/*{SUFFIX}')]
        if path.name != NAME and (entry := _read(path))
    ]
    return sorted(found, key=lambda entry: (-_age(entry.path), entry.path))


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _index(folder: Path) -> str:
    """Return the page that lists all others."""
    rows = [
        f'<tr><td>{_face(one.icon)}</td><td>{_link(one, folder)} {_warned(one.warnings)}<br>'
        f'{escape(one.about)}<br><small>{datetime.fromtimestamp(_age(one.path)):%Y-%m-%d %H:%M}'
        '</small></td></tr>'
        for one in entries(folder)
    ]
    about = 'All pages in this folder, newest first.'
    return page(f'Pages of {folder.resolve().name}', about, [f'<table>{"".join(rows)}</table>'])


def _link(one: PageEntry, folder: Path) -> str:
    address = quote(one.path.relative_to(folder).as_posix())
    return f'<a href="./{address}">{escape(one.title)}</a>'


def _face(icon: str) -> str:
    return f'<img width="64" src="{escape(icon)}" alt="">' if icon else ''


def _warned(count: int) -> str:
    return f'<span class="bad">{count_of(count, "warning")}</span>' if count else ''


def _read(path: Path) -> PageEntry | None:
    """Read the entry of a page from its head; None if this package did not write it."""
    try:
        with path.open('rb') as file:
            head = _Head(file.read(_HEAD).decode(errors='replace'))
    except OSError:
        return None
    if head.meta.get('generator') != GENERATOR:
        return None
    icon = head.icon if head.icon.startswith(_FACES) else ''
    count = head.meta.get('warnings', '')
    about = head.meta.get('description', '')
    return PageEntry(path, head.title, about, int(count) if count.isdigit() else 0, icon)


class _Head(HTMLParser):
    """The head of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.meta: dict[str, str] = {}
        self.title = self.icon = ''
        self._in_title = False
        self.feed(text.partition('<style>')[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read meta and icon tags."""
        said = {name: value or '' for name, value in attrs}
        self._in_title = tag == 'title'
        if tag == 'meta' and 'name' in said:
            self.meta[said['name']] = said.get('content', '')
        if tag == 'link' and said.get('rel') == 'icon':
            self.icon = said.get('href', '')

    def handle_endtag(self, tag: str) -> None:
        """End the title."""
        self._in_title = False

    def handle_data(self, data: str) -> None:
        """Collect the title."""
        if self._in_title:
            self.title += data
