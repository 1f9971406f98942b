"""Search for the settings of fine-tuning."""
