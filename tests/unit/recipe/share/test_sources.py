# SPDX-License-Identifier: Apache-2.0
"""What may be typed behind `recipe install`: addresses that could do more than fetch are refused, secrets unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import ConfigError
from medix_verl.recipe.share.sources import Place, read_place

PLACES = {
    "https://host.org/lab/recipes.git": Place("git", "https://host.org/lab/recipes.git"),
    "git+https://host.org:8443/lab/recipes@v1.2": Place("git", "https://host.org:8443/lab/recipes", "v1.2"),
    "ssh://git@host.org/lab/recipes.git@feature/x": Place("git", "ssh://git@host.org/lab/recipes.git", "feature/x"),
    "file:///srv/lab.git@0a1b": Place("git", "file:///srv/lab.git", "0a1b"),
    "http://127.0.0.1:8000/lab.git": Place("git", "http://127.0.0.1:8000/lab.git"),
    "lab/recipes": Place("hub", "lab/recipes"),
    "lab/recipes@v1": Place("hub", "lab/recipes", "v1"),
}
REFUSED = {
    "": "that is not a place to install from",
    "--upload-pack=touch /x": "that is not a place to install from",
    "-u/x": "that is not a place to install from",
    "ext::sh -c touch% /x": "that is not a place to install from",
    "fd::17": "that is not a place to install from",
    "https://host/a\nb": "that is not a place to install from",
    "git://host/lab": "git:// is not an address",
    "ftp://host/lab": "ftp:// is not an address",
    "javascript://host/lab": "javascript:// is not an address",
    "http://host/lab": "http:// can be changed on its way",
    "http://127.0.0.1.evil.org/lab": "http:// can be changed on its way",
    "https://me:hidden-value@host/lab": r"holds credentials \(USER:PASSWORD@\)",
    "https://hidden-value@host/lab": "holds credentials",
    "ssh://me:hidden-value@host/lab": "holds credentials",
    "https://host/lab?token=hidden-value": "has a part behind",
    "https://host/lab#hidden-value": "has a part behind",
    "https://host/lab@--upload-pack=x": "is not a revision",
    "https://host/lab@a..b": "is not a revision",
    "https://host/lab@": "is not a revision",
    "https://host/lab@+refs/heads/x:y": "is not a revision",
    "ssh://-oProxyCommand=touch/lab": "has characters that it must not have",
    "ssh://git@-oProxyCommand=touch/lab": "has characters that it must not have",
    "ssh://-oProxyCommand=x@host/lab": "holds credentials",
    "https:///lab": "has characters that it must not have",
    "file://host/lab": "has characters that it must not have",
    "https://host/la b": "has characters that it must not have",
    "https://host/lab;touch": "has characters that it must not have",
    "https://host/$(touch)": "has characters that it must not have",
    "https://host/lab.zip": "is an archive, which is not taken",
    "https://host/lab.tar.gz": "is an archive, which is not taken",
    "git@host.org:lab/recipes.git": "is not a hub id",
    "lab/recipes/more": "is not a hub id",
    "lab/recipes@": "is not a hub id",
    "../../no-such-folder": "is not a hub id",
    "lab": "is not a hub id",
}


@pytest.mark.parametrize(("word", "place"), PLACES.items(), ids=PLACES)
def test_places(word: str, place: Place) -> None:
    assert read_place(word) == place


@pytest.mark.parametrize(("word", "message"), REFUSED.items(), ids=list(map(repr, REFUSED)))
def test_what_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_place(word)
    assert "hidden-value" not in str(caught.value)


def test_folders_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab" / "recipes").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert read_place("lab/recipes") == Place("folder", str(tmp_path / "lab" / "recipes"))
    (tmp_path / "recipes.zip").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="is a file, and recipes are installed from folders; unpack it"):
        read_place("recipes.zip")


@given(st.text(max_size=60), st.sampled_from(["", "https://", "ssh://", "file://", "git+https://"]))
def test_no_word_becomes_an_option(text: str, scheme: str) -> None:
    try:
        place = read_place(scheme + text)
    except ConfigError:
        return
    assert not place.place.startswith("-") and not (place.revision or "").startswith("-")
    assert "::" not in place.place or "[" in place.place
