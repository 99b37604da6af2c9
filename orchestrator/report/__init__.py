"""Pure: from rows to what a person or a program reads."""
