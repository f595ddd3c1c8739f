"""For `pip install .`: what pyproject.toml can't say, that assets/ is a part of the package once it is installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["distill", "distill.*"]), "distill.assets"],
    package_dir={"distill.assets": "assets"},
    package_data={"distill.assets": ["*.css", "*.js", "*.yaml", "presets/*", "problems/**", "zoo/**"]},
)
