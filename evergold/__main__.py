"""`python -m evergold`: the command line, where it is not installed as a program."""

from evergold.cli import app

app()
