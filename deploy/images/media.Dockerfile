# A media worker. Build from the repository's root: docker build -f deploy/images/media.Dockerfile .
# VENDORS names the optional vendors that the image carries, as extras of turncall-media, or none ("").
# The extra `local` brings espeak-ng, which is GPL-3; an image that holds it is under that licence's terms.
FROM python:3.12-slim-bookworm AS build
ARG VENDORS="local anthropic aws google"
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/turncall
RUN pip install --no-cache-dir "uv>=0.9,<0.14"
WORKDIR /src
COPY pyproject.toml uv.lock .python-version ./
COPY proto proto
COPY libs libs
COPY services services
RUN extras=""; for vendor in $VENDORS; do extras="$extras --extra $vendor"; done; \
    uv sync --locked --no-dev --no-editable --package turncall-media $extras

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /nonexistent turncall \
    && install -d -o turncall -g turncall /var/lib/turncall/spool
COPY --from=build /opt/turncall /opt/turncall
ENV PATH=/opt/turncall/bin:$PATH PYTHONUNBUFFERED=1 \
    TURNCALL_MEDIA_HOST=0.0.0.0 TURNCALL_MEDIA_PORT=8090 TURNCALL_SPOOL_DIR=/var/lib/turncall/spool
USER turncall
VOLUME /var/lib/turncall/spool
EXPOSE 8090
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8090/health', timeout=2)"]
ENTRYPOINT ["python", "-m", "turncall_media"]
CMD ["run"]
