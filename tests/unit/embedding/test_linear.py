# SPDX-License-Identifier: Apache-2.0
"""Who made the processor, as Linux tells it."""

from pathlib import Path

import pytest

from medix_verl.embedding import model


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n", "AuthenticAMD"),
        ("vendor_id\t: GenuineIntel\nvendor_id\t: GenuineIntel\n", "GenuineIntel"),
        ("CPU implementer\t: 0x41\n", ""),
        (None, ""),
    ],
)
def test_vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, expected: str) -> None:
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(model, "CPUINFO", path)
    assert model.vendor() == expected
