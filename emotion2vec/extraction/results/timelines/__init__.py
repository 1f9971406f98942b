"""Pictures of recordings: who speaks when, and with which emotion."""
