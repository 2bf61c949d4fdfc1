"""Never comes back, and ignores the signal of the limit."""
import signal

signal.signal(signal.SIGXCPU, signal.SIG_IGN)


def fc_forward(x, w, b):
    while True:
        pass
