# SPDX-License-Identifier: Apache-2.0
"""A damaged recording gives what is whole of it, says so, or is refused by name."""

from __future__ import annotations

from pathlib import Path
import sqlite3
import subprocess
import sys

import apsw
import numpy as np
import pytest
from recordings import BEGIN, MakeBag, TICK, TinyBag
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.typesys import get_typestore, Stores
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.reading import recover_sqlite
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.reading.reader import BagReader, DamagedBagError, read_or_recover
from smwm_ros.bags.reading.sqlite_bounds import open_file
from smwm_ros.bags.reading.zstd import zstd
from smwm_ros.bags.survey.survey import survey
from smwm_ros.errors import BagError
from smwm_ros.load import load_config

PAGE = 4096


def sqlite_file(tmp_path: Path, tiny_bag: MakeBag) -> Path:
    """Make a bare sqlite3 recording of 100 ticks."""
    (path,) = tiny_bag(ticks=range(100), storage=StoragePlugin.SQLITE3).glob('*.db3')
    bare = tmp_path / 'bare.db3'
    path.rename(bare)
    with sqlite3.connect(bare) as file:
        assert file.execute('PRAGMA page_size').fetchone() == (PAGE,)
        count = file.execute('SELECT count(*), max(id) FROM messages').fetchone()
    assert count == (200, 200)
    return bare


