# SPDX-License-Identifier: Apache-2.0
"""Simulated worlds; the only folder that imports pybullet."""
