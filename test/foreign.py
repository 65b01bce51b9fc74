# SPDX-License-Identifier: Apache-2.0
"""
Recordings as other recorders write them, of known contents.

The writers of rosbags and of this project have one form each, that of recent versions. Here are
the tables, files and metadata of older ones, of scripts, and of file-wise compression.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
import sqlite3
from typing import Any, NamedTuple

from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
import numpy as np
from recordings import image
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from smwm_ros.bags.reading.zstd import zstd
from smwm_ros.bags.writing.blank import new_message
import yaml

SECOND = 1_000_000_000  # [ns]
BEGIN = 1_604_581_357 * SECOND  # [ns]
# How versions up to 8 store the offer of a publisher: a text of YAML, of numbers.
QOS = """\
- history: 3
  depth: 0
  reliability: 1
  durability: 2
  deadline: {sec: 2147483647, nsec: 4294967295}
  lifespan: {sec: 9223372036, nsec: 854775807}
  liveliness: 1
  liveliness_lease_duration: {sec: 0, nsec: 0}
  avoid_ros_namespace_conventions: false
"""
_NAMED = {'history': 'unknown', 'reliability': 'reliable', 'durability': 'volatile'}
QOS_NAMED = [{**yaml.safe_load(QOS)[0], **_NAMED, 'liveliness': 'automatic'}]  # as in version 9
_MESSAGES = 'messages(id INTEGER PRIMARY KEY,topic_id INTEGER NOT NULL,timestamp INTEGER NOT NULL'
WHEELS = 'std_msgs/Header header\nacme_msgs/Wheel[] wheels'
WHEELS_IDL = f"""\
{80 * '='}
IDL: acme_msgs/msg/Wheels
#include "std_msgs/msg/Header.idl"
#include "acme_msgs/msg/Wheel.idl"
module acme_msgs {{
  module msg {{
    struct Wheels {{
      std_msgs::msg::Header header;
      sequence<acme_msgs::msg::Wheel> wheels;
    }};
  }};
}};
{80 * '='}
IDL: acme_msgs/msg/Wheel
module acme_msgs {{
  module msg {{
    struct Wheel {{
      double speed;
    }};
  }};
}};
{80 * '='}
IDL: std_msgs/msg/Header
#include "builtin_interfaces/msg/Time.idl"
module std_msgs {{
  module msg {{
    struct Header {{
      builtin_interfaces::msg::Time stamp;
      string frame_id;
    }};
  }};
}};
{80 * '='}
IDL: builtin_interfaces/msg/Time
module builtin_interfaces {{
  module msg {{
    struct Time {{
      int32 sec;
      uint32 nanosec;
    }};
  }};
}};
"""


class Heard(NamedTuple):
    """A message of a recording."""

    topic: str
    stamp: int  # [ns]
    msg: Any


@cache
def store() -> Any:
    """Return the types of ROS 2, and those of a custom package."""
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg('float64 speed', 'acme_msgs/msg/Wheel'))
    types.register(get_types_from_msg(WHEELS, 'acme_msgs/msg/Wheels'))
    return types


def write_sqlite(
    path: Path,
    heard: Sequence[Heard],
    schema: int = 2,  # of Dashing 1, Foxy 2, Humble 3, Iron 4
    qos: str = QOS,
    packed: bool = False,  # each message by zstd
    topics: Sequence[str] = (),  # in the order of their numbers, else as they are first heard
) -> None:
    """Write a sqlite3 file."""
    more = ',offered_qos_profiles TEXT NOT NULL' * (schema > 1)
    more += ',type_description_hash TEXT NOT NULL' * (schema > 3)
    kinds = {one.topic: one.msg.__msgtype__ for one in heard}
    with sqlite3.connect(path) as db:
        db.execute(
            'CREATE TABLE topics(id INTEGER PRIMARY KEY,name TEXT NOT NULL,type TEXT NOT NULL,'
            f'serialization_format TEXT NOT NULL{more})'
        )
        db.execute(f'CREATE TABLE {_MESSAGES}, data BLOB NOT NULL)')
        db.execute('CREATE INDEX timestamp_idx ON messages (timestamp ASC)')
        if schema > 2:
            db.execute('CREATE TABLE schema(schema_version INTEGER PRIMARY KEY,ros_distro TEXT)')
            db.execute('INSERT INTO schema VALUES (?, ?)', (schema, 'humble'))
            db.execute('CREATE TABLE metadata(id INTEGER PRIMARY KEY,metadata_version INTEGER)')
        if schema > 3:
            db.execute(
                'CREATE TABLE message_definitions(id INTEGER PRIMARY KEY,topic_type TEXT,encoding '
                'TEXT,encoded_message_definition TEXT,type_description_hash TEXT)'
            )
            for kind in sorted(set(kinds.values())):
                definition = (kind, 'ros2msg', store().generate_msgdef(kind, ros_version=2)[0], '')
                db.execute('INSERT INTO message_definitions VALUES (NULL, ?, ?, ?, ?)', definition)
        numbers = {}
        for number, topic in enumerate(topics or kinds, 1):
            values = (
                number,
                topic,
                kinds[topic],
                'cdr',
                *[qos] * (schema > 1),
                *[''] * (schema > 3),
            )
            db.execute(f'INSERT INTO topics VALUES ({",".join("?" * len(values))})', values)
            numbers[topic] = number
        for one in heard:
            data = _cdr(one.msg)
            row = (numbers[one.topic], one.stamp, zstd.compress(data) if packed else data)
            db.execute('INSERT INTO messages VALUES (NULL, ?, ?, ?)', row)
    db.close()


def write_mcap(path: Path, heard: Sequence[Heard], idl: str = '', **how: Any) -> None:
    """Write a mcap file as libmcap does from rosbag2: metadata of the recording are in it, too."""
    with path.open('wb') as file:
        writer = McapWriter(file, **how)
        writer.start(profile='ros2', library='libmcap 1.4.0')
        writer.add_metadata('rosbag2', {'serialized_metadata': 'version: 9\nmessage_count: 0\n'})
        channels = {}
        for one in heard:
            kind = one.msg.__msgtype__
            if one.topic not in channels:
                text = idl or store().generate_msgdef(kind, ros_version=2)[0]
                form = 'ros2idl' if idl else 'ros2msg'
                schema = writer.register_schema(kind, form, text.encode())
                offer = {'offered_qos_profiles': yaml.safe_dump(QOS_NAMED)}
                channels[one.topic] = writer.register_channel(one.topic, 'cdr', schema, offer)
            writer.add_message(channels[one.topic], one.stamp, _cdr(one.msg), one.stamp)
        writer.finish()


def write_metadata(
    folder: Path, files: Sequence[str], heard: Sequence[Heard], version: int, **other: Any
) -> None:
    """Write metadata.yaml with what its version has, and no more; other entries as given."""
    counts, kinds = Counter(one.topic for one in heard), {one.topic: one.msg for one in heard}
    stamps = [one.stamp for one in heard]
    about: dict[str, Any] = {
        'version': version,
        'storage_identifier': 'mcap' if '.mcap' in files[0] else 'sqlite3',
        'relative_file_paths': list(files),
        'duration': {'nanoseconds': max(stamps) - min(stamps) if stamps else 0},
        'starting_time': {'nanoseconds_since_epoch': min(stamps, default=2**63 - 1)},
        'message_count': len(heard),
    }
    topics = []
    for topic, count in counts.items():
        kind = kinds[topic].__msgtype__
        entry = {'name': topic, 'type': kind, 'serialization_format': 'cdr'}
        if version > 3:
            entry['offered_qos_profiles'] = QOS_NAMED if version > 8 else QOS
        if version > 6:
            entry['type_description_hash'] = store().hash_rihs01(kind)
        topics.append({'topic_metadata': entry, 'message_count': count})
    about['topics_with_message_count'] = topics
    about |= {'compression_format': '', 'compression_mode': ''} if version > 2 else {}
    span = {key: about[key] for key in ('starting_time', 'duration', 'message_count')}
    if version > 4:
        about['files'] = [{'path': file.removesuffix('.zstd'), **span} for file in files]
    about |= {'custom_data': None} if version > 5 else {}
    about |= {'ros_distro': 'rolling'} if version > 7 else {}
    text = yaml.safe_dump({'rosbag2_bagfile_information': about | other}, sort_keys=False)
    (folder / 'metadata.yaml').write_text(text)


def _cdr(msg: Any) -> bytes:
    return bytes(store().serialize_cdr(msg, msg.__msgtype__))


def words(count: int, hertz: float = 500.0, topic: str = '/chatter') -> list[Heard]:
    """Return texts, each another one."""
    heard = []
    for number in range(count):
        msg = new_message(store(), 'std_msgs/msg/String')
        msg.data = f'{topic} {number}'
        heard.append(Heard(topic, BEGIN + round(number * SECOND / hertz), msg))
    return heard


def joints(count: int) -> list[Heard]:
    """Return the joints of an arm at 50 Hz."""
    heard = []
    for number in range(count):
        msg = new_message(store(), 'sensor_msgs/msg/JointState')
        stamp = BEGIN + number * SECOND // 50
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, SECOND)
        msg.name = ['shoulder', 'elbow']
        msg.position = np.array([number, -number], np.float64)
        heard.append(Heard('/joint_states', stamp, msg))
    return heard


def drive(count: int) -> list[Heard]:
    """Return commands, clock and custom messages at 20 Hz."""
    heard = []
    for number in range(count):
        stamp = BEGIN + number * SECOND // 20
        wheels = new_message(store(), 'acme_msgs/msg/Wheels')
        wheels.wheels = [store().types['acme_msgs/msg/Wheel'](speed=float(number))]
        twist = new_message(store(), 'geometry_msgs/msg/Twist')
        twist.linear.x, twist.angular.z = float(np.sin(number / 9)), float(np.cos(number / 9))
        clock = new_message(store(), 'rosgraph_msgs/msg/Clock')
        clock.clock.sec, clock.clock.nanosec = divmod(stamp - BEGIN, SECOND)
        heard.append(Heard('/wheels', stamp, wheels))
        heard.append(Heard('/cmd_vel_smoothed', stamp + 1, twist))
        heard.append(Heard('/clock', stamp + 2, clock))
    return heard


def humble(folder: Path) -> list[Heard]:
    """Write one sqlite3 file with a table of metadata that is empty."""
    heard = joints(120)
    write_sqlite(folder / 'move_0.db3', heard, schema=3)
    write_metadata(folder, ['move_0.db3'], heard, 5)
    return heard


def iron(folder: Path) -> list[Heard]:
    """Write one sqlite3 file that defines its messages."""
    heard = drive(40)
    write_sqlite(folder / 'drive_0.db3', heard, schema=4)
    write_metadata(folder, ['drive_0.db3'], heard, 7)
    return heard


def dashing(folder: Path) -> list[Heard]:
    """Write one sqlite3 file without any QoS."""
    heard = words(50)
    write_sqlite(folder / 'talk.db3', heard, schema=1)
    write_metadata(folder, ['talk.db3'], heard, 2)
    return heard


def rolling(folder: Path) -> list[Heard]:
    """Write mcap without compression in it, and compress the file as a whole."""
    heard = drive(230)
    plain = folder / 'cm_0.mcap'
    write_mcap(plain, heard, chunk_size=10_000, compression=CompressionType.NONE)
    (folder / 'cm_0.mcap.zstd').write_bytes(zstd.compress(plain.read_bytes()))
    plain.unlink()
    how = {'compression_format': 'zstd', 'compression_mode': 'FILE'}
    write_metadata(folder, ['cm_0.mcap.zstd'], heard, 9, **how)
    return heard


def definitions_in_idl(folder: Path) -> list[Heard]:
    """Write a bare mcap file that defines its messages in IDL."""
    heard = [one for one in drive(40) if one.topic == '/wheels']
    write_mcap(folder / 'wheels_0.mcap', heard, WHEELS_IDL, compression=CompressionType.LZ4)
    return heard


def split_without_metadata(folder: Path) -> list[Heard]:
    """Write three sqlite3 files, as a recorder that was killed leaves them."""
    heard = words(300)
    for number in range(3):
        part = heard[130 * number : 130 * (number + 1)]
        write_sqlite(folder / f'talk_{number}.db3', part)
    return heard


def packed_and_split(folder: Path) -> list[Heard]:
    """
    Write files of compressed messages, in which topics have other numbers each time.

    Metadata name a folder that is not there, and begin with the last file, as Foxy did.
    """
    heard = sorted(words(70, 7.0) + words(130, 13.0, '/loud'), key=lambda one: one.stamp)
    parts = [heard[:80], heard[80:150], heard[150:]]
    for number, part in enumerate(parts):
        topics = sorted({one.topic for one in part}, reverse=number == 1)
        write_sqlite(folder / f'said_{number}.db3', part, packed=True, topics=topics)
    how: dict[str, Any] = {'compression_format': 'zstd', 'compression_mode': 'MESSAGE'}
    late = {'nanoseconds_since_epoch': parts[-1][0].stamp}
    files = [f'said/said_{number}.db3' for number in range(3)]
    write_metadata(folder, files, heard, 4, **how, starting_time=late)
    return heard


def pictures_of_a_script(folder: Path) -> list[Heard]:
    """Write images that begin at time 0, with empty headers."""
    heard = [
        Heard('/image', number * SECOND, image(np.full((2, 2, 1), 60 * number), 'mono8'))
        for number in range(3)
    ]
    write_sqlite(folder / 'images.bag_0.db3', heard, qos='')
    write_metadata(folder, ['images.bag_0.db3'], heard, 5)
    return heard


def nothing(folder: Path) -> list[Heard]:
    """Write a recording that was stopped before anything was said."""
    write_sqlite(folder / 'empty_0.db3', [])
    write_metadata(folder, ['empty_0.db3'], [], 4)
    return []


RECORDERS: dict[str, Callable[[Path], list[Heard]]] = {
    make.__name__: make
    for make in (
        dashing,
        humble,
        iron,
        rolling,
        definitions_in_idl,
        split_without_metadata,
        packed_and_split,
        pictures_of_a_script,
    )
}
