# SPDX-License-Identifier: Apache-2.0
"""A package from outside, as `medix-verl new package lab` begins it: laid out as pip would, without pip's seconds."""

from __future__ import annotations

import re
from pathlib import Path

from medix_verl.recipe.package.begin import begin_package

__all__ = ["lay_out", "points_of"]

GROUP = re.compile(r'^\[project\.entry-points\."(?P<group>[^"]+)"\]$')
POINT = re.compile(r'^(?P<name>\w+) = "(?P<value>[^"]+)"$')


def points_of(project: Path) -> str:
    """The entry points of its pyproject.toml, as entry_points.txt has them."""
    lines, inside = [], False
    for line in (project / "pyproject.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            group = GROUP.match(line)
            inside = group is not None
            lines += [f"[{group['group']}]"] if group is not None else []
        elif inside and (point := POINT.match(line)):
            lines.append(f"{point['name']} = {point['value']}")
    return "\n".join(lines) + "\n"


def lay_out(folder: Path, name: str = "lab") -> Path:
    """Begin a package and put its metadata beside its modules; gives the folder for sys.path."""
    project = begin_package(name, folder)
    facts = project / f"{name}-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text(points_of(project), encoding="utf-8")
    return project
