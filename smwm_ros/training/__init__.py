# SPDX-License-Identifier: Apache-2.0
"""
From a dataset to a checkpoint.

Read in this order: train, learner, batches, augment, feed, metrics, latent_scale, run_folder,
tensorboard, threads.
"""
