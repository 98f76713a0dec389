# The control plane. Build from the repository's root: docker build -f deploy/images/control.Dockerfile .
FROM python:3.12-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/turncall
RUN pip install --no-cache-dir "uv>=0.9,<0.14"
WORKDIR /src
COPY pyproject.toml uv.lock .python-version ./
COPY proto proto
COPY libs libs
COPY services services
RUN uv sync --locked --no-dev --no-editable --package turncall-control

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /nonexistent turncall
COPY --from=build /opt/turncall /opt/turncall
ENV PATH=/opt/turncall/bin:$PATH PYTHONUNBUFFERED=1 TURNCALL_HTTP_HOST=0.0.0.0 TURNCALL_HTTP_PORT=8080
USER turncall
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
ENTRYPOINT ["python", "-m", "turncall_control"]
CMD ["serve"]
