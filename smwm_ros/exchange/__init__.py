# SPDX-License-Identifier: Apache-2.0
"""Datasets in the formats of others: HDF5 of stable-worldmodel and LeWM, and LeRobot."""
