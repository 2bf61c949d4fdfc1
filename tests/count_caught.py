"""How many of the known mistakes does the kind of test that courses publish catch, how many ours?

    python tests/count_caught.py [--json FILE]

Every mistake of the autograder's table is planted in a layer that is right otherwise. The
course's kind of test: one fixed example, and the numerical gradient of the student's own
forward pass. The same count is made, and checked, by tests/test_autograder.py.
"""
import argparse
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import experiment
from solver import save_atomically
from test_autograder import count_caught, sentence_of_counts


def main():
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    started = time.monotonic()
    counts = count_caught()
    if args.json:
        result = {**dict(zip(("theirs", "in_layers", "ours", "mistakes"), counts)),
                  "seconds": round(time.monotonic() - started, 1),
                  "environment": experiment.environment()}
        save_atomically(args.json, lambda file: file.write(json.dumps(result, indent=2).encode()))
    print(sentence_of_counts(*counts))


if __name__ == "__main__":
    experiment.run(main)
