# Everything runs from a bare Python >= 3.11, git and make: each target makes .venv itself, from the
# pinned versions in requirements/.
.DEFAULT_GOAL := help
SHELL := /bin/sh
# Where a machine forbids it (containers often do), each of the hundreds of processes that the tests
# start would compile our modules anew.
export PYTHONDONTWRITEBYTECODE :=
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := core relay signer client phone bunker
# --no-deps: what the packages need is pinned in requirements/; --no-build-isolation: so is hatchling.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# An environment starts with the pip and setuptools that are pinned, not with what Python bundles.
venv = $(PYTHON) -m venv $(1) && $(1)/bin/python -m pip --disable-pip-version-check --quiet install \
  --require-hashes --only-binary :all: -r requirements/pip.txt
# What some tests run against, where the platform has it.
OPTIONAL := interop deploy protectors
PYTEST := $(BIN)/python -m pytest
PAGE := packages/phone/src/bunker_phone/site/version.json
EXTENSION := packages/client/src/bunker_client/nip07/extension/options.js
WEB := packages/phone/node_modules/.installed $(shell find packages/phone/web -type f) $(wildcard packages/core/src/bunker_core/describe/texts/*.json)
# What another project's tests have beside the wheels: pytest, and pytest-xdist for parallel runs.
TESTBED := pytest|pytest-xdist|execnet|iniconfig|packaging|pluggy|pygments

.PHONY: help demo up test bench bench-quick gate lint format types peers conformance phone extension screenshots docs dist binary deb packages version audit wheels newest-python newest-uvicorn mutants release lock \
  clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## Show one remote signature from end to end; leaves nothing behind
	@$(BIN)/bunker demo

up: $(VENV)/.run ## Run relay and signer, and print the URI that pairs an app
	@$(BIN)/bunker up

test: $(VENV)/.dev ## Run every test; what needs a missing service skips and says so
ifdef TESTS
	$(PYTEST) $(TESTS)
else
	$(PYTEST) -n auto --dist loadfile --no-loadscope-reorder tests
endif

bench: $(VENV)/.run $(VENV)-bench/.peers ## Measure our relay and signer next to others (10 minutes)
	$(BIN)/python -m bench --peers $(VENV)-bench/bin/python $(BENCH)

bench-quick: $(VENV)/.run $(VENV)-bench/.peers ## The main measures in a minute, next to one relay
	$(BIN)/python -m bench --quick --peers $(VENV)-bench/bin/python $(BENCH)

gate: $(VENV)/.run ## Fail when an event costs the relay more than it should (15 seconds)
	$(BIN)/python -m bench.gate

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(addsuffix /src,$(addprefix packages/,$(PACKAGES))) tests
	$(BIN)/mypy bench/__main__.py bench/load/echo.py bench/signer/footprint.py bench/gate.py

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# All at once: npm waits for the network, go and cargo do not.
peers: ## Install the other projects' clients that the interop tests talk to (npm; go and cargo if here)
	@mkdir -p build/interop
	@started=""; \
	(! command -v cargo >/dev/null || (cd tests/interop/rust \
	  && cargo build --quiet --target-dir $(CURDIR)/build/interop/cargo) || echo "tests/interop/rust is left out") & \
	started="$$started $$!"; \
	(! command -v go >/dev/null || (cd tests/interop/go && go build -o $(CURDIR)/build/interop/driven-go . \
	  && go build -o $(CURDIR)/build/interop/driven-go-signer ./signer \
	  && go build -o $(CURDIR)/build/interop/conformance-go ./conformance) || echo "tests/interop/go is left out") & \
	started="$$started $$!"; \
	for folder in tests/interop/node tests/signer/console tests/client/nip07 examples/testbed-node deploy/startos; do \
	  (cd $$folder && npm install --no-package-lock --no-audit --no-fund --loglevel=error) & \
	  started="$$started $$!"; \
	done; \
	for one in $$started; do wait $$one || failed=1; done; [ -z "$$failed" ]

phone: $(PAGE) ## Build the signer's page for phones into packages/phone (Node.js 20; npm)

# Built anew only when something that goes into it has changed: the tests read it while others build.
$(PAGE): $(WEB) $(addprefix packages/phone/,build.mjs tsconfig.json)
	cd packages/phone && npm run --silent types && npm run --silent build

extension: $(EXTENSION) ## Build the browser's extension, and pack it: a zip for Chromium, an xpi for Firefox
	@$(PYTHON) packages/client/extension/pack.py build

$(EXTENSION): $(WEB) $(shell find packages/client/extension -type f) packages/phone/tsconfig.json
	cd packages/client/extension && ../../phone/node_modules/.bin/tsc && node build.mjs

# What both are made of, as pinned.
packages/phone/node_modules/.installed: $(addprefix packages/phone/,package.json package-lock.json)
	@node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))' 2>/dev/null \
	  || { echo "the phone's page and the extension need Node.js 20 or newer; all else works without it" >&2; exit 1; }
	cd packages/phone && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

conformance: $(VENV)/.dev peers $(VENV)-bench/.peers ## Judge every relay, signer and client that runs here (20 minutes)
	$(BIN)/python tests/interop/tables/conformance.py docs/conformance.md build/conformance

screenshots: extension $(VENV)/.dev ## Take the pictures of the console and of the extension anew (Chromium, Firefox)
	$(BIN)/python tests/signer/console/screenshots.py
	$(BIN)/python tests/client/nip07/screenshots.py

docs: $(VENV)/.run ## Build docs/ as a site, in build/site
	$(call venv,$(VENV)-docs)
	$(VENV)-docs/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes \
	  -r requirements/docs.txt
	$(BIN)/python -m bunker.reference docs/reference
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --quiet --strict

# Built, installed into a clean environment from the wheels alone, and used from there: the demo, and
# the tests of a second, tiny project.
dist: phone extension $(VENV)/.run $(VENV)-release/.tools ## Build all packages, prove them in a clean environment, list what is in
	rm -rf dist $(VENV)-dist
	for package in $(PACKAGES); do \
	  (cd packages/$$package && ../../$(BIN)/python -m hatchling build -d ../../dist) || exit 1; \
	done
	$(call venv,$(VENV)-dist)
	$(VENV)-dist/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes \
	  -r requirements/run.txt
	$(VENV)-dist/bin/python -m pip --disable-pip-version-check --quiet install --no-deps dist/*.whl
	cd / && $(CURDIR)/$(VENV)-dist/bin/bunker demo
	$(VENV)-release/bin/cyclonedx-py environment --output-reproducible -o dist/sbom.cdx.json \
	  $(VENV)-dist/bin/python
	mkdir -p build && awk '/^[a-z]/ {wanted = /^($(TESTBED))==/} wanted' requirements/dev.txt > build/testbed.txt
	$(VENV)-dist/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes \
	  -r build/testbed.txt
	cd examples/testbed-python && ../../$(VENV)-dist/bin/python -m pytest -q -n 2 -p no:cacheprovider

# One file with Python and everything in it; it starts its own processes with `-m`.
binary: extension $(VENV)/.dev ## Build one executable, dist/bunker, and try it
	$(call venv,$(VENV)-binary)
	$(VENV)-binary/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes \
	  --only-binary :all: -r requirements/run.txt -r requirements/qr.txt -r requirements/binary.txt
	$(VENV)-binary/bin/python -m pip --disable-pip-version-check --quiet install --no-deps \
	  --no-build-isolation $(addprefix packages/,$(PACKAGES))
	$(VENV)-binary/bin/pyinstaller --log-level ERROR --noconfirm --onefile --name bunker \
	  --distpath dist --workpath build/binary --specpath build/binary \
	  $(foreach name,bunker bunker_core bunker_relay bunker_signer bunker_client bunker_phone mnemonic,--collect-all $(name)) \
	  $(foreach name,nostr-bunker nostr-bunker-relay nostr-bunker-signer nostr-bunker-client nostr-bunker-phone,--copy-metadata $(name)) \
	  --collect-submodules alembic --collect-submodules sqlalchemy.dialects.sqlite --collect-data zxcvbn \
	  --hidden-import uvicorn.protocols.websockets.websockets_impl --collect-submodules uvicorn \
	  deploy/binary/entry.py
	$(PYTEST) deploy/binary
	@ls -l dist/bunker

deb: phone extension ## Build the Debian package of this machine's release (debhelper, lintian), and run it (root)
	@bash .ci/deb

version: ## Set the one version of everything: make version VERSION=0.2.0
	@test -n "$(VERSION)" || { echo "say which: make version VERSION=0.2.0" >&2; exit 1; }
	perl -pi -e 's/^((?:__version__|version) = )"[^"]*"/$$1"$(VERSION)"/; \
	  s/(nostr-bunker[-a-z]*(?:\[[a-z]+\])?==)[^"]*/$${1}$(VERSION)/' \
	  pyproject.toml packages/*/pyproject.toml packages/*/src/*/__init__.py
	perl -pi -e 's/^(  "version": )"[^"]*"/$$1"$(VERSION)"/' \
	  packages/client/extension/static/manifest.json
	perl -pi -e 's/^(version: )"[^"]*"/$$1"$(VERSION)"/' deploy/umbrel/nostr-bunker/umbrel-app.yml
	perl -pi -e 's/(nostr-bunker:)[^@]*@/$${1}$(VERSION)@/' deploy/umbrel/nostr-bunker/docker-compose.yml
	perl -pi -e "s/(version: ')[^:]*:[0-9]+/\$${1}$(VERSION):0/; s/(nostr-bunker:)[^']*/\$${1}$(VERSION)/" \
	  deploy/startos/startos/index.ts deploy/startos/startos/manifest/index.ts

audit: $(VENV)/.run $(VENV)-release/.tools ## Ask whether a pinned dependency is known to be weak (needs the network)
	@$(BIN)/python .ci/audit.py $(VENV)-release/bin/pip-audit requirements/run.txt

$(VENV)-release/.tools: requirements/release.txt
	$(call venv,$(VENV)-release)
	$(VENV)-release/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes \
	  -r requirements/release.txt
	@touch $@

wheels: $(VENV)/.dev ## Ask whether every pin has a wheel for each Python and platform (needs the network)
	@$(PIP) install uv
	@$(BIN)/python .ci/wheels.py $(BIN)/uv requirements/run.txt

newest-python: ## Run the demo and the tests of the key on Debian sid's Python, in a folder (root, debootstrap)
	@bash .ci/newest-python

newest-uvicorn: $(VENV)/.dev ## Run the relay's conformance suite with the newest uvicorn, if it is newer than the pinned one
	@bash .ci/newest-uvicorn

mutants: $(VENV)/.dev $(VENV)-mutants/.cosmic-ray ## Change MODULES in place after place, and show what their tests do not notice
	@test -n "$(MODULES)" || { echo "say which: make mutants MODULES=packages/core/src/..." >&2; exit 1; }
	$(BIN)/python .ci/mutants $(CURDIR)/$(VENV)-mutants/bin/python $(MODULES)

$(VENV)-mutants/.cosmic-ray: requirements/mutants.txt
	$(call venv,$(VENV)-mutants)
	$(VENV)-mutants/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes \
	  -r requirements/mutants.txt
	@touch $@

packages: binary deb ## Build and try what a release has beside its wheels: one file, and the Debian package (root)

# What can be seen without them is looked at before the builds; `dist` empties the folder.
release: $(BIN)/python ## Prepare a release of VERSION: proofs, checksums, and the list for the person who uploads
	$(BIN)/python .ci/release.py
	$(MAKE) dist
	$(MAKE) packages
	$(BIN)/python .ci/release.py dist

lock: $(VENV)/.dev ## Pin the newest versions that requirements/*.in allow, without addresses
	$(PIP) install uv
	for name in run qr dev; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-emit-index-url requirements/$$name.in -o requirements/$$name.txt || exit 1; \
	done
	for name in $(OPTIONAL) docs release binary mutants pip; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-emit-index-url -c requirements/dev.txt requirements/$$name.in \
	    -o requirements/$$name.txt || exit 1; \
	done

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) $(VENV)-bench $(VENV)-docs $(VENV)-dist $(VENV)-release $(VENV)-binary $(VENV)-mutants bench/results dist build tests/interop/node/node_modules examples/testbed-node/node_modules deploy/startos/node_modules deploy/startos/javascript packages/phone/node_modules packages/phone/src/bunker_phone/site packages/client/src/bunker_client/nip07/extension .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(call venv,$(VENV))

