# SPDX-License-Identifier: Apache-2.0
"""
HTML pages for people.

Read in this order: html, axes, charts, film, numbers, index, parts, dataset, episode, lag,
dataset_sync, warnings, run, evaluation, replay, replay_stretch, toy.
"""
