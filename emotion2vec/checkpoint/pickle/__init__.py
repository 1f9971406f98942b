"""The safe reader of files that hold pickles."""
