# SPDX-License-Identifier: Apache-2.0
"""The contact sheet shows what is in a dataset, and needs nothing beside itself."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
import os
from pathlib import Path

from exchanged import SETTINGS, write_dataset
import numpy as np
import pytest
from recordings import made, TinyBag, without_pictures
from smwm_ros.cli import main
from smwm_ros.config import Command, Robot
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.describe import describe
from smwm_ros.interfaces import ActionSpec
from smwm_ros.pages.dataset import contact_sheet
from smwm_ros.pages.parts import command_tile, DRIVEN

WHOLE = replace(SETTINGS, val_share=0.0)  # no drive is cut to be held out


class Page(HTMLParser):
    """Takes a page apart: its texts, where its pictures come from, and what it opens and shuts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.sources: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == [], 'every tag is shut'

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is opened, and what it points to."""
        self.sources += [value or '' for name, value in attrs if name in ('src', 'href')]
        if tag not in ('meta', 'img', 'input', 'br', 'link'):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Do nothing: a line of a drawing."""

    def handle_endtag(self, tag: str) -> None:
        """Check that what is shut is what was opened last."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.texts.append(data)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    out = tmp_path / 'pages' / 'view.html'
    assert (
        main(['view', str(write_dataset(tmp_path / 'data', settings=WHOLE)), '--out', str(out)])
        == 0
    )
    assert sorted(path.name for path in out.parent.iterdir()) == ['index.html', 'view.html']
    return Page(out.read_text(encoding='utf-8'))


def test_without_a_name_the_page_lies_beside_the_dataset(tmp_path: Path) -> None:
    assert main(['view', f'{write_dataset(tmp_path / "data", settings=WHOLE)}/']) == 0
    assert Page((tmp_path / 'data.html').read_text(encoding='utf-8')).texts


def test_the_page_needs_nothing_beside_itself(page: Page) -> None:
    assert len(page.sources) == 1 + 1 + 3, 'an icon, a frame, a strip for each episode'
    assert all(source.startswith('data:image/png;base64,') for source in page.sources)


def test_the_page_shows_gaps_losses_notes_and_sources(page: Page) -> None:
    text = ' '.join(page.texts)
    for words in (
        'no command was heard in time 6 tuesday',  # 3 in each recording
        'monday 12.90 s 1.00 s',  # how far into the recording, and how long
        'monday: 60 % of the file could be read',
        'header: all topics have sound headers',
        'twist.linear.x (limits -0.5 to 0.5)',
        'Measured path',
        'a.mcap',
        'dataset.image_size=16',
    ):
        assert words in text, words


def test_a_path_is_drawn_where_it_was_measured_and_unknown_states_are_counted(
    tmp_path: Path,
) -> None:
    bag = TinyBag(tmp_path / 'stutter')
    for tick in range(60):
        bag.frame(tick)
        bag.command(tick)
        if not 20 <= tick < 30:
            bag.pose(tick, tick / 8)
    data = made(tmp_path, bag.close(), 'robot.state.topic=/odom')
    assert '  ticks without a measured state: 9' in describe(data)
    text, _ = contact_sheet(data, 1)
    assert 'counted ticks without a measured state 9 stutter' in ' '.join(Page(text).texts)
    assert 'nan' not in without_pictures(text)
    assert 'no data' not in text


def test_the_oldest_frames_and_commands_are_shown_with_their_pictures(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'late')
    for tick in range(60):
        if tick != 20:
            bag.frame(tick)
        if tick not in (41, 42, 43):
            bag.command(tick)
    data = made(tmp_path, bag.close(), 'dataset.max_frame_age=0.25')
    assert '  maximum age at a tick: command 300 ms, frame 100 ms' in describe(data)
    text, _ = contact_sheet(data, 0)
    said = ' '.join(Page(text).texts)
    for words in (
        'frame 100 ms old late 2.00 s',
        'command 300 ms old late 4.30 s command 200 ms old late 4.20 s',
        'Age of the frame at its tick',
        'median below',
    ):
        assert words in said, words
    assert len(Page(text).sources) == 2 + 1 + 3, 'one picture for each tick that was late'


@pytest.mark.parametrize(
    ('fields', 'action', 'towards'),
    [
        (('linear.x', 'linear.y'), (1.0, 0.0), (0, 1)),  # to the right
        (('linear.x', 'linear.y'), (0.0, -1.0), (1, 0)),  # down
        (('linear.x', 'angular.z'), (1.0, 0.0), (-1, 0)),  # ahead is up
        (('linear.x', 'angular.z'), (0.0, 1.0), (0, -1)),  # a turn to the left
        (('drive.steering_angle', 'drive.speed'), (0.0, 1.0), (-1, 0)),
    ],
)
def test_arrows_point_where_the_robot_was_commanded_to_go(
    fields: tuple[str, str], action: tuple[float, float], towards: tuple[int, int]
) -> None:
    spec = ActionSpec(fields, (-1.0, -1.0), (1.0, 1.0), 0.1)
    drawn = command_tile({DRIVEN: np.array(action)}, spec, 94, 94)
    place = np.argwhere((drawn == DRIVEN).all(2)).mean(0) - (np.array(drawn.shape[:2]) - 1) / 2
    assert np.abs(place - 20 * np.array(towards)).max() < 12


def test_of_many_episodes_as_many_are_shown_as_asked_for_first_and_last_among_them(
    tmp_path: Path,
) -> None:
    data = TransitionDataset.open(write_dataset(tmp_path / 'data', settings=WHOLE))
    text, shown = contact_sheet(data, 2)
    assert shown == 2
    assert 'Episode 0, ' in text
    assert 'Episode 2, ' in text
    assert 'Episode 1, ' not in text
    assert contact_sheet(data, 0)[1] == 0


def test_actions_beyond_the_limits_are_reported(tmp_path: Path) -> None:
    robot = Robot(command=Command(low=(-0.25, -1.0), high=(0.25, 1.0)))
    data = TransitionDataset.open(write_dataset(tmp_path / 'data', robot, WHOLE))
    share = float((np.abs(data.actions(np.arange(len(data)))[:, 0]) > 0.25).mean())
    assert (
        f'twist.linear.x (limits -0.25 to 0.25, {share:.1%} beyond)' in contact_sheet(data, 0)[0]
    )


def test_a_page_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_dataset(tmp_path / 'data', settings=WHOLE)

    def full(descriptor: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    assert main(['view', str(data), '--out', str(tmp_path / 'out' / 'view.html')]) == 2
    assert 'view.html: cannot be written: No space left on device' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_page_that_cannot_be_asked_for_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        main(['view', 'data', '--out', 'x.html', '--episodes', 'all'])
    assert "'all': expected a whole number" in capsys.readouterr().err
