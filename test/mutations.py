# SPDX-License-Identifier: Apache-2.0
"""
Mistakes that tests must notice, each made in a copy of the tree before its tests run.

`python test/mutations.py` makes them all; `python test/mutations.py QoS steps` only those with one
of these words. It exits with 1 if a mistake survives, or if the tests fail without one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib.util import cache_from_source
from multiprocessing import get_context
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 900  # on the tests of one mistake [s]: one that never ends is noticed, too
PASSED, FAILED, STRANGE = 0, 1, 99  # exit codes of pytest; STRANGE: another tree was tested
# Takes longer to import than most tests take.
SLOW = ['pytest', 'hypothesis', 'torch', 'torch._dynamo', 'safetensors.torch', 'cv2', 'yaml']
SLOW += ['rosbags.highlevel', 'rosbags.rosbag2', 'pybullet', 'rclpy']


class Mutation(NamedTuple):
    """A mistake, and the tests that notice it."""

    about: str
    file: str
    text: str  # found exactly once in the file
    replacement: str
    tests: str  # words for pytest, in test/

    def apply(self, root: Path) -> None:
        """Make the mistake in a tree."""
        path = root / self.file
        before = path.read_text(encoding='utf-8')
        if before.count(self.text) != 1:
            raise ValueError(f'{self.file}: {before.count(self.text)} times {self.text!r}')
        self._write(path, before.replace(self.text, self.replacement))

    def undo(self, root: Path, origin: Path) -> None:
        """Take the file as it was."""
        self._write(root / self.file, (origin / self.file).read_text(encoding='utf-8'))

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding='utf-8')
        if path.suffix == '.py':  # a file of the same size and second would pass for compiled
            Path(cache_from_source(str(path))).unlink(missing_ok=True)


M = Mutation
SUCCESS, SMALL = 'bench/parts/success.py', 'test_bench_small.py'

# Benchmarks and evaluation.
MEASURES = [
    M('fresh episodes driven with the training seeds', 'collect/fresh.py',
      'seed=LAST_SEED - seed', 'seed=seed', 'test_fresh.py'),
    M('fresh episodes driven with the seed of the recipe', 'collect/fresh.py',
      'replace(settings, seed=LAST_SEED - seed)', 'replace(settings)', 'test_fresh.py'),
    M('the same, in a benchmark', 'collect/fresh.py',
      'seed=LAST_SEED - seed', 'seed=seed', SMALL),
    M('pairs drawn from training episodes', 'evaluation/pairs.py',
      "dataset.starts('val', settings.offset", "dataset.starts('train', settings.offset",
      'test_closed_loop.py'),
    M('a budget of four times the offset', SUCCESS,
      'budget = 2 * (', 'budget = 4 * (', SMALL),
    M('the random policy tries one pair', SUCCESS,
      'seed.drive(RandomAgent(ours.spec, number), pairs, 5)',
      'seed.drive(RandomAgent(ours.spec, number), pairs[:1], 5)', SMALL),
    M('the random policy tries pairs once', SUCCESS,
      'seed.drive(RandomAgent(ours.spec, number), pairs, 5)',
      'seed.drive(RandomAgent(ours.spec, number), pairs)', SMALL),
    M('the random policy of a benchmark has half the range', SUCCESS,
      'RandomAgent(ours.spec, number)',
      'RandomAgent(ours.spec._replace(high=tuple(h / 2 for h in ours.spec.high)), number)',
      SMALL),
    M('the random policy has half the range', 'evaluation/agents.py',
      'uniform(low, high)', 'uniform(np.array(low) / 2, np.array(high) / 2)', 'test_agents.py'),
    M('sigreg trained for 300 steps', SUCCESS,
      'note(found, kind, seed.plan(seed.trained(dataset, kind, kind), pairs))',
      'note(found, kind, seed.plan(seed.trained(dataset, kind, kind, 300), pairs))', SMALL),
    M('other kinds trained for a tenth of the steps', SUCCESS,
      'steps=min(steps or most, most)',
      'steps=most if kind == config.model.kind else most // 10', SMALL),
    M('smwm trained for 300 steps beside the recipe', SUCCESS,
      "seed.trained(dataset, 'smwm', 'smwm')", "seed.trained(dataset, 'smwm', 'smwm', 300)",
      SMALL),
    M('every seed trained with one seed', SUCCESS,
      "('train', 'evaluate', 'planner')", "('evaluate', 'planner')", SMALL),
    M('every seed tries the pairs of one', SUCCESS,
      'fresh_episodes(arenas[0], settings, count, UNSEEN + number)',
      'fresh_episodes(arenas[0], settings, count, UNSEEN)', SMALL),
    M('every seed learns from the data of one', SUCCESS,
      "[f'arena.seed={seed}',", "['arena.seed=0',", SMALL),
    M('the paper plans anew in every step', SUCCESS,
      'seed.plan(ours, pairs, *as_in_the_paper(ours))',
      'seed.plan(ours, pairs, as_in_the_paper(ours)[0])', SMALL),
    M('pairs that are solved at the start counted', SUCCESS,
      'if not one.solved_at_start]', ']', 'test_bench.py'),
    M('the same, for the policy of the cube', 'bench/cube.py',
      'unsolved(found)', 'found', 'test_bench.py'),
    M('the same, in an evaluation', 'evaluation/closed_loop.py',
      'moved = [outcome for outcome in outcomes if not outcome.solved_at_start]',
      'moved = list(outcomes)', 'test_closed_loop.py'),
    M('failures left out', 'evaluation/closed_loop.py',
      'sum(outcome.success for outcome in outcomes) / len(outcomes)',
      '1.0', 'test_closed_loop.py'),
    M('only success in the last step counts', 'evaluation/closed_loop.py',
      '                running.remove(lane)',
      '                if step == budget:\n                    running.remove(lane)',
      'test_closed_loop.py'),
    M('repeats narrow an interval', 'evaluation/closed_loop.py',
      'for outcomes in tried],\n        repeats,', 'for outcomes in tried],\n        1,',
      'test_closed_loop.py'),
    M('longer goals get no longer budget', 'verbs/evaluate.py',
      'round(base.budget * offset / base.offset)', 'base.budget', 'test_evaluate_verb.py'),
    M('the offset of the protocol', 'config.py',
      "25, 'raw steps between", "24, 'raw steps between", 'test_protocol.py'),
    M('the budget of the protocol', 'config.py',
      "50, 'raw steps within", "100, 'raw steps within", 'test_protocol.py'),
    M('the time to go: drives are not joined', 'planning/time_to_go.py',
      'torch.minimum(recorded, onward)', 'recorded.clamp(max=MOST)', 'test_time_to_go.py'),
    M('the time to go: long ways count as much as short ones', 'planning/time_to_go.py',
      'SHORT = 0.9 ', 'SHORT = 0.5 ', 'test_time_to_go.py'),
    M('the time to go: used although latent distance is better', 'planning/guides.py',
      'time if ranks.better else None', 'time', 'test_time_to_go.py'),
    M('the time to go: of the last step alone', 'planning/costs.py',
      'expand_as(future)).sum(dim=-1)', 'expand_as(future))[..., 0]', 'test_time_to_go.py'),
    M('the stem of convolutions has no overlap', 'model/networks.py',
      'nn.Conv2d(3, channels, 4, stride=2, padding=1)', 'nn.Conv2d(3, channels, 2, stride=2)',
      'test_world_model.py'),
    M('the other room may take 20 s', 'bench/roadmap.py',
      'BUDGET = 100 ', 'BUDGET = 200 ', 'test_bench.py'),
    M('the peer of the planner searches once', 'bench/planner.py',
      'for _ in range(settings.iterations):\n        noise', 'for _ in range(1):\n        noise',
      'test_bench_planner.py'),
    M('the peer of the planner asked to search once', 'bench/planner.py',
      'return plain_cem(model, settings,',
      'return plain_cem(model, replace(settings, iterations=1),', 'test_bench_planner.py'),
    M('the paper of the benchmark searches once', 'evaluation/methods.py',
      'iterations=30,', 'iterations=1,', 'test_bench_planner.py test_protocol.py'),
    M('the peer gets another search', 'bench/parts/tiny.py',
      "'settings': {**settings,", "'settings': {**settings, 'iterations': 1,",
      'test_bench_planner.py'),
    M('the peer loses its number of iterations', 'bench/peers/lewm.py',
      "n_steps=settings['iterations']", 'n_steps=1', 'test_bench_planner.py'),
    M('another plan passes for the same', 'bench/parts/tiny.py',
      'SAME = 1e-4', 'SAME = 1e4', 'test_bench_planner.py'),
    M('90 % intervals', 'evaluation/statistics.py', 'Z = 1.959964', 'Z = 1.644854',
      'test_statistics.py'),
    M('a one-sided test', 'evaluation/statistics.py',
      '2 * tail / (1 <<', 'tail / (1 <<', 'test_statistics.py'),
    M('episodes taken for independent pairs', 'evaluation/statistics.py',
      'worth = min(worth, most)', 'worth = most', 'test_statistics.py'),
    M('pairs compared with other pairs', 'evaluation/scores.py',
      'outcomes[: len(self.pairs)]]', 'outcomes[:: len(outcomes) // len(self.pairs)]]',
      'test_evaluate_verb.py -k pair_by_pair'),
]  # fmt: skip
# The radii of success, as in the paper.
RADII = [
    M('push_t within 30 px', 'arenas/push_t.py', 'NEAR = 20 /', 'NEAR = 30 /',
      'test_protocol.py'),
    M('push_t turned by 30 degrees', 'arenas/push_t.py', 'np.deg2rad(20.0)', 'np.deg2rad(30.0)',
      'test_protocol.py'),
    M('reacher within 0.10 rad', 'arenas/reacher.py', 'REACHED = 0.05', 'REACHED = 0.10',
      'test_protocol.py'),
    M('reacher by its nearer joint', 'arenas/reacher.py', 'np.abs(self._error()).max()',
      'np.abs(self._error()).min()', 'test_protocol.py'),
    M('two rooms within 24 px', 'arenas/rooms.py', 'REACHED = 16 /', 'REACHED = 24 /',
      'test_protocol.py'),
    M('the cube within 8 cm', 'arenas/cube.py', 'REACHED = 0.04', 'REACHED = 0.08',
      'test_protocol.py'),
]  # fmt: skip
# Training.
LEARNS = [
    M('the sign of lambda', 'model/world_model.py', "terms['inverse'] = lambda_ * mean_square",
      "terms['inverse'] = -lambda_ * mean_square", 'test_world_model.py'),
    M('lambda left out', 'model/world_model.py', "terms['inverse'] = lambda_ * mean_square",
      "terms['inverse'] = mean_square", 'test_world_model.py'),
    M('a target that is not learnt from', 'model/world_model.py',
      'F.mse_loss(found, true)', 'F.mse_loss(found, true.detach())', 'test_world_model.py'),
    M('an inverse model that shapes the latents of other kinds', 'model/world_model.py',
      'inferred = self.infer(now.detach(), then.detach())',
      'inferred = self.infer(now, then)', 'test_world_model.py'),
    M('heads that shape the latents', 'model/world_model.py',
      'self.heads(now.detach(), actions)', 'self.heads(now, actions)',
      'test_heads.py test_world_model.py'),
    M('g goes on from what was seen', 'model/world_model.py',
      '            z = self.predict(z, action)\n            steps.append(z)',
      '            steps.append(self.predict(z, action))', 'test_world_model.py'),
    M('the weight of the regulariser', 'model/world_model.py',
      'self.config.sigreg_weight * self.sigreg', 'self.sigreg', 'test_world_model.py'),
    M('the state of the first frame', 'model/world_model.py',
      'batch.obs.state[1:]', 'batch.obs.state[:-1]', 'test_world_model.py'),
    M('lambda driven away from its target', 'model/multiplier.py',
      'PACE * slope', '-PACE * slope', 'test_world_model.py'),
    M('no weight decay', 'training/learner.py', 'weight_decay=settings.weight_decay',
      'weight_decay=0.0', 'test_learner.py'),
    M('bodies that pass through each other', 'arenas/mujoco_world.py',
      'if other != shape.body and', 'if other == shape.body and', 'sim/test_mujoco.py'),
    M('a block that slides on', 'arenas/mujoco_world.py',
      '            self._data.qvel[dofs] = 0.0', '            pass', 'sim/test_mujoco.py'),
    M('motors without their gain', 'arenas/mujoco_world.py',
      'self.gain * np.asarray(velocities, float)', 'np.asarray(velocities, float)',
      'sim/test_mujoco.py'),
    M('contacts that are remembered', 'arenas/mujoco_bodies.py',
      '        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART\n', '',
      'sim/test_mujoco.py'),
    M('the rougher surface decides', 'arenas/mujoco_bodies.py',
      '1000 * (2.0 - min(friction, 2.0))', '1000 * min(friction, 2.0)', 'sim/test_mujoco.py'),
    M('the novelty of the farthest frame', 'planning/frame_bank.py',
      'amin(dim=1)\n\n    def calibrated', 'amax(dim=1)\n\n    def calibrated',
      'test_frame_bank.py -k usual'),
    M('frames compared with themselves', 'planning/frame_bank.py',
      ".fill_diagonal_(float('inf'))", '', 'test_frame_bank.py -k usual'),
    M('a limit among the usual frames', 'evaluation/fit_to_images.py',
      'math.ceil((1 - RARE)', 'math.ceil(RARE', 'test_drive_monitor.py'),
    M('a share of the frames that are less unusual', 'evaluation/fit_to_images.py',
      'self._held_out >= novelty', 'self._held_out <= novelty', 'test_drive_monitor.py'),
    M('an adapted model that finds its new images novel', 'verbs/adapt.py',
      '        frame_bank.save(part, album, adapted.info.dataset)\n', '',
      'test_adapt.py -k minute'),
    M('a warning that never ends', 'nodes/drive_monitor.py',
      'if self._is_beyond(1.0) else []', 'if self._recent else []', 'test_drive_monitor.py'),
    M('novelty without hysteresis', 'nodes/drive_monitor.py',
      'self._is_beyond(FAMILIAR)', 'self._is_beyond(1.0)', 'test_drive_monitor.py'),
    M('a stuck robot among novel images', 'nodes/drive_monitor.py',
      '(Alarm(Reason.NOVEL_IMAGE), Alarm(Reason.NO_PROGRESS))',
      '(Alarm(Reason.NO_PROGRESS), Alarm(Reason.NOVEL_IMAGE))',
      'test_drive_monitor.py -k nothing'),
    M('a robot at rest that is stuck', 'nodes/drive_monitor.py',
      'progress = self._motion.progress(MOVED * unit)\n        # Slower',
      'progress = self._motion.progress(0)\n        # Slower', 'test_drive_monitor.py -k hardly'),
    M('motion that the robot would make at rest', 'evaluation/executed_motion.py',
      'ends[len(z) :] if len(raw) > 1 else z', 'z', 'test_drive_monitor.py -k between'),
    M('a push that the model predicts is no push', 'nodes/drive_monitor.py',
      'MotionMeter(checkpoint, places)', 'MotionMeter(checkpoint)', 'test_drive_monitor.py'),
    M('the motion from the place itself counts as usual', 'evaluation/executed_motion.py',
      'np.linalg.norm(others, axis=1)', 'np.linalg.norm(predicted)',
      'test_drive_monitor.py'),
    M('positions that are held count as motion', 'evaluation/executed_motion.py',
      "if places is not None and checkpoint.robot.command.stop == 'zero'",
      'if places is not None', 'test_drive_monitor.py'),
    M('a slow stop that never comes', 'control/caution.py',
      'if time - self._since >= slow_time', 'if time - self._since < 0',
      'test_drive_monitor.py'),
    M('the end of a drive slows the next one', 'nodes/active.py',
      'self._engagement = self.controller.engagements\n            self.monitor.clear()',
      'self._engagement = self.controller.engagements',
      'ros/test_plan_view.py -k next_one'),
    M('a robot that pushes again and again', 'control/controller.py',
      'self._stuck |= era', 'self._stuck = era', 'test_controller.py -k no_progress'),
    M('novel images trusted', 'control/controller.py',
      'if self._caution.stop is Reason.NOVEL_IMAGE', 'if False', 'test_controller.py -k novel'),
    M('a delay the wrong way', 'evaluation/command_response.py',
      'frames - delay)', 'frames + delay - LATEST)', 'test_check.py'),
    M('a gain the other way round', 'evaluation/command_response.py',
      '/ max((away**2).sum(), 1e-12)', '/ max((away * read).sum() ** 2, 1e-12)', 'test_check.py'),
    M('limits that are not compared', 'verbs/check.py',
      'if low < least or high > most', 'if high < least', 'test_check.py'),
    M('a no-go without an exit code', 'verbs/check.py',
      'return int(failed > 0)', 'return 0', 'test_check.py'),
    M('a delay of any length', 'evaluation/preflight.py',
      'abs(ticks) <= LATE * checkpoint.action_block', 'True', 'test_check.py -k two_model_steps'),
    M('a camera that is too slow', 'verbs/topic_checks.py',
      'of.rate >= LEAST_RATE * wanted', 'True', 'test_check_topics.py'),
    M('pauses that slow a camera down', 'bags/survey/traffic.py',
      'np.median(np.diff(self.received))', 'np.mean(np.diff(self.received))',
      'test_check_topics.py'),
    M('stamps in the future', 'verbs/topic_checks.py',
      'if abs(age) > FOREIGN or age < -AHEAD:', 'if abs(age) > FOREIGN:', 'test_check_topics.py'),
    M('its own types taken for those of the robot', 'nodes/listener.py',
      'published |= {topic: kinds for topic, kinds in own.items() if kinds}',
      'published |= {topic: names[topic] for topic, kinds in own.items() if kinds}',
      'ros/test_check_live.py -k lacks'),
    M('a driver of another type', 'verbs/live.py',
      'typed = [one for one in graph.drivers if one.type == kind]', 'typed = graph.drivers',
      'ros/test_check_live.py -k lacks'),
    M('a camera whose QoS is not looked at', 'nodes/listener.py',
      'if requested.reliability == reliable != offered.reliability:', 'if False:',
      'ros/test_check_live.py -k qos'),
    M('fields not compared with each other', 'evaluation/command_response.py',
      'if other != field and best > max(CLEAR, 2 * own):', 'if False:', 'test_check.py'),
    M('a sign that is not looked at', 'evaluation/command_response.py',
      'elif found[field, field] < -CLEAR:', 'elif False:', 'test_check.py'),
    M('one delay for all fields', 'evaluation/command_response.py',
      'best = int(np.argmax(scores))', 'best = usual', 'test_check.py -k takes_over'),
    M('a gain above 1 that the limits cut', 'arenas/vary.py',
      'self.world.gain *= self._actuators.motor_gain', 'pass', 'sim/test_vary.py'),
    M('all fields as late as the first', 'arenas/actuation.py',
      'self._queue[-1 - ticks][field]', 'self._queue[-1 - behind[0]][field]',
      'sim/test_vary.py'),
    M('fine-tuning without the old recordings', 'training/fine_tune.py',
      'if not len(old) or not settings.old_share:', 'if True:', 'test_fine_tune.py'),
    M('fine-tuning that begins anew', 'training/fine_tune.py',
      'copy.deepcopy(self.checkpoint.smwm).requires_grad_(True)',
      "__import__('smwm_ros.model.world_model', fromlist=['x']).make_model("
      "self.checkpoint.model_config, self.checkpoint.image_size, self.checkpoint.action_block "
      "* self.checkpoint.spec.size)", 'test_fine_tune.py'),
    M('old recordings of the run before alone', 'verbs/fine_tuning.py',
      'return [own, *mixed_data(run)]', 'return [own]', 'test_fine_tune.py'),
    M('statistics of neighbouring frames', 'training/adapt.py',
      'np.random.default_rng(0).permutation(rows)', 'rows', 'test_adapt.py'),
    M('statistics that forget the first batches', 'training/adapt.py',
      'layer.momentum = None', 'layer.momentum = 0.5', 'test_adapt.py'),
    M('a still scene to adapt to', 'training/adapt.py',
      'if variety < LEAST_VARIETY:', 'if variety < 0:', 'test_adapt.py'),
    M('statistics of a robot that stands still', 'evaluation/calibration.py',
      '< self._novelty.unit', '< 0', 'test_calibration.py'),
    M('statistics of one room accepted', 'evaluation/calibration.py',
      'best = self._novelty.bound\n', 'best = before\n', 'test_calibration.py'),
    M('better statistics that are worse', 'evaluation/calibration.py',
      'best = min(best, self', 'best = max(before, self', 'test_calibration.py'),
    M('usual images calibrated', 'evaluation/calibration.py',
      'if before <= self._novelty.bound:', 'if False:', 'test_calibration.py'),
    M('a calibration of a robot that drives', 'nodes/active.py',
      'self._drives and self.controller.needs_plans', 'False',
      'ros/test_plan_calibrate.py -k not_calibrated'),
    M('a goal that is not encoded again', 'nodes/goal_planner.py',
      'if encodes_anew:', 'if False:', 'ros/test_plan_calibrate.py -k hand'),
    M('plans drawn with the old statistics', 'nodes/active.py',
      'self._plans.set_model(checkpoint)', 'pass', 'ros/test_plan_calibrate.py -k hand'),
    M('a shadow that never calibrates', 'nodes/active.py',
      'publisher is not None and shadow is None', 'publisher is not None',
      'ros/test_plan_calibrate.py -k shadow'),
    M('a model that fits already is adapted', 'evaluation/fit_to_images.py',
      'if not steps and before.novelty <= self.bound', 'if False', 'test_adapt.py -k already'),
    M('a worse model that is written', 'evaluation/fit_to_images.py',
      'return mine > NOTABLE * theirs', 'return mine < theirs', 'test_adapt.py'),
    M('files of other weights carried over', 'model/sidecar.py',
      "{**meta, 'model_sha256': weights[1]}", 'meta', 'test_adapt.py'),
    M('gradients not clipped', 'training/learner.py',
      'torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.clip)',
      'pass', 'test_learner.py'),
    M('a constant learning rate', 'training/learner.py',
      "group['lr'] = learning_rate(number - 1, self._settings)",
      "group['lr'] = self._settings.lr", 'test_learner.py'),
    M('actions normalised by all rows', 'data/dataset.py',
      "rows_of(self.episodes, 'train')",
      'np.concatenate([np.arange(e.start, e.stop) for e in self.episodes])', 'test_dataset.py'),
    M('states normalised by all rows', 'training/batches.py',
      "rows_of(dataset.episodes, 'train')",
      'np.concatenate([np.arange(e.start, e.stop) for e in dataset.episodes])', 'test_probes.py'),
    M('actions not normalised', 'training/batches.py',
      'self.scaler.normalise(self.dataset.actions(rows))', 'self.dataset.actions(rows)',
      'test_train.py -k windows'),
    M('windows that reach into the next episode', 'data/dataset.py',
      'np.arange(span.start, span.stop - reach)', 'np.arange(span.start, span.stop - 1)',
      'test_dataset.py'),
    M('labels in place of recorded actions', 'data/actions.py',
      'missing = (confidence[here] == 0) & ', 'missing = ', 'test_labels.py'),
    M('windows with an unknown action', 'data/actions.py',
      'self.unknown_before[rows + ticks]', 'self.unknown_before[rows + 1]', 'test_labels.py'),
    M('labels of a model in place of answers', 'labelling/pseudo_actions.py',
      'np.arange(len(data))) < 1', 'np.arange(len(data))) < 2', 'test_labelling.py'),
    M('labels of a model that are certain', 'labelling/pseudo_actions.py',
      'np.minimum(1 / (1 + squared_error), MOST)', '1 / (1 + squared_error)',
      'test_labelling.py'),
    M('answers that remove other labels', 'labelling/answers.py',
      '            if old:\n', '            if not data.labels:\n', 'test_labelling.py'),
    M('moments to label that show nothing', 'labelling/questions.py',
      '(content >= np.quantile(content, CLEAR)) & ', '', 'test_labelling.py'),
    M('a fingerprint without the labels', 'data/dataset.py',
      '    if labels:\n', '    if not labels:\n', 'test_labels.py'),
    M('the highest confidence as the weight', 'training/batches.py',
      'self.dataset.confidence(ticks).min(axis=2)', 'self.dataset.confidence(ticks).max(axis=2)',
      'test_labels.py test_distributed.py'),
    M('losses that shrink with the confidence', 'model/world_model.py',
      'return weight / weight.mean()', 'return weight / torch.ones_like(weight).mean()',
      'test_world_model.py'),
    M('heads without weights', 'model/world_model.py',
      'mean_square(predictions, true, each)', 'mean_square(predictions, true)',
      'test_world_model.py'),
    M('held-out episodes learnt from', 'training/fine_tune.py',
      "starts = batches.starts('train')", "starts = batches.starts('all')", 'test_probes.py'),
    M('training episodes held out', 'training/fine_tune.py',
      "starts = batches.starts('val')", "starts = batches.starts('train')", 'test_probes.py'),
    M('no gap between what is held out and what is not', 'data/split.py',
      'start += gap * (', 'start += 0 * (', 'test_dataset.py'),
    M('drives cut at random rows', 'data/split.py',
      "'val' if is_held else 'train'", "'train' if is_held else 'val'", 'test_dataset.py'),
    M('an epoch that deals rows twice', 'training/batches.py',
      'permutation(len(self._rows))', 'integers(0, len(self._rows), len(self._rows))',
      'test_train.py -k epoch'),
    M('the mean of ImageNet', 'model/vit.py', '(0.485, 0.456, 0.406)', '(0.5, 0.5, 0.5)',
      'test_foreign_model.py'),
    M('the best step is the worst', 'training/curves.py',
      "return min(curves, key=lambda row: row['misfit'])",
      "return max(curves, key=lambda row: row['misfit'])", 'test_train.py -k best'),
    M('a probe that sees the rows it is judged by', 'evaluation/examine.py',
      'fit(*train)(val[0])', 'fit(*val)(val[0])', 'test_probes.py'),
    M('a probe judged by the rows it was fitted to', 'evaluation/examine.py',
      'r2(fit(*train)(val[0]), val[1])', 'r2(fit(*train)(train[0]), train[1])', 'test_probes.py'),
    M('held-out frames for training frames', 'evaluation/examine.py',
      "_some(data.starts('train'), samples)", "_some(data.starts('val'), samples)",
      'test_probes.py'),
    M('a leak that is predicted without action', 'evaluation/acceptance.py',
      'cut.leak - cut.without_action', 'cut.leak', 'test_latent_report.py -k expected_to_fail'),
    M('latent actions transferred to their own place', 'evaluation/acceptance.py',
      's = held_out.s.roll(shift, dims=0)', 's = held_out.s',
      'test_latent_report.py -k memorises'),
    M('neighbours of the same drive', 'evaluation/latent_actions.py',
      'drive[queries, None] == drive[None]', 'queries[:, None] == np.arange(len(z))',
      'test_latent_report.py -k neighbours'),
    M('the ceiling of a probe ignored', 'evaluation/acceptance.py',
      'score, 0.7 * reading.most if', 'score, 0.7 if', 'test_latent_report.py'),
    M('motion that cannot be read is judged', 'evaluation/acceptance.py',
      '0.7 * reading.most if reading.most > READABLE else None', '0.7 * reading.most',
      'test_latent_report.py'),
    M('a sweep without its references', 'evaluation/latent_sweep.py',
      "named['zero'] + named[name] + named['none']", 'named[name]',
      'test_latent_report.py -k capacity'),
    M('the probe of a toy world sees all', 'toys/judge.py',
      'linear(before[:half], states[:half])', 'linear(before, states)', 'test_probes.py'),
    M('a toy world judged by what it learnt', 'toys/worlds.py',
      'TRAIN, JUDGE = 0, 1', 'TRAIN, JUDGE = 0, 0', 'test_toy.py -k judges'),
    M('near measured on training drives', 'training/latent_scale.py',
      "starts = dataset.starts('val', length", "starts = dataset.starts('train', length",
      'test_probes.py'),
    M('quartiles of the distance', 'training/latent_scale.py', "('median', 0.5)",
      "('median', 0.75)", 'test_latent_scale.py'),
]  # fmt: skip
# Planning.
PLANS = [
    M('the worst samples kept', 'planning/solvers.py', 'largest=False', 'largest=True',
      'test_planner_peer.py'),
    M('one elite too few', 'planning/solvers.py', 'topk(min(count,', 'topk(min(count - 1,',
      'test_planner_peer.py'),
    M('a biased deviation of the elites', 'planning/solvers.py',
      'squares / (count - 1).clamp(min=1)', 'squares / count.clamp(min=1)',
      'test_planner_peer.py'),
    M('a recorded plan that keeps its first goal', 'model/recorded.py',
      'here.copy_(there)', 'here.add_(0)', 'test_cuda.py'),
    M('a plan recorded although it waits', 'bench/parts/launches.py',
      'if name in READS or moves:', 'if moves:', 'test_cuda.py'),
    M('the mean never tried', 'planning/search.py', '        noise[0].zero_()\n', '',
      'test_planner_peer.py'),
    M('the cost of the first step for that of the last', 'planning/costs.py',
      'return squared[..., -1]', 'return squared[..., 0]', 'test_costs.py'),
    M('distances not squared', 'planning/costs.py', 'return squared.sum(dim=-1)',
      'return squared.sqrt().sum(dim=-1)', 'test_costs.py'),
    M('keep-out attracts', 'planning/costs.py',
      '= settings.keep_out_weight *', '= -settings.keep_out_weight *',
      'test_costs.py'),
    M('samples beyond the limits', 'planning/bounds.py',
      'samples = torch.minimum(torch.maximum(samples, self.low), self.high)',
      'samples = torch.maximum(samples, self.low)', 'test_planner.py'),
    M('the last plan not moved on', 'planning/planner.py',
      'raw = torch.cat([raw[:, :, raw_steps:], end], dim=2)',
      'raw = torch.cat([raw[:, :, :-raw_steps], end], dim=2)', 'test_planner.py test_pilot.py'),
    M('a latent plan that forgets what was sent', 'planning/latent_space.py',
      'torch.cat([past, raw[:, past.shape[1] :]], dim=1)', 'raw', 'test_latent_planning.py'),
    M('a latent plan moved by raw steps', 'planning/latent_space.py',
      '(raw_steps + self._block // 2) // self._block', 'raw_steps', 'test_latent_planning.py'),
    M('a flow that ignores the state', 'latent_actions/prior.py',
      'torch.cat([u, t, (x - mean) / std], dim=-1)',
      'torch.cat([u, t, 0 * (x - mean) / std], dim=-1)', 'test_latent_planning.py'),
    M('a changed encoder file trusted', 'model/encoder_file.py',
      "recorded is None or hashlib.sha256(content).hexdigest() != recorded['sha256']",
      'recorded is None', 'test_frozen_encoders.py -k changed'),
    M('a plan that forgets what was sent', 'planning/bounds.py',
      'begin = past.unsqueeze(1).expand(-1, samples.shape[1], -1, -1)',
      'begin = raw[:, :, : past.shape[1]]', 'test_command_record.py -k bounds'),
    M('noise of another seed for each problem', 'planning/planner.py',
      'noise.seed(self.settings.seed)', 'noise.seed(0)', 'test_planner.py'),
    M('actions that stay normalised', 'planning/pilot.py',
      'self._scaler.restore(raw)', 'raw.astype(np.float64)', 'test_pilot.py'),
    M('a plan beyond the limits of the robot', 'planning/pilot.py',
      'actions = self.spec.clip(self._scaler.restore(raw))',
      'actions = 1.01 * self._scaler.restore(raw)', 'test_pilot.py'),
    M('a late plan played from its beginning', 'evaluation/agents.py',
      "first = 0 if self._compensate == 'nothing' else self._delay", 'first = 0',
      'test_agents.py'),
    M('a delay that plans ignore', 'evaluation/agents.py',
      "if self._compensate == 'sent' and self._delay:", 'if not self._delay:',
      'test_command_record.py -k inertia'),
    M('images upside down', 'planning/pilot.py',
      'torch.tensor(pixels, device=self._device)',
      'torch.tensor(pixels[:, ::-1].copy(), device=self._device)', 'ros/test_trial.py'),
    M('a velocity that lags half as long', 'arenas/vary.py',
      "drawn['latency'], drawn['lag'],", "drawn['latency'], drawn['lag'] / 2,",
      'sim/test_vary.py -k velocities'),
    M('a lag instead of the one that is drawn', 'arenas/actuation.py',
      'self._own.lag + lag', 'self._own.lag or lag', 'sim/test_inertia.py -k adds'),
    M('an acceleration that a gain multiplies', 'arenas/actuation.py',
      'np.array(self._own.acceleration) / gain', 'np.array(self._own.acceleration)',
      'sim/test_inertia.py -k faster'),
    M('the mean velocity without the ramp', 'arenas/actuation.py',
      'share * (velocity + between) / 2', 'share * between', 'sim/test_inertia.py -k solution'),
    M('a robot with inertia that is placed in motion', 'arenas/vary.py',
      'self._actuators.stop()\n        return self._show(frame)', 'return self._show(frame)',
      'sim/test_inertia.py -k contract'),
    M('velocities that are not saved', 'arenas/actuation.py',
      'self._velocity = velocity.copy()', 'pass', 'sim/test_inertia.py -k contract'),
    M('an expert that does not brake', 'arenas/vary.py',
      'scene.braking = self._actuators.braking()', 'pass', 'sim/test_inertia.py -k brakes'),
    M('an expert that does not know its velocity', 'arenas/actuation.py',
      'if not self._lag:', 'if True:', 'sim/test_inertia.py -k brakes'),
    M('an arm that stops after each raw step', 'arenas/reacher_torque.py',
      "self._velocity = self.world.velocities('arm')", 'pass',
      'sim/test_reacher_torque.py -k motion'),
    M('an arm that is placed in motion', 'arenas/reacher_torque.py',
      "        angles = self._vector(state, 'state', self.state_names)\n"
      '        self._velocity = np.zeros(len(JOINTS))\n',
      "        angles = self._vector(state, 'state', self.state_names)\n",
      'sim/test_arenas.py -k contract'),
    M('a goal that stops the arm', 'arenas/reacher_torque.py',
      'self._velocity = velocity\n', 'pass\n', 'sim/test_arenas.py -k contract'),
    M('links whose mass is at their joints', 'arenas/pybullet_bodies.py',
      '[link.centre for link in links]', '[(0, 0, 0)] * count',
      'sim/test_reacher_torque.py -k motion'),
    M('joints without damping in the other engine', 'arenas/mujoco_world.py',
      'self._model.dof_damping[self._dofs[name]] = moving', 'pass',
      'sim/test_reacher_torque.py -k limit'),
    M('an elbow without a stop', 'arenas/mujoco_bodies.py',
      'joint.limited, joint.range = True, [-link.stop, link.stop]', 'pass',
      'sim/test_reacher_torque.py -k stops'),
    M('floors of the other engine upside down', 'arenas/mujoco_world.py',
      'cv2.resize(image, (side, side))', 'cv2.resize(image[::-1], (side, side))',
      'sim/test_furnished_rooms.py -k same_way'),
    M('floors without a bound', 'arenas/furnishing.py', "'floor').integers(FLOORS)",
      "'floor').integers(9 * FLOORS)", 'sim/test_furnished_rooms.py -k textures'),
    M('shadows towards the light', 'arenas/shadows.py', '(share * REACH * away)',
      '(-share * REACH * away)', 'sim/test_furnished_rooms.py -k shadow'),
    M('a camera that tilts about its own place', 'arenas/appearance.py',
      'eye = eye + (tilted - arm)', 'target = target - (tilted - arm)',
      'sim/test_furnished_rooms.py -k tilted'),
    M('things within the walls', 'arenas/furnishing.py', 'OUTSIDE + radius, BORDER',
      '0.8 * OUTSIDE, BORDER', 'sim/test_furnished_rooms.py -k things'),
]  # fmt: skip
# Control and nodes.
DRIVES = [
    M('commands beyond their limits', 'control/guard.py',
      'self._approach(self.spec.clip(action))', 'self._approach(action)', 'test_guard.py'),
    M('commands that are no numbers', 'control/guard.py',
      ' or not np.isfinite(action).all()', '', 'test_guard.py'),
    M('changes faster than allowed', 'control/guard.py',
      'change = np.clip(way, -self._step, self._step)', 'change = way', 'test_guard.py'),
    M('a robot with other limits accepted', 'control/guard.py',
      'a > b for a, b in zip(command.high',
      'a > 2 * b for a, b in zip(command.high', 'test_guard.py'),
    M('another control period accepted', 'control/guard.py',
      'rel_tol=1e-6', 'rel_tol=1.0', 'test_guard.py'),
    M('no warning of slow plans', 'control/search_time.py',
      'if 2 * seconds + dt <= oldest:', 'if True:', 'test_search_time.py'),
    M('a warning of slow plans that comes too late', 'control/search_time.py',
      'if 2 * seconds + dt <= oldest:', 'if seconds + dt <= oldest:', 'test_search_time.py'),
    M('a stop that does not latch', 'control/controller.py',
      '            self._latch.set(reason)\n', '', 'test_controller.py'),
    M('a stop that a restart forgets', 'control/stop_latch.py',
      'self._reason = Reason.STOPPED', 'self._reason = None', 'test_stop_latch.py'),
    M('an engagement that releases nothing', 'control/controller.py',
      '                self._latch.release()\n', '', 'test_controller.py'),
    M('old images trusted', 'control/controller.py',
      'if now - self._image_time > self._node.image_timeout:',
      'if now - self._image_time > 2 * self._node.image_timeout:', 'test_controller.py'),
    M('plans of old images trusted', 'control/controller.py',
      'if now - self._plan.image_time > oldest_image(self._node, self._spec.dt):',
      'if False:', 'test_controller.py'),
    M('a held robot commanded to zero', 'control/controller.py',
      'return self._last_action if self._hold else np.zeros(self._spec.size)',
      'return np.zeros(self._spec.size)', 'test_controller.py'),
    M('a held robot commanded to zero while it stops', 'control/controller.py',
      '        if self._hold:\n            return self._last_action\n        action',
      '        action', 'test_controller.py'),
    M('plans of an old goal taken', 'control/controller.py',
      '            if plan.era != self._era:\n                return False\n', '',
      'test_controller.py'),
    M('plans that could not be scored taken', 'control/controller.py',
      ' and math.isfinite(plan.cost)', '', 'test_controller.py'),
    M('an old plan plays on a tick longer', 'control/controller.py',
      'row - self._first_row > self._node.coast', 'row - self._first_row > self._node.coast + 1',
      'test_controller.py'),
    M('two publishers of commands accepted', 'control/controller.py',
      'if self._contested and self._node.exclusive:', 'if False:', 'test_controller.py'),
    M('a frozen camera trusted', 'control/controller.py',
      'self._frozen = True  #', 'self._frozen = False  #', 'test_controller.py'),
    M('a stop command that is never repeated', 'control/controller.py',
      'if now - self._stop_began > self._node.stop_duration:', 'if True:', 'test_controller.py'),
    M('a goal reached by one image', 'control/route.py',
      'self._near >= tolerance.settle', 'self._near >= 1', 'test_route.py'),
    M('a route that waits in another light', 'control/route.py',
      'return int(distance <= near or self._is_level(z, distance, near))',
      'return int(distance <= near)', 'test_route.py'),
    M('a blocked robot passes subgoals', 'control/route.py',
      '        if ahead > near:\n            return False\n', '', 'test_route.py'),
    M('a place where the route turns back skipped', 'control/route.py',
      'if goes_on and np.linalg', 'if np.linalg', 'test_route.py'),
    M('a place where the drive turns back not recorded', 'control/route.py',
      'if away < self._farthest[0] - _TURN * self._spacing:', 'if False:', 'test_route.py'),
    M('ten images wait', 'nodes/messages.py',
      'return QoSProfile(depth=1,', 'return QoSProfile(depth=10,', 'ros/test_qos.py'),
    M('only reliable cameras received', 'config.py',
      "camera_reliability: str = knob(\n        'best_effort',",
      "camera_reliability: str = knob(\n        'reliable',", 'ros/test_qos.py'),
    M('ten commands wait', 'nodes/messages.py',
      'COMMAND = QoSProfile(depth=1,', 'COMMAND = QoSProfile(depth=10,', 'ros/test_qos.py'),
    M('commands of the past for a robot that comes later', 'nodes/messages.py',
      'COMMAND = QoSProfile(depth=1,',
      'COMMAND = QoSProfile(durability=DurabilityPolicy.TRANSIENT_LOCAL, depth=1,',
      'ros/test_qos.py'),
    M('a status that a later subscriber misses', 'nodes/messages.py',
      'durability=DurabilityPolicy.TRANSIENT_LOCAL', 'durability=DurabilityPolicy.VOLATILE',
      'ros/test_qos.py'),
    M('a message that was overtaken read', 'nodes/subscriber.py',
      '            self._waiting.pop(topic, None)\n            self._waiting[topic] = message',
      '            self._waiting.setdefault(topic, message)', 'ros/test_subscriber.py'),
]  # fmt: skip
# Reading and writing.
FILES = [
    M('a file written in place', 'files.py',
      'part.replace(wanted[path])', 'wanted[path].write_bytes(contents[path])',
      'test_atomic.py'),
    M('a file not synced', 'files.py',
      '                os.fsync(descriptor)\n            yield part', '            yield part',
      'test_atomic.py'),
    M('weights written in place', 'model/checkpoint.py',
      'write_together({**files, folder / META: json.dumps(meta, indent=1).encode()})',
      '(folder / WEIGHTS).write_bytes(weights)\n'
      '    write_atomic(folder / META, json.dumps(meta, indent=1).encode())',
      'test_atomic.py'),
    M('an old meta.json over new weights', 'files.py',
      'last.unlink(missing_ok=True)', 'pass', 'test_atomic.py'),
    M('a state written in place', 'training/run_folder.py',
      'write_atomic(self._last, buffer.getvalue())', 'self._last.write_bytes(buffer.getvalue())',
      'test_atomic.py'),
    M('a page written in place', 'pages/html.py',
      'write_atomic(path, text.encode())', 'path.write_bytes(text.encode())', 'test_atomic.py'),
    M('weights of another checkpoint', 'model/checkpoint.py',
      'if found != digest:', 'if False:', 'test_checkpoint.py'),
    M('a state that executes', 'training/run_folder.py',
      'weights_only=True', 'weights_only=False', 'test_train.py -k damaged'),
    M('blue for red', 'codec/images.py',
      'rgb: Array = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if bgr else pixels',
      'rgb: Array = pixels', 'test_images.py'),
    M('the first command of a tick for the last', 'bags/converting/align.py',
      'action[fresh] = commands.values[end - 1]', 'action[fresh] = commands.values[begin]',
      'test_bags_align.py'),
    M('a command that is held for ever', 'bags/converting/align.py',
      'late = age > nanoseconds(config.hold)', 'late = age > 10 * nanoseconds(config.hold)',
      'test_bags_align.py'),
    M('a state of any age', 'bags/converting/align.py',
      'state[(age > max_age) | ~', 'state[~', 'test_bags_align.py'),
    M('the frame after a tick', 'bags/converting/grid.py',
      "np.searchsorted(frames, stamp, side='right') - 1, run",
      "np.searchsorted(frames, stamp, side='right'), run", 'test_bags_align.py -k tick'),
    M('commands count from the tick before', 'bags/converting/align.py',
      "first = np.searchsorted(commands.stamps, stamp, side='left')",
      "first = np.searchsorted(commands.stamps, stamp - dt, side='left')", 'test_bags_align.py'),
    M('zero for an unknown action', 'bags/converting/align.py',
      'action[where] = np.nan', 'action[where] = 0.0', 'test_bags_align.py'),
    M('a video shown as it is stored', 'bags/reading/video.py',
      'round(frame.rotation / 90)', '0', 'test_video.py -k upright'),
    M('frames of an AVI in the order of decoding', 'bags/reading/video.py',
      'self._by_dts = is_avi and', 'self._by_dts = False and', 'test_video.py -k becomes'),
    M('a moving robot taken for a moving camera', 'bags/converting/camera_check.py',
      'if cells.sum() < _MOST:', 'if False:', 'test_camera_check.py'),
    M('a lag of the other sign', 'bags/converting/motion_lag.py',
      'actions[begins[:, None] + LAGS[-1] - LAGS]', 'actions[begins[:, None] - LAGS[0] + LAGS]',
      'test_motion_lag.py -k converted'),
    M('a lag proposed without the configured delay', 'data/motion_lag.py',
      "delay = data.info.dataset['command_delay'] + data", 'delay = data',
      'test_motion_lag.py -k proposal'),
    M('equal lags taken for one', 'bags/converting/motion_lag.py',
      'if len(equal) > 1:', 'if not len(equal):', 'test_motion_lag.py -k guessed'),
    M('the inverse model judged by what it was fitted to', 'bags/converting/motion_lag.py',
      'np.linalg.solve(gram - x.T @ x, moments - x.T @ y)', 'np.linalg.solve(gram, moments)',
      'test_motion_lag.py -k unrelated'),
    M('any share of damage accepted', 'bags/converting/faults.py',
      'if count > self._limit * total:', 'if count > total:', 'test_convert_faults.py'),
]  # fmt: skip
# Latent actions.
BOTTLES, LAM = 'latent_actions/bottlenecks.py', 'latent_actions/model.py'
INFERS = [
    M('the sign of the KL loss as printed', BOTTLES,
      'self.log_beta.exp() * _priced(nats', '-self.log_beta.exp() * _priced(nats',
      'test_bottlenecks.py -k divergence'),
    M('the signed mean as printed', BOTTLES,
      'mean = h.mean(dim=0).square().mean()', 'mean = h.mean(dim=0).mean()',
      'test_bottlenecks.py -k mean_term'),
    M('a norm floor for all', BOTTLES,
      '1.0 if paper_exact else 0.0', '1.0', 'test_bottlenecks.py -k sparse'),
    M('variances count as covariances', BOTTLES,
      'covariance.square().sum() - covariance.diagonal().square().sum()',
      'covariance.square().sum()', 'test_bottlenecks.py -k sparse'),
    M('beta falls where the rate is too high', BOTTLES,
      'self._nats / self.target - 1', '1 - self._nats / self.target',
      'test_bottlenecks.py -k rises'),
    M('noise outside training', BOTTLES,
      'torch.randn_like(mean) if self.training else mean', 'torch.randn_like(mean)',
      'test_bottlenecks.py -k divergence'),
    M('the farthest code', BOTTLES, '.argmin(dim=2)', '.argmax(dim=2)',
      'test_bottlenecks.py -k nearest'),
    M('no gradient through a code book', BOTTLES,
      '(parts + (z - parts).detach())', '(z + 0 * parts)', 'test_bottlenecks.py -k nearest'),
    M('codes that are never reset', BOTTLES,
      'if self.steps % self.RESET_EVERY == 0', 'if self.steps % self.RESET_EVERY == -1',
      'test_bottlenecks.py -k unused'),
    M('codes that are reset at random', BOTTLES,
      'torch.arange(number, device=parts.device) * parts.shape[1] // max(number, 1)',
      'torch.randint(parts.shape[1], (number,), device=parts.device)',
      'test_bottlenecks.py -k unused'),
    M('more content costs more', BOTTLES,
      'content.mean() / content.clamp(min=1e-12)', 'content / content.mean()',
      'test_bottlenecks.py -k price'),
    M('a prefix that is a suffix', BOTTLES,
      'torch.arange(self.width, device=h.device) < count',
      'torch.arange(self.width, device=h.device) >= self.width - count',
      'test_bottlenecks.py -k prefix'),
    M('inferred labels anchor', LAM,
      'batch.weight.flatten() == 1', 'batch.weight.flatten() > 0',
      'test_latent_action_model.py -k only_recorded'),
    M('unknown actions as they are', LAM,
      'return known, torch.where(known, actions, 0.0)', 'return known, actions',
      'test_latent_action_model.py -k poison'),
    M('states train a frozen prediction', LAM,
      'if not self.trains_encoder:\n            s, predicted',
      'if False:\n            s, predicted', 'test_latent_action_model.py -k frozen'),
    M('states do not train the encoder', LAM,
      'if not self.trains_encoder:\n            s, predicted',
      'if True:\n            s, predicted', 'test_latent_action_model.py -k frozen'),
    M('the reference trains the encoder', LAM,
      '(self.without_action(now.detach()) - then.detach())',
      '(self.without_action(now) - then.detach())',
      'test_latent_action_model.py -k reference'),
    M('every step begins with a true map', LAM,
      'self.forward_model(predicted[-1], z)', 'self.forward_model(s[len(errors)], z)',
      'test_latent_action_model.py -k start_from'),
    M('a bottleneck without warm-up', LAM,
      'warm_up * code.loss', 'code.loss', 'test_latent_action_model.py -k rises'),
    M('a map as heavy as the state', LAM,
      'CARRY = 1e-3', 'CARRY = 1.0', 'test_latent_action_model.py -k distance'),
    M('each process has its own statistics', LAM,
      's = self.encoder(batch.obs.pixels.flatten(0, 1)).float()',
      's = self.norm(self.encoder(batch.obs.pixels.flatten(0, 1)).float())',
      'test_latent_action_model.py -k processes'),
    M('code books in half precision', LAM,
      'self.idm(s, s_next).float()', 'self.idm(s, s_next)',
      'test_latent_action_model.py -k half'),
    M('actions decoded from noise', LAM,
      'self.decoder(code.mean, ', 'self.decoder(code.z, ',
      'test_latent_action_model.py -k without_noise'),
    M('components of any sign', 'latent_actions/maps.py',
      'axes = axes * axes.gather(0, first[None]).sign()', 'axes = +axes',
      'test_latent_action_model.py -k basis'),
    M('the smallest components', 'latent_actions/maps.py',
      'vectors.flip(1)[', 'vectors[', 'test_latent_action_model.py -k whitened'),
    M('a blur that darkens', 'latent_actions/maps.py',
      '(kernel / kernel.sum())', 'kernel', 'test_latent_action_model.py -k constant'),
    M('held-out moments normalise', 'latent_actions/action_maps.py',
      'self._normalise(rows, rows[~held_out])', 'self._normalise(rows, rows)',
      'test_action_maps.py -k no_fit'),
    M('held-out moments fit all candidates', 'latent_actions/action_maps.py',
      'self._fit(number, u[seen], x[seen], y[seen], penalty)',
      'self._fit(number, u, x, y, penalty)', 'test_action_maps.py -k no_fit'),
    M('the largest penalty', 'latent_actions/action_maps.py',
      'penalties[name] = max(tried,', 'penalties[name] = min(tried,',
      'test_action_maps.py'),
    M('a constant number blows up', 'latent_actions/action_maps.py',
      'torch.where(std > TINY, std, 1.0)', 'std.clamp(min=1e-9)',
      'test_action_maps.py -k varied'),
    M('no gap before held-out moments', 'training/anchors.py',
      'ends[np.searchsorted(ends, rows - block)]', 'ends[np.searchsorted(ends, rows)]',
      'test_anchors.py'),
    M('windows that reach into held-out moments', 'training/anchors.py',
      'batches.steps * block', 'block', 'test_anchors.py -k no_batch'),
    M('batches of every window', 'training/anchors.py',
      'self._rows = apart(starts, batches.steps * block, self._anchors.held_out, block)',
      'self._rows = starts', 'test_anchors.py -k no_batch'),
    M('short stretches are never held out', 'training/anchors.py',
      ' or (len(lengths) > 1 and lengths.max() <= short)', '', 'test_anchors.py -k short'),
    M('inferred labels ground', 'training/anchors.py',
      '(dataset.confidence(ticks) == 1)', '(dataset.confidence(ticks) > 0)',
      'test_anchors.py -k too_few'),
    M('labelled moments as rare as in the data', 'training/anchors.py',
      'if 0 < len(labelled) < SHARE * len(rows) else 0', 'if len(rows) < 0 else 0',
      'test_anchors.py -k batch'),
    M('a decoder drawn anew each time', 'training/anchors.py',
      'with seeded(0, z.device):  # a run', 'if True:  # a run', 'test_anchors.py -k alike'),
    M('an end-to-end encoder without labels', 'training/anchors.py',
      'if model.trains_encoder:', 'if False:', 'test_anchors.py -k without_labels'),
    M('a code book may collapse', 'training/metrics.py',
      'FEWEST_CODES = 2.0', 'FEWEST_CODES = 1.0',
      'test_latent_action_training.py -k code_book'),
    M('empty latent actions pass', 'training/metrics.py',
      'if forward < EMPTY * without:', 'if forward < without:',
      'test_latent_action_training.py -k carry'),
    M('labels measure the decoder', 'training/metrics.py',
      'weight=_first(batch.weight)', 'weight=None',
      'test_latent_action_training.py -k measures_are'),
    M('images are shifted late', 'training/learner.py',
      'return Strength(0.0, 0.0, self.model.config.latent_action.shift)', 'pass',
      'test_latent_action_model.py -k shifted'),
    M('frames of a window are warped apart', 'training/augment.py',
      'flat = images.transpose(0, 1).reshape(', 'flat = images.reshape(',
      'test_augment.py'),
    M('all frames of a window share their colours', 'training/augment.py',
      '_uniform(frames, count, *shape, like=like)', '_uniform(1, count, *shape, like=like)',
      'test_augment.py -k own'),
    M('every window is changed', 'training/augment.py', 'EVERY = 3', 'EVERY = 1',
      'test_augment.py -k keep'),
    M('no dataset is seen often', 'training/augment.py', 'OFTEN = 40', 'OFTEN = 400',
      'test_augment.py -k shows'),
    M('shifted images predict states', 'training/learner.py',
      'and not self.model.config.aligns_state', '', 'test_augment.py -k shows'),
    M('a warped image keeps its measured state', 'training/augment.py',
      'states[:, ::EVERY] = math.nan', 'pass', 'test_augment.py -k measured'),
    M('the plan node ends the tasks of a rehearsal', 'nodes/trial.py',
      "'goal': {'near': 0.0}, ", '', 'ros/test_trial.py -k reaches_its'),
    M('a latent-action model passes for another', 'model/checkpoint.py',
      'if not isinstance(self.model, Smwm):', 'if False:',
      'test_latent_action_model.py -k kinds'),
]  # fmt: skip
MUTATIONS = [
    one if one.file.startswith('bench/') else one._replace(file=f'smwm_ros/{one.file}')
    for one in (*MEASURES, *RADII, *LEARNS, *PLANS, *DRIVES, *FILES, *INFERS)
]


def copy_tree(origin: Path, root: Path) -> None:
    """Copy what git knows of a tree, and what it does not ignore."""
    git = ['git', '-C', str(origin), 'ls-files', '-z', '--cached', '--others']
    names = subprocess.run([*git, '--exclude-standard'], capture_output=True, check=True).stdout
    for name in filter(None, names.decode().split('\0')):
        if (origin / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin / name, root / name)


def run_tests(root: Path, tests: str) -> tuple[int, str]:
    """Run tests of a tree; return the exit code of pytest and the end of its output."""
    words = [f'test/{word}' if '.py' in word else word for word in tests.split()]
    with tempfile.NamedTemporaryFile() as log:
        context = get_context('forkserver')
        context.set_forkserver_preload(SLOW)
        child = context.Process(target=_run, args=(str(root), words, log.name))
        child.start()
        child.join(LIMIT)
        if child.is_alive():
            child.kill()
            return FAILED, f'longer than {LIMIT} s'
        said = Path(log.name).read_text(encoding='utf-8', errors='replace').strip()
        return child.exitcode or 0, '\n'.join(said.splitlines()[-20:])


def _run(root: str, words: list[str], log: str) -> None:
    """Run tests of a tree, in a process that has imported nothing of another tree."""
    descriptor = os.open(log, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(root)
    os.environ['PYTHONPATH'] = root  # of processes that tests start
    sys.path.insert(0, root)
    code = int(pytest.main(['-x', '-q', '-p', 'no:cacheprovider', *words]))
    package = sys.modules.get('smwm_ros')
    if package and not str(package.__file__).startswith(root):
        code = STRANGE
    sys.stdout.flush()
    sys.exit(code)


def verdicts(
    mutations: Sequence[Mutation], origin: Path, root: Path
) -> Iterator[tuple[bool, str]]:
    """Make each mistake in a copy of a tree; yield whether it was noticed, and a line about it."""
    copy_tree(origin, root)
    sound: dict[str, tuple[int, str]] = {}
    for mutation in mutations:
        begun = time.monotonic()
        if mutation.tests not in sound:
            sound[mutation.tests] = run_tests(root, mutation.tests)
        code, said = sound[mutation.tests]
        if code != PASSED:
            yield False, f'NO VERDICT: its tests fail anyway: {said}'
            continue
        mutation.apply(root)
        code, said = run_tests(root, mutation.tests)
        mutation.undo(root, origin)
        seconds = f'{time.monotonic() - begun:.0f} s'
        if code == FAILED:
            yield True, f'killed ({seconds})'
        elif code == PASSED:
            yield False, f'SURVIVED ({seconds})'
        else:
            yield False, f'NO VERDICT: pytest ended with {code}: {said}'


def main() -> int:
    """Make the requested mistakes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('words', nargs='*', help='only mistakes with one of these in them')
    args = parser.parse_args()
    chosen = [
        mutation
        for mutation in MUTATIONS
        if not args.words or any(word in part for part in mutation for word in args.words)
    ]
    killed = 0
    with tempfile.TemporaryDirectory() as folder:
        found = verdicts(chosen, ROOT, Path(folder))
        for mutation, (good, said) in zip(chosen, found, strict=True):
            killed += good
            print(f'{mutation.file}: {mutation.about} [{mutation.tests}]: {said}', flush=True)
    print(f'{killed} of {len(chosen)} killed')
    return int(killed < len(chosen))


if __name__ == '__main__':
    sys.exit(main())
