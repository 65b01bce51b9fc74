# SPDX-License-Identifier: Apache-2.0
"""
World models: networks, kinds, fast rollouts, checkpoints.

Read in this order: world_model, any_model, networks, actor, alignment, vit, past, toy, sigreg,
multiplier, info, checkpoint, encoder_file, encoding, sidecar, tensors, goal_fields, regression,
fast_rollout, kernels, fastest, compiled, recorded, device, distributed.
"""
