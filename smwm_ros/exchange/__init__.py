# SPDX-License-Identifier: Apache-2.0
"""
Read and write datasets and models in the formats of other projects.

Read in this order: hdf5_table, layout, from_hdf5, to_hdf5, episode_file, to_lerobot, tensor_names,
pickled, foreign_model, from_foreign_model, to_onnx.
"""
