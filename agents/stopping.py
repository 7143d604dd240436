"""Being told to stop: SIGTERM, which schedulers and service managers send, is taken as Ctrl-C."""

from __future__ import annotations

import signal
import threading


def on_sigterm_too() -> None:
    """From here on SIGTERM does what SIGINT does: what is running saves, tells its children, and ends.

    Servers and controllers set handlers of their own later. Outside the main thread nothing changes.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
