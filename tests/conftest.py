"""Options of the whole suite: --slow runs the long campaigns too."""
import pytest


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
