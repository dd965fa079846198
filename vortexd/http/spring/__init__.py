"""The parsing and encoding for Spring Cloud Config's HTTP API: from paths and configurations to response bodies. Pure.

    config_request.py  parses the path and the query of a request
    encoding.py        encodes a response body
    environment.py     the JSON of a configuration, in both of its media types
    suffixes.py        a configuration as `.properties`, `.yml` or `.json`
    yaml.py            YAML as SnakeYAML writes it
    scalars.py         scalars as Java writes them
    placeholders.py    resolves `${key:default}` in response bodies
    resources.py       finds plain files, and the rights that a client needs to read them
    errors.py          the JSON of an error

vortexd-api(7) lists the intended differences between vortexd and Spring.
"""
