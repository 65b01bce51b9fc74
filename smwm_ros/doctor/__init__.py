# SPDX-License-Identifier: Apache-2.0
"""
What is installed and set on a machine, and what to do about it: the checks of smwm doctor.

Read in this order: findings, installation, probe, libraries, middleware, shared_memory, machine,
run_folder, examination.
"""
