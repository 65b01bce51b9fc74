# SPDX-License-Identifier: Apache-2.0
"""Pages say first what is wrong, fit on a phone, show films of bounded size, and are listed."""

from __future__ import annotations

from base64 import b64decode
import json
import os
from pathlib import Path
import re

import cv2
import numpy as np
import pytest
from recordings import image, made, shown, TinyBag, without_pictures
from smwm_ros.cli import main
from smwm_ros.data.photographs import photographs
from smwm_ros.interfaces import ActionSpec
from smwm_ros.pages import html
from smwm_ros.pages.dataset import contact_sheet
from smwm_ros.pages.film import film, MOST, SIZE
from smwm_ros.pages.index import entries, publish
from smwm_ros.pages.lag import lag
from smwm_ros.pages.parts import command_tile, DRIVEN, FRAME, PLANNED, strip

VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">'


def test_warnings_come_first_and_are_absent_where_there_are_none() -> None:
    text = html.page('Title', 'About.', ['<p>body</p>'], ['a < b', 'c'])
    places = [text.index(part) for part in ('<h1>', 'class="warnings"', 'a &lt; b', '<p>About.')]
    assert places == sorted(places)
    assert 'class="warnings"' not in html.page('Title', 'About.', [])


def test_pages_fit_on_a_phone() -> None:
    text = html.page('Title', 'About.', [])
    assert VIEWPORT in text
    assert 'img,svg{max-width:100%' in text
    table = html.wide('<table></table>')
    assert table.startswith('<div class="wide">')
    assert '.wide{overflow-x:auto' in text
    shown_strip = html.picture(np.zeros((4, 2000, 3), np.uint8), 'x', 2000, strip=True)
    assert shown_strip.startswith('<figure><div class="wide"><img')


def test_every_wide_thing_of_a_page_has_its_own_box(tmp_path: Path) -> None:
    data = made(tmp_path, drive(tmp_path / 'bag'))
    text, _ = contact_sheet(data, 2)
    assert text.count('<table') == text.count('<div class="wide"><table')
    for width, before in re.findall(r'(?:(?=<img[^>]* width="(\d+)"))(?<=(.{18}))', text):
        assert int(width) <= 480 or before.endswith('class="wide">'), width
    assert all(int(width) <= 460 for width in re.findall(r'<svg [^>]*?width="(\d+)"', text))


