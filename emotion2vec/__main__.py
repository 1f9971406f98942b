"""`python -m emotion2vec` is the same as `emotion2vec`."""

from emotion2vec.cli import main

if __name__ == "__main__":
    main()
