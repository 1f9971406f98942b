"""Sound: decoding, mixing, resampling, frame arithmetic, windows of long audio, voice activity."""
