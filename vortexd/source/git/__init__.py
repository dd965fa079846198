"""The git source: a mirror of a repository, each branch and tag of which is a label."""
