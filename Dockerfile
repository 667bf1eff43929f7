# One image for each service: `make images`, or
#   docker build --target stream-gateway --tag crypto-streaming/stream-gateway:0.1.0 .
#
# The base image is a build argument: any with Python 3.11 or newer, pip, and a Debian beneath.
# A package index that needs credentials: --secret id=pip.conf,src=pip.conf
ARG BASE_IMAGE=python:3.13-slim

# ------------------------------------------------------------------ an environment for each service
FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY requirements/build.txt requirements/
# Builds our own packages; stays here.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    python -m venv --without-pip /build \
    && pip --python /build/bin/python install --require-hashes --only-binary :all: -r requirements/build.txt
COPY packages packages
COPY services services
# Wheels, for the two packages that services share, and for each service.
RUN for member in packages/* services/*; do (cd "$member" && /build/bin/hatchling build --target wheel --directory /wheels) \
    || exit 1; done

FROM build AS stream-gateway-environment
COPY requirements/stream-gateway.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    python -m venv --without-pip /app \
    && pip --python /app/bin/python install --require-hashes --only-binary :all: -r requirements/stream-gateway.txt \
    && pip --python /app/bin/python install --no-deps --no-index \
        /wheels/service_kit-*.whl /wheels/crypto_streaming-*.whl /wheels/stream_gateway-*.whl

FROM build AS ingest-worker-environment
COPY requirements/ingest-worker.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    python -m venv --without-pip /app \
    && pip --python /app/bin/python install --require-hashes --only-binary :all: -r requirements/ingest-worker.txt \
    && pip --python /app/bin/python install --no-deps --no-index \
        /wheels/service_kit-*.whl /wheels/crypto_streaming-*.whl /wheels/ingest_worker-*.whl

FROM build AS command-api-environment
COPY requirements/command-api.txt requirements/
# Translations (USE_I18N is off) and source maps are a quarter of what is installed.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    python -m venv --without-pip /app \
    && pip --python /app/bin/python install --require-hashes --only-binary :all: -r requirements/command-api.txt \
    && pip --python /app/bin/python install --no-deps --no-index \
        /wheels/service_kit-*.whl /wheels/crypto_streaming-*.whl /wheels/command_api-*.whl \
    && find /app/lib -path '*/locale/*' \( -name '*.mo' -o -name '*.po' \) -delete \
    && find /app/lib -path '*/static/*' -name '*.map' -delete

# ------------------------------------------------------------------ what all images have
FROM ${BASE_IMAGE} AS trimmed
# What installs packages, and what only people read, has no business here.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python*/site-packages/* /usr/local/lib/python*/ensurepip \
        /usr/local/lib/python*/idlelib /usr/local/lib/python*/tkinter /usr/local/lib/python*/turtledemo \
        /usr/share/doc /usr/share/man /usr/share/locale /var/lib/apt/lists/* /var/cache/* /root/.cache \
    && find /usr/local/lib -name __pycache__ -prune -exec rm -rf {} + \
    && groupadd --gid 10001 app \
    && useradd --uid 10001 --gid app --no-create-home --home-dir /tmp --shell /usr/sbin/nologin app

# One layer, so that what was removed is not in it.
FROM scratch AS runtime
COPY --from=trimmed / /
ARG VERSION=0.1.0
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="crypto-streaming"
# The file system is read-only: what is compiled at the start goes to /tmp.
ENV PATH=/app/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONPYCACHEPREFIX=/tmp/pycache \
    PYTHONSAFEPATH=1
WORKDIR /
USER 10001:10001
STOPSIGNAL SIGTERM

# ------------------------------------------------------------------ the images
FROM runtime AS stream-gateway
LABEL org.opencontainers.image.title="stream-gateway" \
      org.opencontainers.image.description="Holds client streams, delivers commands, makes reports durable"
COPY --from=stream-gateway-environment /app /app
EXPOSE 50051 9090
ENTRYPOINT ["python", "-m", "stream_gateway"]

FROM runtime AS ingest-worker
LABEL org.opencontainers.image.title="ingest-worker" \
      org.opencontainers.image.description="Writes durable frames into PostgreSQL"
COPY --from=ingest-worker-environment /app /app
EXPOSE 9090
ENTRYPOINT ["python", "-m", "ingest_worker"]

FROM runtime AS command-api
LABEL org.opencontainers.image.title="command-api" \
      org.opencontainers.image.description="REST, admin console and schema"
COPY --from=command-api-environment /app /app
EXPOSE 8000 9090
ENTRYPOINT ["python", "-m", "command_api"]
