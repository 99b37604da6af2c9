"""Tests of the daemon, with real agents."""
