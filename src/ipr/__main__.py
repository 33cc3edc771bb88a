"""`python -m ipr`: the same as `ipr`."""

from ipr.cli import main

if __name__ == "__main__":  # processes of a sweep import this file, too
    main()
