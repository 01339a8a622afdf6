"""The short form of chaos.py: `make chaos` kills for longer, and by more kinds of signals."""

import random

from chaos import PARENT, TERM, WORKER, Chaos, compare, contents, study, write_images
from commands import here

DECK = (WORKER, PARENT, TERM)


def test_a_study_whose_workers_and_parents_are_killed_ends_bitwise_like_one_left_alone_to_one_process(
    tmp_path, capsys, one_process
):
    write_images(tmp_path / "images")
    arguments = study(tmp_path / "images", "1,2")
    here("train", *arguments, f"store={tmp_path / 'undisturbed'}")
    chaos = Chaos(arguments, tmp_path, random.Random(0), longest=6.0, deck=DECK)
    try:
        compare(chaos.finish(chaos.survive(len(DECK))), contents(tmp_path / "undisturbed"))
    finally:
        chaos.end()
        with capsys.disabled():
            print(f"\nchaos: {chaos}")
    assert chaos.survived.total() >= len(DECK) and chaos.survived[WORKER] and chaos.survived[PARENT]
