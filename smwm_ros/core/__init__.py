# SPDX-License-Identifier: Apache-2.0
"""Models, planning and data in torch and numpy; knows no ROS, no simulator and no bag format."""
