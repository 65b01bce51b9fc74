# SPDX-License-Identifier: Apache-2.0
"""Every kind of recording is found and read, and one that cannot be is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
import numpy as np
import pytest
from recordings import BEGIN, MakeBag, read, STORE, TICK
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.reading.reader import BagReader, read_or_recover
from smwm_ros.bags.reading.typestore import normal_type
from smwm_ros.bags.reading.zstd import zstd
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.codec.images import to_rgb
from smwm_ros.errors import BagError, CodecError
import yaml


def ticks(path: Path) -> list[float]:
    """Return the ticks that the commands of a tiny bag encode."""
    return [msg.twist.linear.x for topic, _, msg in read(path) if topic == '/cmd_vel']


@pytest.mark.parametrize('storage', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_bag_reads_the_same_as_a_folder_and_as_a_bare_file(
    tiny_bag: MakeBag, storage: StoragePlugin
) -> None:
    folder = tiny_bag(storage=storage)
    assert ticks(folder) == list(range(30))
    (file,) = folder.glob('bag.*')
    assert ticks(file) == list(range(30))
    (folder / 'metadata.yaml').unlink()
    assert ticks(folder) == list(range(30))
    file.with_name(file.name + '.zstd').write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()
    assert ticks(folder) == list(range(30))


def test_split_files_are_one_bag_in_the_order_of_time(tmp_path: Path, tiny_bag: MakeBag) -> None:
    (tmp_path / 'split').mkdir()
    for number in range(11):  # split_10 follows split_9
        part = tiny_bag(f'part{number}', range(number * 5, number * 5 + 5))
        next(part.glob('*.mcap')).rename(tmp_path / 'split' / f'split_{number}.mcap')
    assert ticks(tmp_path / 'split') == list(range(55))


@pytest.mark.parametrize('mode', [CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize('storage', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_compressed_bags_are_read(
    tmp_path: Path, mode: CompressionMode, storage: StoragePlugin
) -> None:
    bag = Writer(tmp_path / 'bag', version=9, storage_plugin=storage)
    bag.set_compression(mode, CompressionFormat.ZSTD)
    msg = new_message(STORE, 'std_msgs/msg/String')
    with bag:
        topic = bag.add_connection('/said', msg.__msgtype__, typestore=STORE)
        for number in range(5):
            msg.data = f'word {number}'
            bag.write(topic, number, STORE.serialize_cdr(msg, msg.__msgtype__))
    expected = [f'word {n}' for n in range(5)]
    assert [msg.data for _, _, msg in read(tmp_path / 'bag')] == expected
    (tmp_path / 'bag' / 'metadata.yaml').unlink()  # which tells how the messages are compressed
    assert [msg.data for _, _, msg in read(tmp_path / 'bag')] == expected


def test_a_ros_1_bag_is_read_with_the_stamps_of_its_headers(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    pixels = np.arange(24, dtype=np.uint8)
    header = store.types['std_msgs/msg/Header']
    time = store.types['builtin_interfaces/msg/Time']
    kind = 'sensor_msgs/msg/Image'
    with Writer1(tmp_path / 'old.bag') as bag:
        topic = bag.add_connection('/image', kind, typestore=store)
        for number in range(3):
            head = header(number, time(100 + number, 7), 'camera')
            msg = store.types[kind](head, 2, 4, 'rgb8', 0, 12, pixels)
            bag.write(topic, number * TICK, store.serialize_ros1(msg, kind))
    (found,) = find_bags([tmp_path / 'old.bag'])
    with BagReader(found) as reader:
        assert reader.topics['/image'].type == kind
        assert reader.has_header('/image')
        messages = list(reader.messages(['/image']))
        assert [reader.header_stamp(m) for m in messages] == [
            n * 10**9 + 7 for n in (100, 101, 102)
        ]
        assert (to_rgb(reader.decode(messages[1])).ravel() == pixels).all()


def test_types_that_only_the_bag_knows_are_read_by_its_own_definitions(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    text = 'std_msgs/Header header\nacme_msgs/Wheel[] wheels'
    wheel = 'float64 speed'
    store.register(get_types_from_msg(wheel, 'acme_msgs/msg/Wheel'))
    store.register(get_types_from_msg(text, 'acme_msgs/msg/Wheels'))
    msg = new_message(store, 'acme_msgs/msg/Wheels')
    msg.wheels = [store.types['acme_msgs/msg/Wheel'](speed=2.5)]
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        topic = bag.add_connection('/wheels', msg.__msgtype__, typestore=store)
        bag.write(topic, 5, store.serialize_cdr(msg, msg.__msgtype__))
    ((_, stamp, found),) = read(tmp_path / 'bag')
    assert (stamp, found.wheels[0].speed) == (5, 2.5)


@pytest.mark.parametrize('order', ['little', 'big'])
def test_the_stamp_of_a_header_is_read_without_decoding(tiny_bag: MakeBag, order: str) -> None:
    (bag,) = find_bags([tiny_bag()])
    with BagReader(bag) as reader:
        message = next(reader.messages(['/cmd_vel']))
        msg = reader.decode(message)
        data = STORE.serialize_cdr(msg, msg.__msgtype__, little_endian=order == 'little')
        assert reader.header_stamp(message._replace(data=bytes(data))) == BEGIN + TICK // 2


def test_old_type_names_get_their_msg() -> None:
    assert normal_type('sensor_msgs/Image') == 'sensor_msgs/msg/Image'
    assert normal_type('sensor_msgs/msg/Image') == 'sensor_msgs/msg/Image'


def test_a_folder_of_bags_is_each_of_them_by_name(tmp_path: Path, tiny_bag: MakeBag) -> None:
    for name in ('late', 'early'):
        tiny_bag(name)
    (tmp_path / 'bags' / 'notes.txt').write_text('not a bag')
    bags = find_bags([tmp_path / 'bags', tmp_path / 'bags' / 'late'])  # named twice, found once
    assert [bag.name for bag in bags] == ['early', 'late']
    assert bags[0].fingerprint() != bags[1].fingerprint()


def test_bags_of_the_same_name_are_named_after_their_folders(tmp_path: Path) -> None:
    for day in ('monday', 'tuesday'):
        (tmp_path / day).mkdir()
        (tmp_path / day / 'run.mcap').write_bytes(b'')
    assert [bag.name for bag in find_bags([tmp_path])] == ['monday_run', 'tuesday_run']


def test_what_is_no_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r'none\.mcap: no such file or folder'):
        find_bags([tmp_path / 'none.mcap'])
    with pytest.raises(BagError, match='/dev/null: no such file or folder'):
        find_bags([Path('/dev/null')])
    with pytest.raises(BagError, match='no rosbag or video found; expected a file or a folder of'):
        find_bags([tmp_path])
    (tmp_path / 'photo.jpg').write_bytes(b'')
    with pytest.raises(
        BagError, match=r"'\.jpg' is not a rosbag or video; expected \.mcap, \.db3, \.bag"
    ):
        find_bags([tmp_path / 'photo.jpg'])


@pytest.mark.parametrize('suffix', ['mcap', 'db3', 'bag', 'mcap.zstd'])
@pytest.mark.parametrize('data', [b'', b'nonsense' * 1000])
def test_a_file_of_nonsense_is_refused_by_name(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f'bag.{suffix}'
    path.write_bytes(data)
    with pytest.raises(BagError, match=rf'bag\.{suffix}: cannot be read: '):
        read(path)


@pytest.mark.parametrize('compression', ['', 'zstd', 'lz4'])
@pytest.mark.parametrize('share', [0.3, 0.77, 0.95])
def test_a_mcap_that_is_cut_off_gives_all_whole_messages_before_the_cut(
    tmp_path: Path, compression: str, share: float
) -> None:
    msg = new_message(STORE, 'std_msgs/msg/UInt8MultiArray')
    path, chunks = tmp_path / 'bag.mcap', 10
    rng = np.random.default_rng(0)
    with path.open('wb') as file:
        writer = McapWriter(
            file, chunk_size=20_000, compression=CompressionType[compression.upper() or 'NONE']
        )
        writer.start(profile='ros2', library='')
        text = STORE.generate_msgdef(msg.__msgtype__, ros_version=2)[0]
        schema = writer.register_schema(msg.__msgtype__, 'ros2msg', text.encode())
        channel = writer.register_channel('/bytes', 'cdr', schema)
        for number in range(20 * chunks):
            msg.data = rng.integers(0, 256, 1000, dtype=np.uint8)  # nothing compresses this
            msg.data[0] = number
            data = bytes(STORE.serialize_cdr(msg, msg.__msgtype__))
            writer.add_message(channel, log_time=number, publish_time=number, data=data)
        writer.finish()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    found = [msg.data[0] for _, _, msg in read(path)]
    assert found == list(range(len(found)))
    # lz4 and zstd give whole blocks only, of up to 128 KiB: here, whole chunks.
    late = 20 if compression else 2
    assert 200 * share - late <= len(found) <= 200 * share + 1
    (bag,) = find_bags([path])
    with BagReader(bag) as reader:
        assert f'recovered {len(found)} complete messages' in reader.notes[0]
        assert [m.stamp for m in reader.messages(['/bytes'], 7, 11)] == [7, 8, 9, 10]


def test_a_bag_whose_metadata_is_wrong_is_read_file_by_file(tiny_bag: MakeBag) -> None:
    for damage in ('', '{', 'rosbag2_bagfile_information: {version: 5}'):
        bag = tiny_bag(f'bag{len(damage)}')
        (bag / 'metadata.yaml').write_text(damage)
        assert ticks(bag) == list(range(30))


NEVER = {'sec': 0, 'nsec': 0}
QOS = {'depth': 1, 'deadline': NEVER, 'lifespan': NEVER, 'liveliness_lease_duration': NEVER}
QOS['avoid_ros_namespace_conventions'] = False
LIES: dict[str, Callable[[Any, Any], Any]] = {  # of a recording, or of one of its two topics
    'no messages': lambda bag, _: bag.update(message_count=0, topics_with_message_count=[]),
    'too few': lambda _, topic: topic.update(message_count=2),
    'too many': lambda _, topic: topic.update(message_count=900),
    'one topic less': lambda bag, _: bag['topics_with_message_count'].pop(),
    'another name': lambda _, topic: topic['topic_metadata'].update(name='/front'),
    'another type': lambda _, topic: topic['topic_metadata'].update(type='std_msgs/msg/Bool'),
    'another QoS': lambda _, topic: topic['topic_metadata'].update(offered_qos_profiles=[QOS]),
    'another time': lambda bag, _: bag.update(starting_time={'nanoseconds_since_epoch': 5}),
    'a lost part': lambda bag, _: bag['relative_file_paths'].append('bag_1.mcap'),
    'another storage': lambda bag, _: bag.update(storage_identifier='my_storage'),
}


@pytest.mark.parametrize('lie', LIES)
@pytest.mark.parametrize('storage', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_wrong_metadata_costs_nothing_and_is_reported(
    tiny_bag: MakeBag, storage: StoragePlugin, lie: str
) -> None:
    path = tiny_bag(storage=storage)
    whole = [(topic, stamp) for topic, stamp, _ in read(path)]
    data = yaml.safe_load((path / 'metadata.yaml').read_text())
    about = data['rosbag2_bagfile_information']
    LIES[lie](about, about['topics_with_message_count'][0])
    (path / 'metadata.yaml').write_text(yaml.safe_dump(data))
    assert [(topic, stamp) for topic, stamp, _ in read(path)] == whole
    (bag,) = find_bags([path])
    with BagReader(bag) as reader:
        assert (reader.count, reader.start, reader.end) == (60, whole[0][1], whole[-1][1] + 1)
        assert 'bag: read file by file: ' in reader.notes[0]


def test_of_a_topic_with_two_types_the_one_that_is_asked_for_is_read(tmp_path: Path) -> None:
    kinds = ('geometry_msgs/msg/Twist', 'geometry_msgs/msg/TwistStamped')
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        for count, kind in enumerate(kinds, 2):
            topic = bag.add_connection('/cmd_vel', kind, typestore=STORE)
            for number in range(count):
                bag.write(topic, number, STORE.serialize_cdr(new_message(STORE, kind), kind))
    (found,) = find_bags([tmp_path / 'bag'])
    for count, kind in enumerate(kinds, 2):
        with BagReader(found) as reader:
            assert reader.topics['/cmd_vel'].type == kinds[1], 'most are of this type'
            assert f'2 messages of {kinds[0]} and 3 of {kinds[1]}' in reader.notes[0]
            assert reader.require('/cmd_vel', kind).messages == count
            msgs = [reader.decode(message) for message in reader.messages(['/cmd_vel'])]
        assert [msg.__msgtype__ for msg in msgs] == [kind] * count


def numbers_mcap(path: Path, **how: Any) -> list[int]:
    """Write a mcap of 100 numbers, as the writer is reported; return them."""
    msg = new_message(STORE, 'std_msgs/msg/UInt8MultiArray')
    with path.open('wb') as file:
        writer = McapWriter(file, chunk_size=2000, **how)
        writer.start(profile='ros2', library='')
        text = STORE.generate_msgdef(msg.__msgtype__, ros_version=2)[0]
        schema = writer.register_schema(msg.__msgtype__, 'ros2msg', text.encode())
        channel = writer.register_channel('/bytes', 'cdr', schema)
        for number in range(100):
            msg.data = np.full(100, number, np.uint8)
            data = bytes(STORE.serialize_cdr(msg, msg.__msgtype__))
            writer.add_message(channel, log_time=number, publish_time=number, data=data)
        writer.finish()
    return list(range(100))


@pytest.mark.parametrize(
    'how',
    [
        {'index_types': IndexType.NONE},
        {'index_types': IndexType.MESSAGE},
        {'repeat_channels': False, 'repeat_schemas': False, 'use_statistics': False},
        {'use_chunking': False},
        {'enable_crcs': False},
        {'use_summary_offsets': False},
    ],
    ids=str,
)
def test_a_mcap_is_read_whatever_index_it_has(tmp_path: Path, how: dict[str, Any]) -> None:
    numbers = numbers_mcap(tmp_path / 'bag.mcap', **how)
    assert [msg.data[0] for _, _, msg in read(tmp_path / 'bag.mcap')] == numbers
    (bag,) = find_bags([tmp_path])
    with BagReader(bag) as reader:
        found = [message.stamp for message in reader.messages(['/bytes'], 17, 71)]
        assert found == list(range(17, 71))
        assert [message.stamp for message in reader.sample(['/bytes'], 4)] == [0, 25, 50, 75]


def test_room_behind_a_mcap_that_was_never_written_costs_no_time(tmp_path: Path) -> None:
    path = tmp_path / 'bag.mcap'
    numbers = numbers_mcap(path)
    half = path.stat().st_size // 2
    with path.open('r+b') as file:
        file.truncate(half)
        file.truncate(10**9)  # zeros, as a file system leaves them when the power fails
    found = [msg.data[0] for _, _, msg in read(path)]
    assert found == numbers[: len(found)]
    assert 30 < len(found) < 90


def test_a_chunk_that_differs_from_its_checksum_is_reported(tmp_path: Path) -> None:
    path = tmp_path / 'bag.mcap'
    numbers_mcap(path, compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    data[data.index(bytes([55]) * 90)] = 0
    path.write_bytes(data)
    (bag,) = find_bags([path])

    def look(reader: BagReader) -> tuple[int, list[str]]:
        return len(list(reader.messages(['/bytes']))), reader.notes

    count, notes = read_or_recover(bag, look)
    assert count == 100
    assert '; 1 chunk with a wrong checksum' in notes[0]


def test_links_that_lead_in_circles_are_not_followed(tmp_path: Path, tiny_bag: MakeBag) -> None:
    bag = tiny_bag()
    (bag.parent / 'circle').symlink_to(tmp_path)
    (bag.parent / 'dead.mcap').symlink_to(tmp_path / 'nothing')
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'link').symlink_to(bag)
    for folder in (tmp_path, tmp_path / 'elsewhere'):
        (found,) = find_bags([folder])
        assert found.paths[0].resolve() == bag.resolve()
        assert ticks(found.paths[0]) == list(range(30))


def test_a_mcap_of_another_kind_is_refused(tmp_path: Path) -> None:
    with (tmp_path / 'other.mcap').open('wb') as file:
        writer = McapWriter(file)
        writer.start(profile='protobuf', library='')
        writer.finish()
    with pytest.raises(BagError, match=r'other\.mcap: cannot be read: Profile is not ros2'):
        read(tmp_path / 'other.mcap')


def test_a_bag_without_messages_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / 'bag', version=9) as bag:
        bag.add_connection('/said', 'std_msgs/msg/String', typestore=STORE)
    with pytest.raises(BagError, match='the bag is empty'):
        read(tmp_path / 'bag')


def test_a_topic_that_is_not_there_lists_those_that_are(tiny_bag: MakeBag) -> None:
    (bag,) = find_bags([tiny_bag()])
    with BagReader(bag) as reader:
        with pytest.raises(BagError, match=r'/camera/image_raw \(sensor_msgs/msg/Image\), /cmd'):
            reader.require('/camera/image', 'sensor_msgs/msg/Image')
        with pytest.raises(BagError, match='TwistStamped, expected geometry_msgs/msg/Twist'):
            reader.require('/cmd_vel', 'geometry_msgs/msg/Twist')


def test_bytes_that_are_no_message_are_a_codec_error(tiny_bag: MakeBag) -> None:
    (bag,) = find_bags([tiny_bag()])
    with BagReader(bag) as reader:
        message = next(reader.messages(['/camera/image_raw']))
        with pytest.raises(
            CodecError, match='a message of 40 bytes cannot be read as sensor_msgs/msg/Image'
        ):
            reader.decode(message._replace(data=message.data[:40]))
