# SPDX-License-Identifier: Apache-2.0
"""Episodes that a topic marks are the episodes of the dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recordings import made, MakeBag, shown, STORE, TinyBag
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.errors import BagError


def marked(path: Path, kind: str, marks: dict[float, Any]) -> Path:
    bag = TinyBag(path)
    for tick in range(100):
        bag.frame(tick)
        bag.command(tick)
        for at, said in marks.items():
            if tick <= at < tick + 1:
                msg = new_message(STORE, kind)
                msg.data = said
                bag.send('/episode', msg, at)
    return bag.close()


@pytest.mark.parametrize('base', ['header', 'receive'])
def test_a_bool_topic_says_when_an_episode_is_on(tmp_path: Path, base: str) -> None:
    marks = {0.5: False, 9.5: True, 20.5: True, 39.5: False, 49.5: True, 69.5: False, 70.5: True}
    path = marked(tmp_path / 'bag', 'std_msgs/msg/Bool', marks)
    words = ('dataset.episode_topic=/episode', f'dataset.time={base}')
    data = made(tmp_path, path, *words)
    ticks = shown(data)
    spans = [(ticks[e.start], ticks[e.stop - 1]) for e in data.episodes]
    assert spans == [(10, 39), (50, 69), (71, 99)]
    dropped = data.metas['bag']['dropped']
    assert dropped['outside of the marked episodes'] == 10 + 10 + 1
    starts = data.starts('all')
    assert (ticks[starts + 5] - ticks[starts] == 5).all()


def test_a_string_topic_names_episodes_and_a_new_name_begins_one(tmp_path: Path) -> None:
    marks = {9.5: 'pick', 15.5: 'pick', 39.5: 'place', 69.5: '', 79.5: 'place'}
    path = marked(tmp_path / 'bag', 'std_msgs/msg/String', marks)
    data = made(tmp_path, path, 'dataset.episode_topic=/episode')
    ticks = shown(data)
    spans = [(ticks[e.start], ticks[e.stop - 1]) for e in data.episodes]
    assert spans == [(10, 39), (40, 69), (80, 99)]


def test_a_mark_holds_on_after_the_clock_has_jumped(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    msg = new_message(STORE, 'std_msgs/msg/Bool')
    msg.data = True
    bag.send('/episode', msg, -1)
    for tick in range(60):
        jump = -500 if tick >= 30 else 0
        bag.frame(tick + jump, value=tick, late=-jump)
        bag.command(tick + jump, value=tick, late=-jump)
    data = made(tmp_path, bag.close(), 'dataset.episode_topic=/episode')
    assert shown(data).tolist() == list(range(60))
    assert [(e.start, e.stop) for e in data.episodes] == [(0, 30), (30, 60)]


def test_a_topic_of_other_messages_marks_no_episodes(tmp_path: Path, tiny_bag: MakeBag) -> None:
    with pytest.raises(BagError, match='TwistStamped, expected std_msgs/msg/Bool'):
        made(tmp_path, tiny_bag(), 'dataset.episode_topic=/cmd_vel')
    with pytest.raises(BagError, match="no topic '/mark'"):
        made(tmp_path, tiny_bag('other'), 'dataset.episode_topic=/mark')
