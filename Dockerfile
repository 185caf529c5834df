# Two images: `control-plane` (API, scheduler, migrations) and `worker` (workers, launcher, the pods of jobs).
#   docker build --target control-plane -t localhost/neutrino-control-plane:0.1.0 .
#   docker build --target worker        -t localhost/neutrino-worker:0.1.0 .
# Any OCI builder will do; nothing here needs BuildKit. Packages come in the versions of constraints.txt.
ARG NEUTRINO_IMAGE_BASE=python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${NEUTRINO_IMAGE_BASE} AS build
ENV PIP_CONSTRAINT=/src/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# A package of the same name and needs but without code: what it needs is a layer that outlives changes of the code.
COPY constraints.txt pyproject.toml LICENSE ./
COPY orchestrator/version.py orchestrator/version.py
RUN mkdir workers cloud_adapters migrations && touch README.md && python -m venv --without-pip /opt/neutrino

# Everything is compiled here, because the root of a container is read-only. Some packages bring files for later versions
# of Python, which do not compile and are not meant to. Not by pip, whose compiled files carry the time of the build.
FROM build AS needs-control-plane
RUN python -m pip --python /opt/neutrino/bin/python install --no-compile '.[server,aws,gcp,azure,otel]' \
    && (python -m compileall -qq --invalidation-mode unchecked-hash /opt/neutrino/lib || true)

FROM build AS needs-worker
# What workers bring for training: `cpu` (PyTorch without CUDA), `cuda` (PyTorch's own CUDA libraries, several GB; the
# node brings the driver), or `none` for workers that only run programs of their users.
ARG NEUTRINO_LEARN=cpu
ARG NEUTRINO_TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN case "$NEUTRINO_LEARN" in \
      none) extras=worker,kube,aws,gcp,azure,otel ;; \
      cpu) extras=worker,kube,aws,gcp,azure,otel,learn; export PIP_EXTRA_INDEX_URL="$NEUTRINO_TORCH_INDEX" ;; \
      cuda) extras=worker,kube,aws,gcp,azure,otel,learn ;; \
      *) echo "NEUTRINO_LEARN is $NEUTRINO_LEARN; it can be cpu, cuda or none." >&2; exit 1 ;; \
    esac \
    && python -m pip --python /opt/neutrino/bin/python install --no-compile ".[$extras]" \
    # A sixth of it all would be tests of these packages. Licences stay.
    && find /opt/neutrino/lib -type d '(' -name tests -o -name test ')' -not -path '*.dist-info/*' -prune -exec rm -r {} + \
    && find /opt/neutrino/lib -path '*/torch/bin/*' -not -name torch_shm_manager -delete \
    && (python -m compileall -qq --invalidation-mode unchecked-hash /opt/neutrino/lib || true)

# The code, alone: a small layer on top of the large one, the same in both images.
FROM build AS code
COPY . .
RUN python -m pip --python /opt/neutrino/bin/python install --no-compile --no-deps . \
    && python -m compileall -qq --invalidation-mode unchecked-hash /opt/neutrino/lib

# hadolint ignore=DL3006
FROM ${NEUTRINO_IMAGE_BASE} AS runtime
ARG NEUTRINO_REVISION=unknown
LABEL org.opencontainers.image.title="Neutrino" \
      org.opencontainers.image.description="One control plane for AI jobs on every cloud" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${NEUTRINO_REVISION}"
# Written by hand, because not every base has useradd. Where a platform picks another account, it is of group 0.
RUN echo 'neutrino:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'neutrino:x:10001:' >> /etc/group \
    && mkdir -p /var/lib/neutrino \
    && chown 10001:0 /var/lib/neutrino \
    && chmod 775 /var/lib/neutrino
ENV HOME=/tmp \
    NEUTRINO_ALIVE_FILE=/tmp/neutrino-alive \
    PATH=/opt/neutrino/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/neutrino
USER 10001:10001

FROM runtime AS control-plane
COPY --from=needs-control-plane /opt/neutrino /opt/neutrino
COPY --from=code /opt/neutrino /opt/neutrino
# All interfaces, of the container: nothing else could be published.
ENV NEUTRINO_BIND=:8470
EXPOSE 8470
# Every service touches the file; `docker run … python -m migrations` ends before the first look.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-m", "orchestrator.alive"]
CMD ["python", "-m", "orchestrator.api"]

FROM runtime AS worker
COPY --from=needs-worker /opt/neutrino /opt/neutrino
COPY --from=code /opt/neutrino /opt/neutrino
# Jobs run under the same account and may write to its home: credentials of clouds come from the environment or the
# machine's identity, never from files that a job could have left there. There is no HEALTHCHECK, because its command
# would run among the jobs with the worker's environment; probe port 8471 instead.
ENV NEUTRINO_DATA_DIR=/var/lib/neutrino \
    NEUTRINO_ALIVE_BIND=:8471 \
    AWS_CONFIG_FILE=/dev/null \
    AWS_SHARED_CREDENTIALS_FILE=/dev/null \
    AZURE_CONFIG_DIR=/nonexistent \
    CLOUDSDK_CONFIG=/nonexistent
EXPOSE 8471
CMD ["python", "-m", "workers"]
