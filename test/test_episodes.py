# SPDX-License-Identifier: Apache-2.0
"""Episodes are bags that are complete or hidden, with task and outcome, and none gets lost."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from recordings import image, read, STORE, TinyBag
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader
from smwm_ros.bags.reading.find import Bag, find_bags
from smwm_ros.bags.reading.outcome import read_outcome, TaskOutcome, write_outcome
from smwm_ros.bags.writing.episodes import EpisodeFolder
from smwm_ros.bags.writing.raw import RawWriter
from smwm_ros.bags.writing.rosbag2 import new_bag, Rosbag2Writer
from smwm_ros.errors import BagError, OutputError, SmwmError
import yaml

IMAGE, TEXT = 'sensor_msgs/msg/Image', 'std_msgs/msg/String'
TEXTS = {TEXT: 'string data\n'}
SECOND = 1_000_000_000


@pytest.fixture
def episodes(tmp_path: Path) -> Iterator[EpisodeFolder]:
    with EpisodeFolder(tmp_path / 'out', reserve=0) as made:
        yield made


def say(folder: EpisodeFolder, *texts: str) -> None:
    """Record some texts."""
    if not folder.recording or not folder.recording.counts:
        folder.add_topic('/say', TEXT, TEXTS, False)
    for number, text in enumerate(texts):
        data = bytes(STORE.serialize_cdr(STORE.types[TEXT](text), TEXT))
        folder.write('/say', data, (number + 1) * SECOND)


def record(folder: EpisodeFolder, *texts: str, task: str = '') -> Path:
    """Record an episode."""
    name = folder.start(task)
    say(folder, *texts or ('hello',))
    folder.stop()
    return folder.folder / name


def said(path: Path) -> list[str]:
    """Return the texts in a bag."""
    return [message.data for _, _, message in read(path)]


def outcome_of(path: Path) -> TaskOutcome:
    """Return what a bag stores."""
    return read_outcome(Bag('', (path,)))


def names(folder: Path) -> list[str]:
    """Return what lies in a folder, without its lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != '.smwm.lock')


def test_an_episode_is_hidden_until_it_is_complete(episodes: EpisodeFolder) -> None:
    assert episodes.start('sweep the  floor\n') == 'episode_0001'
    say(episodes, 'one', 'two')
    assert names(episodes.folder) == ['.recording-episode_0001']
    assert episodes.judge('success') == 'episode_0001: success; it is still being recorded'
    assert episodes.stop().endswith('episode_0001: 2 messages, success')
    assert names(episodes.folder) == ['episode_0001']
    path = episodes.folder / 'episode_0001'
    assert said(path) == ['one', 'two']
    assert outcome_of(path) == ('sweep the floor', 'success', '')
    with Reader(path) as reader:
        assert [(one.topic, one.msgtype) for one in reader.connections] == [('/say', TEXT)]
        assert reader.message_count == 2


def test_an_outcome_may_be_changed_until_the_next_episode(episodes: EpisodeFolder) -> None:
    first = record(episodes, task='one')
    assert outcome_of(first) == ('one', '', '')
    assert episodes.judge('success') == 'episode_0001: success'
    assert episodes.judge('failure') == 'episode_0001: failure'
    episodes.start('two')
    say(episodes, 'hello')
    episodes.judge('success')
    episodes.stop()
    third = record(episodes, task='three')
    assert outcome_of(first) == ('one', 'failure', '')
    assert outcome_of(third) == ('three', '', ''), 'the outcome of another episode'


def test_a_discarded_episode_is_kept_until_the_next_one_is(episodes: EpisodeFolder) -> None:
    record(episodes, 'good')
    bad = record(episodes, 'bad')
    assert 'the last episode' in episodes.discard()
    assert not bad.exists()
    assert said(episodes.folder / '.discarded' / bad.name) == ['bad']
    assert [bag.name for bag in find_bags([episodes.folder])] == ['episode_0001']
    with pytest.raises(BagError, match=r'nothing to discard.* discarded already'):
        episodes.discard()
    with pytest.raises(BagError, match='no episode yet, or the last one was discarded'):
        episodes.judge('success')
    assert episodes.stored == 1
    episodes.start('')
    say(episodes, 'worse')
    assert 'episode_0003: discarded, the recording' in episodes.discard()
    assert names(episodes.folder / '.discarded') == ['episode_0003']
    assert said(episodes.folder / '.discarded' / 'episode_0003') == ['worse']
    with pytest.raises(BagError, match='nothing to discard'):
        episodes.discard()
    assert names(episodes.folder) == ['.discarded', 'episode_0001']


