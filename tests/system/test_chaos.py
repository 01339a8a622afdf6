"""The short form of chaos.py: `make chaos` kills for longer."""

import random

from chaos import DECK, PARENT, WORKER, Chaos, compare, study, write_images


def test_a_study_whose_workers_and_parents_are_killed_ends_bitwise_like_one_left_alone(tmp_path, capsys):
    write_images(tmp_path / "images")
    chaos = Chaos(study(tmp_path / "images", "1,2"), tmp_path, random.Random(0), longest=8.0)
    try:
        wanted = chaos.undisturbed()
        compare(chaos.finish(chaos.survive(len(DECK))), wanted)
    finally:
        chaos.end()
        with capsys.disabled():
            print(f"\nchaos: {chaos}")
    assert chaos.survived.total() >= len(DECK) and chaos.survived[WORKER] and chaos.survived[PARENT]
