# SPDX-License-Identifier: Apache-2.0
"""A video file is converted like a bag with one camera and no commands."""

from __future__ import annotations

from pathlib import Path
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from recordings import contents, inspect, made, shown, TinyBag
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.reading import video
from smwm_ros.bags.reading.find import Bag, find_bags
from smwm_ros.bags.reading.frames_at import image_at
from smwm_ros.bags.reading.reader import open_reader, VIDEO_TOPIC
from smwm_ros.cli import main
from smwm_ros.config import Dataset, Robot
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import BagError, DatasetError, SmwmError
from smwm_ros.load import load_config
from videos import numbered, STEP, write_sound, write_video

COUNT = 30
CODECS = [
    ('mp4', 'libx264'),
    ('MOV', 'libx264'),
    ('mkv', 'libx264'),
    ('avi', 'mpeg4'),
    ('avi', 'libx264'),  # has B frames, for which AVI has no time stamps
    ('webm', 'libvpx'),
]


def numbers(data: TransitionDataset) -> list[int]:
    """Return the number of the frame of each row."""
    return np.rint(shown(data) / STEP).astype(int).tolist()


def clip(tmp_path: Path, **words: Any) -> Path:
    return write_video(tmp_path / 'clip.mp4', numbered(COUNT), **words)


def notes(data: TransitionDataset) -> str:
    (meta,) = data.metas.values()
    return '; '.join([*meta['notes'], *meta['faults'].values()])


