# SPDX-License-Identifier: Apache-2.0
"""MODEL: what is a URL, a folder or a hub id, and what is none of the three."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from medix_verl.errors import ConfigError, SetupError
from medix_verl.evaluation.models.source import Model, check_served, read_model


class Lists(BaseHTTPRequestHandler):
    """Lists models as such a server does: below /two there are two, below /odd nonsense, below /key it wants a key.

    What is below /moved has moved to /v1, and each request for it notes which keys it brings.
    """

    keys: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/v1/models")  # type: ignore[attr-defined]
            self.end_headers()
            return
        Lists.keys.append(self.headers.get("Authorization"))
        answers = {
            "/v1/models": b'{"data": [{"id": "org/name"}]}',
            "/two/models": b'{"data": [{"id": "a"}, {"id": "b"}]}',
            "/tags/models": b'{"data": [{"id": "llama:latest"}, {"id": "open/*"}]}',
        }
        self.send_response(401 if self.path.startswith("/key") else 200)
        self.end_headers()
        self.wfile.write(answers.get(self.path, b"<html>"))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Lists)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_url_is_asked_for_its_model(address: str) -> None:
    model = read_model(f"{address}/v1/")
    assert (model.name, model.url) == ("org/name", f"{address}/v1")


def test_several_models_must_be_named(address: str) -> None:
    with pytest.raises(ConfigError, match=r"lists 2 models \(a, b\).*model.name=NAME"):
        read_model(f"{address}/two")
    assert read_model(f"{address}/two", name="b").name == "b"


def test_a_server_that_is_none_is_told(address: str) -> None:
    with pytest.raises(SetupError, match="no model server answers"):
        read_model(f"{address}/odd")


def test_a_server_that_wants_a_key_is_no_missing_server(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match=r"answers HTTP 401 where it lists its models; name .* model.api_key_env"):
        read_model(f"{address}/key")
    monkeypatch.setenv("SOME_KEY", "wrong")
    with pytest.raises(SetupError, match="HTTP 401 .* the key in model.api_key_env is not accepted") as raised:
        read_model(f"{address}/key", api_key_env="SOME_KEY")
    assert "wrong" not in str(raised.value)


def test_a_redirect_is_not_followed_and_the_key_stays(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "quite-private")
    Lists.keys.clear()
    for ask in (
        lambda: read_model(f"{address}/moved", api_key_env="SOME_KEY"),
        lambda: check_served(Model("org/name", f"{address}/moved", "SOME_KEY")),
    ):
        with pytest.raises(
            SetupError, match=r"HTTP 302: the server redirects to http://127.0.0.1:.*/v1/models"
        ) as raised:
            ask()
        assert "quite-private" not in str(raised.value)
    assert Lists.keys == []


def test_credentials_in_the_address_are_not_shown() -> None:
    with pytest.raises(ConfigError, match="MODEL holds credentials") as raised:
        read_model("http://user:quite-private@127.0.0.1:9/v1")
    assert "quite-private" not in str(raised.value)


def test_a_name_that_the_server_does_not_list_is_refused(address: str) -> None:
    with pytest.raises(
        ConfigError, match=r"does not list 'org/nam'; it lists org/name; did you mean model.name=\"org/name\""
    ):
        check_served(Model("org/nam", f"{address}/v1"))
    with pytest.raises(ConfigError, match=r"it lists a, b; choose one with model.name=NAME"):
        check_served(Model("org/name", f"{address}/two"))


@pytest.mark.parametrize(
    ("name", "place"),
    [("org/name", "v1"), ("llama", "tags"), ("open/any", "tags"), ("any", "odd"), ("any", "key"), ("any", None)],
)
def test_a_name_that_may_be_right_is_asked(address: str, name: str, place: str | None) -> None:
    check_served(Model(name, place and f"{address}/{place}"))


def test_a_server_that_is_not_there_is_told_for_a_named_model_too() -> None:
    with pytest.raises(SetupError, match="no model server answers"):
        check_served(Model("any", "http://127.0.0.1:9/v1"))


def test_a_folder_is_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    model = read_model(str(tmp_path), extra=("--max-model-len", "2048"))
    assert model.name == str(tmp_path.resolve()) and model.url is None and model.extra[0] == "--max-model-len"


def test_a_hub_id_keeps_its_owner() -> None:
    assert read_model("MBZUAI/MediX-R1-8B").name == "MBZUAI/MediX-R1-8B"


@pytest.mark.parametrize("text", ["MediX-R1-8B", "./nowhere", "/nowhere/at-all", "a/b/c", "owner/"])
def test_what_is_none_of_the_three_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="folder, a hub id owner/name, or a URL"):
        read_model(text)


def test_other_wrong_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"folder without config.json"):
        read_model(str(tmp_path))
    with pytest.raises(ConfigError, match="MODEL is 'ftp://host/v1'; write it as http://host:port/v1"):
        read_model("ftp://host/v1")
    with pytest.raises(ConfigError, match="model.name is for a URL"):
        read_model("owner/name", name="x")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY, which is not set"):
        read_model("http://127.0.0.1:1/v1", api_key_env="NO_SUCH_KEY")