def drive(path: Path, ticks: int = 60, changed: bool = False, speed: float = 0.2) -> Path:
    """Record a drive by a camera of 60 by 48 pixels, which may become another midway."""
    bag = TinyBag(path)
    for tick in range(ticks):
        size = (24, 30, 3) if changed and tick >= ticks // 2 else (48, 60, 3)
        bag.send('/camera/image_raw', image(np.full(size, 4 * tick % 256)), tick)
        bag.command(tick, speed * (-1) ** (tick // 7))
        bag.pose(tick, tick / 8)
    return bag.close()


@pytest.mark.parametrize(
    ('kind', 'settings', 'words'),
    [
        ({'ticks': 30}, (), 'no episode is held out, but smwm train requires'),
        ({'changed': True}, (), 'image size changed: 60x48, then 30x24'),
        ({'speed': 0.5}, (), 'is at one of its limits (-0.5 to 0.5) in 100% of the ticks'),
        ({'speed': 0.7}, (), 'is beyond its limits (-0.5 to 0.5) in 100% of the ticks'),
        ({'speed': 0.0}, (), 'twist.linear.x never changes'),
    ],
    ids=['held-out', 'size', 'saturated', 'beyond', 'constant'],
)
def test_what_is_odd_about_a_dataset_stands_on_top(
    tmp_path: Path, kind: dict[str, float], settings: tuple[str, ...], words: str
) -> None:
    data = made(tmp_path, drive(tmp_path / 'bag', **kind), *settings)  # type: ignore[arg-type]
    text, _ = contact_sheet(data, 1)
    assert words in text
    assert text.index(words) < text.index('class="tiles"')


def test_a_topic_that_was_lost_for_long_stands_on_top(tmp_path: Path) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(100):
        bag.frame(tick)
        if not 30 <= tick < 80:
            bag.command(tick, 0.1 * (tick % 3))
    data = made(tmp_path, bag.close())
    text, _ = contact_sheet(data, 1)
    found = re.search(r'<li>(\d+)% of the ticks were dropped, \d+ of them because', text)
    assert found
    assert 30 < int(found[1]) < 60


def test_a_sound_dataset_has_no_warnings(tmp_path: Path) -> None:
    data = made(tmp_path, drive(tmp_path / 'bag', ticks=200))
    assert '"warnings" content="0"' in contact_sheet(data, 0)[0]


def test_a_dataset_keeps_a_few_frames_as_the_camera_saw_them(tmp_path: Path) -> None:
    data = made(tmp_path, drive(tmp_path / 'bag', ticks=200))
    found = photographs(data.folder / 'shards' / 'bag')
    assert 2 <= len(found) <= 12
    assert {one.size for one in found} == {'60x48'}
    assert np.ptp([one.seconds for one in found]) > 10, 'spread over the recording'
    pixels = cv2.imdecode(np.frombuffer(found[-1].read(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape == (48, 60, 3)
    tick = round(10 * found[-1].seconds)
    assert abs(int(pixels[0, 0, 0]) - 4 * tick % 256) <= 2
    text, _ = contact_sheet(data, 0)
    assert text.count('src="data:image/jpeg') == len(found)
    assert f'bag, {found[-1].seconds:.1f} s: camera/image_raw, 60x48 pixels' in text
    again = made(tmp_path, tmp_path / 'bag', out='again')
    assert again.fingerprint == data.fingerprint
    assert shown(again).tolist() == shown(data).tolist()


def test_each_size_of_a_camera_that_changed_is_kept(tmp_path: Path) -> None:
    data = made(tmp_path, drive(tmp_path / 'bag', changed=True))
    found = photographs(data.folder / 'shards' / 'bag')
    assert {one.size for one in found} == {'60x48', '30x24'}


def test_where_only_small_frames_are_stored_the_page_says_so(tmp_path: Path) -> None:
    data = made(tmp_path, drive(tmp_path / 'bag'), 'dataset.image_size=64')
    assert photographs(data.folder / 'shards' / 'bag') == []
    assert 'Only frames of 64 by 64 pixels' in contact_sheet(data, 0)[0]


def test_commands_are_drawn_beside_frames_and_never_over_them() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for count in (1, 2, 7):
        fields = ('linear.x', 'angular.z', 'a', 'b', 'c', 'd', 'e')[:count]
        spec = ActionSpec(fields, (-1.0,) * count, (1.0,) * count, 0.1)
        drawn = strip(frames, np.ones((3, count)), spec)
        for number, frame in enumerate(frames):
            left = number * (FRAME + 4)
            large = cv2.resize(frame, (FRAME, FRAME), interpolation=cv2.INTER_NEAREST)
            assert np.array_equal(drawn[:FRAME, left : left + FRAME], large)
            below = drawn[FRAME:, left : left + FRAME]
            assert (below == DRIVEN).all(axis=2).any(), 'the command is below'


def test_a_bar_reaches_as_far_as_its_command() -> None:
    spec = ActionSpec(('a', 'b', 'c'), (-2.0,) * 3, (2.0,) * 3, 0.1)
    tile = command_tile({DRIVEN: np.array([2.0, -1.0, 0.0])}, spec, 100, 60)
    lengths = [
        np.flatnonzero((row == DRIVEN).all(axis=1)) - 50 for row in (tile[10], tile[30], tile[50])
    ]
    assert lengths[0].max() == pytest.approx(48, abs=2)
    assert lengths[1].min() == pytest.approx(-24, abs=2)
    assert len(lengths[2]) <= 2
    both = command_tile({DRIVEN: np.ones(3), PLANNED: -np.ones(3)}, spec, 100, 60)
    assert (both == DRIVEN).all(axis=2).any()
    assert (both == PLANNED).all(axis=2).any()


def test_a_film_holds_its_frames_and_no_more_bytes_than_allowed() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (60, 700, 3), dtype=np.uint8) for _ in range(400)]
    text = film(frames, [str(at) for at in range(400)], 0.1, 'a <b>')
    assert len(text) < 1.4 * SIZE
    data = json.loads(re.findall(r'data-film="([^"]*)"', text)[0].replace('&quot;', '"'))
    assert len(data['texts']) <= MOST
    assert data['texts'][:2] == ['0', '3']
    assert data['period'] == 300
    assert 'a &lt;b&gt; One frame in 3 is shown.' in text
    assert 'http' not in without_pictures(text)


def test_a_frame_of_a_film_lies_where_the_script_looks_for_it() -> None:
    grey = [np.full((20, 30, 3), 10 * at, np.uint8) for at in range(11)]
    text = film(grey, ['t'] * 11, 0.1, 'x')
    data = json.loads(re.findall(r'data-film="([^"]*)"', text)[0].replace('&quot;', '"'))
    code = re.findall(r'base64,([^)]*)\)', text)[0]
    sheet = cv2.imdecode(np.frombuffer(b64decode(code), np.uint8), cv2.IMREAD_COLOR)
    assert sheet is not None
    assert sheet.shape[:2] == (20 * data['rows'], 30 * data['columns'])
    for at in range(11):
        row, column = divmod(at, data['columns'])
        assert abs(int(sheet[20 * row + 10, 30 * column + 15, 0]) - 10 * at) <= 2


@pytest.mark.parametrize('configured', [0.0, 0.3])
def test_the_delay_of_a_command_is_marked_and_a_wrong_one_warned_of(
    tmp_path: Path, configured: float
) -> None:
    bag, rng, shade = TinyBag(tmp_path / 'bag'), np.random.default_rng(0), 0.0
    speeds = np.repeat(rng.uniform(0, 0.5, 60), 5)
    for tick, speed in enumerate(speeds):
        bag.command(tick, float(speed))
        shade += 40 * speeds[max(tick - 4, 0)]  # from 3 ticks after the command on
        bag.frame(tick, round(127 + 120 * np.sin(shade / 40)))
    data = made(tmp_path, bag.close(), f'dataset.command_delay={configured}')
    found = lag(data)
    assert found
    assert 'estimated delay 0.3' in found.chart
    assert f'dataset.command_delay {configured:g}' in found.chart
    assert bool(found.warning) == (configured == 0.0)
    text, _ = contact_sheet(data, 0)
    assert ('convert again with dataset.command_delay=0.3' in text) == (configured == 0.0)
    assert 'Command against motion' in text


def test_an_index_lists_every_page_and_is_kept_up_to_date(tmp_path: Path) -> None:
    icon = np.zeros((8, 8, 3), np.uint8)
    for number, name in enumerate(['a b.html', 'c.html', 'sub/d.html']):
        text = html.page(f'<{name}>', f'About {name}.', [], ['w'] * number, icon)
        publish(tmp_path / name, text)
        os.utime(tmp_path / name, (number, number))
    (tmp_path / 'stranger.html').write_text('<html><title>mine</title></html>')
    where = publish(tmp_path / 'c.html', html.page('C', 'Again.', [], ['w']))
    assert str(tmp_path / 'index.html') in where
    found = entries(tmp_path)
    assert [one.path.name for one in found] == ['c.html', 'd.html', 'a b.html']
    index = (tmp_path / 'index.html').read_text(encoding='utf-8')
    for part in ('href="./a%20b.html"', 'href="./sub/d.html"', 'Again.', '&lt;a b.html&gt;'):
        assert part in index, part
    assert index.count('src="data:image/png') == 2
    assert '>1 warning<' in index
    assert '>2 warnings<' in index
    assert 'stranger' not in index
    assert VIEWPORT in index
    (tmp_path / 'a b.html').unlink()
    publish(tmp_path / 'sub' / 'e.html', html.page('E', 'New.', []))
    index = (tmp_path / 'index.html').read_text(encoding='utf-8')
    assert 'a%20b' not in index
    assert 'href="./sub/e.html"' in index, 'the index above is renewed, too'


def test_an_index_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'index.html').write_text('my site')
    where = publish(tmp_path / 'page.html', html.page('A', 'B.', []))
    assert where == str(tmp_path / 'page.html')
    assert (tmp_path / 'index.html').read_text() == 'my site'
    main_page = tmp_path / 'own' / 'index.html'
    publish(main_page, html.page('Mine', 'Asked for.', []))
    assert '<h1>Mine' in main_page.read_text()


def test_verbs_say_where_all_pages_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, drive(tmp_path / 'bag'), out='data')
    assert main(['view', str(tmp_path / 'data'), '--out', str(tmp_path / 'p' / 'a.html')]) == 0
    assert f'(all pages there: {tmp_path / "p" / "index.html"})' in capsys.readouterr().out
    assert 'href="./a.html"' in (tmp_path / 'p' / 'index.html').read_text()
