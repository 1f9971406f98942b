"""Results as annotations of recordings, in the files of the tools that people look at speech with."""
