# The suite with its pinned versions, on a CPU: docker build -t lorasb . && docker run --rm lorasb
# For another index of torch, a CUDA build say: --build-arg TORCH_INDEX=https://pypi.org/simple
FROM python:3.11-slim-bookworm
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN apt-get update && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /lorasb
# dependencies in a layer of their own: they change more seldom than the code
COPY pyproject.toml constraints.txt Makefile README.md LICENSE ./
COPY lorasb/__init__.py lorasb/
RUN PIP_EXTRA_INDEX_URL=${TORCH_INDEX} PIP_NO_CACHE_DIR=1 make install PYTHON=python
COPY . .
ENV PATH=/lorasb/.venv/bin:$PATH
CMD ["make", "run"]
