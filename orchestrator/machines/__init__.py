"""Machines: the computers that engines run on, this one and those reached over SSH."""
