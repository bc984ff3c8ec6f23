# syntax=docker/dockerfile:1
# Two stages: the first makes a virtual environment from the hash-locked requirements, the second carries it and the
# starter policies, nothing else. A release pins the base by digest: --build-arg BASE=python:3.11-slim@sha256:...
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /src
COPY requirements/run.txt requirements/run.txt
RUN ["python", "-m", "venv", "/opt/gateway"]
# Wheels only, and only those whose hashes are in the lock: a package's own build code never runs here.
RUN ["/opt/gateway/bin/python", "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", "-r", "requirements/run.txt"]
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN ["/opt/gateway/bin/python", "-m", "pip", "install", "--no-deps", "--no-build-isolation", "."]
# What built the project does not travel with it (setuptools also leaves a start-up hook, distutils-precedence.pth).
RUN ["/opt/gateway/bin/python", "-m", "pip", "uninstall", "--yes", "setuptools", "wheel", "pip"]
# The final stage does not write byte code, so it is written here.
RUN ["/opt/gateway/bin/python", "-m", "compileall", "-q", "-j", "0", "/opt/gateway/lib"]
RUN ["mkdir", "-p", "/empty"]

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="llm-gateway" \
      org.opencontainers.image.description="A reverse-proxy LLM gateway: authenticated, guarded, cached, counted and traced" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The policies belong to root: the process can read and not change them. The data folder is the only thing it may write.
COPY --from=build /opt/gateway /opt/gateway
COPY policies /etc/gateway/policies
COPY --from=build --chown=10001:10001 /empty /var/lib/gateway
ENV PATH=/opt/gateway/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_PORT=8080 \
    GATEWAY_POLICIES=/etc/gateway/policies \
    GATEWAY_DATA_DIR=/var/lib/gateway \
    GATEWAY_LOG_FORMAT=json
WORKDIR /
USER 10001:10001
VOLUME ["/var/lib/gateway"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["gateway", "healthcheck"]
ENTRYPOINT ["gateway"]
CMD ["serve"]
