"""The configuration of a pinned key differs from others only in its term."""

import attrs

from vortexd.core.model import Config, Key
from vortexd.core.term import PinnedConfig, Term

KEY = Key("shop", "dev", "main")


def test_only_the_configuration_of_a_pinned_key_has_a_term() -> None:
    assert None is Config(KEY, "v", b"{}", ()).pinned
    assert Term(1.0, 2.0) == PinnedConfig(KEY, "v", b"{}", (), pinned=Term(1.0, 2.0)).pinned


def test_a_copy_with_another_revision_is_pinned_too() -> None:
    copy = attrs.evolve(PinnedConfig(KEY, "v", (b"{", b"}"), (), pinned=Term(1.0)), revision="c2")
    assert (PinnedConfig, Term(1.0), "c2", b"{}") == (type(copy), copy.pinned, copy.revision, copy.body)


def test_other_configurations_have_no_room_for_a_term() -> None:
    assert "pinned" not in {each.name for each in attrs.fields(Config)}
