"""What `predict` finds out, for whatever comes next: tables, summaries, annotations, pictures, data frames."""