@pytest.mark.parametrize(('suffix', 'codec'), CODECS)
def test_each_frame_of_a_video_becomes_a_row_at_its_time(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    path = write_video(tmp_path / f'clip.{suffix}', numbered(COUNT), codec=codec)
    data = made(tmp_path, path, 'dataset.action=none')
    assert numbers(data) == list(range(COUNT))
    stamps = np.load(tmp_path / 'out' / 'shards' / 'clip' / 'stamp.npy')
    assert np.diff(stamps).tolist() == [100_000_000] * (COUNT - 1)
    assert np.isnan(data.actions(np.arange(COUNT))).all()
    meta = data.metas['clip']
    assert meta['time']['base'] == 'presentation'
    assert meta['counts']['ticks without a known action'] == COUNT
    assert meta['versions'].keys() == {'smwm_ros', 'numpy', 'av'}
    assert meta['time']['why'].startswith('a video of 64x48 pixels, ')
    assert meta['time']['why'].endswith(', 10 Hz')
    assert meta['notes'] == []


def test_a_tick_shows_the_latest_frame_where_the_frame_rate_varies(tmp_path: Path) -> None:
    times = np.cumsum([0, *[40, 140] * 14, 40]).tolist()
    data = made(tmp_path, clip(tmp_path, times=times), 'dataset.action=none', 'robot.dt=0.18')
    assert numbers(data) == list(range(0, COUNT, 2))
    assert 'the frame rate varies: ' in notes(data)
    assert '7.14 to 25 Hz' in notes(data)


def test_frames_between_ticks_are_left_out(tmp_path: Path) -> None:
    data = made(tmp_path, clip(tmp_path, rate=30), 'dataset.action=none', 'dataset.min_length=2')
    assert numbers(data) == list(range(0, COUNT, 3))
    assert data.metas['clip']['counts']['frames decoded'] < COUNT


def test_a_video_is_shown_upright(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255  # top left
    for turned, corner in ((False, (0, 0)), (True, (0, 1))):
        path = write_video(tmp_path / f'{turned}.mp4', [picture] * 12, turned=turned)
        data = made(tmp_path, path, 'dataset.action=none', out=f'{turned}')
        bright = data.pixels(np.arange(1))[0, ..., 0].reshape(2, 8, 2, 8).mean((1, 3)) > 128
        assert np.argwhere(bright).tolist() == [list(corner)]
    assert '48x64' in str(list((tmp_path / 'True').rglob('*.jpg')))


def test_a_video_gives_the_same_bytes_each_time_and_is_kept(tmp_path: Path) -> None:
    words = ['dataset.image_size=16', 'dataset.action=none']
    path = clip(tmp_path)
    for out in ('once', 'again'):
        convert([path], tmp_path / out, load_config(None, words))
    assert contents(tmp_path / 'once' / 'shards') == contents(tmp_path / 'again' / 'shards')
    write_video(tmp_path / 'more.mkv', numbered(COUNT))
    summary = convert([tmp_path], tmp_path / 'once', load_config(None, words))
    assert (summary.converted, summary.kept) == (1, 1)
    write_video(path, numbered(COUNT), rate=5)
    with pytest.raises(DatasetError, match='made from another bag with the same name'):
        convert([path], tmp_path / 'once', load_config(None, words))


def test_videos_and_bags_in_one_folder_make_one_dataset(tmp_path: Path) -> None:
    folder = tmp_path / 'mixed'
    folder.mkdir()
    clip(folder)
    bag = TinyBag(folder / 'bag')
    for tick in range(COUNT):
        bag.frame(tick)
        bag.command(tick)
        bag.pose(tick, x=tick)
    bag.close()
    config = ['dataset.after_hold=unknown', 'robot.state.topic=/odom']
    data = made(tmp_path, folder, *config)
    rows = np.arange(len(data))
    assert np.isnan(data.actions(rows)).all(1).tolist() == [False] * COUNT + [True] * COUNT
    assert np.isnan(data.states(rows)).all(1).tolist() == [False] * COUNT + [True] * COUNT
    assert data.metas['clip']['notes'][0] == 'no messages on /cmd_vel: all actions are unknown'
    with pytest.raises(
        BagError, match=r'clip\.mp4: a video has no commands; set dataset\.action='
    ):
        made(tmp_path, folder, out='strict')


def test_a_video_is_one_camera(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r'a video has one camera, but robot\.camera\.others names'):
        made(tmp_path, clip(tmp_path), 'dataset.action=none', 'robot.camera.others=/wrist')


def test_a_slow_video_names_the_knob_that_admits_it(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r'frames are 0\.5 s apart, more than dataset\.max_fram'
    ):
        made(tmp_path, clip(tmp_path, rate=2), 'dataset.action=none')


def test_frames_that_cannot_be_decoded_are_left_out_and_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(COUNT)]
    path = write_video(tmp_path / 'clip.avi', frames, codec='mjpeg')
    data = bytearray(path.read_bytes())
    for _ in range(3):
        place = data.index(b'\xff\xd8', len(data) // 2)
        data[place : place + 1000] = b'\x00' * 1000
    path.write_bytes(data)
    made_of = made(tmp_path, path, 'dataset.action=none', 'dataset.min_length=2')
    assert 'cannot be decoded' in notes(made_of)
    assert len(made_of) == COUNT - 3
    with pytest.raises(BagError, match=r'/camera/image_raw: 3 of 30 messages damaged'):
        made(tmp_path, path, 'dataset.action=none', 'dataset.max_damaged=0', out='strict')


@pytest.mark.parametrize('suffix', ['mkv', 'webm', 'avi'])
def test_a_truncated_video_is_read_as_far_as_it_goes(tmp_path: Path, suffix: str) -> None:
    codec = {'mkv': 'libx264', 'webm': 'libvpx', 'avi': 'mpeg4'}[suffix]
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(60)]
    path = write_video(tmp_path / f'clip.{suffix}', frames, codec=codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    data = made(tmp_path, path, 'dataset.action=none')
    assert 20 < len(data) < 40
    assert 'the file seems truncated: ' in notes(data)


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def test_what_is_no_video_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {
        'empty.mp4': (b'', 'the file is empty'),
        'text.mkv': (b'hello ' * 1000, 'cannot be read as a video'),
        'list.mp4': (b'#EXTM3U\n#EXTINF:1,\nhttp://localhost/a.mp4\n', 'cannot be read as a'),
        'picture.avi': (b'\x89PNG\r\n\x1a\n' + bytes(100), 'cannot be read as a video'),
    }
    for name, (content, reason) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BagError, match=f'{name}: .*{reason}'):
            made(tmp_path, tmp_path / name, 'dataset.action=none')
    with pytest.raises(BagError, match=r'cannot be read as a video: .*; expected a complete file'):
        made(tmp_path, cut(clip(tmp_path)), 'dataset.action=none')
    with pytest.raises(BagError, match=r'sound\.mp4: has no video stream'):
        made(tmp_path, write_sound(tmp_path / 'sound.mp4'), 'dataset.action=none')
    with pytest.raises(DatasetError, match='no transitions; 0 ticks kept; 1 dropped: in a stret'):
        made(tmp_path, write_video(tmp_path / 'one.mp4', numbered(1)), 'dataset.action=none')
    monkeypatch.setattr(video, '_packets', lambda *_: iter(()))
    with pytest.raises(BagError, match=r'one\.mp4: the video has no frames'):
        made(tmp_path, tmp_path / 'one.mp4', 'dataset.action=none', out='none')


def test_a_video_with_too_many_pixels_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, 'MAX_PIXELS', 64 * 48 - 1)
    with pytest.raises(BagError, match='video of 64x48, expected 1 to 3071 pixels'):
        made(tmp_path, clip(tmp_path), 'dataset.action=none')


