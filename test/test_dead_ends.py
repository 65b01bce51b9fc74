# SPDX-License-Identifier: Apache-2.0
"""Where a bag cannot be used as it is, the words lead on."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any

from mcap.writer import Writer as McapWriter
import numpy as np
import pytest
from recordings import image, made, MakeBag, STORE, TICK, TinyBag
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.cli import main
from smwm_ros.errors import BagError
from smwm_ros.load import load_config
from smwm_ros.model.checkpoint import save
from worlds import tiny_checkpoint

Capture = pytest.CaptureFixture[str]
WHEELS = 'float32 left\nfloat32 right\nacme_msgs/Mode mode'


def undefined(path: Path) -> Path:
    """Write a db3 as older versions did: without the definitions of its messages."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg('uint8 mode', 'acme_msgs/msg/Mode'))
    store.register(get_types_from_msg(WHEELS, 'acme_msgs/msg/Wheels'))
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as bag:
        camera = bag.add_connection('/camera/image_raw', 'sensor_msgs/msg/Image', typestore=STORE)
        nothing = MessageDefinition(MessageDefinitionFormat.NONE, '')
        wheels = bag.add_connection(
            '/wheel_cmd', 'acme_msgs/msg/Wheels', msgdef=nothing.data, rihs01='-'
        )
        msg = new_message(store, 'acme_msgs/msg/Wheels')
        for tick in range(40):
            frame = image(np.full((16, 20, 3), tick))
            frame.header.stamp.sec = 0
            data = STORE.serialize_cdr(frame, frame.__msgtype__)
            bag.write(camera, tick * TICK, data)
            msg.left, msg.right = tick, -tick
            bag.write(wheels, tick * TICK, store.serialize_cdr(msg, msg.__msgtype__))
    import apsw

    with apsw.Connection(str(next(path.glob('*.db3')))) as db:
        db.execute('DELETE FROM message_definitions')
    return path


WORDS = (
    'robot.command.topic=/wheel_cmd',
    'robot.command.type=acme_msgs/msg/Wheels',
    'robot.command.fields=[left, right]',
)


def test_messages_without_a_definition_are_not_called_damaged_and_msg_files_define_them(
    tmp_path: Path, capsys: Capture
) -> None:
    bag = undefined(tmp_path / 'bag')
    lacking = (
        'the bag has no definition of acme_msgs/msg/Wheels; give its .msg files with --msgs FOLDER'
    )
    with pytest.raises(BagError, match=f'/wheel_cmd: {lacking}'):
        made(tmp_path, bag, *WORDS)
    assert main(['inspect', str(bag)]) == 0
    assert lacking in capsys.readouterr().out
    folder = tmp_path / 'src' / 'acme_msgs' / 'msg'
    folder.mkdir(parents=True)
    (folder / 'Wheels.msg').write_text(WHEELS)
    words = ['--msgs', str(tmp_path / 'src')]
    assert main(['inspect', str(bag), *words]) == 0
    assert 'the bag has no definition of acme_msgs/msg/Mode' in capsys.readouterr().out
    (folder / 'Mode.msg').write_text('uint8 mode')
    assert main(['inspect', str(bag), *words]) == 0
    assert 'fields: [left, right]' in capsys.readouterr().out
    convert = ['convert', str(bag), '--out', str(tmp_path / 'out'), *words, *WORDS]
    assert main([*convert, 'dataset.image_size=16']) == 0
    assert '40 ticks' in capsys.readouterr().out


