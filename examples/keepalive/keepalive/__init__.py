"""A small HTTP service: see server.py."""
