# SPDX-License-Identifier: Apache-2.0
"""
From a dataset to a checkpoint.

Read in this order: train, new_model, velocity, learner, forward_training, batches, goals,
state_scale, anchors, augment, feed, metrics, curves, latent_scale, run_folder, tensorboard,
threads, adapt, fine_tune.
"""
