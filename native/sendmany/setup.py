"""The optional extension of the hub: without a compiler, pip installs a package without it."""

from setuptools import Extension, setup

setup(ext_modules=[Extension("tickwire_sendmany", ["tickwire_sendmany.c"], optional=True, extra_compile_args=["-O2"])])
