# SPDX-License-Identifier: Apache-2.0
"""
Limit what a sqlite file can make sqlite compute: only plain tables are read, in limited time.

A view or a computed column runs SQL that is stored in the file, and may never end. Neither may a
scan of damaged pages that point at each other.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import apsw
from smwm_ros.errors import BagError

_MAGIC = b'SQLite format 3\0'
_TABLES = ('messages', 'topics', 'message_definitions', 'schema', 'metadata')
_CHECK_EVERY = 100_000  # steps of sqlite's virtual machine between two checks of their number
_STEPS, _PER_BYTE = 10_000_000, 100  # allowed for each file, and for each of its bytes


def open_file(path: Path, how: str) -> apsw.Connection:
    """Open a file for reading."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(f'file:{quote(str(path))}?{how}', flags=flags)


def require_plain_tables(path: Path) -> None:
    """Require that sqlite files, of a file or a folder, keep messages in plain tables."""
    for file in path.iterdir() if path.is_dir() else [path]:
        if file.is_file():
            with file.open('rb') as begin:
                is_sqlite = begin.read(len(_MAGIC)) == _MAGIC
            if is_sqlite:
                _require_tables(file)


def _require_tables(path: Path) -> None:
    """Check the schema of a sqlite file; errors of sqlite are left to the reader that follows."""
    db = open_file(path, 'immutable=1')
    try:
        for name, kind, sql in db.execute('SELECT name, type, sql FROM sqlite_master'):
            if str(name).lower() not in _TABLES:
                continue
            computed = any(row[6] for row in db.execute(f'PRAGMA table_xinfo({name})'))
            if kind != 'table' or computed or 'virtual' in str(sql).lower().split()[:2]:
                raise BagError(
                    f"{path}: cannot be read: '{name}' is a computed {kind}, expected a plain "
                    'table'
                )
    except apsw.Error:
        pass
    finally:
        db.close()


def _limit_steps(db: apsw.Connection) -> None:
    """Interrupt queries that take many more steps than reading a file of this size can."""
    path = Path(db.filename)
    left = _STEPS + _PER_BYTE * (path.stat().st_size if path.is_file() else 0)

    def is_too_long() -> bool:
        nonlocal left
        left -= _CHECK_EVERY
        return left < 0

    db.set_progress_handler(is_too_long, _CHECK_EVERY)


apsw.connection_hooks.append(_limit_steps)  # for the connections that rosbags opens, too
