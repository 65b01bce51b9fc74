# SPDX-License-Identifier: Apache-2.0
"""Let stable-worldmodel judge runs for `smwm evaluate --env`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

from smwm_ros.config import Config
from smwm_ros.errors import ConfigError
from smwm_ros.text import count_of, echo

if TYPE_CHECKING:
    from smwm_ros.evaluation.methods import Method
    from smwm_ros.model.checkpoint import Checkpoint
    from smwm_ros.swm.environments import Environment
    from smwm_ros.swm.judge import GoalPairs, Judgement, MakePolicy

UNUSED = ('arena', 'horizons', 'strict', 'object', 'fresh', 'shift')  # options of arenas alone


def evaluate_env(args: argparse.Namespace) -> int:
    """Evaluate a run and other methods on the same pairs, and write the results."""
    from smwm_ros.evaluation.methods import gather
    from smwm_ros.lock import hold_name
    from smwm_ros.model.checkpoint import load
    from smwm_ros.progress import show_progress
    from smwm_ros.swm.environments import environment_of, require_actions
    from smwm_ros.swm.judge import draw_goals, judge

    environment = environment_of(args.env)
    for name in UNUSED:
        if getattr(args, name):
            raise ConfigError(f'--{name}: is not possible with --env')
    if not args.data:
        raise ConfigError(
            '--env: needs --data FILE.h5, a file of smwm collect --env that was not trained on'
        )
    checkpoint = load(args.checkpoint)
    require_actions(environment, checkpoint.spec.size, str(args.checkpoint))
    config = _config(args, environment, checkpoint)
    words = _methods(args.methods)
    out = args.out or args.checkpoint / f'evaluate_{environment.config}.json'
    with hold_name(out):
        goals = draw_goals(environment, args.data, config.evaluate)
        methods = gather(words, args.checkpoint, checkpoint, None, config, show_progress)
        found = judge(
            environment, goals, _policies(methods, config), config.evaluate, show_progress
        )
        echo(*_table(environment, goals, found))
        _write(out, args, config, methods, goals, found)
    echo(f'All attempts: {out}')
    return 0


def _config(args: argparse.Namespace, environment: Environment, checkpoint: Checkpoint) -> Config:
    """Return the settings of the environment, the planner of the run, then key=value words."""
    from smwm_ros.load import config_for_run

    return config_for_run(args.config or environment.config, args.settings, checkpoint.planner)


def _methods(text: str | None) -> list[str]:
    """Return the methods beside the run: the planner of the paper, and run folders."""
    from smwm_ros.evaluation.methods import ALWAYS, PAPER
    from smwm_ros.model.checkpoint import META

    words = [word.strip() for word in text.split(',')] if text else []
    for word in words:
        if word not in (PAPER, *ALWAYS) and not (Path(word) / META).is_file():
            raise ConfigError(
                f"--methods: '{word}': with --env expected paper or run folders; train another "
                'kind with smwm train model.kind=KIND, and pass its run folder'
            )
    return [word for word in dict.fromkeys(words) if word not in ALWAYS]


def _policies(methods: Sequence[Method], config: Config) -> dict[str, tuple[MakePolicy, int]]:
    """Return what makes a policy by each method, and random actions, with their repeats."""
    from smwm_ros.swm.installed import stable_worldmodel
    from smwm_ros.swm.policy import PlannerPolicy

    def planned(method: Method) -> MakePolicy:
        policy = PlannerPolicy(method.checkpoint, method.planner, method.execute)
        return lambda _: policy

    seed = config.evaluate.seed
    random = stable_worldmodel().policy.RandomPolicy
    made = {method.name: (planned(method), 1) for method in methods}
    return made | {
        'random': (lambda number: random(1000 * seed + number), config.evaluate.repeats)
    }


def _table(
    environment: Environment, goals: GoalPairs, found: Mapping[str, Judgement]
) -> list[str]:
    """Return the results as lines of text."""
    pairs, solved = count_of(len(goals.starts), 'pair'), sum(goals.solved)
    lines = [
        f'{environment.name}, judged by World.evaluate: {pairs}, {solved} solved at the start',
        f'{"method":<28}{"success":>8}  {"95 % interval":<16}{"without solved":>14}',
    ]
    for name, one in found.items():
        low, high = one.interval(goals)
        rest = one.without_solved(goals)
        shown = '' if rest is None else f'{rest:.2f}'
        lines.append(f'{name:<28}{one.rate():>8.2f}  {low:.2f} to {high:.2f}    {shown:>14}')
    lines.append(
        f'{"the paper, ViT at 224 px":<28}{environment.paper:>8.2f}  (other data and pairs)'
    )
    return lines


def _write(
    out: Path,
    args: argparse.Namespace,
    config: Config,
    methods: Sequence[Method],
    goals: GoalPairs,
    found: Mapping[str, Judgement],
) -> None:
    """Write all results with the settings that produced them."""
    from importlib.metadata import version

    from smwm_ros.files import write_atomic
    from smwm_ros.load import to_dict

    settings: dict[str, Any] = {
        one.name: {
            'run': str(one.run),
            'execute': one.execute,
            'planner': to_dict(one.planner),
        }
        for one in methods
    }
    results = {
        'environment': args.env,
        'judge': f'World.evaluate of stable-worldmodel {version("stable-worldmodel")}',
        'data': str(args.data),
        'evaluate': to_dict(config.evaluate),
        'pairs': [
            {'episode': episode, 'start': start, 'solved_at_start': solved}
            for episode, start, solved in zip(
                goals.episodes, goals.starts, goals.solved, strict=True
            )
        ],
        'methods': settings,
        'results': {
            name: {
                'success': one.rate(),
                'interval': one.interval(goals),
                'success_without_solved': one.without_solved(goals),
                'successes': one.successes,
            }
            for name, one in found.items()
        },
    }
    write_atomic(out, json.dumps(results, indent=1).encode())