def test_frames_without_time_stamps_are_spaced_by_the_frame_rate() -> None:
    shape = {'codec_context': SimpleNamespace(has_b_frames=0), 'time_base': None}
    form = SimpleNamespace(format=SimpleNamespace(name='mp4'))
    frame: Any = SimpleNamespace(pts=None, dts=None)
    stream: Any = SimpleNamespace(**shape, average_rate=20, guessed_rate=None, container=form)
    clock = video._FrameClock(stream, 'clip.mp4')
    assert [clock.time(frame) for _ in range(3)] == [0, 50_000_000, 100_000_000]
    stream.average_rate = None
    with pytest.raises(BagError, match=r'clip\.mp4: the frames have no time stamps, and the file'):
        video._FrameClock(stream, 'clip.mp4').time(frame)


def test_any_part_of_a_video_can_be_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / 'clip.mp4', numbered(COUNT), rate=10)
    (bag,) = find_bags([path])
    with open_reader(bag) as reader:
        whole = list(reader.messages([VIDEO_TOPIC]))
        for start in (0, 5, 17, 29):
            part = reader.messages([VIDEO_TOPIC], whole[start].stamp, whole[start].stamp + 1)
            assert list(part) == whole[start : start + 1]
        assert list(reader.messages([])) == []
    image = image_at(bag, Robot(), Dataset(image_size=16), 1.25)
    assert round(image[8, 8, 0] / STEP) == 12


def test_each_video_is_a_recording_of_its_own(tmp_path: Path) -> None:
    for name in ('run_1.mp4', 'run_2.MP4', '._run_1.mp4', 'run_3.avi.part'):
        (tmp_path / name).write_bytes(b'x')
    (tmp_path / 'deep').mkdir()
    (tmp_path / 'deep' / 'run_1.webm').write_bytes(b'x')
    found = find_bags([tmp_path])
    assert [bag.name for bag in found] == ['deep_run_1', 'run_2', f'{tmp_path.name}_run_1']
    assert all(bag.is_video for bag in found)
    (tmp_path / 'folder.mp4').mkdir()
    assert not Bag('folder', (tmp_path / 'folder.mp4',)).is_video


def test_without_pyav_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clip(tmp_path)
    monkeypatch.setitem(sys.modules, 'av', None)
    monkeypatch.delitem(sys.modules, 'smwm_ros.bags.reading.video')
    with pytest.raises(SmwmError, match="needs the extra 'video' of this package"):
        made(tmp_path, path, 'dataset.action=none')


def test_inspect_describes_a_video_and_proposes_what_converts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = clip(tmp_path), tmp_path / 'robot.yaml'
    found = inspect(capsys, path)
    assert found['kind'] == 'video'
    assert found['dataset'] == {'action_block': 5, 'action': 'none'}
    assert main(['inspect', str(path), '--write', str(out)]) == 0
    said = capsys.readouterr().out
    assert '30 frames in 2.9 s' in said
    assert 'clock: presentation: a video of 64x48 pixels, h264, 10 Hz' in said
    assert 'smwm train model.kind=latent_action' in said
    convert([path], tmp_path / 'out', load_config(out))
    assert main(['inspect', str(path), '--thumbnails', str(tmp_path / 'strip.png')]) == 0
