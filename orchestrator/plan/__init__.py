"""Pure: from what was written (and what runs now) to what is to be done."""
