"""Never comes back, without computing."""
import os
import signal
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)


def fc_forward(x, w, b):
    os.setsid()
    while True:
        time.sleep(1000)
