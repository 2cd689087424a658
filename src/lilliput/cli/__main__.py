"""`python -m lilliput.cli`: the command line where no script is installed."""

from lilliput.cli import main

main()
