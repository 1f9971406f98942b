"""Print the folder for fairseq's `common.user_dir`."""

from emotion2vec.integrations.fairseq import user_dir

if __name__ == "__main__":
    print(user_dir())
