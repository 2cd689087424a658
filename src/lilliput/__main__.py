"""`python -m lilliput`: the command line where no script is installed."""

from lilliput.cli import main

main()
