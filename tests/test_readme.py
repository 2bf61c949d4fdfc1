"""The README's Python examples print what the README says."""
import contextlib
import io
import pathlib
import re

import pytest

README = (pathlib.Path(__file__).resolve().parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, flags=re.DOTALL)


def test_every_example_is_followed_by_its_output():
    assert len(EXAMPLES) == README.count("```python") > 0


@pytest.mark.parametrize("code, output", EXAMPLES)
def test_an_example_prints_what_stands_under_it(code, output):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == output
