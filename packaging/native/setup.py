"""The extension and its stable ABI. setuptools reads everything else from pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "vortexd_native",
            ["vortexd_native.c"],
            py_limited_api=True,
            extra_compile_args=["-O2", "-Wall", "-Wextra"],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
