"""The git source: keeps a mirror of a repository. Each branch and tag is a label."""