def test_requests_out_of_order_are_refused(episodes: EpisodeFolder) -> None:
    with pytest.raises(BagError, match='nothing is being recorded; start an episode first'):
        episodes.stop()
    with pytest.raises(BagError, match='there is no episode yet'):
        episodes.judge('success')
    with pytest.raises(BagError, match='nothing to discard: no episode yet'):
        episodes.discard()
    episodes.start('')
    with pytest.raises(BagError, match='episode_0001 is being recorded already; stop or disc'):
        episodes.start('')
    with pytest.raises(BagError, match=r'episode_0001: no message was received.*publishers'):
        episodes.stop()
    assert names(episodes.folder) == []
    episodes.start('')
    assert episodes.discard() == 'episode_0002: discarded; it had no messages'
    assert names(episodes.folder) == []
    assert episodes.stored == 0


def test_the_end_of_the_recorder_stores_the_recording(tmp_path: Path) -> None:
    with EpisodeFolder(tmp_path / 'out', 0) as folder:
        folder.start('')
        say(folder, 'last')
    assert said(tmp_path / 'out' / 'episode_0001') == ['last']
    assert names(tmp_path / 'out') == ['episode_0001']


def test_numbers_go_on_and_no_name_is_used_twice(tmp_path: Path) -> None:
    with EpisodeFolder(tmp_path, 0) as folder:
        record(folder)
        record(folder)
        folder.discard()
    with EpisodeFolder(tmp_path, 0) as folder:
        assert record(folder).name == 'episode_0003'
    shutil.rmtree(tmp_path / 'episode_0001')
    with EpisodeFolder(tmp_path, 0) as folder:
        assert record(folder).name == 'episode_0004'


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    bag.command(0)
    bag.close()
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'dataset.json').touch()
    (tmp_path / 'file').touch()
    for name, what in (('bag', 'is a bag'), ('data', 'is a dataset'), ('file', 'is a file')):
        with (
            pytest.raises(BagError, match=f'{name}: {what}; choose'),
            EpisodeFolder(tmp_path / name, 0),
        ):
            pass


def test_two_recorders_do_not_share_a_folder(tmp_path: Path) -> None:
    code = f'EpisodeFolder(Path({str(tmp_path)!r}), 0).__enter__()'
    code = f'from smwm_ros.bags.writing.episodes import EpisodeFolder, Path; {code}'
    with EpisodeFolder(tmp_path, 0):
        other = subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE, check=False)
    assert b'is being written by process' in other.stderr


def test_a_full_disk_refuses_an_episode_and_says_how_much_is_free(tmp_path: Path) -> None:
    space = 3 * 10**9
    with EpisodeFolder(tmp_path / 'out', 2 * 10**9, free=lambda _: space) as folder:
        record(folder)
        assert folder.space == 10**9
        space = 2 * 10**9
        assert folder.space == 0
        with pytest.raises(OutputError, match=r'nearly full: 2.00 GB free.* than 2.00 GB; free'):
            folder.start('')
        assert folder.recording is None
    assert names(tmp_path / 'out') == ['episode_0001']


def test_an_interrupted_recording_is_stored_at_the_next_start(tmp_path: Path) -> None:
    with EpisodeFolder(tmp_path / 'live', 0) as folder:
        record(folder)
        folder.start('')
        say(folder, 'one', 'two')
        folder.flush()
        say(folder, 'lost')
        shutil.copytree(tmp_path / 'live', tmp_path / 'crashed')  # as kill -9 would leave it
    (tmp_path / 'crashed' / '.recording-episode_0007').mkdir()
    with EpisodeFolder(tmp_path / 'crashed', 0) as folder:
        assert len(folder.recovered) == 2
        assert 'episode_0002: its recording was interrupted' in folder.recovered[0]
        assert 'remove it if you do not need it' in folder.recovered[1]
        assert record(folder).name == 'episode_0008'
    assert said(tmp_path / 'crashed' / 'episode_0002') == ['one', 'two']
    assert [bag.name for bag in find_bags([tmp_path / 'crashed'])][1] == 'episode_0002'


def test_a_bag_that_was_only_not_renamed_is_stored_with_its_outcome(tmp_path: Path) -> None:
    with EpisodeFolder(tmp_path, 0) as folder:
        path = record(folder, task='sweep')
        folder.judge('success')
    part = tmp_path / f'.recording-{path.name}'
    part.mkdir()
    path.rename(part / path.name)
    with EpisodeFolder(tmp_path, 0) as folder:
        assert 'complete' in folder.recovered[0]
    assert outcome_of(path) == ('sweep', 'success', '')
    assert names(tmp_path) == ['episode_0001']


