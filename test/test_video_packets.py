# SPDX-License-Identifier: Apache-2.0
"""Cameras that were recorded as packets of H.264 or H.265 are read like those of images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
import sqlite3
import sys
from typing import Any

import numpy as np
import pytest
from recordings import BEGIN, inspect, made, shown, STORE, TICK, TinyBag
from rosbags.rosbag2 import StoragePlugin
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.reading.frames_at import image_at, images_between
from smwm_ros.bags.reading.typestore import video_types
from smwm_ros.bags.survey.traffic import traffic_in
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.bags.writing.writer import BagWriter
from smwm_ros.codec.images import fit
from smwm_ros.config import Camera, Dataset, Robot
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import BagError, ConfigError, MissingExtraError
from smwm_ros.load import load_config
from videos import bare, encoded, H264, H265, moving, numbered, STEP

COUNT, KEYFRAMES = 30, 10
STORE.register({k: v for k, v in video_types().items() if k not in STORE.fielddefs})
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
FOXGLOVE = 'foxglove_msgs/msg/CompressedVideo'
FFMPEG = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
TOPIC = '/camera/video'
KINDS = (COMPRESSED, FOXGLOVE, FFMPEG)


def packet(kind: str, data: bytes, codec: str = H264, number: int = 0) -> Any:
    """Return a message with a packet of video."""
    msg = new_message(STORE, kind)
    msg.data = np.frombuffer(data, np.uint8)
    if kind == FFMPEG:
        msg.encoding, msg.pts = codec, number
    else:
        msg.format = codec
    return msg


def record(
    tmp_path: Path,
    packets: Sequence[bytes],
    kind: str = COMPRESSED,
    codec: str = H264,
    lost: Collection[int] = (),
    each: float = 1.0,
    storage: StoragePlugin = StoragePlugin.MCAP,
) -> Path:
    """Write a bag of packets, `each` ticks apart, without those that were lost, and commands."""
    bag = TinyBag(tmp_path / 'bag', storage)
    for number, data in enumerate(packets):
        tick = number * each
        if tick == round(tick):
            bag.command(tick)
        if number not in lost:
            msg = packet(kind, data, codec, number)
            if kind == FOXGLOVE:  # has a stamp, and no header
                stamp = BEGIN + round(tick * TICK)
                msg.timestamp.sec, msg.timestamp.nanosec = divmod(stamp, 10**9)
            bag.send(TOPIC, msg, tick, late=0.25)
    return bag.close()


def words_of(kind: str) -> list[str]:
    """Return the words that configure the camera."""
    return [f'robot.camera.topic={TOPIC}', f'robot.camera.type={kind}']


def converted(tmp_path: Path, bag: Path, *words: str, kind: str = COMPRESSED) -> TransitionDataset:
    """Convert a bag."""
    return made(tmp_path, bag, *words_of(kind), *words)


def numbers(data: TransitionDataset) -> list[int]:
    """Return the number of the frame of each row."""
    return np.rint(shown(data) / STEP).astype(int).tolist()


def counts(data: TransitionDataset) -> dict[str, int]:
    """Return the counts of the only bag."""
    return dict(data.metas['bag']['counts'])


BOTH = pytest.mark.parametrize('codec', [H264, H265])


@BOTH
@pytest.mark.parametrize('kind', KINDS)
def test_each_packet_becomes_a_row_at_its_own_stamp(tmp_path: Path, kind: str, codec: str) -> None:
    packets = encoded(numbered(COUNT), codec, KEYFRAMES)
    data = converted(tmp_path, record(tmp_path, packets, kind, codec), kind=kind)
    assert numbers(data) == list(range(COUNT))
    assert counts(data)['video packets'] == counts(data)['frames'] == COUNT
    meta = data.metas['bag']
    assert meta['time']['base'] == 'header'
    assert meta['versions'].keys() == {'smwm_ros', 'numpy', 'rosbags', 'av'}
    stamps = np.load(tmp_path / 'out' / 'shards' / 'bag' / 'stamp.npy')
    assert stamps.tolist() == [BEGIN + tick * TICK for tick in range(COUNT)]


@BOTH
def test_images_are_those_of_a_bare_decoder(tmp_path: Path, codec: str) -> None:
    packets = encoded(moving(COUNT), codec, KEYFRAMES)
    data = converted(tmp_path, record(tmp_path, packets, COMPRESSED, codec))
    expected = [fit(pixels, 16, 'stretch') for pixels in bare(packets, codec)]
    assert np.array_equal(data.pixels(np.arange(COUNT)), np.stack(expected))


@BOTH
def test_packets_before_the_first_keyframe_are_left_out_and_reported(
    tmp_path: Path, codec: str
) -> None:
    packets = encoded(numbered(COUNT), codec, KEYFRAMES)
    data = converted(tmp_path, record(tmp_path, packets, COMPRESSED, codec, lost=range(3)))
    assert numbers(data) == list(range(KEYFRAMES, COUNT))
    assert counts(data)['video packets'] == COUNT - 3
    assert counts(data)['video packets before the first keyframe'] == KEYFRAMES - 3
    assert counts(data)['frames'] == COUNT - KEYFRAMES
    (note,) = data.metas['bag']['notes']
    assert note.startswith(f'{TOPIC}: 7 packets before the first keyframe left out')
    assert data.metas['bag']['faults'] == {}


def test_a_recording_between_two_keyframes_is_an_error(tmp_path: Path) -> None:
    packets = encoded(numbered(COUNT), keyframes=COUNT)
    with pytest.raises(BagError, match=f'{TOPIC}: none of 29 video packets is a keyframe with'):
        converted(tmp_path, record(tmp_path, packets, lost=[0]))


@BOTH
@pytest.mark.parametrize('kind', KINDS)
def test_b_frames_are_refused_with_the_reason_and_what_to_do(
    tmp_path: Path, kind: str, codec: str
) -> None:
    packets = encoded(moving(COUNT), codec, COUNT, b_frames=2)
    bag = record(tmp_path, packets, kind, codec)
    what = rf'bag: {TOPIC}: the video has B-frames: .* encode it without B-frames \(bf=0, or'
    with pytest.raises(BagError, match=what):
        converted(tmp_path, bag, kind=kind)
    assert not (tmp_path / 'out').exists()


@BOTH
@pytest.mark.parametrize('kind', KINDS)
def test_after_a_lost_packet_all_is_damaged_until_the_next_keyframe(
    tmp_path: Path, kind: str, codec: str
) -> None:
    packets = encoded(moving(COUNT), codec, KEYFRAMES)
    bag = record(tmp_path, packets, kind, codec, lost=[16])
    data = converted(tmp_path, bag, 'dataset.max_damaged=0.5', kind=kind)
    good = [*range(16), *range(20, COUNT)]
    whole = [fit(pixels, 16, 'stretch') for pixels in bare(packets, codec)]
    assert np.array_equal(data.pixels(np.arange(len(data))), np.stack([whole[n] for n in good]))
    assert len(data.episodes) == 2
    (fault,) = data.metas['bag']['faults'].values()
    assert fault.startswith(f'{TOPIC}: the packet at 1.725 s: ')
    assert fault.endswith('; damaged until the next keyframe')
    with pytest.raises(BagError, match=r'3 of 29 messages damaged, more than the share'):
        made(tmp_path, bag, *words_of(kind), 'dataset.max_damaged=0.05', out='strict')


@BOTH
def test_a_packet_that_is_cut_off_damages_all_until_the_next_keyframe(
    tmp_path: Path, codec: str
) -> None:
    packets = encoded(moving(COUNT, 240, 320), codec, KEYFRAMES)
    for number, left in ((12, len(packets[12]) // 5), (27, 0)):
        packets[number] = packets[number][:left]
    bag = record(tmp_path, packets, COMPRESSED, codec)
    data = converted(tmp_path, bag, 'dataset.max_damaged=0.9', 'dataset.min_length=2')
    stamps = np.load(tmp_path / 'out' / 'shards' / 'bag' / 'stamp.npy')
    assert ((stamps - BEGIN) // TICK).tolist() == [*range(12), *range(20, 27)]
    assert data.metas['bag']['dropped']['the frame cannot be decoded'] == 8 + 3


def test_a_packet_of_several_pictures_shows_its_last_one(tmp_path: Path) -> None:
    packets = encoded(numbered(COUNT), keyframes=KEYFRAMES)
    pairs = [packets[n] + packets[n + 1] for n in range(0, COUNT, 2)]
    data = converted(tmp_path, record(tmp_path, pairs))
    assert numbers(data) == list(range(1, COUNT, 2))
    found = counts(data)
    assert (found['video packets'], found['frames']) == (COUNT // 2, COUNT // 2)
    assert found['frames replaced by a later one of their packet'] == COUNT // 2


def test_parameters_in_packets_of_their_own_are_no_frames(tmp_path: Path) -> None:
    packets = list[bytes]()
    for whole in encoded(numbered(COUNT), keyframes=KEYFRAMES):
        slices = whole.rindex(b'\0\0\1')  # in a keyframe, after the parameters
        packets += [part for part in (whole[:slices], whole[slices:]) if len(part) > 4]
    assert len(packets) == COUNT + COUNT // KEYFRAMES
    data = converted(tmp_path, record(tmp_path, packets, each=0.5), 'robot.dt=0.05')
    assert sorted({*numbers(data)}) == list(range(COUNT))
    assert counts(data)['video packets'] == len(packets)
    assert counts(data)['video packets without a picture'] == COUNT // KEYFRAMES
    assert counts(data)['frames'] == COUNT


def test_frames_between_ticks_are_decoded_since_later_ones_depend_on_them(tmp_path: Path) -> None:
    packets = encoded(moving(COUNT), keyframes=COUNT)
    bag = record(tmp_path, packets, each=0.5)
    data = converted(tmp_path, bag, 'dataset.min_length=2')
    expected = [fit(pixels, 16, 'stretch') for pixels in bare(packets)[::2]]
    assert np.array_equal(data.pixels(np.arange(len(data))), np.stack(expected))
    assert counts(data)['frames decoded'] < COUNT, 'those in between are not converted to pixels'


@BOTH
@pytest.mark.parametrize('keyframes', [KEYFRAMES, COUNT])
def test_a_time_in_the_middle_is_read_from_the_keyframe_before_it(
    tmp_path: Path, codec: str, keyframes: int
) -> None:
    packets = encoded(moving(COUNT), codec, keyframes)
    (bag,) = find_bags([record(tmp_path, packets, FFMPEG, codec)])
    robot, dataset = Robot(camera=Camera(topic=TOPIC, type=FFMPEG)), Dataset(image_size=16)
    expected = [fit(pixels, 16, 'stretch') for pixels in bare(packets, codec)]
    for number in (0, 9, 17, 20, 28):
        found = image_at(bag, robot, dataset, number / 10 + 0.05)
        assert np.array_equal(found, expected[number]), number
    images = images_between(bag, robot, dataset, 1.42, 2.33)
    assert np.array_equal(np.stack(images), np.stack(expected[14:24]))


def test_two_cameras_are_decoded_apart(tmp_path: Path) -> None:
    dark, light = numbered(COUNT), [255 - frame for frame in numbered(COUNT)]
    left, right = encoded(dark, keyframes=7), encoded(light, H265, keyframes=11)
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(COUNT):
        bag.command(tick)
        bag.send('/left', packet(COMPRESSED, left[tick], 'h264'), tick)
        bag.send('/right', packet(COMPRESSED, right[tick], 'h265'), tick)
    words = ('robot.camera.topic=/left', f'robot.camera.type={COMPRESSED}')
    data = made(tmp_path, bag.close(), *words, 'robot.camera.others=/right')
    pixels = data.pixels(np.arange(len(data)))[:, 8, :, 0].astype(int)
    expected = STEP * np.arange(COUNT)
    assert np.abs(pixels[:, 3] - expected).max() <= 2
    assert np.abs(pixels[:, 12] - (255 - expected)).max() <= 2


@pytest.mark.parametrize('kind', [FOXGLOVE, FFMPEG])
def test_a_bag_without_message_definitions_is_read(tmp_path: Path, kind: str) -> None:
    packets = encoded(numbered(COUNT))
    path = record(tmp_path, packets, kind, storage=StoragePlugin.SQLITE3)
    with sqlite3.connect(path / 'bag.db3') as file:
        assert file.execute('DELETE FROM message_definitions').rowcount > 0
    assert numbers(converted(tmp_path, path, kind=kind)) == list(range(COUNT))


def test_workers_convert_to_the_same_rows(tmp_path: Path) -> None:
    bags = list[Path]()
    for name, codec in (('one', H264), ('two', H265)):
        packets = encoded(moving(COUNT), codec, KEYFRAMES)
        (tmp_path / name).mkdir()
        path = record(tmp_path / name, packets, COMPRESSED, codec)
        bags.append(path.rename(tmp_path / f'{name}_bag'))
    config = load_config(None, [*words_of(COMPRESSED), 'dataset.image_size=16'])
    alone, both = (convert(bags, tmp_path / f'{n}', config, jobs=n).dataset for n in (1, 2))
    rows = np.arange(2 * COUNT)
    assert np.array_equal(alone.pixels(rows), both.pixels(rows))


@pytest.mark.parametrize('kind', KINDS)
def test_inspect_proposes_a_camera_of_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = record(tmp_path, encoded(moving(COUNT), keyframes=KEYFRAMES), kind, lost=range(3))
    found = inspect(capsys, path)
    assert found['robot']['camera'] == {'topic': TOPIC, 'type': kind}
    (image,) = (topic['image'] for topic in found['topics'] if topic['name'] == TOPIC)
    assert image == {'width': 64, 'height': 48, 'encoding': 'h264'}
    (bag,) = find_bags([path])
    traffic = traffic_in(bag, [TOPIC]).of[TOPIC]
    assert (traffic.images, traffic.flaw) == (('64x48 h264',), '')
    assert traffic.ages is not None
    assert traffic.ages == pytest.approx(0.025)


@pytest.mark.parametrize(
    ('kind', 'codec', 'what'),
    [
        (FFMPEG, 'av1', "encoding 'av1' of a video packet, expected h264, h265 or hevc"),
        (FOXGLOVE, 'vp9', "format 'vp9' of a video packet, expected h264, h265 or hevc"),
        (FOXGLOVE, '', "format '' of a video packet, expected h264, h265 or hevc"),
        (COMPRESSED, 'av1', "'av1' image of .* cannot be decoded; expected png, .* h264 or h265"),
    ],
)
def test_another_codec_is_an_error_with_topic_time_and_choices(
    tmp_path: Path, kind: str, codec: str, what: str
) -> None:
    bag = record(tmp_path, encoded(numbered(COUNT)), kind, codec)
    where = f'{TOPIC}: the packet at 0.025 s: ' if kind != COMPRESSED else ''
    with pytest.raises(BagError, match=f'{TOPIC}: 20 of 20 .* first error: {where}{what}'):
        converted(tmp_path, bag, kind=kind)


def test_without_pyav_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = record(tmp_path, encoded(numbered(COUNT)))
    monkeypatch.setitem(sys.modules, 'av', None)
    what = "a camera that publishes video needs the extra 'video' of this package"
    with pytest.raises(MissingExtraError, match=what):
        converted(tmp_path, bag)
    found = inspect(capsys, bag)
    (image,) = (topic['image'] for topic in found['topics'] if topic['name'] == TOPIC)
    assert what in image['flaw']


@pytest.mark.parametrize('kind', [FOXGLOVE, FFMPEG])
def test_no_video_is_written(tmp_path: Path, kind: str) -> None:
    robot = Robot(camera=Camera(topic='video', type=kind))
    with pytest.raises(ConfigError, match=f'{kind} is read from cameras and bags alone'):
        BagWriter(tmp_path / 'bag', robot)
