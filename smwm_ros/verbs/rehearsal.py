# SPDX-License-Identifier: Apache-2.0
"""Run a checkpoint over ROS 2 in an arena, beside a random policy, and write a report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
import csv
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.arenas import make_arena
from smwm_ros.config import Config, Evaluate
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.stored import Kind, read_json
from smwm_ros.errors import SmwmError
from smwm_ros.evaluation.agents import RandomAgent
from smwm_ros.evaluation.closed_loop import Outcome, run_pairs
from smwm_ros.evaluation.pairs import draw_pairs, Pair
from smwm_ros.evaluation.statistics import wilson
from smwm_ros.interfaces import Arena
from smwm_ros.load import to_dict
from smwm_ros.nodes.trial import run_trial
from smwm_ros.pages import charts, html
from smwm_ros.pages.film import film
from smwm_ros.pages.index import publish
from smwm_ros.pages.numbers import number
from smwm_ros.progress import show_progress
from smwm_ros.text import count_of, echo

RANDOM_REPEATS = 10  # rollouts of the random policy per pair, for a stable floor
PICTURE = 128  # size at which the arena is drawn for the report [px]
DRAWN = 140  # width at which such a picture is shown [px]
FILM = 192  # width of half the film: the camera, or the goal [px]
FILM_TASKS = 6
SLOW = 0.9  # share of the control rate below which the report warns


class Rehearsal(NamedTuple):
    """Result of a rehearsal."""

    tasks: list[dict[str, Any]]  # start, goal, success, steps, path (visited states)
    random: float  # success of the random policy on the same pairs
    random_rollouts: int
    solved_at_start: int
    dt: float
    control_hz: float
    plan_ms: list[float]

    @property
    def success(self) -> float:
        """Return the share of goals reached."""
        return float(np.mean([task['success'] for task in self.tasks]))


def rehearse(folder: Path, arena_name: str, config: Config) -> Rehearsal:
    """Run planner and random policy on the same pairs; reuse a stored result of the same run."""
    key = _fingerprint(folder / 'run', config)
    record = folder / 'rehearsal.json'
    if record.is_file():
        kept = read_json(record, Kind(SmwmError, 'remove it'))
        if kept.pop('key', None) == key:
            echo(f'reused: {record} holds the result of this checkpoint and protocol')
            return Rehearsal(**kept)
    protocol = config.evaluate
    pairs = draw_pairs(TransitionDataset.open(folder / 'dataset'), protocol)
    tasks = tasks_of(pairs)
    knobs = {'distractors': config.arena.distractors, 'engine': config.arena.engine}
    with show_progress(total=len(tasks), desc='over ROS 2', unit='task') as bar:
        trial = run_trial(
            folder / 'run', arena_name, tasks, protocol.budget, folder / 'logs',
            progress=lambda: bar.update(1), knobs=knobs,
        )  # fmt: skip
    size, engine = config.arena.image_size, config.arena.engine
    with closing(make_arena(arena_name, size, engine)) as arena:
        floor = by_chance(arena, pairs, protocol, RANDOM_REPEATS)
    outcome = Rehearsal(
        tasks=[
            {**task, 'success': one.success, 'steps': one.steps, 'path': one.path}
            for task, one in zip(tasks, trial.tasks, strict=True)
        ],
        random=sum(one.success for one in floor) / len(floor),
        random_rollouts=len(floor),
        solved_at_start=sum(one.solved_at_start for one in floor) // RANDOM_REPEATS,
        dt=config.robot.dt,
        control_hz=trial.control_hz,
        plan_ms=trial.plan_ms,
    )
    html.write_text(record, json.dumps({'key': key, **outcome._asdict()}) + '\n')
    return outcome


def tasks_of(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Return the start and the goal of each pair, as run_trial takes them."""
    return [
        {'start': pair.start_state.tolist(), 'goal': pair.goal_state.tolist()} for pair in pairs
    ]


def by_chance(
    arena: Arena, pairs: Sequence[Pair], protocol: Evaluate, repeats: int
) -> list[Outcome]:
    """Try each pair with random actions, several times, without ROS."""
    agent = RandomAgent(arena.spec, protocol.seed)
    return run_pairs(
        [arena], pairs, agent, protocol.budget, 'random policy', repeats, show_progress
    )


def summary(outcome: Rehearsal, seconds: float) -> str:
    """Return the result as text."""
    reached = sum(task['success'] for task in outcome.tasks)
    low, high = wilson(reached, len(outcome.tasks))
    plan = np.percentile(outcome.plan_ms, [50, 99])
    return '\n'.join(
        [
            '',
            f'planner   reached {reached} of {count_of(len(outcome.tasks), "goal")} '
            f'({outcome.success:.0%}; 95 % interval {low:.0%} to {high:.0%})',
            f'random    reached {outcome.random:.0%} on the same pairs '
            f'({count_of(outcome.random_rollouts, "rollout")}; solved at the start: '
            f'{count_of(outcome.solved_at_start, "pair")})',
            f'control   {outcome.control_hz:.2f} Hz of {1 / outcome.dt:.0f} Hz requested',
            f'planning  median {plan[0]:.0f} ms, p99 {plan[1]:.0f} ms',
            f'took      {seconds:.0f} s',
        ]
    )


