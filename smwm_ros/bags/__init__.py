# SPDX-License-Identifier: Apache-2.0
"""Rosbags in, transition datasets out; the only folder that imports rosbags and mcap."""
