# SPDX-License-Identifier: Apache-2.0
"""Page and film of an evaluation: success by method, and drives that failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.codec.goal_masks import shaded
from smwm_ros.evaluation.closed_loop import Outcome
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.evaluation.scores import cells, notes, Round, STRICT, USUAL
from smwm_ros.interfaces import Arena, Array
from smwm_ros.pages import charts, html
from smwm_ros.pages.film import film
from smwm_ros.pages.html import escape
from smwm_ros.pages.index import publish
from smwm_ros.pages.numbers import number
from smwm_ros.text import count_of

FAILURES, SUCCESSES = 12, 6  # shown on the page
FILMED = 3  # of either
DRAWN = 128  # width of a picture on the page [px]
FILM = 192  # width of half the film: the camera, or the goal [px]
REST = 8  # times that the last frame of a drive is repeated
_SOLVED = 0.2  # share of pairs solved at the start above which the page warns


class DrawnAttempt(NamedTuple):
    """One attempt, with its frames."""

    number: int
    outcome: Outcome
    goal: Array
    frames: list[Array]

    @property
    def verdict(self) -> str:
        """Return how it ended."""
        if self.outcome.solved_at_start:
            return 'solved at the start'
        how = 'reached' if self.outcome.success else 'not reached'
        words = f'{how} in {count_of(self.outcome.steps, "step")}'
        strict = self.outcome.strict_steps
        return words if strict is None else f'{words}, strictly in {strict}'


def write_page(
    out: Path, arena_name: str, method: str, rounds: Sequence[Round], arena: Arena
) -> list[str]:
    """Write page and film next to the JSON file; return their paths."""
    shown = rounds[0]
    outcomes = shown.usual().outcomes[method]
    drives = _choose(shown.pairs[: len(outcomes)], outcomes, arena)
    failures = [drive for drive in drives if not drive.outcome.success]
    successes = [drive for drive in drives if drive.outcome.success]
    body = [_headline(shown, method)]
    for one in rounds:
        body.append(f'<h2>{escape(one.title.capitalize())}</h2>')
        for judgement in one.judged():
            body += [f'<h3>{judgement.capitalize()} judgement</h3>'] if one.strict else []
            body += [_table(one, judgement), *map(_note, notes(one, judgement))]
    body += _charts(rounds)
    for title, some in (('Failures', failures), ('Successes', successes)):
        if some:
            total = sum(o.success is some[0].outcome.success for o in outcomes)
            body.append(f'<h2>{title} of {escape(method)}: {len(some)} of {total}</h2>')
            body.append('<p>From left to right: first camera image, goal, path.</p>')
            body += [_strip(drive, drives) for drive in some]
    page, gif = out.with_suffix('.html'), out.with_suffix('.gif')
    frames = _film([*failures[:FILMED], *successes[:FILMED]])
    period = arena.spec.dt
    if frames:
        steps = [f'{number(period * at, 0.1)} s' for at in range(len(frames))]
        caption = 'Failed attempts first, then successful ones; the goal is on the right.'
        body.insert(1, film(frames, steps, period, caption))
    about = f'Success of {method} in {arena_name}, and the drives that failed.'
    icon = drives[0].frames[0] if drives else None
    text = html.page(f'{method} in {arena_name}', about, body, _warnings(shown, method), icon)
    where = publish(page, text)
    return [where, str(gif)] if html.write_gif(gif, frames, 1 / period) else [where]


def _warnings(shown: Round, method: str) -> list[str]:
    """Return warnings about the figures."""
    outcomes = shown.usual().outcomes[method]
    solved = sum(one.solved_at_start for one in outcomes)
    if solved <= _SOLVED * len(outcomes):
        return []
    return [
        f'Solved at the start: {solved} of {count_of(len(outcomes), "pair")}; raise '
        'evaluate.offset, or add --strict, which draws other pairs for them.'
    ]


def _choose(
    pairs: Sequence[Pair], outcomes: Sequence[Outcome], arena: Arena
) -> list[DrawnAttempt]:
    """Return the first failures and the first successes, drawn again from the states."""
    numbered = list(zip(range(1, len(pairs) + 1), pairs, outcomes, strict=True))
    failed = [one for one in numbered if not one[2].success][:FAILURES]
    moved = [one for one in numbered if one[2].success and one[2].steps]
    some = moved[:SUCCESSES] or [one for one in numbered if one[2].success][:SUCCESSES]
    drives = []
    for count, pair, outcome in [*failed, *some]:
        arena.reset(pair.start_row)
        goal = arena.set_goal(pair.goal_state).pixels
        if goal.shape[2] > 3:
            goal = shaded(goal[..., :3], goal[..., 3] > 0)
        frames = [arena.set_state(np.asarray(state)).pixels for state in outcome.path]
        drives.append(DrawnAttempt(count, outcome, goal, frames))
    return drives


def _headline(one: Round, method: str) -> str:
    """Return the key figures."""
    usual = one.usual()
    results = usual.results()
    low, high = results[method]['interval']
    facts = {
        f'goals reached by {one.shown(method)}': f'{results[method]["success"]:.0%}',
        '95 % interval': f'{low:.0%} to {high:.0%}',
    }
    if one.strict:
        strictly = one.strictly().results()[method]['success']
        facts['reached strictly'] = f'{strictly:.0%}'
    facts |= {
        'reached by the random policy': f'{results["random"]["success"]:.0%}',
        'reached by the scripted expert': f'{results["expert"]["success"]:.0%}',
        'pairs': str(usual.pairs),
    }
    return html.tiles(facts)


def _table(one: Round, judgement: str) -> str:
    """Return the success of every method as an HTML table."""
    head, *rows = cells(one, judgement)
    lines = [''.join(f'<th>{escape(word)}</th>' for word in head)]
    for name, *numbers in rows:
        right = ''.join(f'<td class="n">{escape(cell)}</td>' for cell in numbers)
        lines.append(f'<td>{escape(name)}</td>{right}')
    return html.wide(f'<table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table>')


def _note(text: str) -> str:
    """Return a note under a table."""
    return f'<p>{escape(text)}</p>'


def _charts(rounds: Sequence[Round]) -> list[str]:
    """Return success by offset and judgement, where there are several offsets."""
    plain = [one for one in rounds if not one.shift]
    if len(plain) < 2:
        return []
    offsets = np.array([one.offset for one in plain])
    labels = 'from start to goal in the recording [raw steps]', 'success [%]'
    titles = {USUAL: 'Goals reached', STRICT: 'Goals reached, judged strictly'}
    drawn = []
    for judgement in plain[0].judged():
        found = [one.judged()[judgement].results() for one in plain]
        curves = {
            plain[0].shown(name): (
                offsets,
                np.array([100 * some[name]['success'] for some in found]),
            )
            for name in plain[0].outcomes
        }
        drawn.append(charts.line_chart(titles[judgement], *labels, curves))
    return ['<h2>Horizon</h2>', html.row(drawn)]


def _strip(drive: DrawnAttempt, drives: Sequence[DrawnAttempt]) -> str:
    """Return the pictures of one attempt, and how far the goal was over time."""
    # Of all drives together, so that a robot that stood still in one of them is no background.
    background = np.median([frame for one in drives for frame in one.frames[::5]], axis=0)
    css = 'good' if drive.outcome.success else 'bad'
    figures = [
        html.picture(drive.frames[0], f'pair {drive.number}: start', DRAWN),
        html.picture(drive.goal, 'goal', DRAWN),
        html.picture(html.onion_skin(drive.frames, background), drive.verdict, DRAWN, css),
    ]
    known = [(step, far) for step, far in enumerate(drive.outcome.distances) if far is not None]
    if len(known) > 1:
        steps, far = np.array(known).T
        curve: dict[str, tuple[Any, Any]] = {'to the goal': (steps, far)}
        figures.append(charts.line_chart('Latent distance', 'raw step', 'distance', curve))
    return html.row(figures)


def _film(drives: Sequence[DrawnAttempt]) -> list[Array]:
    """Return frames of a few drives: camera beside goal."""
    frames = []
    for drive in drives:
        aim = html.label(drive.goal, 'goal', FILM)
        for step, view in enumerate(drive.frames):
            last = step == len(drive.frames) - 1
            text = f'pair {drive.number}  ' + (drive.verdict if last else f'step {step}')
            frame = np.concatenate([html.label(view, text, FILM), aim], axis=1)
            frames += [frame] * (REST if last else 1)
    return frames
