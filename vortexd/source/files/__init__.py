"""The files source: watches a directory with inotify and reads it whole."""
