"""The files source: a directory, watched by inotify and read whole."""