$(VENV)/.packages: $(BIN)/python requirements/run.txt requirements/qr.txt $(addsuffix /pyproject.toml,$(addprefix packages/,$(PACKAGES)))
	$(PIP) install --require-hashes -r requirements/run.txt
	$(PIP) install --require-hashes --only-binary :all: -r requirements/qr.txt \
	  || echo "requirements/qr.txt has no wheels for this platform; pairing by camera is off"
	$(PIP) install --no-deps --no-build-isolation $(addprefix -e packages/,$(PACKAGES))
	@touch $@

$(VENV)/.run: $(VENV)/.packages
	@touch $@

$(VENV)-bench/.peers: requirements/bench.txt
	@$(call venv,$(VENV)-bench)
	$(VENV)-bench/bin/python -m pip --disable-pip-version-check --quiet install \
	  --require-hashes --only-binary :all: -r requirements/bench.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.packages requirements/dev.txt $(patsubst %,requirements/%.txt,$(OPTIONAL))
	$(PIP) install --require-hashes -r requirements/dev.txt
	for name in interop deploy; do \
	  $(PIP) install --require-hashes --only-binary :all: -r requirements/$$name.txt \
	    || echo "requirements/$$name.txt has no wheels for this platform; its tests will skip"; \
	done
	$(PIP) install --require-hashes -r requirements/protectors.txt 2>/dev/null \
	  || echo "the hardware protectors need .ci/apt/protectors.txt; their tests will skip"
	@touch $@
