# SPDX-License-Identifier: Apache-2.0
"""
Recordings for the Rerun viewer: of datasets, of replays, and of a running plan node.

Read in this order: recording, layout, dataset, latent_path, replay, live.
"""
