"""vortexctl: what people and pipelines ask of a running vortexd. One module per command, found by `cli`."""