def test_what_was_recorded_stays_when_it_cannot_be_completed(
    episodes: EpisodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OutputError('disk: cannot be written: no space')

    episodes.start('')
    say(episodes, 'one')
    episodes.flush()
    monkeypatch.setattr(RawWriter, 'close', fail)
    with pytest.raises(OutputError, match=r'no space; .*\.recording-episode_0001 has what was'):
        episodes.stop()
    assert episodes.recording is None
    assert said(episodes.folder / '.recording-episode_0001') == ['one']


def test_message_definitions_come_from_the_installed_types(tmp_path: Path) -> None:
    bag = RawWriter(tmp_path / 'bag')
    order = {'my_msgs/msg/Order': 'my_msgs/Item[<=3] items\nstring<=9 name\n'}
    order |= {'my_msgs/msg/Item': 'float64[2] size\nuint8 colour\n'}
    bag.add_topic('/order', 'my_msgs/msg/Order', order, latched=True)
    bag.add_topic('/empty', 'std_msgs/msg/Empty', {'std_msgs/msg/Empty': ''})
    # rclpy calls a char a uint8.
    bag.add_topic('/letter', 'std_msgs/msg/Char', {'std_msgs/msg/Char': 'uint8 data\n'})
    bag.add_topic('/odd', 'std_msgs/msg/Bool', {'std_msgs/msg/Bool': 'bool data\nbool more\n'})
    bag.write('/order', bytes(4), 1)
    bag.close()
    with Reader(tmp_path / 'bag') as reader:
        stored = {one.topic: one for one in reader.connections}
    assert 'string<=9 name' in stored['/order'].msgdef.data
    assert 'MSG: my_msgs/Item' in stored['/order'].msgdef.data
    for topic, name in (('/empty', 'Empty'), ('/letter', 'Char')):
        assert stored[topic].digest == STORE.hash_rihs01(f'std_msgs/msg/{name}')
    assert 'bool more' in stored['/odd'].msgdef.data, 'the installed type is another one'
    exts: dict[str, Any] = {topic: one.ext for topic, one in stored.items()}
    qos = {topic: ext.offered_qos_profiles[0].durability for topic, ext in exts.items()}
    assert qos['/order'] == QosDurability.TRANSIENT_LOCAL
    assert qos['/empty'] == QosDurability.VOLATILE


@pytest.mark.parametrize('compress', [False, True])
def test_bags_may_be_compressed(tmp_path: Path, compress: bool) -> None:
    bag = new_bag(tmp_path / 'bag', compress)
    bag.add_topic('/camera', IMAGE, _texts(IMAGE))
    message = image(np.zeros((64, 64, 3), np.uint8))
    for number in range(3):
        bag.write('/camera', bytes(STORE.serialize_cdr(message, IMAGE)), number)
        bag.flush()
    bag.close()
    assert len(read(tmp_path / 'bag')) == 3
    (file,) = (tmp_path / 'bag').glob('*.mcap')
    assert (file.stat().st_size < 64 * 64 * 3) == compress


def _texts(kind: str) -> dict[str, str]:
    """Return the definitions of a type and those of its fields."""
    whole, _ = STORE.generate_msgdef(kind, ros_version=2)
    first, *others = whole.split('=' * 80 + '\n')
    texts = {kind: first}
    for other in others:
        head, _, text = other.partition('\n')
        package, _, name = head.removeprefix('MSG: ').partition('/')
        texts[f'{package}/msg/{name}'] = text
    return texts


@pytest.mark.parametrize(
    ('stored', 'found'),
    [
        ({}, ('', '', '')),
        (None, ('', '', '')),
        ('text', ('', '', '')),
        ({'lerobot.operator_prompt': 'pick it'}, ('pick it', '', '')),
        ({'task': 'mine', 'lerobot.operator_prompt': 'theirs'}, ('mine', '', '')),
        ({'outcome': 'failure'}, ('', 'failure', '')),
        ({'success': 'true'}, ('', 'success', '')),
        ({'success': False}, ('', 'failure', '')),
        ({'outcome': 'Succeeded', 'operator': 'me'}, ('', 'success', '')),
    ],
)
def test_what_other_recorders_store_is_read(tmp_path: Path, stored: Any, found: Any) -> None:
    path = _bag(tmp_path)
    _store(path, stored)
    assert outcome_of(path) == found


def test_an_unknown_outcome_is_named(tmp_path: Path) -> None:
    path = _bag(tmp_path)
    _store(path, {'outcome': 'sucess'})
    task, outcome, flaw = outcome_of(path)
    assert (task, outcome) == ('', '')
    assert flaw == "metadata.yaml: custom_data: outcome 'sucess', expected success or failure"


def test_an_outcome_leaves_the_rest_of_the_metadata_as_it_was(tmp_path: Path) -> None:
    path = _bag(tmp_path)
    _store(path, {'operator': 'me', 'outcome': 'failure'})
    before = yaml.safe_load((path / 'metadata.yaml').read_text())
    write_outcome(path, 'Übung: 1', 'success')
    after = yaml.safe_load((path / 'metadata.yaml').read_text())
    custom = after['rosbag2_bagfile_information'].pop('custom_data')
    del before['rosbag2_bagfile_information']['custom_data']
    assert custom == {'operator': 'me', 'task': 'Übung: 1', 'outcome': 'success'}
    assert after == before
    assert len(read(path)) == 1


def test_a_damaged_metadata_is_not_rewritten(tmp_path: Path) -> None:
    path = _bag(tmp_path)
    (path / 'metadata.yaml').write_text('[')
    assert outcome_of(path) == ('', '', '')
    with pytest.raises(SmwmError, match=r'metadata.yaml: not valid YAML'):
        write_outcome(path, '', 'success')
    (path / 'metadata.yaml').write_text('other: 1')
    with pytest.raises(SmwmError, match=r'metadata.yaml: has no rosbag2_bagfile_information'):
        write_outcome(path, '', 'success')


def _bag(folder: Path) -> Path:
    """Write a bag with one message."""
    bag = TinyBag(folder / 'bag')
    bag.command(0)
    return bag.close()


def _store(path: Path, custom: Any) -> None:
    """Store custom data in a bag."""
    file = path / 'metadata.yaml'
    data = yaml.safe_load(file.read_text())
    data['rosbag2_bagfile_information']['custom_data'] = custom
    file.write_text(yaml.safe_dump(data))


class FakeRosbag2:
    """Has the interface of rosbag2_py, of ROS 2 Jazzy or Humble."""

    def __init__(self, humble: bool) -> None:
        self.calls: list[Any] = []
        outer = self

        class SequentialWriter:
            def open(self, storage: Any, converter: Any) -> None:
                Path(storage.uri).mkdir()
                outer.calls.append(('open', storage.storage_id))

            def create_topic(self, topic: Any) -> None:
                outer.calls.append(('topic', topic.name, topic.type))

            def write(self, topic: str, data: bytes, stamp: int) -> None:
                outer.calls.append(('write', topic, data, stamp))

        def close(writer: Any) -> None:
            outer.calls.append('close')

        def topic(**about: Any) -> Any:
            if humble and 'id' in about:
                raise TypeError('incompatible constructor arguments')
            return SimpleNamespace(**about)

        if not humble:
            SequentialWriter.close = close  # type: ignore[attr-defined]
        self.SequentialWriter, self.TopicMetadata = SequentialWriter, topic
        self.StorageOptions = lambda **options: SimpleNamespace(**options)
        self.ConverterOptions = lambda *formats: formats

    def get_registered_writers(self) -> set[str]:
        """Return the plug-ins."""
        return {'sqlite3', 'mcap'}


@pytest.mark.parametrize('humble', [False, True])
def test_rosbag2_writes_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, humble: bool
) -> None:
    fake = FakeRosbag2(humble)
    monkeypatch.setitem(sys.modules, 'rosbag2_py', fake)
    bag = new_bag(tmp_path / 'out' / 'bag', compress=False)
    assert isinstance(bag, Rosbag2Writer)
    bag.add_topic('/say', TEXT, TEXTS)
    bag.write('/say', b'data', 7)
    (tmp_path / 'out' / 'bag' / 'metadata.yaml').touch()
    bag.close()
    assert fake.calls[:3] == [
        ('open', 'mcap'),
        ('topic', '/say', TEXT),
        ('write', '/say', b'data', 7),
    ]
    assert fake.calls[3:] == ['close'] * (not humble)


def test_without_the_plug_in_of_mcap_rosbag2_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeRosbag2(humble=True)
    monkeypatch.setattr(fake, 'get_registered_writers', lambda: {'sqlite3'})
    monkeypatch.setitem(sys.modules, 'rosbag2_py', fake)
    bag = new_bag(tmp_path / 'bag', compress=False)
    bag.abort()
    assert isinstance(bag, RawWriter)


@pytest.mark.skipif(find_spec('rosbag2_py') is None, reason='rosbag2_py is not installed')
def test_the_real_rosbag2_writes_a_bag_that_is_read_back(tmp_path: Path) -> None:
    with EpisodeFolder(tmp_path, 0) as folder:
        path = record(folder, 'one', 'two', task='sweep')
        folder.judge('failure')
    assert said(path) == ['one', 'two']
    assert outcome_of(path) == ('sweep', 'failure', '')
