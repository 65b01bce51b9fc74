# SPDX-License-Identifier: Apache-2.0
"""
HTML reports: datasets, runs, evaluations, replays, latent actions and toy worlds.

Read in this order: html, axes, charts, film, numbers, index, parts, dataset, episode, lag,
dataset_sync, warnings, run, evaluation, replay, replay_stretch, latent_actions, toy.
"""
