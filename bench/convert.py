# SPDX-License-Identifier: Apache-2.0
"""
Measure how fast `smwm convert` is, beside a bare loop over the same bag.

The bare loop reads with rosbags, decodes and resizes each frame with cv2, and drops it. It bounds
the speed of a converter built on these two libraries. `smwm convert` can still be faster, because
it halves an image before it averages. A second loop resizes in the same way and measures the
remaining cost. All run with one worker, in turn.

A bag of H.264 is compared with a loop of rosbags, PyAV and cv2, where PyAV is installed.

If the program `forge` is on the PATH (pip install 'forge-robotics[rosbag,lerobot,video]', best in
an environment of its own), it turns a bag into a LeRobot dataset, beside `smwm convert` followed
by `smwm export --to hdf5`. It cannot resize, so the frames of that bag already have their final
size, and it omits the commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
import shutil
from statistics import median
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Any

from common import interleaved, main, paired_ratio, Row
import cv2
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.codec.images import fit
from smwm_ros.load import load_config

WIDTH, HEIGHT, SIZE = 640, 480, 64
PEER_SIZE = 256  # size of the frames in the bag that forge reads, too [px]
DT = 100_000_000  # a frame and a command every tick: no frame is left out by either [ns]
IMAGE, JPEG = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
KINDS = {
    'raw_mcap': (IMAGE, StoragePlugin.MCAP),
    'jpeg_mcap': (JPEG, StoragePlugin.MCAP),
    'raw_sqlite3': (IMAGE, StoragePlugin.SQLITE3),
    'h264_mcap': (JPEG, StoragePlugin.MCAP),
}
VIDEO = 'h264_mcap'
KEYFRAMES = 30  # frames from one keyframe to the next


def write_bag(
    path: Path,
    kind: str,
    storage: StoragePlugin,
    frames: int,
    height: int = HEIGHT,
    width: int = WIDTH,
    form: str = 'jpeg',
) -> None:
    """Write a bag of smooth, moving images and of commands."""
    encode = h264_encoder(height, width) if form == 'h264' else jpeg
    store = get_typestore(Stores.ROS2_JAZZY)
    image, command = new_message(store, kind), new_message(store, 'geometry_msgs/msg/TwistStamped')
    y, x = np.mgrid[0:height, 0:width]
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 12, (height, width, 3), dtype=np.uint8)
    with Writer(path, version=9, storage_plugin=storage) as bag:
        camera = bag.add_connection('/camera/image_raw', kind, typestore=store)
        topic = bag.add_connection('/cmd_vel', command.__msgtype__, typestore=store)
        for number in range(frames):
            stamp = 10**18 + number * DT
            planes = [(x + 3 * number) // 4, (y + 2 * number) // 3, (x + y + number) // 5]
            pixels = (np.stack(planes, -1) % 240).astype(np.uint8) + noise
            if kind == JPEG:
                image.format, image.data = form, encode(pixels)
            else:
                image.height, image.width, image.step = height, width, 3 * width
                image.encoding, image.data = 'rgb8', pixels.ravel()
            command.twist.linear.x = float(np.sin(number / 10))
            for msg, connection in ((image, camera), (command, topic)):
                msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, 10**9)
                bag.write(connection, stamp, store.serialize_cdr(msg, connection.msgtype))


def jpeg(pixels: Any) -> Any:
    """Return an image as the bytes of a JPEG."""
    return cv2.imencode('.jpg', pixels)[1].ravel()


def h264_encoder(height: int, width: int) -> Callable[[Any], Any]:
    """Return a function that encodes each image to a packet, without B-frames."""
    import av

    context: Any = av.CodecContext.create('libx264', 'w')
    context.height, context.width, context.pix_fmt = height, width, 'yuv420p'
    context.time_base, context.framerate, context.gop_size = Fraction(1, 30), 30, KEYFRAMES
    context.options = {'preset': 'veryfast', 'tune': 'zerolatency'}

    def encode(pixels: Any) -> Any:
        (packet,) = context.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24'))
        return np.frombuffer(bytes(packet), np.uint8)

    return encode


def shrink(pixels: Any) -> Any:
    """Resize by area in one step."""
    return cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def shrink_as_we_do(pixels: Any) -> Any:
    """Resize as the converter does."""
    return fit(pixels, SIZE, 'stretch')


def bare_loop(path: Path, resize: Callable[[Any], Any]) -> int:
    """Read, decode, resize and drop every frame."""
    if path.name == VIDEO:
        return bare_video_loop(path, resize)
    frames = 0
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            msg: Any = reader.deserialize(data, connection.msgtype)
            if connection.msgtype == IMAGE:
                pixels = msg.data.reshape(msg.height, msg.width, 3)
            elif connection.msgtype == JPEG:
                pixels = cv2.imdecode(msg.data, cv2.IMREAD_COLOR)
            else:
                continue
            resize(pixels)
            frames += 1
    return frames


def bare_video_loop(path: Path, resize: Callable[[Any], Any]) -> int:
    """Read, decode with PyAV, resize and drop every frame."""
    import av

    frames, context = 0, av.CodecContext.create('h264', 'r')
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1  # as everything here
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            msg: Any = reader.deserialize(data, connection.msgtype)
            if connection.msgtype == JPEG:
                for frame in context.decode(av.Packet(msg.data.tobytes())):
                    resize(frame.to_ndarray(format='rgb24'))
                    frames += 1
    return frames


def measure(quick: bool) -> Iterator[Row]:
    """Compare both on each kind of bag."""
    cv2.setNumThreads(1)
    frames, rounds = (400, 5) if quick else (1500, 7)
    with TemporaryDirectory() as name:
        for kind in KINDS:
            if kind == VIDEO and find_spec('av') is None:
                print(f'left out: convert.{kind}; PyAV is not installed', file=sys.stderr)
                continue
            yield from compare(Path(name), kind, frames, rounds)
        if shutil.which('forge'):
            yield beside_forge(Path(name), 2 * frames, 3)
        else:
            print('left out: convert.peer; forge is not on the PATH', file=sys.stderr)


def compare(folder: Path, kind: str, frames: int, rounds: int) -> Iterator[Row]:
    """Convert one kind of bag beside the bare loops."""
    camera, storage = KINDS[kind]
    path = folder / kind
    write_bag(path, camera, storage, frames, form='h264' if kind == VIDEO else 'jpeg')
    config = load_config(None, [f'robot.camera.type={camera}'])

    def ours() -> None:
        assert len(convert([path], folder / 'out', config, fresh=True).dataset) == frames

    def bare() -> None:
        assert bare_loop(path, shrink) == frames

    def alike() -> None:
        assert bare_loop(path, shrink_as_we_do) == frames

    bare()
    ours()  # from here on, both find the bag in the page cache
    seconds = interleaved({'ours': ours, 'bare': bare, 'alike': alike}, rounds)
    with_av = ', PyAV' if kind == VIDEO else ''
    for peer, measure, words in (
        ('bare', f'convert.{kind}', f'bare loop of rosbags{with_av} and cv2'),
        ('alike', f'convert.{kind}.same_resize', 'bare loop with our resize'),
    ):
        yield Row(
            measure,
            frames / median(seconds['ours']),
            'frames/s',
            peer=words,
            peer_value=frames / median(seconds[peer]),
            ratio=paired_ratio(seconds[peer], seconds['ours']),
        )


def beside_forge(folder: Path, frames: int, rounds: int) -> Row:
    """Convert and export a bag, each as a process of its own, beside forge."""
    bag, out, file = folder / 'small', folder / 'dataset', folder / 'dataset.h5'
    write_bag(bag, IMAGE, StoragePlugin.MCAP, frames, PEER_SIZE, PEER_SIZE)
    smwm = (sys.executable, '-m', 'smwm_ros.cli')
    size = f'dataset.image_size={PEER_SIZE}'

    def ours() -> None:
        shutil.rmtree(out, ignore_errors=True)
        file.unlink(missing_ok=True)
        run(*smwm, 'convert', bag, '--out', out, size)
        run(*smwm, 'export', out, '--to', 'hdf5', '--out', file)

    def forge() -> None:
        shutil.rmtree(folder / 'forge', ignore_errors=True)
        said = run('forge', 'convert', bag, folder / 'forge', '--format', 'lerobot-v3')
        assert f'Total frames: {frames}' in said, said

    seconds = interleaved({'ours': ours, 'forge': forge}, rounds)
    return Row(
        'convert.peer',
        frames / median(seconds['ours']),
        'frames/s',
        peer='forge-robotics',
        peer_value=frames / median(seconds['forge']),
        ratio=paired_ratio(seconds['forge'], seconds['ours']),
    )


def run(*words: str | Path) -> str:
    """Run a program; return its output, or raise if it failed."""
    done = subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, text=True
    )
    return done.stdout


if __name__ == '__main__':
    main(measure, __doc__)