@pytest.mark.usefixtures('one_thread')
def test_every_verb_that_opens_bags_reads_messages_by_msg_files(
    tmp_path: Path, capsys: Capture
) -> None:
    bag, run, folder = undefined(tmp_path / 'bag'), tmp_path / 'run', tmp_path / 'src'
    (folder / 'acme_msgs').mkdir(parents=True)
    (folder / 'acme_msgs' / 'Wheels.msg').write_text(WHEELS)
    (folder / 'acme_msgs' / 'Mode.msg').write_text('uint8 mode')
    robot = load_config(None, WORDS).robot
    save(run, tiny_checkpoint()._replace(robot=robot))
    known, page = ['--msgs', str(folder)], str(tmp_path / 'page.html')
    search = ['planner.samples=8', 'planner.elites=4', 'planner.iterations=1']
    replay = ['replay', str(bag), str(run), '--leg', '39', '--out', page, *search]
    assert main(replay) == 2
    assert 'give its .msg files with --msgs FOLDER' in capsys.readouterr().err
    assert main([*replay, *known]) == 0
    assert 'commands compared' in capsys.readouterr().out
    strip = ['inspect', str(bag), '--thumbnails', str(tmp_path / 'strip.png')]
    assert main([*strip, *known]) == 0
    goal = ['goals', str(run), '--bag', str(bag), '--at', '1', '--name', 'dock']
    assert main([*goal, *known]) == 0
    for verb in (replay, goal):
        assert main([*verb, '--msgs', str(bag)]) == 2
        assert 'no .msg files found, expected PACKAGE/msg/NAME.msg' in capsys.readouterr().err


def test_a_folder_without_msg_files_is_refused(
    tmp_path: Path, tiny_bag: MakeBag, capsys: Capture
) -> None:
    words = ['inspect', str(tiny_bag()), '--msgs', str(tmp_path / 'bags')]
    assert main(words) == 2
    assert 'no .msg files found, expected PACKAGE/msg/NAME.msg' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('fields', 'found'),
    [
        ('["twist.linear.z1","twist.angular.z"]', "has no field 'z1'; did you mean 'z'"),
        ('["twist.linear","twist.angular.z"]', 'expected a number, found geometry_msgs'),
    ],
)
def test_a_field_that_is_mistyped_is_not_called_damage(
    tmp_path: Path, tiny_bag: MakeBag, fields: str, found: str
) -> None:
    with pytest.raises(BagError, match=f'{found}.*; correct robot.command.fields') as caught:
        made(tmp_path, tiny_bag(), f'robot.command.fields={fields}')
    assert 'damaged' not in str(caught.value)


@pytest.mark.parametrize('profile', ['', 'protobuf'])
def test_a_mcap_that_is_not_of_ros_says_whose_it_is(tmp_path: Path, profile: str) -> None:
    path = tmp_path / 'other.mcap'
    with path.open('wb') as file:
        writer = McapWriter(file)
        writer.start(profile=profile, library='')
        schema = writer.register_schema('foxglove.CompressedImage', 'protobuf', b'')
        channel = writer.register_channel('/camera', 'protobuf', schema)
        writer.add_message(channel, 1, b'data', 1)
        writer.finish()
    with pytest.raises(
        BagError, match=r'are protobuf \(foxglove\.CompressedImage\), as Foxglove writes'
    ):
        made(tmp_path, path)


def test_video_that_is_damaged_or_of_another_codec_leads_to_what_can_be_read(
    tmp_path: Path, capsys: Capture
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    msg: Any = new_message(STORE, 'sensor_msgs/msg/CompressedImage')
    for tick in range(40):
        for form in ('h264', 'vp9'):
            msg.format, msg.data = form, np.arange(99, dtype=np.uint8)
            bag.send(f'/{form}', msg, tick)
        bag.command(tick)
    path = bag.close()
    assert main(['inspect', str(path)]) == 0
    said = capsys.readouterr().out
    hints = {
        'h264': ' s: a packet of 99 bytes has no NAL unit, expected h264 as a byte stream',
        'vp9': "'vp9' image of 99 bytes cannot be decoded; expected png, jpeg, tiff or webp, or ",
    }
    for form, hint in hints.items():
        assert hint in said
        words = (f'robot.camera.topic=/{form}', f'robot.camera.type={msg.__msgtype__}')
        with pytest.raises(BagError, match=re.escape(hint)):
            made(tmp_path, path, *words)
