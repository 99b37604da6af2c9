"""Pure values: what a user wrote (topology), what is deployed (plan), what was seen (rows)."""
