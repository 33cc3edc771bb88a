import threading

import pytest

from ipr.machine.threads import in_order


def test_results_come_in_order_and_no_more_are_made_than_allowed():
    made, taken, most = [], [], []
    lock = threading.Lock()

    def square(number):
        with lock:
            made.append(number)
            most.append(len(made) - len(taken))
        return number * number

    for result in in_order(square, range(50), threads=3, ahead=5):
        taken.append(result)
    assert taken == [number**2 for number in range(50)]
    assert sorted(made) == list(range(50))
    assert max(most) <= 7  # five, the one that is being taken, and the one after it


def test_nothing_of_nothing():
    assert list(in_order(abs, [], threads=2, ahead=1)) == []


def test_an_error_comes_where_its_result_would_and_ends_it():
    got = []

    def checked(number):
        if number == 4:
            raise ValueError("four")
        return number

    with pytest.raises(ValueError, match="four"):
        got.extend(in_order(checked, range(1000), threads=2, ahead=3))
    assert got == [0, 1, 2, 3]


def test_whoever_stops_early_leaves_no_thread():
    before = threading.active_count()
    results = in_order(abs, range(1000), threads=3, ahead=5)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before
