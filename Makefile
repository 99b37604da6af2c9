.PHONY: test check pack soak atlas venv machines machines-down
VENV ?= .venv

# The launcher makes the environment; with the extras of pyproject.toml that the tests need.
venv:
	@LAB_EXTRAS=test ./lab --version >/dev/null

# An engine's tests are one lane, the others go by file: tests/conftest.py.
test: check
	$(VENV)/bin/python -m pytest -n 3

check: venv
	$(VENV)/bin/python -m ruff check orchestrator tests bench examples
	$(VENV)/bin/python -m ruff format --check orchestrator tests bench examples
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/lint-imports

# The pack of nginx's timeouts once on each engine, with nothing beside it.
pack: venv
	LAB_PACK=1 LAB_REQUIRE_ENGINES=namespaces,docker $(VENV)/bin/python -m pytest tests/e2e/test_nginx_timeouts.py

# The pack of nginx's timeouts 20 times over, until a verdict is wrong; what is said stays in soak.log. Others, or
# fewer times: make soak SOAK="--rounds 5 --engine docker labs/backlog/lab.yaml"
soak: venv
	$(VENV)/bin/python -m bench.soak $(SOAK)

# docs/nginx-timeouts.md anew, from a run of the pack with values for people. On a busy computer, where verdicts are
# unknown: make atlas ROUNDS=3 JOBS=2; of each scenario the first performance that passed is shown.
JOBS ?= auto
ROUNDS ?= 1
atlas: venv
	./lab run -f labs/nginx-timeouts/lab.yaml --row plain --jobs $(JOBS) --repeat $(ROUNDS) --quiet || test $(ROUNDS) -gt 1
	./lab report -f labs/nginx-timeouts/lab.yaml --markdown docs/nginx-timeouts.md

# Two machines on this computer, to try labs that span machines: docs/machines.md.
machines:
	@images/start-machines.sh

machines-down:
	@images/start-machines.sh down
