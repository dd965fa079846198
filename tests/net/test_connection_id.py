"""The ids of connections."""

from uuid import RFC_4122, UUID

from vortexd.net.connection_id import make_connection_id


def test_an_id_is_a_random_uuid_in_its_usual_form() -> None:
    made = [make_connection_id() for _ in range(200)]

    assert 200 == len({*made})
    for each in made:
        uuid = UUID(each)
        assert (each, RFC_4122, 4) == (str(uuid), uuid.variant, uuid.version)
    # Each digit but that of the version takes many values, and that of the variant takes all four.
    for place in (*range(8), *range(9, 13), *range(15, 18), *range(20, 23), *range(24, 36)):
        assert len({each[place] for each in made}) > 10
    assert set("89ab") == {each[19] for each in made}
