"""Products on a CPU: measured choices between libraries, and weights laid out for them."""
