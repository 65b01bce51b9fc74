# SPDX-License-Identifier: Apache-2.0
"""Open the files of a recording: by their index, or without it where they are damaged."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
import struct
import sys
from tempfile import TemporaryDirectory
from zlib import error as ZlibError  # noqa: N812

import apsw
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag1 import ReaderError as Reader1Error
from rosbags.rosbag2 import Reader as Reader2
from rosbags.rosbag2 import ReaderError as Reader2Error
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError
from smwm_ros.bags.find import Bag
from smwm_ros.bags.recover import CutMcap
from smwm_ros.bags.recover_sqlite import CutSqlite
from smwm_ros.errors import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# What reading a damaged file raises, beside the errors of rosbags itself.
DAMAGE = (
    Reader1Error,
    Reader2Error,
    TypesysError,
    SerdeError,
    apsw.Error,
    zstd.ZstdError,
    ZlibError,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,  # lz4
    AssertionError,
    LookupError,
    ValueError,
    TypeError,
)
Source = Reader1 | Reader2 | CutMcap | CutSqlite
_BLOCK = 1 << 20  # bytes unpacked at once


class Opener:
    """Opens files one by one, until the stack is closed."""

    def __init__(self, bag: Bag, stack: ExitStack, rescue: bool) -> None:
        self.sources: list[Source] = []
        self.notes: list[str] = []  # what had to be repaired
        self._bag = bag
        self._stack = stack
        self._rescue = rescue  # do not trust an index
        for path in bag.paths:
            self._open(path)

    def _open(self, path: Path) -> None:
        """Open one file or folder; what rosbags refuses is read without index and metadata."""
        plain = self._unpacked(path) if path.suffix == '.zstd' else path
        if plain.suffix == '.bag':
            self.sources.append(self._stack.enter_context(Reader1(plain)))
            return
        if self._rescue:
            self._open_anyway(plain, Reader2Error('it is damaged.'))
            return
        try:
            self.sources.append(self._stack.enter_context(Reader2(plain)))
        except DAMAGE as error:
            self._open_anyway(plain, error)

    def _open_anyway(self, path: Path, error: Exception) -> None:
        """Read a folder file by file, and a file message by message."""
        reason = ' '.join(str(error).split())
        if path.is_dir():
            files = self._bag.files()
            if not files:
                raise error
            self.notes.append(f'{path.name}: read file by file: {reason}')
            for file in files:
                self._open(file)
            return
        if path.suffix not in ('.mcap', '.db3'):
            raise error
        source: CutMcap | CutSqlite
        try:
            if path.suffix == '.mcap':
                source = self._stack.enter_context(CutMcap(path))
            else:
                source = self._stack.enter_context(CutSqlite(path))
        except (BagError, *DAMAGE):
            raise error from None
        self.sources.append(source)
        self.notes.append(f'{path.name}: {reason} {source.recovered()}')

    def _unpacked(self, path: Path) -> Path:
        """Unpack a file that is compressed as a whole; of one that is cut off, what is there."""
        folder = self._stack.enter_context(TemporaryDirectory(prefix='smwm-'))
        unpacked = Path(folder, path.stem)
        with (
            path.open('rb') as packed,
            zstd.open(packed, 'rb') as file,
            unpacked.open('wb') as out,
        ):
            try:
                while block := file.read1(_BLOCK):
                    out.write(block)
            except (EOFError, zstd.ZstdError) as error:
                if not out.tell():
                    raise
                self.notes.append(f'{path.name}: unpacked in part: {error}')
        return unpacked
