"""vortexctl: the command line for people and pipelines that use a running vortexd. One module per command; `cli` finds them."""
