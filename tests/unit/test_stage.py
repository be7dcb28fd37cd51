"""A stage's engine is given up only while it works, so that no utterance is lost between two threads."""

from __future__ import annotations

import threading

from stt.messages import Sentence
from stt.stage import Job, Stage


class Time:
    """A clock that a test moves."""

    ns = 0

    def __call__(self) -> int:
        return self.ns


def test_an_engine_that_came_to_rest_in_time_is_not_given_up():
    time = Time()
    stage = Stage("translate", lambda item, stage: None, lambda: None, time, print)
    job = Job(Sentence("s1", "One.", 0), time)
    stage.begin(job)
    assert stage.give_up(1.0) is None
    assert stage.rest()
    time.ns = 5_000_000_000
    assert stage.give_up(1.0) is None
    assert not stage.abandoned


def test_what_comes_from_an_engine_that_was_given_up_is_void():
    time = Time()
    stage = Stage("translate", lambda item, stage: None, lambda: None, time, print)
    job = Job(Sentence("s1", "One.", 0), time)
    stage.begin(job)
    time.ns = 5_000_000_000
    assert stage.give_up(1.0) is job
    assert not stage.rest()


def test_the_next_item_waits_for_the_new_thread_when_the_old_one_is_given_up():
    time, worked, hang = Time(), [], threading.Event()
    done = threading.Event()

    def work(item, stage):
        if item is None:
            return
        stage.begin(item)
        if item.sentence.id == "s1":
            hang.wait()
        if not stage.rest():
            return
        worked.append(item.sentence.id)
        done.set()

    old = Stage("translate", work, lambda: None, time, print)
    jobs = [Job(Sentence(f"s{n}", "One.", 0), time) for n in (1, 2)]
    for item in (*jobs, None):
        old.put(item)
    old.start()
    while old.give_up(1.0) is None:
        time.ns += 1_000_000_000
    old.replacement()
    assert done.wait(5)
    hang.set()
    assert worked == ["s2"]
