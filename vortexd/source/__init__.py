"""Sources: each kind turns something outside into whole immutable states, `Tree`s."""
