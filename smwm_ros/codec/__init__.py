# SPDX-License-Identifier: Apache-2.0
"""
Convert messages to arrays and back: fields, images, depth, video. Without torch and ROS.

Read in this order: fields, octets, stamps, images, image_stack, encodings, depth, bridge,
image_headers, video, nal_units, image_files, goal_masks, transport.
"""
