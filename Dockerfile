# syntax=docker/dockerfile:1
# One image for every role. CPU by default; for GPUs: --build-arg CONSTRAINTS=/dev/null takes the CUDA build
# of torch, which brings its own CUDA libraries (the host needs the driver and the container toolkit only).
FROM python:3.12-slim-bookworm AS build
ARG CONSTRAINTS=constraints.txt
WORKDIR /src
COPY . .
RUN python -m venv /opt/groundwatch \
    && /opt/groundwatch/bin/pip install --no-cache-dir -c "$CONSTRAINTS" '.[fleet]'

FROM python:3.12-slim-bookworm
RUN groupadd --gid 10001 groundwatch \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/groundwatch groundwatch \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/groundwatch /etc/groundwatch
COPY --from=build /opt/groundwatch /opt/groundwatch
ENV PATH=/opt/groundwatch/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /etc/groundwatch
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
ENTRYPOINT ["groundwatch"]
CMD ["run"]
