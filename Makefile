.PHONY: test check venv machines machines-down
VENV ?= .venv

# The launcher makes the environment; with the extras of pyproject.toml that the tests need.
venv:
	@LAB_EXTRAS=test ./lab --version >/dev/null

test: check
	$(VENV)/bin/python -m pytest

check: venv
	$(VENV)/bin/python -m ruff check orchestrator tests bench examples
	$(VENV)/bin/python -m ruff format --check orchestrator tests bench examples
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/lint-imports

# Two machines on this computer, to try labs that span machines: docs/machines.md.
machines:
	@images/start-machines.sh

machines-down:
	@images/start-machines.sh down
