"""Networked labs in which both ends of every connection are one row."""

__version__ = "0.1.0"
