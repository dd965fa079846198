from vortexd.client.backoff import LONGEST_ASKED, delay_before


def test_the_first_attempt_is_at_once() -> None:
    assert 0 == delay_before(0, 1.0)


def test_the_ceiling_doubles_up_to_its_cap() -> None:
    assert [0.25, 0.5, 1, 2, 4, 4, 4] == [delay_before(n, 1.0) for n in (1, 2, 3, 4, 5, 6, 10_000)]


def test_the_jitter_is_full() -> None:
    assert [0, 1, 2] == [delay_before(9, chance) for chance in (0.0, 0.25, 0.5)]


def test_it_never_comes_sooner_than_the_server_asked() -> None:
    assert [3, 3, 4] == [delay_before(0, 0.0, 3_000), delay_before(9, 0.0, 3_000), delay_before(9, 1.0, 3_000)]


def test_a_server_can_not_send_a_client_away_for_ever() -> None:
    assert LONGEST_ASKED == delay_before(0, 0.5, 10**12)
