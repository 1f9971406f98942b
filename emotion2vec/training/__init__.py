"""The training loop and what it needs: schedules, optimizer, monitor and run folder."""