def write_report(folder: Path, arena_name: str, engine: str, outcome: Rehearsal) -> None:
    """Write report.html and demo.gif."""
    with closing(make_arena(arena_name, PICTURE, engine)) as arena:
        goals = [arena.set_goal(np.asarray(task['goal'])).pixels for task in outcome.tasks]
        drives = [
            [arena.set_state(np.asarray(state)).pixels for state in task['path']]
            for task in show_progress(outcome.tasks, desc='pictures', unit='task')
        ]
    plan = np.percentile(outcome.plan_ms, [50, 99])
    body = [
        html.tiles(
            {
                'goals reached': f'{outcome.success:.0%}',
                'random policy': f'{outcome.random:.0%}',
                'control rate': f'{outcome.control_hz:.2f} Hz',
                'planning, median': f'{plan[0]:.0f} ms',
                'planning, p99': f'{plan[1]:.0f} ms',
            }
        ),
        '<h2>Training</h2>',
        html.row(_training_charts(folder / 'run' / 'train.csv')),
        '<h2>Planning</h2>',
        charts.histogram(
            'Planning time',
            'time [ms]',
            'plans',
            np.asarray(outcome.plan_ms),
            {'median': float(plan[0]), 'p99': float(plan[1])},
            'ms',
        ),
        '<h2>Drives</h2>',
        '<p>From left to right: first camera image, goal, path.</p>',
        *_drives(outcome, drives, goals),
    ]
    frames = _film(outcome, drives, goals)
    steps = [f'{number(outcome.dt * at, 0.1)} s' for at in range(len(frames))]
    body.insert(1, film(frames, steps, outcome.dt, 'The first drives: camera left, goal right.'))
    about = (
        f'A simulated robot in {arena_name}: recorded, trained on, and driven by plans over ROS 2.'
    )
    page = html.page('smwm_ros demo', about, body, _warnings(outcome), drives[0][0])
    where, gif = publish(folder / 'report.html', page), folder / 'demo.gif'
    written = html.write_gif(gif, frames, fps=1 / outcome.dt)
    film_too = f' and {gif}' if written else '; no GIF: that needs OpenCV 4.12 or newer'
    echo(f'wrote {where}{film_too}')


def _warnings(outcome: Rehearsal) -> list[str]:
    """Return the warnings of the report."""
    late = outcome.control_hz < SLOW / outcome.dt
    return [
        f'Commands came at {outcome.control_hz:.2f} Hz instead of {1 / outcome.dt:.0f} Hz.'
    ] * late


def _fingerprint(run: Path, config: Config) -> str:
    """Hash the checkpoint and the protocol."""
    parts = [
        (run / 'meta.json').read_text(encoding='utf-8'),
        hashlib.sha256((run / 'model.safetensors').read_bytes()).hexdigest(),
        json.dumps(to_dict(config), sort_keys=True),
    ]
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()


def _training_charts(log: Path) -> list[str]:
    """Return the curves of a training log."""
    with log.open(encoding='utf-8') as lines:
        rows = list(csv.DictReader(lines))

    def curve(name: str) -> tuple[Any, Any]:
        kept = [row for row in rows if row.get(name)]
        return (
            np.array([float(row['step']) for row in kept]),
            np.array([float(row[name]) for row in kept]),
        )

    losses = {
        'forward': curve('forward'),
        'inverse': curve('inverse'),
        'held-out forward': curve('val_forward'),
        'held-out inverse': curve('val_inverse'),
    }
    return [
        charts.line_chart('Loss', 'training step', 'loss', losses, log=True),
        charts.line_chart(
            'Effective rank of the latent',
            'training step',
            'effective rank',
            {'effective rank': curve('effective_rank')},
        ),
    ]


def _drives(outcome: Rehearsal, drives: list[list[Any]], goals: list[Any]) -> list[str]:
    """Return a row of three pictures for each task."""
    rows = []
    # Over all drives: a robot at rest in one of them is not part of the background.
    background = np.median([frame for drive in drives for frame in drive[::3]], axis=0)
    for count, (task, drive, goal) in enumerate(
        zip(outcome.tasks, drives, goals, strict=True), start=1
    ):
        verdict = (
            f'reached in {count_of(task["steps"], "step")}' if task['success'] else 'not reached'
        )
        css = 'good' if task['success'] else 'bad'
        rows.append(
            html.row(
                [
                    html.picture(drive[0], f'{count}: start', DRAWN),
                    html.picture(goal, 'goal', DRAWN),
                    html.picture(html.onion_skin(drive, background), verdict, DRAWN, css),
                ]
            )
        )
    return [f'<div class="row" style="gap:2rem">{"".join(rows)}</div>']


def _film(
    outcome: Rehearsal, drives: list[list[Any]], goals: list[Any], tasks: int = 8
) -> list[Any]:
    """Return frames of the first few drives: camera beside goal."""
    frames = []
    cut = zip(outcome.tasks[:FILM_TASKS], drives, goals, strict=False)
    for count, (task, drive, goal) in enumerate(cut, start=1):
        aim = html.label(goal, 'goal', FILM)
        for step, view in enumerate(drive):
            last = step == len(drive) - 1
            verdict = ('  reached' if task['success'] else '  not reached') if last else ''
            text = f'task {count}  step {step}{verdict}'
            frame = np.concatenate([html.label(view, text, FILM), aim], axis=1)
            frames += [frame] * (6 if last else 1)  # hold the last frame
    return frames
