.PHONY: test check soak venv machines machines-down
VENV ?= .venv

# The launcher makes the environment; with the extras of pyproject.toml that the tests need.
venv:
	@LAB_EXTRAS=test ./lab --version >/dev/null

# An engine's tests are one lane, the others go by file: tests/conftest.py.
test: check
	$(VENV)/bin/python -m pytest -n 3 --dist loadgroup

check: venv
	$(VENV)/bin/python -m ruff check orchestrator tests bench examples
	$(VENV)/bin/python -m ruff format --check orchestrator tests bench examples
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/lint-imports

# The pack of nginx's timeouts 20 times over, until a verdict is wrong; what is said stays in soak.log. Others, or
# fewer times: make soak SOAK="--rounds 5 --engine docker labs/backlog/lab.yaml"
soak: venv
	$(VENV)/bin/python -m bench.soak $(SOAK)

# Two machines on this computer, to try labs that span machines: docs/machines.md.
machines:
	@images/start-machines.sh

machines-down:
	@images/start-machines.sh down
