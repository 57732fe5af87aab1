"""The robots of DingTalk and WeCom, listened to.

Both answer with HTTP 200 to what they refuse (a wrong key, a missing keyword, more than 20 messages a minute)
and say so in the body: {"errcode": 310000, "errmsg": "..."}. Apprise (2.2.0) looks at the status only and
takes all of it for delivered. A delivery is not believed until it is acknowledged, so the plug-ins get a
`requests` that raises for such an answer, which they report as a failure like any other.
"""

import importlib
import json
import logging
from types import SimpleNamespace
from typing import Any, Final

import requests

_LOG: Final = logging.getLogger("apprise")
_PLUGINS: Final = ("apprise.plugins.dingtalk", "apprise.plugins.wecombot")


def listen_to_robots() -> None:
    """Have both plug-ins take a refusal for a refusal, for the rest of this process. May be called again."""
    answered = SimpleNamespace(post=_post, codes=requests.codes, RequestException=requests.RequestException)
    for name in _PLUGINS:
        importlib.import_module(name).requests = answered  # type: ignore[attr-defined]


def _post(url: str, **how: Any) -> requests.Response:
    answer = requests.post(url, **how)  # noqa: S113 (the plug-ins set a timeout)
    if answer.status_code == requests.codes.ok:
        _check(answer.content)
    return answer


def _check(body: bytes) -> None:
    """Raise RequestException unless the robot says that it has taken the message."""
    try:
        said = json.loads(body)
        code = said["errcode"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise requests.RequestException("the answer is not that of a robot") from error
    if code != 0:
        reason = f"the robot refuses: {code} {said.get('errmsg', '')}"
        _LOG.warning(reason)  # what they raise themselves is only "a connection error"
        raise requests.RequestException(reason)
