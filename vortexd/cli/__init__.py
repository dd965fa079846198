"""The command line of vortexd: arguments and vortexd.toml become a running daemon, and errors become one line and an exit status."""
