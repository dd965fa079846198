"""Spring Cloud Config's HTTP API, as far as it is a matter of texts. Pure: in come requests' words and configurations, out go bodies.

    wanted.py        what a path and a query ask for
    encoding.py      from what is wanted and what it is made from to bytes
    environment.py   the JSON of a configuration, in both of its media types
    suffixes.py      a configuration as `.properties`, `.yml` or `.json`
    yaml.py          YAML as SnakeYAML writes it
    scalars.py       scalars as Java writes them
    placeholders.py  `${key:default}` in what leaves
    resources.py     plain files: which one is meant, and what somebody must be allowed to read to have it
    errors.py        the JSON of an error

Where vortexd differs on purpose, vortexd-api(7) says so.
"""
