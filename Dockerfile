# syntax=docker/dockerfile:1
# The demo on a CPU, in a container: everything that `make demo` needs, and nothing for a GPU.
#
#   docker build -t medix-demo .
#   docker run --rm --shm-size 4g -v "$PWD/outputs:/demo/outputs" medix-demo            # writes outputs/demo/report.html
#   docker run --rm --shm-size 4g medix-demo doctor                                     # any other command
#
# Give it two cores and 14 GiB of memory. Ray and vLLM share memory by /dev/shm, of which containers have 64 MB by default.
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libgomp1 libnuma1 \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 medix && mkdir -p /demo/outputs && chown -R medix /demo
USER medix
WORKDIR /demo

COPY --chown=medix . /demo
RUN .ci/setup .venv && rm -rf ~/.cache/pip

# A report is written as the user who started the container sees it; nothing in here is a key.
ENV PATH=/demo/.venv/bin:$PATH PYTHONUNBUFFERED=1
VOLUME /demo/outputs
ENTRYPOINT ["medix-verl"]
CMD ["demo"]
