"""The watermarks that passports compete with (Section II), each in one file: how it is embedded, and how it is read."""
