"""Wrong tokens are counted for each address."""

from vortexd.auth import Failures


def test_T07_an_address_waits_once_its_allowance_is_used_up() -> None:
    failures = Failures(burst=3, per_second=0.5, addresses=10)

    waits = [failures.record("192.0.2.1", 100.0) for _ in range(5)]

    assert [0.0, 0.0, 0.0, 2.0, 2.0] == waits


def test_T07_what_is_forgiven_with_time_is_at_most_the_burst() -> None:
    failures = Failures(burst=2, per_second=1, addresses=10)
    for _ in range(1_000):
        failures.record("192.0.2.1", 100.0)

    assert 0.5 == failures.record("192.0.2.1", 100.5)
    assert 0.0 == failures.record("192.0.2.1", 101.0)
    assert [0.0, 0.0, 1.0] == [failures.record("192.0.2.1", 9_999.0) for _ in range(3)]


def test_T07_other_addresses_have_their_own_allowance() -> None:
    failures = Failures(burst=1, per_second=1, addresses=10)
    failures.record("192.0.2.1", 0.0)

    assert 0.0 < failures.record("192.0.2.1", 0.0)
    assert 0.0 == failures.record("192.0.2.2", 0.0)


def test_T07_an_ipv6_network_counts_as_one_and_a_mapped_address_as_itself() -> None:
    failures = Failures(burst=1, per_second=1, addresses=10)
    for address in ("2001:db8::1", "192.0.2.1", ""):
        failures.record(address, 0.0)

    assert 0.0 < failures.record("2001:db8::ffff:1", 0.0)
    assert 0.0 < failures.record("::ffff:192.0.2.1", 0.0)
    assert 0.0 < failures.record("", 0.0)
    assert 0.0 == failures.record("2001:db8:0:1::1", 0.0)


def test_T07_memory_is_bounded_and_who_failed_longest_ago_is_forgotten() -> None:
    failures = Failures(burst=1, per_second=0.001, addresses=2)
    for address in ("a", "b", "a", "c"):
        failures.record(address, 0.0)

    assert 2 == len(failures)
    assert 0.0 < failures.record("a", 0.0)
    assert 0.0 == failures.record("b", 0.0)
