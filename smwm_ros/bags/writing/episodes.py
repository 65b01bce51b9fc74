# SPDX-License-Identifier: Apache-2.0
"""
A folder of episodes, one bag for each, which are started, stopped, judged and discarded.

    episode_0001/                    a complete episode: a bag with task and outcome
    .recording-episode_0002/         an episode that is being recorded, or was when it crashed
    .discarded/episode_0003/         the episode that was discarded last
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
import re
import shutil
from types import TracebackType
from typing import NamedTuple

from smwm_ros.bags.reading.find import METADATA
from smwm_ros.bags.reading.outcome import write_outcome
from smwm_ros.bags.writing.rosbag2 import EpisodeWriter, new_bag
from smwm_ros.bags.writing.writer import PARTIAL
from smwm_ros.data.dataset import INDEX
from smwm_ros.errors import BagError, OutputError, SmwmError, writing
from smwm_ros.files import publish, remove
from smwm_ros.lock import hold
from smwm_ros.text import count_of

DISCARDED = '.discarded'
_NUMBERED = re.compile(r'episode_(\d+)')


class EpisodeRecording(NamedTuple):
    """The episode that is being recorded."""

    name: str
    task: str
    bag: EpisodeWriter
    counts: Counter[str]  # messages, by topic


def free_space(folder: Path) -> int:
    """Return the free space of the disk with a folder [bytes]."""
    return shutil.disk_usage(folder).free


class EpisodeFolder:
    """
    Records episodes in a folder; use it in a `with` block, at whose end a recording is stored.

    reserve: free space of the disk [bytes] below which nothing is recorded. Not thread-safe.
    """

    def __init__(
        self,
        folder: Path,
        reserve: int,
        compress: bool = False,
        free: Callable[[Path], int] = free_space,
    ) -> None:
        self.folder, self.reserve = folder, reserve
        self.recording: EpisodeRecording | None = None
        self.stored = 0  # episodes of this session that were stored and not discarded
        self.recovered: list[str] = []  # what became of episodes that a crash interrupted
        self._compress, self._free = compress, free
        self._outcome = ''  # of the recording
        self._last: tuple[Path, str] | None = None  # the last episode and its task
        self._next = 1  # number of the next episode
        self._stack = ExitStack()

    def __enter__(self) -> EpisodeFolder:
        """Create and lock the folder; store what an interrupted recording left."""
        folder = self.folder
        for file, what in ((METADATA, 'a bag'), (INDEX, 'a dataset')):
            if (folder / file).is_file():
                raise BagError(
                    f'{folder}: is {what}; choose another folder, in which each episode becomes a '
                    'bag of its own'
                )
        if folder.exists() and not folder.is_dir():
            raise BagError(f'{folder}: is a file; choose another path for the folder of episodes')
        self._stack.enter_context(hold(folder))
        try:
            self._next = 1 + max(map(_number, _names(folder)), default=0)
            with writing(folder):
                for part in sorted(folder.glob(f'{PARTIAL}*')):
                    self.recovered += _recovered(part, folder)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Store a recording, and unlock the folder."""
        with self._stack:
            if self.recording:
                self.stop()

    @property
    def space(self) -> int:
        """Return how much may still be recorded [bytes]; 0 if the disk is nearly full."""
        try:
            return max(self._free(self.folder) - self.reserve, 0)
        except OSError:  # the folder is gone
            return 0

    def start(self, task: str) -> str:
        """Begin an episode; return its name."""
        if self.recording:
            raise BagError(
                f'{self.recording.name} is being recorded already; stop or discard it first'
            )
        with writing(self.folder):
            free = self._free(self.folder)
        if free <= self.reserve:
            raise OutputError(
                f'{self.folder}: the disk is nearly full: {free / 1e9:.2f} GB free, expected more '
                f'than {self.reserve / 1e9:.2f} GB; free some, or lower --reserve'
            )
        name = f'episode_{self._next:04d}'
        bag = new_bag(self._part(name) / name, self._compress)
        self.recording = EpisodeRecording(name, ' '.join(task.split()), bag, Counter())
        self._outcome = ''
        self._next += 1
        return name

    def add_topic(self, topic: str, kind: str, texts: Mapping[str, str], latched: bool) -> None:
        """Add a topic to the recording, with its message definitions."""
        self._require().bag.add_topic(topic, kind, texts, latched)

    def write(self, topic: str, data: bytes, received: int) -> None:
        """Add a message of a topic to the recording, at its receive time [ns]."""
        recording = self._require()
        recording.bag.write(topic, data, received)
        recording.counts[topic] += 1

    def flush(self) -> None:
        """Hand what was recorded to the system, so that it outlives this process."""
        if self.recording:
            self.recording.bag.flush()

    def stop(self) -> str:
        """End the recording and store it; return what was stored, as text."""
        recording = self._require()
        path = self.folder / recording.name
        self._store(recording, path)
        self._last = path, recording.task
        self.stored += 1
        words = f'{path}: {count_of(recording.counts.total(), "message")}'
        return f'{words}, {self._outcome or "no outcome yet"}'

    def judge(self, outcome: str) -> str:
        """Set the outcome of the recording, else of the last episode; return which, as text."""
        if self.recording:
            self._outcome = outcome
            return f'{self.recording.name}: {outcome}; it is still being recorded'
        if not self._last:
            raise BagError('there is no episode yet, or the last one was discarded')
        path, task = self._last
        write_outcome(path, task, outcome)
        return f'{path.name}: {outcome}'

    def discard(self) -> str:
        """Move the recording, else the last episode, out of the way; return which, as text."""
        if recording := self.recording:
            name, what = recording.name, 'the recording'
            if not recording.counts:
                self._drop(recording)
                return f'{name}: discarded; it had no messages'
            self._store(recording, self._discarded(name))
        elif self._last:
            path, _ = self._last
            name, what = path.name, 'the last episode'
            with writing(path):
                path.rename(self._discarded(name))
            self.stored -= 1
        else:
            raise BagError(
                'there is nothing to discard: no episode yet, or the last one was discarded '
                'already; remove older ones by hand'
            )
        self._last = None  # a second call must not remove an older episode
        place = self.folder / DISCARDED / name
        return f'{name}: discarded, {what}; until the next one is discarded, it is in {place}'

    def _require(self) -> EpisodeRecording:
        """Return the recording, or raise."""
        if self.recording is None:
            raise BagError('nothing is being recorded; start an episode first')
        return self.recording

    def _store(self, recording: EpisodeRecording, path: Path) -> None:
        """Complete the bag of the recording, and move it to its path."""
        if not recording.counts:
            self._drop(recording)
            raise BagError(
                f'{recording.name}: no message was received, so it was not stored; check that the '
                'topics have publishers'
            )
        part = self._part(recording.name)
        whole = part / recording.name
        self.recording = None
        try:
            recording.bag.close()
            write_outcome(whole, recording.task, self._outcome)
            publish(whole, path)
        except SmwmError as error:
            recording.bag.abort()
            raise OutputError(
                f'{error}; {part} has what was recorded, and smwm convert reads it'
            ) from error
        remove(part)

    def _drop(self, recording: EpisodeRecording) -> None:
        """Remove a recording without messages."""
        self.recording = None
        recording.bag.abort()
        remove(self._part(recording.name))

    def _part(self, name: str) -> Path:
        """Return the hidden folder of an episode that is being recorded."""
        return self.folder / f'{PARTIAL}{name}'

    def _discarded(self, name: str) -> Path:
        """Return the place of a discarded episode; the one that was there is removed."""
        place = self.folder / DISCARDED
        remove(place)
        with writing(place):
            place.mkdir()
        return place / name


