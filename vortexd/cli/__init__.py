"""The command line of vortexd: turns arguments and vortexd.toml into a running daemon, and errors into lines and an exit status."""
