"""Tests of agents, on real sockets."""
