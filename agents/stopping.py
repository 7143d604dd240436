"""Being told to stop: SIGTERM, which schedulers and service managers send, is taken as Ctrl-C."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def on_sigterm_too() -> None:
    """From here on SIGTERM does what SIGINT does: what is running saves, tells its children, and ends.

    Also where SIGINT itself is ignored, as it is of a shell's background jobs. Servers and controllers set handlers of
    their own later. Outside the main thread nothing changes.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)


def _stop(_number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
