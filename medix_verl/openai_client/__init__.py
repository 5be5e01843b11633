# SPDX-License-Identifier: Apache-2.0
"""The client of OpenAI-compatible servers: chat completions, embeddings, the list of models.

It sends one request and returns the outcome. The caller decides how often, how many at once and to which server
(medix_verl.runtime.dispatch). Every request of the package goes through it, because it enforces the rules for the API
key and for credentialed rows:

- The key is sent in a header to the configured host only: no redirect is followed, an address with credentials in it is
  refused, no proxy is used unless configured, and no error message contains the key.
- A reply is bounded while it is read, both raw and decompressed, and must end within the time limit.
- A connection with unread data is never reused: the data would be read as the answer to the next request.
- A host is resolved once. The address that was checked for a restricted request is the one that is connected to.

`address` checks addresses and keys, `replies` parses answers, `client` sends requests.
"""

from __future__ import annotations

from medix_verl.openai_client.address import check_url, check_urls, read_key
from medix_verl.openai_client.client import AddressBook, OpenAIClient, http_transport, list_models
from medix_verl.openai_client.replies import (
    Completion,
    RequestError,
    read_completion,
    read_retry_after,
    split_reasoning,
)

__all__ = [
    "AddressBook",
    "Completion",
    "OpenAIClient",
    "RequestError",
    "check_url",
    "check_urls",
    "http_transport",
    "list_models",
    "read_completion",
    "read_key",
    "read_retry_after",
    "split_reasoning",
]
