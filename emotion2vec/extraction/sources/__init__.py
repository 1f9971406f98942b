"""What a user names -> utterances (`named`) -> decoded audio (`decoding`)."""
