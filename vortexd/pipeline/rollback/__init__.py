"""Rolls a key back: one new commit on a branch makes its document equal to that of an earlier commit.

branch_states.py  the state that keys are resolved from at a commit of a branch
plan.py           the smallest set of files to restore, and the keys that change with them
judgement.py      lets the gate judge the keys that change
target.py         finds the commit that a version or the beginning of an id names
rollback.py       plans, commits and pushes, one roll-back at a time for each repository
"""