def spoil(path: Path, count: int) -> None:
    """Overwrite pages in the middle of the table of messages."""
    data = bytearray(path.read_bytes())
    leaves = [at for at in range(6 * PAGE, len(data), PAGE) if data[at] == 13]
    for at in leaves[len(leaves) // 2 :][:count]:
        data[at : at + PAGE] = bytes([0xA5]) * PAGE
    path.write_bytes(data)


def heard(path: Path) -> tuple[list[float], list[str]]:
    """Return the commands that can be read of a recording, and the notes about it."""
    (bag,) = find_bags([path])

    def read(reader: BagReader) -> tuple[list[float], list[str]]:
        found = [reader.decode(m).twist.linear.x for m in reader.messages(['/cmd_vel'])]
        return found, reader.notes

    return read_or_recover(bag, read)


@pytest.mark.parametrize('share', [0.3, 0.6, 0.95])
def test_a_sqlite_file_that_is_cut_off_gives_the_messages_before_the_cut(
    tmp_path: Path, tiny_bag: MakeBag, share: float
) -> None:
    path = sqlite_file(tmp_path, tiny_bag)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    found, notes = heard(path)
    assert found[:10] == list(range(10))
    assert (np.diff(found) > 0).all()
    assert 100 * share - 25 <= len(found) <= 100 * share + 10
    assert 'malformed' in notes[0]
    assert f'{share:.0%}'[:2] in notes[0]  # of the file is there
    assert ' complete messages' in notes[0]


def test_a_bad_page_in_a_sqlite_file_costs_only_what_lies_on_it(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    path = sqlite_file(tmp_path, tiny_bag)
    spoil(path, 2)
    (bag,) = find_bags([path])
    found, notes = heard(path)
    assert 80 <= len(found) < 100
    assert (np.diff(found) > 0).all()
    assert found[0] == 0
    assert found[-1] == 99
    assert 'damaged place' in notes[0]
    assert survey(bag)['notes'] == notes


@pytest.mark.parametrize('folder', ['as it was left', 'without an index', 'read-only'])
def test_a_sqlite_file_that_was_never_closed_gives_also_what_was_written_ahead(
    tmp_path: Path, tiny_bag: MakeBag, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    path = sqlite_file(tmp_path, tiny_bag)
    script = f"""
import os, sqlite3
file = sqlite3.connect({str(path)!r})
file.execute('PRAGMA journal_mode=WAL')
file.execute('PRAGMA wal_autocheckpoint=0')
rows = file.execute('SELECT * FROM messages WHERE id > 120').fetchall()
file.execute('DELETE FROM messages WHERE id > 120')
file.commit()
file.execute('PRAGMA wal_checkpoint(TRUNCATE)')
file.executemany('INSERT INTO messages VALUES (?, ?, ?, ?)', rows)
file.commit()
os._exit(0)  # as a recorder that is killed
"""
    subprocess.run([sys.executable, '-c', script], check=True)
    if folder != 'as it was left':
        path.with_name('bare.db3-shm').unlink()
    if folder == 'read-only':  # not to root, though, so as if
        plain = open_file

        def refuse(file: Path, how: str) -> apsw.Connection:
            if file == path:
                raise apsw.CantOpenError('unable to open database file')
            return plain(file, how)

        monkeypatch.setattr(recover_sqlite, 'open_file', refuse)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert 'bare.db3-wal' in before
    found, notes = heard(path)
    assert found == list(range(100))
    assert notes == [
        'bare.db3: it was never closed; found 200 complete messages, some in its -wal file'
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_sqlite_file_is_found_whatever_its_folder_is_called(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    path = sqlite_file(tmp_path, tiny_bag)
    for name in ('run #3', 'half%20', 'why?', 'Prüfstand 机器人'):
        (tmp_path / name).mkdir()
        found, _ = heard(path.rename(tmp_path / name / path.name))
        assert found == list(range(100)), name
        (tmp_path / name / path.name).rename(path)


def test_a_sqlite_file_without_its_tables_is_refused(tmp_path: Path, tiny_bag: MakeBag) -> None:
    path = sqlite_file(tmp_path, tiny_bag)
    path.write_bytes(path.read_bytes()[:PAGE])
    with pytest.raises(BagError, match=r'bare\.db3: cannot be read: .*malformed'):
        heard(path)


def test_a_bad_chunk_in_a_mcap_costs_only_what_lies_in_it(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(100):
        bag.frame(tick)
        bag.command(tick)
    (path,) = bag.close().glob('*.mcap')
    (found,) = find_bags([path])
    whole, _ = heard(path)
    assert whole == list(range(100))
    data = bytearray(path.read_bytes())
    at = data.index((BEGIN + 50 * TICK).to_bytes(8, 'little')) - 6 - 9
    assert data[at] == 5  # a message, of which the length is made nonsense
    data[at + 1 : at + 9] = (2**40).to_bytes(8, 'little')
    path.write_bytes(data)
    with BagReader(found) as reader, pytest.raises(DamagedBagError, match='damaged: '):
        list(reader.messages(['/cmd_vel']))
    ticks, notes = heard(path)
    assert ticks == list(range(len(ticks)))
    assert 45 <= len(ticks) <= 55
    assert 'recovered' in notes[0]
    assert survey(found)['notes'] == notes


@pytest.mark.parametrize('compression', [None, 'BZ2', 'LZ4'])
@pytest.mark.parametrize('share', [0.3, 0.77, 1.0])
@pytest.mark.parametrize('suffix', ['bag', 'bag.active'])
def test_a_bag_of_ros_1_without_its_index_gives_all_whole_messages_before_the_cut(
    tmp_path: Path, compression: str | None, share: float, suffix: str
) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    rng = np.random.default_rng(0)
    whole = Writer1(tmp_path / 'bag.bag')
    if compression:
        whole.set_compression(Writer1.CompressionFormat[compression])
    whole.chunk_threshold = 10_000
    with whole as bag:
        number = bag.add_connection('/cmd_vel', 'geometry_msgs/msg/Twist', typestore=store)
        noise = bag.add_connection('/noise', 'std_msgs/msg/String', typestore=store)
        vector, twist = (store.types[f'geometry_msgs/msg/{kind}'] for kind in ('Vector3', 'Twist'))
        text = store.types['std_msgs/msg/String']
        for tick in range(200):
            msg = twist(vector(float(tick), 0.0, 0.0), vector(0.0, 0.0, 0.0))
            bag.write(number, tick * TICK, store.serialize_ros1(msg, msg.__msgtype__))
            msg = text(rng.bytes(500).hex())
            bag.write(noise, tick * TICK, store.serialize_ros1(msg, msg.__msgtype__))
    data = (tmp_path / 'bag.bag').read_bytes()
    path = tmp_path / f'cut.{suffix}'
    end = data.rindex(b'op=\x05') if share == 1 else int(len(data) * share)  # the last chunk
    path.write_bytes(data[:end])
    (bag_found,) = find_bags([path])
    with BagReader(bag_found) as reader:
        assert reader.is_ros1
        found = [reader.decode(m).linear.x for m in reader.messages(['/cmd_vel'])]
        assert ' complete messages from ' in reader.notes[0]
        some = [m.stamp // TICK for m in reader.messages(['/noise'], 7 * TICK, 11 * TICK)]
        assert some == [7, 8, 9, 10]
    assert found == list(range(len(found)))
    assert 200 * share - 35 <= len(found) <= 200 * share + 5


def test_a_packed_recording_that_is_cut_off_gives_what_can_be_unpacked(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    (path,) = tiny_bag(ticks=range(400)).glob('*.mcap')
    plain = path.read_bytes()
    packed = tmp_path / 'cut.mcap.zstd'
    with zstd.open(packed, 'wb', level=1) as file:
        for begin in range(0, len(plain), 1000):
            file.write(plain[begin : begin + 1000])
            file.flush()
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    found, notes = heard(packed)
    assert found == list(range(len(found)))
    assert 50 < len(found) < 399
    assert 'decompressed in part' in notes[0]


def test_a_damaged_recording_becomes_a_dataset_that_reports_it(
    tmp_path: Path, tiny_bag: MakeBag
) -> None:
    path = sqlite_file(tmp_path, tiny_bag)
    spoil(path, 1)
    words = ['dataset.image_size=16', 'dataset.min_length=6', 'dataset.hold=0']
    made = convert([path], tmp_path / 'out', load_config(None, words)).dataset
    shown = made.pixels(np.arange(len(made)))[:, 8, 8, 0]
    assert (shown == made.actions(np.arange(len(made)))[:, 0]).all()
    assert 80 <= len(made) < 100
    assert 'recovered' in made.metas['bare']['notes'][0]
    assert [p.name for p in (tmp_path / 'out' / 'shards').iterdir()] == ['bare']
