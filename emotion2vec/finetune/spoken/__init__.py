"""What is said, recognized beside what is learnt of it."""
