"""The state that survives a restart: files in the state directory that only vortexd's user can read.

The fleet's acknowledgements arrive, and the states that the gate has accepted. Both leave again after a restart. Nothing
here stops the service: if a file can't be read or written, the server logs a warning. The mirrors of repositories and
the last good content of directories are the business of `source`, which writes its files by the same functions.

    private_files.py     files that are replaced in one step, in a directory of vortexd's own user
    accepted.py          the state of each label that was accepted last, written by a task: accepted_files.py on disk
    acknowledgements.py  what each instance has acknowledged last: read at the start, written when it has changed

Never imports: source, pipeline, realtime, http.
"""
