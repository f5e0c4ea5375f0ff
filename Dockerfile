# syntax=docker/dockerfile:1
# One image that runs any of the three services, by SERVICE=authz (the default), ratelimit or tap:
#
#   docker build -t envoy-sidecars .
#   docker run -p 9191:9191 -v ./policies:/etc/policies:ro envoy-sidecars \
#     serve --policies /etc/policies --listen 0.0.0.0:9191
#   docker run -p 8081:8081 -e SERVICE=ratelimit -v ./limits:/etc/limits:ro envoy-sidecars \
#     serve --config /etc/limits --listen 0.0.0.0:8081
#
# The services listen on loopback unless told otherwise: right beside Envoy in one pod, not across containers.
# Give another admin address by AUTHZ_ADMIN (RATELIMIT_ADMIN, TAP_ADMIN), so that the health check finds it too.

FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/envoy-sidecars
# What changes seldom comes first: the locked dependencies, each held to its hash.
COPY requirements-services.lock ./
RUN /opt/envoy-sidecars/bin/pip install --require-hashes --requirement requirements-services.lock
COPY pyproject.toml README.md LICENSE ./
COPY services services
RUN /opt/envoy-sidecars/bin/pip install --no-deps . \
    && /opt/envoy-sidecars/bin/pip uninstall --yes pip

FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.title="envoy-sidecars" \
      org.opencontainers.image.description="authz, ratelimit and tap: gRPC services for Envoy" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin sidecar
COPY --from=build /opt/envoy-sidecars /opt/envoy-sidecars
ENV PATH=/opt/envoy-sidecars/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SERVICE=authz
USER 10001:10001
EXPOSE 9191 8081 9393
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["sh", "-c", "exec \"envoy-$SERVICE\" health"]
# SIGTERM drains: health goes NOT_SERVING, calls in flight finish, exit code 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["sh", "-c", "exec \"envoy-$SERVICE\" \"$@\"", "envoy-sidecars"]
CMD ["serve"]
