"""Hosts that data and weights come from: whether they answer, and what follows if they do not."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.client import HTTPException
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from lorasb.errors import UserError

SECONDS = 5.0  # in which a host must answer
OFFLINE = "HF_HUB_OFFLINE"


@contextmanager
def cached_without_network() -> Iterator[None]:
    """In this block and after it the hub's cache alone is used where the hub does not answer.

    As with HF_HUB_OFFLINE=1, and at once: the hub's libraries would try each file again for a
    minute. A line on stderr says that the cache was enough.
    """
    from huggingface_hub import constants

    gone = not constants.HF_HUB_OFFLINE and out_of_reach(constants.ENDPOINT)
    if gone:
        os.environ[OFFLINE] = "1"  # for PEFT, which reads it each time
        constants.HF_HUB_OFFLINE = True
    yield
    if gone:
        sys.stderr.write(f"{constants.ENDPOINT} does not answer; the cache is used\n")


def not_cached(what: str) -> UserError:
    """The error for what is neither cached nor to be had from the hub."""
    return UserError(
        f"no network and nothing cached: {what}; run once with a network and without "
        f"{OFFLINE}=1, or set HF_HOME to a cache that holds it"
    )


@cache
def out_of_reach(url: str) -> bool:
    """Whether nothing answers at a URL within `SECONDS`, through the proxies of the environment.

    False wherever HF_HUB_OFFLINE is set: to 0, it says that there is a network, however slow.
    """
    if OFFLINE in os.environ:
        return False
    found: list[bool] = []
    # looking up a name has no time limit: a thread can be left behind
    asking = Thread(target=lambda: found.append(_answers(url)), daemon=True)
    asking.start()
    asking.join(SECONDS)
    return not any(found)


def _answers(url: str) -> bool:
    try:
        with urlopen(Request(url, method="HEAD"), timeout=SECONDS):
            return True
    except (HTTPError, HTTPException, ValueError):  # an answer, or no URL: others say more of it
        return True
    except OSError as error:  # a host whose certificate is refused is there
        return isinstance(getattr(error, "reason", error), ssl.SSLError)
