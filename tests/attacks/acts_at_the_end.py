"""Waits for the end: atexit, signal handlers, and __del__."""
import atexit
import os
import signal


class Late:
    def __del__(self):
        os.write(4, b"noise" * 100)


def late(*_):
    while True:
        pass


kept = Late()


def fc_forward(x, w, b):
    atexit.register(late)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, late)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    return b, Late()
