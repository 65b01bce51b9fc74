# SPDX-License-Identifier: Apache-2.0
"""
Latent-action models: an action space learnt from images alone (arXiv 2601.05230).

A latent IDM g infers what happened between two frames, z = g(s_t, s_t+1); a forward model p
predicts the next frame from it, p(s_t, z); a bottleneck keeps z from carrying that frame itself. A
decoder and a controller connect z to the actions of the robot.

Read in this order: model, networks, maps, frozen, bottlenecks, action_maps, prior.
"""
