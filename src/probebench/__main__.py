"""`python -m probebench`."""

from probebench.cli import main

if __name__ == "__main__":
    main()