def _names(folder: Path) -> list[str]:
    """Return the names of all episodes in a folder, also of hidden ones."""
    hidden = [path.name.removeprefix(PARTIAL) for path in folder.glob(f'{PARTIAL}*')]
    kept = [path.name for path in folder.glob(f'{DISCARDED}/*')]
    return [*(path.name for path in folder.iterdir()), *hidden, *kept]


def _number(name: str) -> int:
    """Return the number of an episode, 0 for another name."""
    found = _NUMBERED.fullmatch(name)
    return int(found[1]) if found else 0


def _recovered(part: Path, folder: Path) -> list[str]:
    """Move the files of an interrupted recording to the place of its episode, and say so."""
    name = part.name.removeprefix(PARTIAL)
    place = folder / name
    whole = part / name
    if (whole / METADATA).is_file() and not place.exists():  # only the renaming was missing
        publish(whole, place)
        remove(part)
        return [f'{place}: complete, but not yet stored when the recorder ended']
    files = sorted(whole.glob('*.mcap'))
    if not any(file.stat().st_size for file in files) or place.exists():
        return [f'{part}: left by an interrupted recording; remove it if you do not need it']
    place.mkdir()
    for number, file in enumerate(files):  # as rosbag2 names them, so that they are one bag
        file.rename(place / f'{name}_{number}.mcap')
    remove(part)
    return [f'{place}: its recording was interrupted; smwm convert reads what was written']
