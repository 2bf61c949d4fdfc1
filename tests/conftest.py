"""The whole suite: --slow runs the long campaigns too; Ctrl-C is heard however it was started."""
import signal

import pytest

# Shells start what they run in the background with Ctrl-C ignored, and programs keep to that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true",
                     help="run the long campaigns too (minutes to hours)")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="long campaign: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
