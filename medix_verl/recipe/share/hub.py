# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face hub repository (type `model`) as a source of recipes and as a publishing target.

huggingface_hub downloads single files at one commit, only those that are collected. HF_ENDPOINT and HF_TOKEN are used
as usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from medix_verl.errors import DataError, MedixError, SetupError
from medix_verl.recipe.share.bundle import Entry, Origin
from medix_verl.secrets import scrub_text

__all__ = ["HubSource", "upload"]

LIMIT_S = 30.0


class HubSource:
    """One commit of a repository."""

    def __init__(self, name: str, revision: str | None) -> None:
        """List the repository's files on the hub; raises DataError or SetupError if that fails."""
        from huggingface_hub import HfApi

        try:
            info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=LIMIT_S)
        except Exception as error:
            raise _refusal(name, revision, error) from error
        self.name = name
        self.commit = str(info.sha)
        self.files = tuple(info.siblings or ())
        self.origin = Origin("hub", name, self.commit)

    def entries(self) -> Iterator[Entry]:
        """Its files, without hidden ones."""
        for file in self.files:
            if not any(part.startswith(".") and part not in (".", "..") for part in file.rfilename.split("/")):
                yield Entry(file.rfilename, int(file.size or 0))

    def read(self, name: str, most: int) -> bytes:
        """Download a file into a temporary folder and read at most `most` + 1 bytes of it."""
        from huggingface_hub import hf_hub_download

        with TemporaryDirectory(prefix="medix-recipes-") as folder:
            try:
                got = hf_hub_download(self.name, name, revision=self.commit, local_dir=folder)
            except Exception as error:
                raise _refusal(self.name, self.commit, error) from error
            with Path(got).open("rb") as file:
                return file.read(most + 1)


def upload(name: str, files: Mapping[str, str], message: str, private: bool = False) -> str:
    """Publish files to a repository, which is created if missing; returns the commit.

    Raises:
        DataError: The hub has no such repository or revision.
        SetupError: The hub cannot be reached, access is refused, or there is no token.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    try:
        api.create_repo(name, repo_type="model", private=private, exist_ok=True)
        added = [CommitOperationAdd(path, text.encode("utf-8")) for path, text in files.items()]
        done: Any = api.create_commit(name, added, commit_message=message, repo_type="model")
    except Exception as error:
        raise _refusal(name, None, error) from error
    return str(done.oid)


def _refusal(name: str, revision: str | None, error: BaseException) -> MedixError:
    from huggingface_hub.errors import HfHubHTTPError

    kind = type(error).__name__
    if kind == "GatedRepoError":
        return SetupError(
            f"{name} is gated: accept its terms at https://huggingface.co/{name}, then type hf auth login"
        )
    if kind == "RepositoryNotFoundError":
        found = f"{name}: no such folder here, and no such repository on the hub"
        return DataError(f"{found}; check the name, and if it is private, type hf auth login")
    if kind == "RevisionNotFoundError":
        return DataError(f"{name} has no revision {revision!r}; check what stands behind the @")
    refused = isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403)
    if kind == "LocalTokenNotFoundError" or refused:
        return SetupError(f"the hub does not let you write to {name}; type hf auth login, with a token that may write")
    said = scrub_text(" ".join(str(error).split()))[:300] or kind
    return SetupError(f"the hub cannot be asked for {name} ({said}); name a folder or a git repository instead")
