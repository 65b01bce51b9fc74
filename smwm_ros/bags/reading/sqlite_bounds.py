# SPDX-License-Identifier: Apache-2.0
"""
Bounds on what a sqlite file may have computed: only tables are read, in limited time.

A view or a computed column runs SQL that is stored in the file, and may never end. The same holds
for a scan of damaged pages that point at each other.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import apsw
from smwm_ros.errors import BagError

_MAGIC = b'SQLite format 3\0'
_TABLES = ('messages', 'topics', 'message_definitions', 'schema', 'metadata')
_EVERY = 100_000  # steps of sqlite's machine between two looks at how many there were
_STEPS, _PER_BYTE = 10_000_000, 100  # that are granted to each file, and to each of its bytes


def open_file(path: Path, how: str) -> apsw.Connection:
    """Open a file for reading."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(f'file:{quote(str(path))}?{how}', flags=flags)


def require_plain_tables(path: Path) -> None:
    """Refuse a recording, a file or a folder of files, that keeps messages in no plain table."""
    for file in path.iterdir() if path.is_dir() else [path]:
        if file.is_file():
            with file.open('rb') as begin:
                is_sqlite = begin.read(len(_MAGIC)) == _MAGIC
            if is_sqlite:
                _require_tables(file)


def _require_tables(path: Path) -> None:
    """Look at what sqlite says of itself; where it stumbles, whatever follows will say so."""
    db = open_file(path, 'immutable=1')
    try:
        for name, kind, sql in db.execute('SELECT name, type, sql FROM sqlite_master'):
            if str(name).lower() not in _TABLES:
                continue
            computed = any(row[6] for row in db.execute(f'PRAGMA table_xinfo({name})'))
            if kind != 'table' or computed or 'virtual' in str(sql).lower().split()[:2]:
                raise BagError(
                    f"{path}: cannot be read: '{name}' is a {kind} that is computed; expected a "
                    'plain table'
                )
    except apsw.Error:
        pass
    finally:
        db.close()


def _bound(db: apsw.Connection) -> None:
    """Stop what takes many more steps than a file of its size can be worth."""
    path = Path(db.filename)
    left = _STEPS + _PER_BYTE * (path.stat().st_size if path.is_file() else 0)

    def is_too_long() -> bool:
        nonlocal left
        left -= _EVERY
        return left < 0

    db.set_progress_handler(is_too_long, _EVERY)


apsw.connection_hooks.append(_bound)  # for the connections that rosbags opens, too
