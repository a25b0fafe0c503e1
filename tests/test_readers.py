"""Reading answers: no text, however often a model repeats itself, holds up the engine beside which it is read."""

import time

import pytest

from scaling_exp.tasks.answers import canonical
from scaling_exp.tasks.readers import READERS

SETTINGS = {"pattern": {"pattern": r"answer:\s*(\S+)"}}
HEADS = ("Answer:", r"\boxed{", "```")
UNITS = (
    *(" ", "\n", "* ", "1", "1 ", "1,111", "1/", "$1", r"\(", "A ", "answer is ", r"\boxed{", r"\text{"),
    *("`", "and ", ".,", "x+1="),
)  # fmt: skip


def seconds_of(function, text):
    """Of this process's own work: the machine may be busy."""
    started = time.process_time()
    function(text)
    return time.process_time() - started


@pytest.mark.parametrize("kind", READERS)
def test_reading_takes_no_longer_than_the_text_is(kind):
    reader = READERS[kind](**SETTINGS.get(kind, {}))
    for head in HEADS:
        for unit in UNITS:
            text = head + unit * (20_000 // len(unit)) + "e`"
            assert seconds_of(reader.read, text) < 0.25, (head, unit)


def test_what_is_as_long_as_an_answer_can_be_has_its_form_at_once():
    for unit in UNITS:
        text = "1" + unit * (1_990 // len(unit)) + "x"
        assert seconds_of(canonical, text) < 0.25, unit


def test_blanks_do_not_tell_answers_apart():
    assert canonical("1   and\n\n 2") == canonical("1 and 2") == canonical("1,2")
    assert canonical(r"\text{ten   past  two}") == canonical(r"\text{ten past two}")
