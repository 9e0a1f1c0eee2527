"""ZeroC Ice, loaded when it is needed, and the interface that is compiled from the packaged Slice file at run time."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from kinema.errors import KinemaError

SLICE = Path(__file__).with_name("activity.ice")
IDENTITY = "activity"
_MESSAGE_KILOBYTES = 64


@cache
def interface() -> tuple[ModuleType, ModuleType]:
    """The modules `Ice` and `KinemaActivity`; `KinemaError` where Ice is not installed."""
    try:
        import Ice
    except ImportError as error:
        raise KinemaError("the RoboComp component needs ZeroC Ice: pip install 'kinema[robocomp]'") from error
    Ice.loadSlice("", [os.fspath(SLICE)])
    import KinemaActivity

    return Ice, KinemaActivity


def communicator(**properties: str) -> Any:
    """A communicator that takes messages of 64 KiB at most and reads no configuration from elsewhere."""
    ice, _ = interface()
    data = ice.InitializationData()
    data.properties = ice.createProperties()
    settings = {"Ice.MessageSizeMax": str(_MESSAGE_KILOBYTES), "Ice.Warn.Connections": "0", "Ice.Warn.Dispatch": "0", **properties}
    for name, value in settings.items():
        data.properties.setProperty(name, value)
    return ice.initialize(data)


def reason(error: Exception) -> str:
    """One line of an Ice exception's many."""
    text = " ".join(str(error).replace("{", " ").replace("}", " ").split())
    return text.removeprefix("exception ") or type(error).__name__


def endpoint(host: str, port: int) -> str:
    """An Ice endpoint; `KinemaError` for what is no host or port."""
    if not re.fullmatch(r"[\w.:%*-]+", host) or not 0 <= port <= 65535:
        raise KinemaError(f"{host!r} port {port} is no address; a host name and a port in 0..65535 are expected")
    return f'tcp -h "{host}" -p {port}'
