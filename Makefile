types:
	cd .venv/dev-src && ../bin/mypy --config-file ../../pyproject.toml
