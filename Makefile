.PHONY: test check venv
VENV ?= .venv

venv:
	./lab --version >/dev/null

test: check
	$(VENV)/bin/python -m pytest

check:
	$(VENV)/bin/ruff check orchestrator tests bench
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
