# SPDX-License-Identifier: Apache-2.0
"""Whatever a bag holds is that bag's error, in one line, and takes limited memory and time."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import sqlite3
import struct
import subprocess
import sys

import pytest
from recordings import MakeBag, TinyBag
from rosbags.rosbag2 import StoragePlugin
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.reading.recover_sqlite import DamagedSqlite
from smwm_ros.bags.reading.zstd import decompress_all, decompress_part, MAX_SIZE, zstd
from smwm_ros.cli import main
from smwm_ros.errors import BagError
from smwm_ros.fieldpath import expand
from smwm_ros.load import load_config

HASH = f'RIHS01_{0:064}'
CONFIG = load_config(None, ['dataset.image_size=16'])


def test_bags_that_are_damaged_by_chance_are_read_or_refused_in_one_line() -> None:
    """A process of its own, whose memory is that of the bags."""
    words = [sys.executable, str(Path(__file__).with_name('mutated.py')), '--count=25', '--seed=1']
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def mcap_of_one_chunk(plain: bytes) -> bytes:
    """Return a mcap file without an index."""
    packed = zstd.compress(plain)
    body = struct.pack('<QQQII4sQ', 10, 10, len(plain), 0, 4, b'zstd', len(packed)) + packed
    return (
        b'\x89MCAP0\r\n\x01'
        + struct.pack('<QI4sI', 12, 4, b'ros2', 0)
        + b'\x06'
        + struct.pack('<Q', len(body))
        + body
        + b'\x02'
        + struct.pack('<QQQI', 20, 0, 0, 0)
        + b'\x89MCAP0\r\n'
    )


@pytest.mark.parametrize('kind', ['mcap', 'mcap.zstd'])
def test_what_unpacks_to_more_than_a_recording_holds_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('smwm_ros.bags.reading.zstd._ALWAYS_ALLOWED', 1 << 20)
    plain = bytes(MAX_SIZE + 1 if kind == 'mcap' else 1 << 27)
    path = tmp_path / f'bomb.{kind}'
    path.write_bytes(mcap_of_one_chunk(plain) if kind == 'mcap' else zstd.compress(plain))
    with pytest.raises(BagError, match=r'decompress(es)? to more than'):
        convert([path], tmp_path / 'out', CONFIG)


def test_what_is_compressed_is_unpacked_to_its_end_or_refused() -> None:
    packed = zstd.compress(b'one') + zstd.compress(b'two')
    assert decompress_all('zstd', packed) == decompress_part('zstd', packed) == b'onetwo'
    with pytest.raises(EOFError, match='zstd data is truncated'):
        decompress_all('zstd', packed[:-3])
    assert decompress_part('zstd', packed[:-9])[:3] == b'one'
    for unpack in (decompress_all, decompress_part):
        with pytest.raises(ValueError, match=r'decompresses to more than \d bytes'):
            unpack('zstd', packed, 5)


def view(db: sqlite3.Connection) -> None:
    db.execute('ALTER TABLE messages RENAME TO others')
    endless = 'WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c)'
    db.execute(
        f"CREATE VIEW messages AS {endless} SELECT id, 1 topic_id, id timestamp, x'' data FROM c"
    )


def computed(db: sqlite3.Connection) -> None:
    db.execute('ALTER TABLE messages RENAME TO others')
    db.execute(
        'CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INT, timestamp INT, '
        'data BLOB AS (zeroblob(900000000)))'
    )


def text_for_stamps(db: sqlite3.Connection) -> None:
    db.execute("UPDATE messages SET timestamp = 'then ' || timestamp")


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (view, "'messages' is a computed view, expected a plain table"),
        (computed, "'messages' is a computed table"),
        (text_for_stamps, 'cannot be read: '),
    ],
)
def test_a_sqlite_file_with_other_than_plain_tables_of_messages_is_refused(
    tmp_path: Path, tiny_bag: MakeBag, spoil: Callable[[sqlite3.Connection], None], words: str
) -> None:
    folder = tiny_bag(storage=StoragePlugin.SQLITE3)
    (path,) = folder.glob('*.db3')
    with sqlite3.connect(path) as db:
        spoil(db)
    for bag in (folder, path):
        with pytest.raises(BagError, match=words) as caught:
            convert([bag], tmp_path / 'out', CONFIG)
        assert '\n' not in str(caught.value)


def test_some_stamps_that_are_no_numbers_cost_their_messages_alone(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    folder = tiny_bag(ticks=range(60), storage=StoragePlugin.SQLITE3)
    (path,) = folder.glob('*.db3')
    with sqlite3.connect(path) as db:
        db.execute("UPDATE messages SET timestamp = 'then' WHERE id > 100")
    with DamagedSqlite(path) as reader:
        assert reader.message_count == 100
    data = convert([folder], tmp_path / 'out', CONFIG).dataset
    assert 48 <= len(data) <= 51


def test_a_pipe_in_the_folder_of_a_bag_is_not_waited_for(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    folder = tiny_bag()
    os.mkfifo(folder / 'more.mcap')
    with pytest.raises(BagError, match=r'more\.mcap: expected a file, found a pipe'):
        convert([folder], tmp_path / 'out', CONFIG)


def test_more_topics_than_a_robot_has_are_refused(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    bag.frame(0)
    bag.command(0)
    for number in range(5000):
        bag._bag.add_connection(f'/{number}', 'std_msgs/msg/Bool', msgdef='bool data', rihs01=HASH)
    with pytest.raises(BagError, match='5002 topics, expected at most 5000'):
        convert([next(bag.close().glob('*.mcap'))], tmp_path / 'out', CONFIG)


def test_a_damaged_definition_of_one_topic_costs_no_other(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for number, text in enumerate(['module a {' * 5000, 'int32 ' * 1000, 'a/\x01B c']):
        bag._bag.add_connection(f'/{number}', f'my/msg/M{number}', msgdef=text, rihs01=HASH)
    for tick in range(30):
        bag.frame(tick)
        bag.command(tick)
    assert len(convert([bag.close()], tmp_path / 'out', CONFIG).dataset) == 30


def test_the_batch_goes_on_after_whatever_a_bag_raises(
    tmp_path: Path,
    tiny_bag: MakeBag,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from smwm_ros.bags.converting.shard_builder import ShardBuilder

    tiny_bag('good')
    tiny_bag('bad')
    add = ShardBuilder.add

    def explode(self: ShardBuilder, message: object) -> None:
        if self._reader.bag.name == 'bad':
            raise OverflowError('too\nlarge')
        add(self, message)  # type: ignore[arg-type]

    monkeypatch.setattr(ShardBuilder, 'add', explode)
    words = ['convert', str(tmp_path / 'bags'), '--out', str(tmp_path / 'out'), '--jobs=1']
    assert main([*words, '--skip', 'dataset.image_size=16']) == 0
    reported = capsys.readouterr().out
    assert 'skipped: bad: ' in reported
    assert 'cannot be used: OverflowError: too large (test_hostile_bags.py:' in reported


def test_a_field_path_names_no_more_numbers_than_a_message_has() -> None:
    with pytest.raises(ValueError, match='1000000000 numbers; expected at most 1000'):
        expand(['data[0:1000000000]'])
